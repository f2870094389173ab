/** One file's content by the native reader, below a directory that changes meanwhile. */
import { execFileSync } from "node:child_process";
import { linkSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readFileBelow } from "@hullmark/native";
import { expect, test } from "vitest";
import { inMountNamespace, run, scratch } from "./tree-support.ts";

const read = (root: string, path: string, maxBytes = 1e6): Promise<string> =>
  readFileBelow(root, Buffer.from(path, "latin1"), maxBytes).then(
    (content) => content.toString("latin1"),
    (error: { code?: string }) => error.code ?? String(error),
  );

test("whole, whatever its length or name", async () => {
  const root = scratch();
  mkdirSync(join(root, "a/b"), { recursive: true });
  for (const length of [0, 1, 4096, 100_000]) {
    writeFileSync(join(root, "a/b/file"), "x".repeat(length));
    expect(await read(root, "a/b/file", length)).toHaveLength(length);
  }
  execFileSync("bash", ["-c", `printf latin > "$1"/$'caf\\xe9'`, "bash", root]);
  expect(await read(root, "caf\xe9")).toBe("latin");
});

test("nothing but a regular file of one name and that size, and no link on the way", async () => {
  const root = scratch();
  const outside = scratch();
  writeFileSync(join(outside, "secret"), "secret");
  mkdirSync(join(root, "dir"));
  writeFileSync(join(root, "dir/file"), "12345");
  writeFileSync(join(root, "twice"), "12345");
  linkSync(join(root, "twice"), join(root, "dir/twice"));
  run("mkfifo", join(root, "fifo"));
  for (const [name, target] of [
    ["link", "dir/file"],
    ["out", join(outside, "secret")],
    ["away", outside],
    ["near", "dir"],
  ] as const)
    symlinkSync(target, join(root, name));
  const before = readdirSync("/proc/self/fd").length;
  const found = Object.fromEntries(
    await Promise.all(
      ["fifo", "dir", "absent", "absent/file", "dir/file/x", "link", "out", "away/secret", "near/file", "twice"].map(async (path) => [
        path,
        await read(root, path),
      ]),
    ),
  );
  expect(found).toEqual({
    ...{ fifo: "NOT_A_FILE", dir: "NOT_A_FILE", absent: "ENOENT", "absent/file": "ENOENT", "dir/file/x": "ENOTDIR" },
    ...{ link: "NOT_A_FILE", out: "NOT_A_FILE", "away/secret": "ENOTDIR", "near/file": "ENOTDIR", twice: "OTHER_NAMES" },
  });
  expect(await read(root, "dir/file", 4)).toBe("TOO_LARGE");
  expect(await read(join(root, "none"), "file")).toBe("ENOENT");
  expect(readdirSync("/proc/self/fd").length).toBe(before);
});

test("nothing of what is mounted over the directory", () => {
  const root = scratch();
  mkdirSync(join(root, "mounted"));
  const script = `mount -t tmpfs none "$1/mounted"; echo secret > "$1/mounted/file"; $NODE --input-type=module -e '
    import { createRequire } from "node:module";
    const addon = createRequire(import.meta.url)(process.argv[2]);
    addon.readFileBelow(Buffer.from(process.argv[1]), Buffer.from("mounted/file"), 100).then((c) => console.log(c.toString()), (e) => console.log(e.code));
  ' "$1" "$2"`;
  const addon = process.env["HULLMARK_NATIVE"] ?? new URL("../../native/build/hullmark.node", import.meta.url).pathname;
  expect(inMountNamespace(script, root, addon).trim()).toBe("EXDEV");
});
