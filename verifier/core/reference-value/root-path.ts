/** containerd's continuity/fs.RootPath: resolves a path against a root, link by link, with lstat of every prefix. */
import { clean, join, split } from "./go-path.ts";
import type { Errno } from "./inode.ts";
import { Refusal, succeed } from "./refusal.ts";

const MAX_LINKS = 255;

/** A symlink's target, `null` for anything else, or an errno. */
export type ReadLink = (path: string) => string | null | { readonly errno: Errno };

/** @returns an absolute path (the root is `/`) without symlinks among what exists. @throws Refusal */
export function rootPath(readLink: ReadLink, given: string): string {
  if (given === "") return "/";
  const state = { links: 0, readLink };
  for (let path = given; ; ) {
    const before = state.links;
    const walked = walkLinks(state, path);
    path = walked;
    if (before !== state.links) continue;
    const absolute = join("/", walked);
    if (absolute === path) return absolute;
    path = absolute;
  }
}

interface Walk {
  links: number;
  readonly readLink: ReadLink;
}

function walkLink(state: Walk, given: string): { path: string; isLink: boolean } {
  if (state.links > MAX_LINKS) throw new Refusal("REFUSED", "too many links");
  const path = join("/", given);
  if (path === "/") return { path, isLink: false };
  const target = state.readLink(path);
  if (target !== null && typeof target === "object") {
    if (target.errno === "ENOENT") return { path, isLink: false };
    succeed(target.errno, "lstat", path);
  }
  if (typeof target !== "string") return { path, isLink: false };
  state.links++;
  return { path: target, isLink: true };
}

function walkLinks(state: Walk, path: string): string {
  const [directory, file] = split(path);
  if (directory === "") return walkLink(state, file).path;
  if (file === "") return directory === "/" ? directory : walkLinks(state, directory.slice(0, -1));
  const above = walkLinks(state, directory);
  const last = walkLink(state, join(above, file));
  if (!last.isLink || last.path.startsWith("/")) return last.path;
  return clean(`${above}/${last.path}`);
}
