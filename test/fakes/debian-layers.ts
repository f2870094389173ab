/** Layers as real tools write them: a debootstrap tree by GNU tar, and busybox. Made once a machine, below the state folder. */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { STATE_ROOT } from "../../deploy/testbed/paths.ts";
import { run } from "../../deploy/testbed/run.ts";
import { directory, file, hardlink, symlink, tar } from "./tar-writer.ts";

const CACHE = join(STATE_ROOT, "cache", "replay-debian");

/** `debootstrap --variant=minbase`, with ACLs and xattrs. About 6,000 entries; the first call takes a minute. */
export async function debianLayer(): Promise<Buffer> {
  const path = join(CACHE, "bookworm.tar");
  if (!existsSync(path)) {
    const root = join(CACHE, "root");
    rmSync(root, { recursive: true, force: true });
    mkdirSync(CACHE, { recursive: true });
    await run(["debootstrap", "--variant=minbase", "bookworm", root]);
    await run(["tar", "-C", root, "--format=posix", "--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner", "-cf", `${path}.new`, "."]);
    rmSync(root, { recursive: true, force: true });
    renameSync(`${path}.new`, path);
  }
  return readFileSync(path);
}

/** busybox-static as set-up unpacks it, runnable, with its applets as hard links and symlinks. */
export function busyboxLayer(): Buffer {
  const program = readFileSync(join(STATE_ROOT, "cache", "busybox"));
  return tar(
    directory("bin"),
    file("bin/busybox", program, { mode: 0o755 }),
    ...["sh", "ls", "cat"].map((name) => hardlink(`bin/${name}`, "bin/busybox", { mode: 0o755 })),
    ...["sleep", "true", "touch"].map((name) => symlink(`bin/${name}`, "busybox")),
  );
}
