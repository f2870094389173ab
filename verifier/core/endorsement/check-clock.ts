/** Rules of TPMS_CLOCK_INFO between two quotes of one AK (TPM 2.0 Part 1, 36): the later one may not be from an earlier time. */
import type { TpmClock } from "./tpm-attest.ts";

/** Longest time between two savings of Clock to NV (Part 1, 36.3.2): what an unclean power loss may take back. */
const MAX_CLOCK_LOSS_MS = 1n << 22n;

/** What is wrong with `next` after `previous`; undefined: nothing. */
export function checkClock(previous: TpmClock, next: TpmClock): string | undefined {
  if (next.resetCount < previous.resetCount) return `resetCount ${next.resetCount} after ${previous.resetCount}`;
  if (next.resetCount === previous.resetCount) {
    if (next.restartCount < previous.restartCount) return `restartCount ${next.restartCount} after ${previous.restartCount}`;
    if (next.clock < previous.clock) return `clock ${next.clock} ms after ${previous.clock} ms without a reset`;
    return undefined;
  }
  if (next.clock >= previous.clock) return undefined;
  if (next.safe) return `clock ${next.clock} ms after ${previous.clock} ms, and said to be safe`;
  return previous.clock - next.clock > MAX_CLOCK_LOSS_MS ? `clock ${next.clock} ms after ${previous.clock} ms: more than a power loss takes back` : undefined;
}
