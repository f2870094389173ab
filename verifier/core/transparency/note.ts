/** Signed notes (C2SP signed-note) with Ed25519 keys, type 0x01. Notes come from strangers until {@link openNote} returns. */
import { createPublicKey, hash, type KeyObject, verify } from "node:crypto";
import type { NoteSigner } from "../../ports/signer.ts";
import { TransparencyError } from "./errors.ts";

export const MAX_NOTE_BYTES = 65536;
const MAX_SIGNATURES = 64;
const MAX_VERIFIER_KEY_CHARACTERS = 512;
const MAX_VERIFIER_KEYS = 16;
const ED25519 = 0x01;
const ED25519_KEY_BYTES = 32;
const ED25519_SIGNATURE_BYTES = 64;
/** DER of SubjectPublicKeyInfo for Ed25519 (RFC 8410) up to the key's 32 bytes. */
export const ED25519_SPKI_PREFIX = Buffer.from("302a300506032b6570032100", "hex");

/** A public key that may sign notes. */
export interface NoteVerifierKey {
  readonly name: string;
  readonly id: number;
  readonly publicKey: KeyObject;
}

/** Non-empty, at most 255 characters, without Unicode spaces, `+` or control characters. */
export function isNoteKeyName(name: string): boolean {
  return name.length > 0 && name.length <= 255 && !/[\s+\p{Cc}]/u.test(name) && name.isWellFormed();
}

/** The first four bytes of `SHA-256(name ‖ "\n" ‖ 0x01 ‖ key)`, big-endian. */
export function noteKeyId(name: string, publicKey: Uint8Array): number {
  return hash("sha256", Buffer.concat([Buffer.from(`${name}\n`), Buffer.of(ED25519), publicKey]), "buffer").readUInt32BE(0);
}

/** `name+hash+base64(0x01 ‖ key)`: the text form of a verifier key. */
export function formatVerifierKey(name: string, publicKey: Uint8Array): string {
  if (!isNoteKeyName(name)) throw new TransparencyError("BAD_KEY", "a key name is not empty and has no spaces, plus signs or control characters");
  if (publicKey.length !== ED25519_KEY_BYTES) throw new TransparencyError("BAD_KEY", `public key of ${publicKey.length} bytes, want ${ED25519_KEY_BYTES}`);
  const id = noteKeyId(name, publicKey).toString(16).padStart(8, "0");
  return `${name}+${id}+${Buffer.concat([Buffer.of(ED25519), publicKey]).toString("base64")}`;
}

/** Reads the text form; surrounding white space is ignored. @throws TransparencyError BAD_KEY */
export function parseVerifierKey(text: string): NoteVerifierKey {
  const line = text.trim();
  if (line.length > MAX_VERIFIER_KEY_CHARACTERS) throw new TransparencyError("BAD_KEY", "a verifier key is one short line");
  if (line.startsWith("PRIVATE+KEY+")) throw new TransparencyError("BAD_KEY", "this is the private key; verifying needs the public one, `NAME+HASH+KEY`");
  const match = /^([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)$/.exec(line);
  const [, name, id, encoded] = match ?? [];
  if (!name || !id || !encoded || !isNoteKeyName(name)) throw new TransparencyError("BAD_KEY", "want one line, `NAME+HASH+KEY`");
  const bytes = Buffer.from(encoded, "base64");
  if (bytes.toString("base64") !== encoded) throw new TransparencyError("BAD_KEY", "the key is not canonical base64");
  if (bytes[0] !== ED25519 || bytes.length !== 1 + ED25519_KEY_BYTES) throw new TransparencyError("BAD_KEY", "only Ed25519 keys (type 0x01) are supported");
  const key = bytes.subarray(1);
  if (noteKeyId(name, key) !== Number.parseInt(id, 16)) throw new TransparencyError("BAD_KEY", "the hash does not belong to this name and key");
  const publicKey = createPublicKey({ key: Buffer.concat([ED25519_SPKI_PREFIX, key]), format: "der", type: "spki" });
  return { name, id: Number.parseInt(id, 16), publicKey };
}

/** One key a line, all of one name: the keys of one log over time, any of which will do. @throws TransparencyError BAD_KEY */
export function parseVerifierKeys(text: string): readonly NoteVerifierKey[] {
  const lines = text.trim().split("\n");
  if (lines.length > MAX_VERIFIER_KEYS) throw new TransparencyError("BAD_KEY", `${lines.length} keys, limit ${MAX_VERIFIER_KEYS}`);
  const keys = lines.map(parseVerifierKey);
  if (new Set(keys.map(({ name }) => name)).size > 1) throw new TransparencyError("BAD_KEY", "keys of several logs");
  return keys;
}

/** Signs `text`, which ends in a newline. @throws TransparencyError BAD_NOTE, SignerError */
export async function signNote(text: string, ...signers: readonly [NoteSigner, ...NoteSigner[]]): Promise<string> {
  if (!text.endsWith("\n") || hasForbiddenCharacters(text))
    throw new TransparencyError("BAD_NOTE", "a note's text ends in a newline and has no control characters");
  let note = `${text}\n`;
  for (const signer of signers) {
    const signature = Buffer.alloc(4 + ED25519_SIGNATURE_BYTES);
    signature.writeUInt32BE(parseVerifierKey(signer.verifierKey).id);
    signature.set(await signer.sign(Buffer.from(text)), 4);
    note += `— ${signer.name} ${signature.toString("base64")}\n`;
  }
  return note;
}

/**
 * The text of a note, once at least one of `keys` has signed it. Signatures by other keys are ignored.
 * @throws TransparencyError BAD_NOTE, UNKNOWN_KEY (no signature by any of the keys), BAD_SIGNATURE (one by a known key that does not hold)
 */
export function openNote(note: string, keys: readonly NoteVerifierKey[]): { readonly text: string; readonly signedBy: readonly string[] } {
  if (Buffer.byteLength(note) > MAX_NOTE_BYTES) throw new TransparencyError("BAD_NOTE", `more than ${MAX_NOTE_BYTES} bytes`);
  if (!note.isWellFormed() || hasForbiddenCharacters(note)) throw new TransparencyError("BAD_NOTE", "not UTF-8 text, or with control characters");
  const at = note.lastIndexOf("\n\n");
  if (at < 0 || !note.endsWith("\n")) throw new TransparencyError("BAD_NOTE", "no signatures");
  const text = note.slice(0, at + 1);
  const lines = note.slice(at + 2, -1).split("\n");
  if (lines.length > MAX_SIGNATURES) throw new TransparencyError("BAD_NOTE", `${lines.length} signatures, limit ${MAX_SIGNATURES}`);
  const message = Buffer.from(text);
  const signedBy: string[] = [];
  for (const line of lines) {
    const { name, id, signature } = parseSignatureLine(line);
    const key = keys.find((candidate) => candidate.name === name && candidate.id === id);
    if (!key) continue;
    if (!verify(null, message, key.publicKey, signature)) throw new TransparencyError("BAD_SIGNATURE", `the signature by ${name} does not hold`);
    signedBy.push(name);
  }
  if (signedBy.length === 0) throw new TransparencyError("UNKNOWN_KEY", `no signature by ${[...new Set(keys.map(({ name }) => name))].join(" or ")}`);
  return { text, signedBy };
}

function parseSignatureLine(line: string): { name: string; id: number; signature: Buffer } {
  const [, name, encoded] = /^— (\S+) ([A-Za-z0-9+/]+=*)$/u.exec(line) ?? [];
  if (!name || !encoded || !isNoteKeyName(name)) throw new TransparencyError("BAD_NOTE", "a malformed signature line");
  const bytes = Buffer.from(encoded, "base64");
  if (bytes.length < 5 || bytes.toString("base64") !== encoded) throw new TransparencyError("BAD_NOTE", "a malformed signature");
  return { name, id: bytes.readUInt32BE(0), signature: bytes.subarray(4) };
}

function hasForbiddenCharacters(text: string): boolean {
  return /[\x00-\x09\x0b-\x1f]/.test(text);
}
