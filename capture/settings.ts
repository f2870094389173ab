/** What a host's or a node's configuration says of captures. */
import { bech32 } from "@scure/base";
import * as z from "zod";

/** Whether a key of that kind is one is said when it is used; what was mistyped is found here. */
const recipient = z
  .string()
  .regex(/^age1/, "want an age recipient (age1…), as age-keygen prints it")
  .refine((text) => bech32.decodeUnsafe(text, false) !== undefined, "want an age recipient (age1…), as age-keygen prints it");

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
