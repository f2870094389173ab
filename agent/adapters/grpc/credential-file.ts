/** Key and certificate of a node without TPM, kept across restarts of the agent: whoever reads the file is the node until the certificate ends. */
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { z } from "zod";
import type { Credential } from "./enrolment.ts";

const MAX_FILE_BYTES = 65_536;

const CredentialSchema = z.strictObject({
  certificateChain: z.string().min(1),
  privateKey: z.string().min(1),
  spkiSha256: z.string().regex(/^[0-9a-f]{64}$/),
  notAfterMs: z.number().positive(),
  verifierId: z.string().min(1),
  region: z.string().min(1),
  nodeId: z.string().regex(/^[0-9a-f]{16}$/),
});

/** @returns undefined where there is none, or none that can be read: then a join token is needed */
export function readCredential(path: string): Credential | undefined {
  try {
    const text = readFileSync(path, "utf8");
    const kept = text.length <= MAX_FILE_BYTES ? CredentialSchema.parse(JSON.parse(text)) : undefined;
    return kept && { ...kept, spkiSha256: Buffer.from(kept.spkiSha256, "hex") };
  } catch {
    return undefined;
  }
}

/** Mode 0600, replaced as a whole. Not synced to disk: one that is lost costs a token. @throws the system's error */
export function writeCredential(path: string, credential: Credential): void {
  const fresh = `${path}.new`;
  rmSync(fresh, { force: true });
  writeFileSync(fresh, JSON.stringify({ ...credential, spkiSha256: credential.spkiSha256.toString("hex") }), { mode: 0o600, flag: "wx" });
  renameSync(fresh, path);
}
