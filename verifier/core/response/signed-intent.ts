/** By whom an intent is signed: at its issue by the keys that count then, when it is handed out by those that count by that time. */
import { verify } from "node:crypto";
import { intentMessage } from "@hullmark/proto/codec";
import type { ActionRow } from "../../ports/rows.ts";
import type { NoteSigner } from "../../ports/signer.ts";
import { parseVerifierKey } from "../transparency/note.ts";

type Intent = NonNullable<ActionRow["intent"]>;

/** @throws SignerError */
export async function signIntent(body: Buffer, keys: readonly NoteSigner[]): Promise<readonly Buffer[]> {
  const message = intentMessage(body);
  return await Promise.all(keys.map(async (key) => Buffer.from(await key.sign(message))));
}

/**
 * A signature by each key, the one in use first: the stored one, else a new one. undefined: none that is stored is by any of them, so that it was not issued here, or by a key that
 * counts no more. Whoever writes the database, from where intents come after a restart, must not have them signed.
 * @param intent as stored @throws SignerError
 */
export async function signaturesBy(keys: readonly NoteSigner[], { body, signatures = [] }: Intent): Promise<readonly Buffer[] | undefined> {
  const message = intentMessage(body);
  const stored = keys.map(({ verifierKey }) => {
    const { publicKey } = parseVerifierKey(verifierKey);
    return signatures.find((signature) => verify(null, message, publicKey, signature));
  });
  if (!stored.some((signature) => signature !== undefined)) return undefined;
  return await Promise.all(keys.map(async (key, i) => stored[i] ?? Buffer.from(await key.sign(message))));
}
