/** Sealing to the responders' keys (age): whoever seals cannot open it again. */
import { Encrypter } from "age-encryption";
import type { Seal } from "./capture.ts";

/** @param recipients 1 at least @throws Error where one is none */
export function sealTo(recipients: readonly string[]): Seal {
  const encrypter = new Encrypter();
  for (const recipient of recipients) encrypter.addRecipient(recipient);
  return async (plain) => Buffer.from(await encrypter.encrypt(plain));
}
