/** A failure of the system in words: what Node says of it is for programmers. */
const WORDS: Readonly<Record<string, string>> = {
  ENOENT: "it is not there",
  ENOTDIR: "a part of the path is no directory",
  EISDIR: "it is a directory",
  EEXIST: "it is there already",
  EACCES: "this user may not",
  EPERM: "this user may not",
  EROFS: "the filesystem is read-only",
  ENOSPC: "the disk is full",
  ELOOP: "its links lead in a circle",
  ENAMETOOLONG: "the name is too long",
  ECONNREFUSED: "nothing listens there",
  ENOTFOUND: "no host has that name",
  EAI_AGAIN: "the name cannot be looked up now",
  EHOSTUNREACH: "no way leads there",
  ENETUNREACH: "no way leads there",
  ETIMEDOUT: "no answer in time",
  UND_ERR_CONNECT_TIMEOUT: "no answer in time",
  ECONNRESET: "the connection was cut",
  UND_ERR_SOCKET: "the connection was cut",
  CERT_HAS_EXPIRED: "its certificate has expired",
  DEPTH_ZERO_SELF_SIGNED_CERT: "its certificate is by nobody who is trusted",
  SELF_SIGNED_CERT_IN_CHAIN: "its certificate is by nobody who is trusted",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "its certificate is by nobody who is trusted",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "its certificate is by nobody who is trusted",
  ERR_TLS_CERT_ALTNAME_INVALID: "its certificate is for another name",
};
const MAX_CAUSES = 8;

/** The reason at the bottom of it: in words, else by its code, else as it says itself. */
export function because(error: unknown): string {
  let bottom = error;
  for (let depth = 0; depth < MAX_CAUSES && bottom instanceof Error && bottom.cause !== undefined; depth++) bottom = bottom.cause;
  if (!(bottom instanceof Error)) return String(bottom);
  const code = "code" in bottom && typeof bottom.code === "string" ? bottom.code : "";
  return WORDS[code] ?? (code || bottom.message);
}
