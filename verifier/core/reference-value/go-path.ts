/** Go's path/filepath on Unix, for byte strings: extractors clean and split names with it. */

/** Empty, `.` or `..` components, or a trailing slash; an over-cautious yes costs only time. */
const UNCLEAN = /\/\/|(?:^|\/)\.{1,2}(?:\/|$)|\/$/;

/** `filepath.Clean` */
export function clean(path: string): string {
  if (path !== "" && !UNCLEAN.test(path)) return path;
  const rooted = path.startsWith("/");
  const kept: string[] = [];
  for (const name of path.split("/")) {
    if (name === "" || name === ".") continue;
    if (name !== "..") kept.push(name);
    else if (kept.length > 0 && kept.at(-1) !== "..") kept.pop();
    else if (!rooted) kept.push(name);
  }
  const joined = kept.join("/");
  return rooted ? `/${joined}` : joined || ".";
}

/** `filepath.Join` */
export function join(...parts: string[]): string {
  const given = parts.filter((part) => part !== "");
  return given.length === 0 ? "" : clean(given.join("/"));
}

/** `filepath.Split`: up to and with the last slash, and the rest. */
export function split(path: string): [directory: string, file: string] {
  const at = path.lastIndexOf("/") + 1;
  return [path.slice(0, at), path.slice(at)];
}

/** `filepath.Dir` */
export function dir(path: string): string {
  return clean(split(path)[0]);
}

/** `filepath.Base` */
export function base(path: string): string {
  if (path === "") return ".";
  const trimmed = path.replace(/\/+$/, "");
  return trimmed === "" ? "/" : split(trimmed)[1];
}
