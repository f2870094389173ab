/** Counting who has signed, so that one signer under several names is one. */
import type { Authority, Signer } from "../policy/types.ts";

/**
 * How many of the names can be given a signer each, all of them different: a maximum matching (augmenting paths). A name without signers counts nothing.
 * @param signersOf for each name those that signed for it; at most some hundred in all
 */
export function distinctVotes(signersOf: ReadonlyMap<string, ReadonlySet<string>>): number {
  const nameOf = new Map<string, string>();
  const place = (name: string, seen: Set<string>): boolean => {
    for (const signer of signersOf.get(name) ?? []) {
      if (seen.has(signer)) continue;
      seen.add(signer);
      const holder = nameOf.get(signer);
      if (holder === undefined || place(holder, seen)) {
        nameOf.set(signer, name);
        return true;
      }
    }
    return false;
  };
  return [...signersOf.keys()].filter((name) => place(name, new Set())).length;
}

/**
 * Names whoever has signed, so that one key under two names is one signer, and so is one name with two keys.
 * @param marks for each signature what tells its signer
 * @returns of each mark the one that stands for its signer
 */
export function tellSigners(marks: Iterable<readonly string[]>): (mark: string) => string {
  const parent = new Map<string, string>();
  const find = (mark: string): string => {
    let at = mark;
    for (let next = parent.get(at); next !== undefined; next = parent.get(at)) at = next;
    return at;
  };
  for (const [first, ...others] of marks) {
    if (first === undefined) continue;
    for (const other of others) {
      const [a, b] = [find(first), find(other)];
      if (a !== b) parent.set(b, a);
    }
  }
  return find;
}

/** How many of the authorities could vote at the most. */
export function differentSigners(authorities: readonly Authority[]): number {
  return distinctVotes(new Map(authorities.map(({ name, signers }) => [name, new Set(signers.map(signerAsWritten))])));
}

/** The same for the same signer under whatever authority, as policy writes it. */
export function signerAsWritten(signer: Signer): string {
  if (signer.kind === "key") return `key ${signer.publicKeyPem}`;
  if (signer.kind === "notary")
    return `subject ${JSON.stringify([signer.trustStore, signer.subject === "any" ? "any" : Object.entries(signer.subject).sort()])}`;
  return `identity ${JSON.stringify([signer.issuer, signer.subject])}`;
}
