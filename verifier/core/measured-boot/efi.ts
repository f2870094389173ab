/** Structures inside event data: UEFI_VARIABLE_DATA, UEFI_IMAGE_LOAD_EVENT, device paths, tagged events. From the node; bounded by their event. */
import { hash } from "node:crypto";
import { CodecError, LittleEndianReader } from "@hullmark/proto/codec";

const GUID_BYTES = 16;
const MAX_NAME_CHARS = 256;
const MAX_PATH_NODES = 64;
const MAX_TEXT_CHARS = 4096;

/** GUIDs in the mixed-endian bytes of a log. */
export const GLOBAL_VARIABLE: string = "61dfe48bca93d211aa0d00e098032b8c";
export const IMAGE_SECURITY_DATABASE: string = "cbb219d73a3d9645a3bcdad00e67656f";

/** UEFI_VARIABLE_DATA (section 10.2.6). */
export interface EfiVariable {
  /** As in the log, hex. */
  readonly guid: string;
  readonly name: string;
  readonly data: Buffer;
}

/** @param padding bytes that may follow: shim logs its structure's padding. @throws CodecError */
export function parseVariable(bytes: Uint8Array, padding = 0): EfiVariable {
  const reader = new LittleEndianReader(bytes);
  const guid = reader.fixed(GUID_BYTES).toString("hex");
  const nameChars = reader.u64();
  const dataBytes = reader.u64();
  if (nameChars > MAX_NAME_CHARS) throw new CodecError("TOO_LONG", `variable name of ${nameChars} characters`);
  if (dataBytes > BigInt(bytes.length)) throw new CodecError("TRUNCATED", `variable of ${dataBytes} bytes in an event of ${bytes.length}`);
  const name = reader.fixed(Number(nameChars) * 2).toString("utf16le");
  const data = reader.fixed(Number(dataBytes));
  if (reader.remaining > padding) reader.end();
  return { guid, name, data };
}

/** Hex SHA-256 of the certificate in an EFI_SIGNATURE_DATA, as `openssl x509 -fingerprint -sha256` prints it; undefined where it holds none. */
export function certificateSha256(signature: Buffer): string | undefined {
  // Shim of some versions leaves the owner's GUID out.
  const der = [signature.subarray(GUID_BYTES), signature].find((bytes) => isWholeDer(bytes));
  return der && hash("sha256", der);
}

/** One SEQUENCE with a two-byte length, and nothing after: every certificate of practical size. */
function isWholeDer(bytes: Buffer): boolean {
  return bytes.length > 4 && bytes[0] === 0x30 && bytes[1] === 0x82 && bytes.readUInt16BE(2) === bytes.length - 4;
}

const IMAGE_LOAD_BYTES = 32;
const MEDIA_PATH = 4;
const FILE_PATH = 4;
const FIRMWARE_FILE = 6;
const PATH_END = 0x7f;

/** The file that a UEFI_IMAGE_LOAD_EVENT (section 10.2.3) names, as logged, with `/`: no digest covers it. Empty where it names none. */
export function imagePath(data: Buffer): string {
  if (data.length <= IMAGE_LOAD_BYTES) return "";
  const length = data.readBigUInt64LE(IMAGE_LOAD_BYTES - 8);
  const path = data.subarray(IMAGE_LOAD_BYTES);
  if (length > BigInt(path.length)) return "";
  const names: string[] = [];
  for (let at = 0, nodes = 0; at + 4 <= Number(length) && nodes < MAX_PATH_NODES; nodes++) {
    const type = path[at] as number;
    const size = path.readUInt16LE(at + 2);
    if (type === PATH_END || size < 4 || at + size > path.length) break;
    const body = path.subarray(at + 4, at + size);
    if (type === MEDIA_PATH && path[at + 1] === FILE_PATH) names.push(utf16Text(body));
    if (type === MEDIA_PATH && path[at + 1] === FIRMWARE_FILE) names.push(`firmware file ${body.toString("hex")}`);
    at += size;
  }
  return names.join("").replaceAll("\\", "/").slice(0, MAX_TEXT_CHARS);
}

/** Up to the first NUL, without a last odd byte. */
export function utf16Text(bytes: Buffer): string {
  const text = bytes.subarray(0, bytes.length & ~1).toString("utf16le");
  return cut(text);
}

/** ASCII up to the first NUL. */
export function asciiText(bytes: Buffer): string {
  return cut(bytes.toString("latin1"));
}

function cut(text: string): string {
  const end = text.indexOf("\0");
  return (end < 0 ? text : text.slice(0, end)).slice(0, MAX_TEXT_CHARS);
}

/** TCG_PCClientTaggedEvent (section 10.2.8): one tag and its data. undefined where the event holds anything else. */
export function taggedEvent(data: Buffer): { readonly tag: number; readonly data: Buffer } | undefined {
  if (data.length < 8 || data.readUInt32LE(4) !== data.length - 8) return undefined;
  return { tag: data.readUInt32LE(0), data: data.subarray(8) };
}
