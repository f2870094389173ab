/** Noticing change: what is read again, what is believed, what is left out, and what goes over the limits. */
import {
  appendFileSync,
  chmodSync,
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { LiveTree, type LiveTreeOptions, type MeasureReport } from "@hullmark/native";
import { decodeRecord } from "@hullmark/proto/codec";
import { describe, expect, onTestFinished, test } from "vitest";
import { inMountNamespace, naiveRoot, run, scratch } from "./tree-support.ts";

/** Longer than the ticks within which a change makes an entry's cache key worthless. */
const PAST_RACY_MS = 50;

function filled(): { root: string; at: (name: string) => string } {
  const root = scratch();
  const at = (name: string) => join(root, name);
  mkdirSync(at("etc/conf.d"), { recursive: true });
  mkdirSync(at("usr/bin"), { recursive: true });
  for (let i = 0; i < 20; i++) writeFileSync(at(`etc/conf.d/${i}`), `option ${i}\n`.repeat(i));
  writeFileSync(at("usr/bin/tool"), Buffer.alloc(200_000, 7));
  chmodSync(at("usr/bin/tool"), 0o755);
  return { root, at };
}

async function measured(root: string, options: LiveTreeOptions = {}): Promise<LiveTree> {
  await delay(PAST_RACY_MS);
  const tree = new LiveTree(root, options);
  onTestFinished(() => tree.close());
  await tree.measure();
  return tree;
}

const changed = (report: MeasureReport) => report.changes.map(({ path }) => path.toString()).sort();
const paths = (...names: string[]) => names.map((name) => Buffer.from(name));

describe("rescan", () => {
  test("reads nothing when nothing changed, one file when one did", async () => {
    const { root, at } = filled();
    const tree = await measured(root);
    expect(await tree.rescan()).toMatchObject({ hashedFiles: 0, hashedBytes: 0, changes: [], entries: 25 });
    writeFileSync(at("etc/conf.d/3"), "other");
    const report = await tree.rescan();
    expect(report).toMatchObject({ hashedFiles: 1, hashedBytes: 5, changeCount: 1 });
    expect(changed(report)).toEqual(["etc/conf.d/3"]);
    expect(report.changes[0]?.ino).toBe(statSync(at("etc/conf.d/3"), { bigint: true }).ino);
    expect(report.changes[0]?.dev).toBe(statSync(at("etc/conf.d/3"), { bigint: true }).dev);
    expect(tree.root().toString("hex")).toBe(naiveRoot(root));
  });

  test("a file put back with its old size and mtime is still read again", async () => {
    const { root, at } = filled();
    const tree = await measured(root);
    const { atime, mtime } = statSync(at("usr/bin/tool"));
    writeFileSync(at("usr/bin/tool"), Buffer.alloc(200_000, 8));
    utimesSync(at("usr/bin/tool"), atime, mtime);
    expect(changed(await tree.rescan())).toEqual(["usr/bin/tool"]);
  });

  test("a replacement by rename is seen, a second change within one tick too", async () => {
    const { root, at } = filled();
    const tree = await measured(root);
    writeFileSync(at("new"), Buffer.alloc(200_000, 9));
    chmodSync(at("new"), 0o755);
    renameSync(at("new"), at("usr/bin/tool"));
    expect(changed(await tree.rescan())).toEqual(["usr/bin/tool"]);
    for (let i = 0; i < 20; i++) {
      writeFileSync(at("etc/conf.d/0"), String(i % 10));
      await tree.rescan();
      expect(tree.root().toString("hex")).toBe(naiveRoot(root));
    }
  });

  test("an entry measured right after its change is not believed", async () => {
    const { root, at } = filled();
    const tree = await measured(root);
    writeFileSync(at("etc/conf.d/1"), "now");
    await tree.rescan();
    expect((await tree.rescan()).hashedFiles).toBe(1);
    await delay(PAST_RACY_MS);
    await tree.rescan();
    expect((await tree.rescan()).hashedFiles).toBe(0);
  });

  test("verifyShare 1 reads every file", async () => {
    const { root } = filled();
    const tree = await measured(root);
    expect(await tree.rescan({ verifyShare: 1 })).toMatchObject({ hashedFiles: 21, changes: [] });
  });
});

describe("update", () => {
  test("only the named paths; new and vanished directories whole", async () => {
    const { root, at } = filled();
    const tree = await measured(root);
    writeFileSync(at("etc/conf.d/1"), "seen");
    writeFileSync(at("etc/conf.d/2"), "not named");
    expect(changed(await tree.update(paths("etc/conf.d/1")))).toEqual(["etc/conf.d/1"]);
    mkdirSync(at("a/b/c"), { recursive: true });
    writeFileSync(at("a/b/c/file"), "");
    expect(changed(await tree.update(paths("a/b/c/file")))).toEqual(["a", "a/b", "a/b/c", "a/b/c/file"]);
    rmSync(at("a"), { recursive: true });
    expect(changed(await tree.update(paths("a/b/c/file")))).toEqual(["a", "a/b", "a/b/c", "a/b/c/file"]);
    expect(changed(await tree.update(paths("etc/conf.d/2", "never/was/there")))).toEqual(["etc/conf.d/2"]);
    expect(tree.root().toString("hex")).toBe(naiveRoot(root));
  });

  test("a directory that became a symlink or a file, and back", async () => {
    const { root, at } = filled();
    const tree = await measured(root);
    renameSync(at("etc/conf.d"), at("moved"));
    symlinkSync("../moved", at("etc/conf.d"));
    const report = await tree.update(paths("etc/conf.d/7", "moved"));
    expect(report.changeCount).toBe(20 + 1 + 20 + 1);
    expect(tree.get(Buffer.from("etc/conf.d/7"))).toBeUndefined();
    expect(tree.root().toString("hex")).toBe(naiveRoot(root));
    rmSync(at("etc/conf.d"));
    renameSync(at("moved"), at("etc/conf.d"));
    await tree.update(paths("moved/7", "etc/conf.d"));
    expect(tree.root().toString("hex")).toBe(naiveRoot(root));
  });

  test("every name of a hard-linked file", async () => {
    const { root, at } = filled();
    linkSync(at("usr/bin/tool"), at("etc/tool"));
    const tree = await measured(root);
    chmodSync(at("etc/tool"), 0o4755);
    expect(changed(await tree.update(paths("etc/tool")))).toEqual(["etc/tool", "usr/bin/tool"]);
    expect(tree.root().toString("hex")).toBe(naiveRoot(root));
  });

  test("refuses what is no canonical path, and a tree never measured", async () => {
    const { root } = filled();
    const tree = new LiveTree(root);
    onTestFinished(() => tree.close());
    await expect(tree.update(paths("etc"))).rejects.toMatchObject({ code: "NOT_MEASURED" });
    for (const bad of ["/etc", "etc/", "../etc", "a//b", "a/./b", "a\0b"]) expect(() => tree.update(paths(bad))).toThrow(/BAD_PATH/);
  });
});

describe("stores through a mapping", () => {
  const HELPER = `
    #include <fcntl.h>
    #include <stdio.h>
    #include <sys/mman.h>
    int main(int argc, char **argv) {
      int fd = open(argv[1], O_RDWR);
      char *at = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
      for (int c; (c = getchar()) != EOF;) if (c != '\\n') { at[0] = c; puts("stored"); fflush(stdout); }
    }`;

  test("are seen by the next rescan when files are synced before hashing", async () => {
    const { root, at } = filled();
    const build = scratch();
    writeFileSync(join(build, "map.c"), HELPER);
    run("cc", "-o", join(build, "map"), join(build, "map.c"));
    const { spawn } = await import("node:child_process");
    const child = spawn(join(build, "map"), [at("usr/bin/tool")], { stdio: ["pipe", "pipe", "inherit"] });
    onTestFinished(() => void child.kill());
    const store = async (c: string) => {
      child.stdin.write(c);
      await new Promise((resolve) => child.stdout.once("data", resolve));
    };
    await store("1");
    const tree = await measured(root, { syncBeforeHash: true });
    expect((await tree.rescan()).hashedFiles).toBe(0);
    // The page is mapped and was dirty when the file was measured: only the write-back makes this store move ctime.
    await store("2");
    expect(changed(await tree.rescan())).toEqual(["usr/bin/tool"]);
    expect(tree.root().toString("hex")).toBe(naiveRoot(root));
  });
});

describe("scrub", () => {
  test("reads every file once a cycle, in steps", async () => {
    const { root } = filled();
    const tree = await measured(root);
    let files = 0;
    let steps = 0;
    for (let complete = false; !complete; steps++) {
      const report = await tree.scrub({ maxBytes: 40_000 });
      expect(report.changes).toEqual([]);
      files += report.hashedFiles;
      complete = report.cycleComplete;
    }
    expect(files).toBe(21);
    expect(steps).toBeGreaterThan(2);
  });

  test("finds what was written to the disk beneath the filesystem, which no rescan can see", async () => {
    const base = scratch();
    const script = `
      truncate -s 16M "$1/disk"; mkfs.ext4 -q -O ^has_journal,^inline_data "$1/disk"; mkdir "$1/mnt"; mount -o loop "$1/disk" "$1/mnt"
      rmdir "$1/mnt/lost+found"; head -c 5000 /dev/zero | tr '\\0' A > "$1/mnt/file"; sync; sleep 0.1
      $NODE --input-type=module -e '
        import { execFileSync } from "node:child_process";
        import { openSync, readFileSync, writeSync, fsyncSync } from "node:fs";
        const { LiveTree } = await import("@hullmark/native");
        const base = process.argv[1];
        const tree = new LiveTree(base + "/mnt");
        await tree.measure();
        const source = execFileSync("findmnt", ["-no", "SOURCE", base + "/mnt"], { encoding: "utf8" }).trim();
        const at = readFileSync(source).indexOf("A".repeat(4096));
        const fd = openSync(source, "r+");
        writeSync(fd, "B", at);
        fsyncSync(fd);
        const told = ({ changes }) => changes.map(({ path, silent }) => [String(path), silent]);
        console.log(JSON.stringify({ rescan: told(await tree.rescan()), scrub: told(await tree.scrub({ maxBytes: 1e9 })) }));
      ' "$1"`;
    const output = inMountNamespace(script, base);
    expect(JSON.parse(output)).toEqual({ rescan: [], scrub: [["file", true]] });
  });
});

describe("mutable paths", () => {
  test("harmless entries are left out, anything else inside is measured", async () => {
    const { root, at } = filled();
    mkdirSync(at("var/log/deep"), { recursive: true });
    for (const name of ["plain", "script", "suid", "cap", "deep/plain"]) writeFileSync(at(`var/log/${name}`), name);
    chmodSync(at("var/log/script"), 0o755);
    chmodSync(at("var/log/suid"), 0o4644);
    run("setcap", "cap_net_raw+ep", at("var/log/cap"));
    symlinkSync("x", at("var/log/link"));
    run("mkfifo", at("var/log/fifo"));
    run("mknod", at("var/log/whiteout"), "c", "0", "0");
    run("mknod", at("var/log/device"), "c", "1", "3");
    mkdirSync(at("var/log/anew"));
    run("setfattr", "-n", "trusted.overlay.opaque", "-v", "y", at("var/log/anew"));
    const listed = (tree: LiveTree) =>
      tree
        .entries({ maxEntries: 100 })
        .entries.map(({ path }) => path.toString())
        .filter((path) => path.startsWith("var"))
        .sort();
    const tree = await measured(root, { excluded: [{ pattern: "/var/log/**" }] });
    // A whiteout or a directory made anew may hide what can be executed.
    const kept = ["anew", "cap", "device", "script", "suid", "whiteout"].map((name) => `var/log/${name}`);
    expect(listed(tree)).toEqual(["var", "var/log", ...kept]);
    appendFileSync(at("var/log/plain"), "more");
    writeFileSync(at("var/log/deep/new"), "");
    expect((await tree.update(paths("var/log/plain", "var/log/deep/new"))).changes).toEqual([]);
    chmodSync(at("var/log/deep/new"), 0o700);
    expect(changed(await tree.update(paths("var/log/deep/new")))).toEqual(["var/log/deep/new"]);
    chmodSync(at("var/log/deep/new"), 0o600);
    const report = await tree.rescan();
    expect(changed(report)).toEqual(["var/log/deep/new"]);
    expect(report.hashedFiles).toBe(0);
    expect(report.changes[0]).not.toHaveProperty("after");
    const lax = await measured(root, { excluded: [{ pattern: "var/log/**", executables: true }] });
    expect(listed(lax)).toEqual(["var", "var/log", "var/log/cap", "var/log/device", "var/log/suid"]);
  });

  test.for([
    ["*.log", ["a.log", ".log"], ["a/b.log", "a.log2", "log"]],
    ["**/*.log", ["a.log", "a/b/c.log"], ["a.logs"]],
    ["a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["a/bz", "az", "a/z/y"]],
    ["a/**", ["a/b", "a/b/c", "a/"], ["a", "ab"]],
    ["a?c", ["abc"], ["a/c", "ac", "abbc"]],
    ["a\\*", ["a*"], ["ab"]],
    ["*a*a*a*a*a*a*a*a*a*a*a*a*b", ["aaaaaaaaaaaaab"], ["a".repeat(200)]],
    ["**a**b**", ["a/b", "xaybz"], ["ba"]],
  ] as const)("the glob %s", async ([pattern, matching, others]) => {
    const root = scratch();
    // Longest first: what is a prefix of another is then a directory.
    const names = [...matching, ...others].filter((name) => !name.endsWith("/")).sort((a, b) => b.length - a.length);
    for (const name of names) {
      const full = join(root, "x", name);
      mkdirSync(join(full, ".."), { recursive: true });
      try {
        writeFileSync(full, "");
      } catch (error) {
        expect(error).toMatchObject({ code: "EISDIR" });
      }
    }
    const tree = await measured(join(root, "x"), { excluded: [{ pattern }] });
    for (const name of names) expect([name, tree.get(Buffer.from(name)) === undefined]).toEqual([name, (matching as readonly string[]).includes(name)]);
  });
});

describe("budgets", () => {
  test.for([
    [{ maxEntries: 10 }, "max-entries"],
    [{ maxBytes: 100_000 }, "max-bytes"],
    [{ maxMetadataBytes: 20 }, "max-metadata-bytes"],
  ] as const)("%o makes the tree unmeasurable, never partly measured", async ([budget, reason]) => {
    const { root } = filled();
    const tree = await measured(root, { budget });
    expect(() => tree.root()).toThrow(expect.objectContaining({ code: "UNMEASURABLE" }));
    expect(await tree.rescan()).toMatchObject({ unmeasurable: reason, changes: [] });
    await expect(tree.update(paths("etc"))).rejects.toMatchObject({ code: "UNMEASURABLE" });
  });

  test("time", async () => {
    const { root, at } = filled();
    truncateSync(at("usr/bin/tool"), 20 * 2 ** 30);
    const tree = new LiveTree(root, { budget: { maxMillis: 100, maxFileBytes: 2 ** 40 } });
    onTestFinished(() => tree.close());
    expect(await tree.measure()).toMatchObject({ unmeasurable: "max-millis" });
  });

  test("a tree comes back when it fits again", async () => {
    const { root, at } = filled();
    const tree = await measured(root, { budget: { maxBytes: 1_000_000 } });
    truncateSync(at("usr/bin/tool"), 2_000_000);
    expect(await tree.update(paths("usr/bin/tool"))).toMatchObject({ unmeasurable: "max-bytes" });
    truncateSync(at("usr/bin/tool"), 10);
    expect(await tree.rescan()).toMatchObject({ unmeasurable: null, changeCount: 1 });
    expect(tree.root().toString("hex")).toBe(naiveRoot(root));
  });

  test("a sparse bomb is a claim, not hours of hashing", async () => {
    const { root, at } = filled();
    writeFileSync(at("etc/bomb"), "");
    truncateSync(at("etc/bomb"), 2 ** 43);
    const tree = await measured(root);
    for (const report of [await tree.rescan(), await tree.update(paths("etc/bomb"))]) {
      expect(report).toMatchObject({ unmeasurable: null, hashedFiles: 0, claims: [{ path: Buffer.from("etc/bomb"), reason: "file-too-large" }] });
    }
    const record = decodeRecord(tree.get(Buffer.from("etc/bomb")) as Buffer);
    expect(record).toMatchObject({ type: "f", size: 2n ** 43n, sha256: Buffer.alloc(32) });
    rmSync(at("etc/bomb"));
    expect((await tree.update(paths("etc/bomb"))).claims).toEqual([]);
  });

  test("the list of changes is cut and says so", async () => {
    const { root } = filled();
    const tree = new LiveTree(root, { maxChanges: 3 });
    onTestFinished(() => tree.close());
    const report = await tree.measure();
    expect(report).toMatchObject({ changeCount: 25, truncated: true });
    expect(report.changes).toHaveLength(3);
  });

  test("pages of entries", async () => {
    const { root } = filled();
    const tree = await measured(root);
    const all = tree.entries({ maxEntries: 25 });
    expect(all).toMatchObject({ truncated: false });
    const { pathKey } = await import("@hullmark/proto/codec");
    let page = tree.entries({ maxEntries: 7 });
    const paged = [...page.entries];
    while (page.truncated) {
      page = tree.entries({ maxEntries: 7, after: pathKey(paged.at(-1)?.path as Buffer) });
      paged.push(...page.entries);
    }
    expect(paged).toEqual(all.entries);
  });

  test("a file that grows while it is read is measured at some length, and said to be unstable", async () => {
    const { root, at } = filled();
    const fd = openSync(at("grows"), "w");
    writeSync(fd, Buffer.alloc(64 * 2 ** 20, 1));
    const tree = new LiveTree(root);
    onTestFinished(() => tree.close());
    const measuring = tree.measure();
    let done = false;
    const grow = async () => {
      while (!done) {
        writeSync(fd, Buffer.alloc(4096, 2));
        await delay(0);
      }
    };
    const growing = grow();
    const report = await measuring;
    done = true;
    await growing;
    closeSync(fd);
    expect(report.claims).toEqual([{ path: Buffer.from("grows"), reason: "unstable" }]);
    expect(changed(await tree.rescan())).toEqual(["grows"]);
    expect(tree.root().toString("hex")).toBe(naiveRoot(root));
    expect(readFileSync(at("grows")).length).toBeGreaterThan(64 * 2 ** 20);
  });
});
