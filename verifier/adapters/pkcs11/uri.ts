/** PKCS#11 URIs (RFC 7512): which module, token and key, and where its PIN is. From a configuration or a command line; never the PIN itself. */
import { SignerError } from "../../ports/signer.ts";

const MAX_URI_CHARACTERS = 2048;
/** Path attributes that are understood, by our names. */
const PATH = { token: "token", serial: "serial", manufacturer: "manufacturer", model: "model", object: "object", id: "id", type: "type" } as const;
const QUERY = { "module-path": "modulePath", "pin-source": "pinSource" } as const;

export interface TokenUri {
  /** Label of the token, and other facts of it that must be so. */
  readonly token?: string;
  readonly serial?: string;
  readonly manufacturer?: string;
  readonly model?: string;
  /** CKA_LABEL. */
  readonly object?: string;
  /** CKA_ID. */
  readonly id?: Buffer;
  readonly type?: string;
  /** Absolute. */
  readonly modulePath?: string;
  /** `file:PATH`, an absolute path, or `env:NAME`. */
  readonly pinSource?: string;
}

/** @throws SignerError TOKEN_URI; what is refused is named, never quoted: it could be a PIN */
export function parseTokenUri(text: string): TokenUri {
  if (!text.startsWith("pkcs11:")) throw bad("want pkcs11:…");
  if (text.length > MAX_URI_CHARACTERS) throw bad(`more than ${MAX_URI_CHARACTERS} characters`);
  const [path = "", query, ...rest] = text.slice("pkcs11:".length).split("?");
  if (rest.length > 0) throw bad("more than one ?");
  const found: Record<string, string | Buffer> = {};
  const take = (part: string, names: Readonly<Record<string, string>>): void => {
    const equals = part.indexOf("=");
    const name = part.slice(0, Math.max(equals, 0));
    if (name === "pin-value") throw bad("a PIN does not belong here: say pin-source=file:PATH or pin-source=env:NAME");
    const ours = Object.hasOwn(names, name) ? names[name] : undefined;
    if (ours === undefined) throw bad(`unknown attribute, want ${Object.keys(names).join(", ")}`);
    if (ours in found) throw bad(`${name} twice`);
    const bytes = decode(part.slice(equals + 1), name);
    if (bytes.length === 0) throw bad(`${name} is empty`);
    found[ours] = ours === "id" ? bytes : textOf(bytes, name);
  };
  for (const part of path === "" ? [] : path.split(";")) take(part, PATH);
  for (const part of query === undefined || query === "" ? [] : query.split("&")) take(part, QUERY);
  const uri = found as TokenUri;
  if (uri.modulePath !== undefined && !uri.modulePath.startsWith("/")) throw bad("module-path: want an absolute path");
  if (uri.pinSource !== undefined && !/^(?:(?:file:)?\/|env:[A-Za-z_][A-Za-z0-9_]*$)/.test(uri.pinSource)) {
    throw bad("pin-source: want file:PATH with an absolute path, or env:NAME");
  }
  return uri;
}

/** Why this names no token of a module; undefined: it does. What is wrong is never quoted. */
export function tokenUriProblem(text: string): string | undefined {
  try {
    const { modulePath, token, serial, object, id } = parseTokenUri(text);
    if (modulePath === undefined) return "want module-path=/…/module.so";
    if (token === undefined && serial === undefined) return "want token=LABEL or serial=…";
    return object === undefined && id === undefined ? undefined : "want a token, not a key of it: labels are the verifier's";
  } catch (error) {
    return error instanceof SignerError ? error.message : String(error);
  }
}

/** The URI of an object, without token, module and PIN: what is kept in the place of a key. */
export function objectUri(object: string, id: Uint8Array, type: "private" | "secret-key"): string {
  const bytes = [...id].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");
  return `pkcs11:object=${encodeURIComponent(object)}${bytes && `;id=${bytes}`};type=${type}`;
}

function decode(text: string, name: string): Buffer {
  // RFC 7512, 2.3: what need not be percent-encoded.
  if (!/^(?:[A-Za-z0-9\-._~:[\]@!$'()*+,=&/?|]|%[0-9A-Fa-f]{2})*$/.test(text)) throw bad(`${name}: characters that must be percent-encoded`);
  const bytes: number[] = [];
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "%") {
      bytes.push(Number.parseInt(text.slice(i + 1, i + 3), 16));
      i += 2;
    } else bytes.push(text.charCodeAt(i));
  }
  return Buffer.from(bytes);
}

function textOf(bytes: Buffer, name: string): string {
  const text = bytes.toString("utf8");
  if (!Buffer.from(text).equals(bytes) || /\p{Cc}/u.test(text)) throw bad(`${name} is no text`);
  return text;
}

function bad(why: string): SignerError {
  return new SignerError("TOKEN_URI", `a PKCS#11 URI (RFC 7512) cannot be used: ${why}`);
}
