/** lstat in the directory of an extracted lower layer, as containerd's extractor asks it for the metadata of implied directories. */
import { decodeRecord, type EntryRecord } from "@hullmark/proto/codec";
import { MAX_SYSCALL_PATH } from "./extract-fs.ts";
import type { Errno } from "./inode.ts";
import { bytesOf, latin1 } from "./latin1.ts";
import type { LayerTree } from "./layer-tree.ts";

const MAX_NAME = 255;
const MAX_LINKS = 40;

/** @param path absolute; its last component is not followed, and a link on the way that leads out of the layer is EHOST */
export function lstatLower(layer: LayerTree, path: string): EntryRecord | Errno {
  if (path.length > MAX_SYSCALL_PATH) return "ENAMETOOLONG";
  const todo = names(path).reverse();
  const at: string[] = [];
  let links = 0;
  for (let name = todo.pop(); name !== undefined; name = todo.pop()) {
    if (name.length > MAX_NAME) return "ENAMETOOLONG";
    if (name === "..") {
      if (at.pop() === undefined) return "EHOST";
      continue;
    }
    at.push(name);
    const entry = layer.get(bytesOf(at.join("/")));
    if (!entry) return "ENOENT";
    const record = decodeRecord(entry.record);
    if (todo.length === 0) return record;
    if (record.type === "l") {
      const target = latin1(record.target);
      if (target.startsWith("/")) return "EHOST";
      if (++links > MAX_LINKS) return "ELOOP";
      at.pop();
      todo.push(...names(target).reverse());
    } else if (record.type !== "d") return "ENOTDIR";
  }
  return "EHOST";
}

function names(path: string): string[] {
  return path.split("/").filter((name) => name !== "" && name !== ".");
}
