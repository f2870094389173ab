/** Image references as people and runtimes write them (distribution/reference grammar, with Docker's short names). */
import { ProvenanceError } from "./errors.ts";

export interface ImageReference {
  /** `host[:port]/name`, Docker Hub's short names written out. */
  readonly repository: string;
  readonly tag: string | undefined;
  /** `sha256:` and 64 hex digits. */
  readonly digest: string | undefined;
}

const DIGEST = /^sha256:[0-9a-f]{64}$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;
const NAME = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*$/;
const HOST = /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|\[[0-9A-Fa-f:]{2,39}\])(?::\d{1,5})?$/;
const MAX_REFERENCE_CHARS = 1024;

export function isDigest(text: string): boolean {
  return DIGEST.test(text);
}

/**
 * Reads `[host[:port]/]name[:tag][@sha256:…]`. Without tag and digest the tag is `latest`.
 * @param text from a person or a node: untrusted
 * @throws ProvenanceError BAD_REFERENCE
 */
export function parseReference(text: string): ImageReference {
  const bad = (why: string) => new ProvenanceError("BAD_REFERENCE", `not an image reference: ${why}`);
  if (text.length === 0 || text.length > MAX_REFERENCE_CHARS) throw bad("empty or too long");
  const [named = "", digest, ...more] = text.split("@");
  if (more.length > 0 || (digest !== undefined && !DIGEST.test(digest))) throw bad("want @sha256: and 64 lower-case hex digits");
  const colon = named.lastIndexOf(":");
  const tagged = colon > named.lastIndexOf("/");
  const path = tagged ? named.slice(0, colon) : named;
  const tag = tagged ? named.slice(colon + 1) : undefined;
  if (tag !== undefined && !TAG.test(tag)) throw bad("the tag");
  const slash = path.indexOf("/");
  const first = slash < 0 ? "" : path.slice(0, slash);
  // Docker's rule: the first component is a host if it could not be part of a Hub name.
  const hasHost = first === "localhost" || /[.:A-Z]/.test(first);
  const host = hasHost ? first : "docker.io";
  const rest = hasHost ? path.slice(slash + 1) : path;
  const name = host === "docker.io" && !rest.includes("/") ? `library/${rest}` : rest;
  if (!HOST.test(host) || !NAME.test(name)) throw bad("the name");
  return { repository: `${host === "index.docker.io" ? "docker.io" : host}/${name}`, tag: tag ?? (digest === undefined ? "latest" : undefined), digest };
}

/** {@link parseReference}, or undefined where the text is none: what nodes report need not be one. */
export function tryParseReference(text: string): ImageReference | undefined {
  try {
    return parseReference(text);
  } catch {
    return undefined;
  }
}
