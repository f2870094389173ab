/** Rules of TPMS_CLOCK_INFO between two quotes of one AK (TPM 2.0 Part 1, 36): the later one may not be from an earlier time. */
import type { TpmClock } from "./tpm-attest.ts";

/** Longest time between two savings of Clock to NV (Part 1, 36.3.2): what an unclean power loss may take back. */
const MAX_CLOCK_LOSS_MS = 1n << 22n;

export type ClockRefusal = "reset-count-went-back" | "restart-count-went-back" | "clock-went-back";

interface ClockProblem {
  readonly reason: ClockRefusal;
  readonly detail: string;
}

/** What is wrong with `next` after `previous`; undefined: nothing. */
export function checkClock(previous: TpmClock, next: TpmClock): ClockProblem | undefined {
  if (next.resetCount < previous.resetCount) return { reason: "reset-count-went-back", detail: `resetCount ${next.resetCount} after ${previous.resetCount}` };
  if (next.resetCount === previous.resetCount) {
    if (next.restartCount < previous.restartCount)
      return { reason: "restart-count-went-back", detail: `restartCount ${next.restartCount} after ${previous.restartCount}` };
    return next.clock < previous.clock ? wentBack(`clock ${next.clock} ms after ${previous.clock} ms without a reset`) : undefined;
  }
  if (next.clock >= previous.clock) return undefined;
  if (next.safe) return wentBack(`clock ${next.clock} ms after ${previous.clock} ms, and said to be safe`);
  if (previous.clock - next.clock <= MAX_CLOCK_LOSS_MS) return undefined;
  return wentBack(`clock ${next.clock} ms after ${previous.clock} ms: more than a power loss takes back`);
}

function wentBack(detail: string): ClockProblem {
  return { reason: "clock-went-back", detail };
}
