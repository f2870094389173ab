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

/** How many of the authorities could vote at the most. */
export function differentSigners(authorities: readonly Authority[]): number {
  return distinctVotes(new Map(authorities.map(({ name, signers }) => [name, new Set(signers.map(signerAsWritten))])));
}

/** The same for the same signer under whatever authority, as policy writes it. */
export function signerAsWritten(signer: Signer): string {
  if (signer.kind === "key") return `key ${signer.publicKeyPem}`;
  if (signer.kind === "notary") return `subject ${JSON.stringify([signer.trustStore, Object.entries(signer.subject).sort()])}`;
  return `identity ${JSON.stringify([signer.issuer, signer.subject])}`;
}
