/**
 * Paths inside a measured tree: raw bytes, `/` between components, no leading or trailing slash.
 * Empty components, `.`, `..` and NUL are rejected. Nothing is normalised: two byte strings are two paths.
 */
import { CodecError } from "./errors.ts";

/** Longest path in bytes. Longer than PATH_MAX: a tree can be built deeper than any one system call can name. */
export const MAX_PATH_BYTES = 65536;

const SLASH = 0x2f;
const DOT = 0x2e;

/** @throws CodecError BAD_PATH or TOO_LONG unless `path` is a canonical path of at least one component. */
export function assertPath(path: Uint8Array): void {
  if (path.length === 0) throw new CodecError("BAD_PATH", "empty path");
  if (path.length > MAX_PATH_BYTES) throw new CodecError("TOO_LONG", `path of ${path.length} bytes, limit ${MAX_PATH_BYTES}`);
  let start = 0;
  for (let i = 0; i <= path.length; i++) {
    const byte = i === path.length ? SLASH : path[i];
    if (byte === 0) throw new CodecError("BAD_PATH", "NUL in path");
    if (byte !== SLASH) continue;
    const length = i - start;
    if (length === 0) throw new CodecError("BAD_PATH", "empty path component");
    if (path[start] === DOT && (length === 1 || (length === 2 && path[start + 1] === DOT))) throw new CodecError("BAD_PATH", "dot component in path");
    start = i + 1;
  }
}
