import { createHash } from "node:crypto";
import type { Registry } from "../../ports/registry.ts";
import { ProvenanceError } from "./errors.ts";

/**
 * A whole blob, checked against its digest.
 * @param maxBytes inclusive; reading stops beyond it
 * @throws ProvenanceError TOO_LARGE, DIGEST_MISMATCH; RegistryError
 */
export async function readBlob(registry: Registry, repository: string, digest: string, maxBytes: number, signal: AbortSignal): Promise<Buffer> {
  const hash = createHash("sha256");
  const chunks: Buffer[] = [];
  let total = 0;
  for await (const chunk of registry.blob(repository, digest, signal)) {
    total += chunk.length;
    if (total > maxBytes) throw new ProvenanceError("TOO_LARGE", `blob ${digest} is larger than ${maxBytes} bytes`);
    hash.update(chunk);
    chunks.push(chunk);
  }
  const got = `sha256:${hash.digest("hex")}`;
  if (got !== digest) throw new ProvenanceError("DIGEST_MISMATCH", `asked for blob ${digest}, was served ${got}`);
  return Buffer.concat(chunks, total);
}
