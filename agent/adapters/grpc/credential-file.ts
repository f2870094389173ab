/** Key and certificate of a node without TPM, kept across restarts of the agent: whoever reads the file is the node until the certificate ends. */
import { X509Certificate } from "node:crypto";
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import * as z from "zod";
import type { Credential } from "./enrolment.ts";

/** As it is kept. */
export interface KeptCredential extends Credential {
  /** By this node's clock, as it was when the certificate came. */
  readonly notAfterMs: number;
}

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

/**
 * @param caCertificate PEM, one root or more; a certificate of another CA would be refused by TLS, which cannot be told from a verifier that is away
 * @returns undefined where there is none, or none that is of use: then a join token is needed
 */
export function readCredential(path: string, caCertificate: Buffer): KeptCredential | undefined {
  try {
    const text = readFileSync(path, "utf8");
    const kept = text.length <= MAX_FILE_BYTES ? CredentialSchema.parse(JSON.parse(text)) : undefined;
    if (!kept || !isIssuedBy(kept.certificateChain, caCertificate)) return undefined;
    return { ...kept, spkiSha256: Buffer.from(kept.spkiSha256, "hex") };
  } catch {
    return undefined;
  }
}

/** Whether one of the roots (PEM) has issued the certificate, or one of its chain. */
export function isIssuedBy(chain: string, roots: Buffer): boolean {
  const [certificates, authorities] = [certificatesOf(chain), certificatesOf(roots.toString("latin1"))];
  return authorities.some(({ publicKey }) => certificates.some((certificate) => certificate.verify(publicKey)));
}

function certificatesOf(pem: string): X509Certificate[] {
  return (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map((text) => new X509Certificate(text));
}

/** Mode 0600, replaced as a whole. Not synced to disk: one that is lost costs a token. @throws the system's error */
export function writeCredential(path: string, credential: KeptCredential): void {
  const fresh = `${path}.new`;
  rmSync(fresh, { force: true });
  writeFileSync(fresh, JSON.stringify({ ...credential, spkiSha256: credential.spkiSha256.toString("hex") }), { mode: 0o600, flag: "wx" });
  renameSync(fresh, path);
}
