/** What a host's or a node's configuration says of captures. */
import { Encrypter } from "age-encryption";
import * as z from "zod";

const recipient = z.string().refine((text) => {
  try {
    new Encrypter().addRecipient(text);
    return true;
  } catch {
    return false;
  }
}, "want an age recipient (age1…), as age-keygen prints it");

/** @param maxBytes where it says nothing of it */
export function captureSettings(maxBytes: number) {
  return z.strictObject({
    recipients: z.array(recipient).max(16).default([]),
    keepHours: z.int().min(1).max(8760).default(168),
    maxBytes: z.int().min(65_536).max(268_435_456).default(maxBytes),
    maxSeconds: z.int().min(1).max(120).default(15),
    handOut: z.boolean().default(true),
  });
}
