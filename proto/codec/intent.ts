/** What an intent's signature covers (hullmark.v1.SignedIntent), and the bounds that both sides hold it to. */

const INTENT_DOMAIN = Buffer.from("hullmark-intent-v1\0");

/** Longest serialised Intent, in bytes. */
export const MAX_INTENT_BYTES = 4096;
export const INTENT_ID_BYTES = 16;
/** Longest life of an intent, in milliseconds: an actuator remembers what it has seen for longer than that. */
export const MAX_INTENT_LIFETIME_MS = 900_000;

/** The bytes that are signed: a key that signs intents could sign nothing else by mistake. @param body a serialised Intent, 1..{@link MAX_INTENT_BYTES} */
export function intentMessage(body: Uint8Array): Buffer {
  return Buffer.concat([INTENT_DOMAIN, body]);
}
