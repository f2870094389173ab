/** Rules of TPMS_CLOCK_INFO between two quotes of one AK (TPM 2.0 Part 1, 36): the later one may not be from an earlier time. See docs/adr/0020. */
import type { TpmClock } from "./tpm-attest.ts";

/** Longest time between two savings of Clock to NV (Part 1, 36.3.2): what an unclean power loss may take back. */
const MAX_CLOCK_LOSS_MS = 1n << 22n;

export type ClockRefusal = "reset-count-went-back" | "restart-count-went-back" | "clock-went-back";

interface ClockProblem {
  readonly reason: ClockRefusal;
  readonly detail: string;
}

/** What is wrong with `next` after `previous`; undefined: nothing. Over a reset the counters alone decide: see {@link clockLoss}. */
export function checkClock(previous: TpmClock, next: TpmClock): ClockProblem | undefined {
  if (next.resetCount < previous.resetCount) return { reason: "reset-count-went-back", detail: `resetCount ${next.resetCount} after ${previous.resetCount}` };
  if (next.resetCount > previous.resetCount) return undefined;
  if (next.restartCount < previous.restartCount)
    return { reason: "restart-count-went-back", detail: `restartCount ${next.restartCount} after ${previous.restartCount}` };
  if (next.clock >= previous.clock) return undefined;
  return { reason: "clock-went-back", detail: `clock ${next.clock} ms after ${previous.clock} ms without a reset` };
}

/**
 * What Clock lost over the newest reset, where it is more than the specification lets a power loss take; undefined: no more. A TPM of libtpms keeps Clock only as
 * of its last other write to NV, and says that it is safe after four seconds: a crash of the machine looks there as an older state of a virtual TPM does anywhere.
 * @param before what was known: a loss stands until the next reset @param clock of a quote that {@link checkClock} lets pass, by the same AK
 */
export function clockLoss(before: { readonly clock: TpmClock | undefined; readonly clockLost?: string | undefined }, clock: TpmClock): string | undefined {
  const { clock: previous, clockLost } = before;
  if (!previous || clock.resetCount === previous.resetCount) return clockLost;
  if (clock.clock >= previous.clock || (!clock.safe && previous.clock - clock.clock <= MAX_CLOCK_LOSS_MS)) return undefined;
  return `over a reset the TPM's clock went back from ${previous.clock} ms to ${clock.clock} ms${clock.safe ? ", and is said to be safe" : ""}`;
}
