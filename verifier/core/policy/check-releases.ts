/** Releases of Hullmark: lists as `sha256sum` writes them, each with a detached signature of an authority. What they name is what an agent may be. */
import { createPublicKey, hash, type KeyObject, verify } from "node:crypto";
import type { PolicyFile } from "./schema.ts";
import { nearest } from "./suggest.ts";
import type { Authority, KnownFiles, Report, Revocation } from "./types.ts";

type FileRelease = NonNullable<PolicyFile["spec"]["nodes"][number]["agent"]>["releases"][number];
const MAX_SIGNATURE_CHARS = 2048;

/** What is not signed as it says is an error of the policy: no part of such a list counts. */
export function buildReleases(
  releases: readonly FileRelease[],
  authorities: readonly Authority[],
  revocations: readonly Revocation[],
  path: readonly PropertyKey[],
  readFile: (path: string) => string,
  report: Report,
): KnownFiles {
  const digests = new Set<string>();
  const revoked = revocations.flatMap(({ what }) => (what.kind === "key" && what.publicKeyPem !== "" ? [createPublicKey(what.publicKeyPem)] : []));
  for (const [i, { sums, signature, authority: name }] of releases.entries()) {
    const at = [...path, i];
    const authority = authorities.find((each) => each.name === name);
    if (!authority) {
      const guess = nearest(
        name,
        authorities.map((each) => each.name),
      );
      report("error", [...at, "authority"], `no authority is named "${name}"`, guess ? `did you mean "${guess}"?` : "add it under spec.authorities");
      continue;
    }
    const text = read([...at, "sums"], sums);
    const signed = read([...at, "signature"], signature);
    if (text === undefined || signed === undefined) continue;
    const signers = signersOf(Buffer.from(text), signed, authority);
    if (signers.length === 0)
      report(
        "error",
        [...at, "signature"],
        `is no signature of "${name}" over ${sums}`,
        "make it with `cosign sign-blob --key` or `openssl dgst -sha256 -sign KEY | base64`",
      );
    // No error, which would keep the revocation itself from being in force.
    else if (signers.every((key) => revoked.some((each) => each.equals(key))))
      report("warning", [...at, "signature"], "is by a key that is revoked: what the list names counts no more", "sign it anew, or remove it");
    else {
      const bad = addSums(text, digests);
      if (bad !== undefined) report("error", [...at, "sums"], `line ${bad} does not begin with a SHA-256`, "write it with `sha256sum`");
    }
  }
  return knownFiles(digests);

  function read(at: readonly PropertyKey[], file: string): string | undefined {
    try {
      return readFile(file);
    } catch (error) {
      report("error", at, `cannot be read: ${error instanceof Error ? error.message : String(error)}`, "paths are relative to the policy file");
      return undefined;
    }
  }
}

/** Lines as `sha256sum` writes them; empty ones and comments are skipped. @returns the number of the first line that is none */
export function addSums(text: string, digests: Set<string>): number | undefined {
  for (const [i, line] of text.split("\n").entries()) {
    if (line === "" || line.startsWith("#")) continue;
    // A backslash at the start: `sha256sum` escaped the name.
    const [, digest] = /^\\?([0-9a-f]{64})(?:$|[ \r])/.exec(line) ?? [];
    if (digest === undefined) return i + 1;
    digests.add(digest);
  }
  return undefined;
}

export function knownFiles(digests: ReadonlySet<string>): KnownFiles {
  return { sha256: hash("sha256", [...digests].sort().join("\n")), digests };
}

/** The authority's keys that made it: ECDSA and RSA over SHA-256, or Ed25519. Validity of keys is not asked: a list says no time. */
function signersOf(bytes: Buffer, text: string, { signers }: Authority): readonly KeyObject[] {
  const base64 = text.trim().replaceAll(/\r?\n/g, "");
  if (base64.length > MAX_SIGNATURE_CHARS || !/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) return [];
  const signature = Buffer.from(base64, "base64");
  // An empty text was told of as an error before.
  const keys = signers.flatMap((signer) => (signer.kind === "key" && signer.publicKeyPem !== "" ? [createPublicKey(signer.publicKeyPem)] : []));
  return keys.filter((key) => verify(key.asymmetricKeyType === "ed25519" ? null : "sha256", bytes, key, signature));
}
