/** The fields of one measurement (Documentation/security/IMA-templates.rst). From the node; the template's digest covers them. */
import { getHashes, hash } from "node:crypto";
import { CodecError, type ImaEntry, LittleEndianReader, MAX_IMA_ENTRY_BYTES } from "@hullmark/proto/codec";

/** Templates whose first two fields are digest and name. The rest (signature, buffer, owner) is covered, and not looked at. */
const NAMED: ReadonlySet<string> = new Set(["ima-ng", "ima-sig", "ima-buf", "ima-modsig", "ima-ngv2", "ima-sigv2", "evm-sig"]);
const SHA1_BYTES = 20;
const MAX_DIGEST_BYTES = 64;
const MAX_PATH_BYTES = 4096;
const SLASH = 0x2f;
/** EVM_IMA_XATTR_DIGSIG, EVM_XATTR_PORTABLE_DIGSIG, IMA_VERITY_DIGSIG (security/integrity/integrity.h). */
const SIGNATURE_TYPES: ReadonlySet<number | undefined> = new Set([3, 5, 6]);
const HASHES: ReadonlySet<string> = new Set(getHashes());

export interface MeasuredFile {
  /** As the kernel names it, for example `sha256`; `verity:sha256` for a digest of fs-verity. */
  readonly algorithm: string;
  /** Hex. */
  readonly digest: string;
  /** Raw bytes of the path, or the name of what else was measured. */
  readonly path: Buffer;
  /** What was measured is no file: a key, a command line, critical data. The entry holds it. */
  readonly buffer: boolean;
}

/** @returns undefined for a template that is not known. @throws CodecError */
export function measuredFile({ template, data }: ImaEntry): MeasuredFile | undefined {
  const reader = new LittleEndianReader(data);
  if (template === "ima") {
    const digest = reader.fixed(SHA1_BYTES).toString("hex");
    const path = reader.bytes(MAX_PATH_BYTES);
    reader.end();
    return { algorithm: "sha1", digest, path, buffer: false };
  }
  if (!NAMED.has(template)) return undefined;
  const digest = reader.bytes(MAX_DIGEST_BYTES + 32);
  const colon = digest.indexOf(":\0");
  if (colon < 1) throw new CodecError("BAD_TYPE", "a digest without the name of its hash");
  const prefixed = digest.toString("latin1", 0, colon);
  const path = reader.bytes(MAX_PATH_BYTES + 1);
  const end = path.indexOf(0);
  const algorithm = prefixed.replace(/^ima:/, "");
  const measured = digest.subarray(colon + 2);
  const named = end < 0 ? path : path.subarray(0, end);
  return { algorithm, digest: measured.toString("hex"), path: named, buffer: template === "ima-buf" && holdsBuffer(reader, algorithm, measured, named) };
}

/**
 * The template's name is covered by nothing: root can call any file's entry a buffer's. What a buffer's entry must hold is the buffer itself, under a name
 * that is no path. A file's third field is its signature, which root writes: one that is the file's own content would pass for a buffer, but for its first
 * byte, by which the kernel knows a signature (security/integrity/ima/ima_template_lib.c, `ima_eventsig_init`).
 */
function holdsBuffer(reader: LittleEndianReader, algorithm: string, digest: Buffer, name: Buffer): boolean {
  if (reader.remaining === 0 || !HASHES.has(algorithm) || name[0] === SLASH) return false;
  const buffer = reader.bytes(MAX_IMA_ENTRY_BYTES);
  reader.end();
  if (SIGNATURE_TYPES.has(buffer[0]) && !isPolicyHash(name, buffer)) return false;
  return hash(algorithm, buffer, "buffer").equals(digest);
}

/** The one buffer of the kernel's that may begin with any byte: a digest of SELinux's policy (security/selinux/ima.c). A script that short runs another program, which is measured. */
function isPolicyHash(name: Buffer, { length }: Buffer): boolean {
  return name.toString("latin1").startsWith("selinux-policy-hash") && [20, 32, 48, 64].includes(length);
}
