/** What authorities say of certificates is fetched outside of judgements: a judgement names what it lacks, and is made again when that is there. */
import type { RevocationAnswers } from "../../ports/revocation-answers.ts";

/** Lists, and the lists of their changes. */
const MAX_ROUNDS = 3;
/** Each answer has a time limit of its own. */
const UNTIL_THERE = new AbortController().signal;

/**
 * @param judge by the answers that are there; `answers` are the URLs on which what it says rests. Called anew whenever one was asked for, which may be after the return
 * @param revocations undefined: nobody is asked
 * @param waiting aborts when what is known must do: an authority that is slow takes no verdict away
 * @param waitsFor whether a verdict is to be waited with; what is due for another is fetched meanwhile, for the next who asks @throws what `judge` throws
 */
export async function consulting<T extends { readonly answers?: readonly string[] }>(
  judge: () => T,
  revocations: RevocationAnswers | undefined,
  waiting: AbortSignal,
  waitsFor: (verdict: T) => boolean = () => true,
): Promise<T> {
  let verdict = judge();
  const asked = new Set<string>();
  for (let round = 0; round < MAX_ROUNDS && revocations; round++) {
    const fresh = (verdict.answers ?? []).filter((url) => !asked.has(url));
    if (fresh.length === 0) break;
    if (!waitsFor(verdict)) {
      // Whoever keeps verdicts keeps the new one then; what it throws is told to the next who asks.
      const later = revocations.refresh(fresh, UNTIL_THERE).then((due) => due && judge());
      later.catch(() => undefined);
      break;
    }
    if (!(await revocations.refresh(fresh, waiting))) break;
    for (const url of fresh) asked.add(url);
    verdict = judge();
  }
  return verdict;
}
