/**
 * The log's Ed25519 key in a file of its own, in the text form of Go's note package: `PRIVATE+KEY+<name>+<hash>+<base64(0x01 ‖ seed)>`; where the key is in a
 * token, `PKCS11+KEY+<name>+<hash>+<URI>`.
 */
import { createPrivateKey, createPublicKey, type KeyObject, randomBytes, sign } from "node:crypto";
import { closeSync, constants, fchmodSync, fstatSync, fsyncSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { needToken } from "../../core/keys/signing-key.ts";
import { ED25519_SPKI_PREFIX, formatVerifierKey, isNoteKeyName, noteKeyId } from "../../core/transparency/note.ts";
import { type NoteSigner, SignerError } from "../../ports/signer.ts";
import type { KeyToken, SigningKey } from "../../ports/signing-key.ts";

const SEED_BYTES = 32;
const MAX_KEY_FILE_BYTES = 4096;
const TOKEN_KEY = /^PKCS11\+KEY\+([^+]+)\+([0-9a-f]{8})\+(pkcs11:[^+\s]+)\n?$/;
/** DER of a PKCS #8 Ed25519 key (RFC 8410) up to its seed. */
const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");

/** Makes a key in a new file, mode 0600, durable on return. @throws SignerError KEY_MALFORMED for a bad name; the system's error where the file exists */
export function createLogKey(file: string, name: string): NoteSigner {
  if (!isNoteKeyName(name)) throw new SignerError("KEY_MALFORMED", "a key name is not empty and has no spaces, plus signs or control characters");
  const seed = randomBytes(SEED_BYTES);
  const signer = signerOf(name, seed);
  const id = idOf(name, publicBytes(privateKeyOf(seed)));
  writeKeyFile(file, `PRIVATE+KEY+${name}+${id}+${Buffer.concat([Buffer.of(1), seed]).toString("base64")}\n`);
  return signer;
}

function writeKeyFile(file: string, content: string): void {
  const fd = openSync(file, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600);
  try {
    fchmodSync(fd, 0o600);
    writeFileSync(fd, content);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  syncDirectory(dirname(file));
}

/** An opened key, and where it is. */
interface OpenedKey {
  readonly signer: NoteSigner;
  /** undefined: in its file. */
  readonly uri: string | undefined;
}

/** Makes a key in a token, and a file that names it as {@link createLogKey} makes one. @param as what it is for @param after the one before it @throws as there; SignerError */
export async function createTokenKey(file: string, name: string, token: KeyToken, as: string, after: string | undefined): Promise<void> {
  if (!isNoteKeyName(name)) throw new SignerError("KEY_MALFORMED", "a key name is not empty and has no spaces, plus signs or control characters");
  const uri = await token.make("ed25519", as, after);
  const { spki } = await token.open(uri);
  writeKeyFile(file, `PKCS11+KEY+${name}+${idOf(name, publicOf(spki, file))}+${uri}\n`);
}

/** Whichever the file has. @throws SignerError */
export async function openNoteKey(file: string, token: KeyToken | undefined): Promise<OpenedKey> {
  const text = readKeyFile(file);
  const [, name, id, uri] = TOKEN_KEY.exec(text) ?? [];
  if (!name || !id || !uri || !isNoteKeyName(name)) return { signer: openLogKey(file), uri: undefined };
  const key: SigningKey = await needToken(token, file).open(uri);
  const publicKey = publicOf(key.spki, file);
  if (idOf(name, publicKey) !== id) throw new SignerError("KEY_MALFORMED", `${file}: the hash does not belong to the key in the token`);
  return { signer: { name, verifierKey: formatVerifierKey(name, publicKey), sign: (message) => key.sign(message) }, uri };
}

function idOf(name: string, publicKey: Uint8Array): string {
  return noteKeyId(name, publicKey).toString(16).padStart(8, "0");
}

function publicOf(spki: Buffer, file: string): Buffer {
  if (!spki.subarray(0, ED25519_SPKI_PREFIX.length).equals(ED25519_SPKI_PREFIX)) throw new SignerError("KEY_MALFORMED", `${file} is not an Ed25519 note key`);
  return spki.subarray(ED25519_SPKI_PREFIX.length);
}

/** @throws SignerError KEY_MISSING, KEY_PERMISSIONS (others may read it), KEY_MALFORMED */
export function openLogKey(file: string): NoteSigner {
  const [, name, id, encoded] = /^PRIVATE\+KEY\+([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)\n?$/.exec(readKeyFile(file)) ?? [];
  const bytes = Buffer.from(encoded ?? "", "base64");
  if (!name || !id || !isNoteKeyName(name) || bytes.length !== 1 + SEED_BYTES || bytes[0] !== 1)
    throw new SignerError("KEY_MALFORMED", `${file} is not an Ed25519 note key`);
  const seed = bytes.subarray(1);
  if (noteKeyId(name, publicBytes(privateKeyOf(seed))) !== Number.parseInt(id, 16))
    throw new SignerError("KEY_MALFORMED", `${file}: the hash does not belong to the key`);
  return signerOf(name, seed);
}

function readKeyFile(file: string): string {
  let fd: number;
  try {
    fd = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (cause) {
    throw new SignerError("KEY_MISSING", `${file} cannot be opened`, { cause });
  }
  try {
    const { mode, size } = fstatSync(fd);
    if ((mode & 0o077) !== 0) throw new SignerError("KEY_PERMISSIONS", `${file} may be read by others: chmod 600`);
    if (size > MAX_KEY_FILE_BYTES) throw new SignerError("KEY_MALFORMED", `${file} has ${size} bytes`);
    return readFileSync(fd, "utf8");
  } finally {
    closeSync(fd);
  }
}

function signerOf(name: string, seed: Uint8Array): NoteSigner {
  const key = privateKeyOf(seed);
  return { name, verifierKey: formatVerifierKey(name, publicBytes(key)), sign: async (message) => sign(null, message, key) };
}

function privateKeyOf(seed: Uint8Array): KeyObject {
  return createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, seed]), format: "der", type: "pkcs8" });
}

function publicBytes(key: KeyObject): Buffer {
  return createPublicKey(key).export({ format: "der", type: "spki" }).subarray(-32);
}

/** What was made, renamed or removed in it is durable on return. */
export function syncDirectory(directory: string): void {
  const fd = openSync(directory, constants.O_RDONLY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
