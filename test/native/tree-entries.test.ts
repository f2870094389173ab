/** Every kind of entry that a filesystem can hold, against the naive measurer and against records written out by hand. */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, linkSync, mkdirSync, readdirSync, symlinkSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { LiveTree } from "@hullmark/native";
import { decodeRecord, type EntryRecord, encodeRecord } from "@hullmark/proto/codec";
import { describe, expect, onTestFinished, test } from "vitest";
import { inMountNamespace, naiveRecords, naiveRoot, run, scratch, treeOf } from "./tree-support.ts";

async function measured(root: string, options: ConstructorParameters<typeof LiveTree>[1] = {}) {
  const tree = new LiveTree(root, options);
  onTestFinished(() => tree.close());
  return { tree, report: await tree.measure() };
}

function recordAt(tree: LiveTree, path: string | Buffer): EntryRecord {
  const record = tree.get(Buffer.from(path));
  if (!record) throw new Error(`no leaf ${path.toString()}`);
  return decodeRecord(record);
}

function oddTree(): string {
  const root = scratch();
  const at = (name: string) => join(root, name);
  mkdirSync(at("dir/sub"), { recursive: true });
  writeFileSync(at("dir/empty"), "");
  writeFileSync(at("dir/file"), "content\n");
  for (const bytes of [55, 56, 63, 64, 65, 119, 4096, 131_071, 131_072, 131_073, 1_000_000]) writeFileSync(at(`dir/sub/${bytes}`), Buffer.alloc(bytes, bytes));
  linkSync(at("dir/file"), at("hard"));
  symlinkSync("/etc/passwd", at("absolute"));
  symlinkSync(Buffer.from([0x2e, 0x2e, 0xff, 0x0a]), at("odd-target"));
  writeFileSync(Buffer.concat([Buffer.from(`${root}/`), Buffer.from([0xff, 0xfe, 0x80])]), "not UTF-8");
  writeFileSync(at("new\nline\u0001\u001b[31m"), "control bytes");
  writeFileSync(at("a".repeat(255)), "long name");
  run("mkfifo", at("fifo"));
  run("mknod", at("char"), "c", "1", "3");
  run("mknod", at("block"), "b", "259", "70000");
  run("mknod", at("whiteout"), "c", "0", "0");
  writeFileSync(at("suid"), "#!");
  chownSync(at("suid"), 12, 34);
  chmodSync(at("suid"), 0o6755);
  chmodSync(at("dir/sub"), 0o1777);
  writeFileSync(at("sparse"), "");
  truncateSync(at("sparse"), 3_000_000);
  return root;
}

describe("entries", () => {
  test.for(["auto", "evp", "portable"] as const)("every type, hashed by %s, equals the naive measurer", async (engine) => {
    const root = oddTree();
    const server = createServer().listen(join(root, "socket"));
    await once(server, "listening");
    onTestFinished(() => void server.close());
    const { tree, report } = await measured(root, { engine });
    const expected = naiveRecords(root);
    expect(report.claims).toEqual([]);
    expect(new Map(tree.entries({ maxEntries: 1000 }).entries.map(({ path, record }) => [path.toString("latin1"), record.toString("hex")]))).toEqual(
      new Map([...expected].map(([path, record]) => [path, record.toString("hex")])),
    );
    expect(tree.root()).toEqual(treeOf(expected).root());
    expect(report).toMatchObject({ unmeasurable: null, changeCount: expected.size, truncated: false, leaves: expected.size, entries: expected.size });
    expect(recordAt(tree, "socket").type).toBe("s");
    expect(recordAt(tree, "whiteout")).toMatchObject({ type: "w", mode: 0, uid: 0 });
    expect(recordAt(tree, "block")).toMatchObject({ type: "b", major: 259, minor: 70000 });
  });

  test("a merged tree knows no whiteouts", async () => {
    const root = oddTree();
    const { tree } = await measured(root, { overlayLayer: false });
    expect(recordAt(tree, "whiteout")).toMatchObject({ type: "c", major: 0, minor: 0 });
    expect(tree.root().toString("hex")).toBe(naiveRoot(root, { overlayLayer: false }));
  });

  test("capabilities, ACLs and overlay xattrs; nothing else", async () => {
    const root = scratch();
    const at = (name: string) => join(root, name);
    for (const name of ["cap", "acl", "plain", "whited", "metacopy"]) writeFileSync(at(name), name);
    for (const name of ["default-acl", "opaque", "redirect", "odd-opaque"]) mkdirSync(at(name));
    symlinkSync("x", at("link"));
    run("setcap", "cap_net_raw+ep", at("cap"));
    run("setfacl", "-m", "u:1234:r", at("acl"));
    run("setfacl", "-d", "-m", "g:99:rwx", at("default-acl"));
    const set = (name: string, value: string, file: string) => run("setfattr", "-h", "-n", name, "-v", value, at(file));
    set("trusted.overlay.opaque", "y", "opaque");
    set("trusted.overlay.opaque", "x", "odd-opaque");
    set("trusted.overlay.redirect", "/elsewhere", "redirect");
    set("trusted.overlay.metacopy", "0x00", "metacopy");
    set("trusted.overlay.whiteout", "y", "whited");
    set("trusted.overlay.redirect", "link", "link");
    for (const name of ["user.note", "trusted.overlay.origin", "trusted.overlay.impure", "trusted.other"]) set(name, "1", "plain");
    const { tree, report } = await measured(root);
    expect(report.claims).toEqual([]);
    const names = (path: string) => recordAt(tree, path).xattrs.map(({ name }) => name.toString());
    expect(names("cap")).toEqual(["security.capability"]);
    expect(names("acl")).toEqual(["system.posix_acl_access"]);
    expect(names("default-acl")).toEqual(["system.posix_acl_default"]);
    expect(recordAt(tree, "opaque")).toMatchObject({ opaque: true, xattrs: [] });
    expect(recordAt(tree, "odd-opaque")).toMatchObject({ opaque: false, xattrs: [{ value: Buffer.from("x") }] });
    expect(names("redirect")).toEqual(["trusted.overlay.redirect"]);
    expect(names("metacopy")).toEqual(["trusted.overlay.metacopy"]);
    expect(names("whited")).toEqual(["trusted.overlay.whiteout"]);
    expect(names("link")).toEqual(["trusted.overlay.redirect"]);
    expect(names("plain")).toEqual([]);
    expect(tree.root().toString("hex")).toBe(naiveRoot(root, { xattrs: true }));
  });

  test("ids are told in the image's terms; an unmapped id is none that an image can hold", async () => {
    const root = scratch();
    const uids = { mapped: 100_005, low: 5, above: 165_536 };
    for (const [name, uid] of Object.entries(uids)) {
      writeFileSync(join(root, name), "");
      chownSync(join(root, name), uid, 100_000);
    }
    const { tree } = await measured(root, { uids: [{ image: 0, host: 100_000, count: 65_536 }], gids: [{ image: 7, host: 100_000, count: 1 }] });
    expect(recordAt(tree, "mapped")).toMatchObject({ uid: 5, gid: 7 });
    expect(recordAt(tree, "low")).toMatchObject({ uid: 0xffff_ffff, gid: 7 });
    expect(recordAt(tree, "above")).toMatchObject({ uid: 0xffff_ffff, gid: 7 });
  });

  test("times and link counts are not measured", async () => {
    const root = oddTree();
    const { tree } = await measured(root);
    const before = tree.root();
    utimesSync(join(root, "dir/file"), 1, 1);
    linkSync(join(root, "suid"), `${root}-link`);
    onTestFinished(() => run("rm", `${root}-link`) as unknown as undefined);
    expect((await tree.measure()).changes).toEqual([]);
    expect(tree.root()).toEqual(before);
  });

  test("5,000 levels deep, without 5,000 descriptors", async () => {
    const levels = 5000;
    const root = scratch();
    const dig = `for (let i = 0; i < ${levels}; i++) { require("fs").mkdirSync("d", 0o755); process.chdir("d"); } require("fs").writeFileSync("f", "deep");`;
    execFileSync(process.execPath, ["-e", dig], { cwd: root });
    onTestFinished(() => run("rm", "-rf", root) as unknown as undefined);
    const fds = () => readdirSync("/proc/self/fd").length;
    const { tree, report } = await measured(root);
    expect(report).toMatchObject({ claims: [], unmeasurable: null, leaves: levels + 1 });
    const directory = encodeRecord({ type: "d", mode: 0o755, uid: 0, gid: 0, opaque: false, xattrs: [] });
    const records = new Map<string, Buffer>();
    for (let i = 0; i < levels; i++)
      records.set(
        Array(i + 1)
          .fill("d")
          .join("/"),
        directory,
      );
    const bottom = `${"d/".repeat(levels)}f`;
    records.set(bottom, tree.get(Buffer.from(bottom)) as Buffer);
    expect(decodeRecord(records.get(bottom) as Buffer)).toMatchObject({ type: "f", size: 4n });
    expect(tree.root()).toEqual(treeOf(records).root());
    const open = fds();
    writeFileSync(join(root, "top"), "");
    expect((await tree.update([Buffer.from(bottom), Buffer.from("top")])).changeCount).toBe(1);
    expect(fds()).toBe(open);
  });

  test("a path of more than 65,536 bytes is a claim", async () => {
    const root = scratch();
    const name = "n".repeat(255);
    const dig = `for (let i = 0; i < 257; i++) { require("fs").mkdirSync("${name}"); process.chdir("${name}"); }`;
    execFileSync(process.execPath, ["-e", dig], { cwd: root });
    onTestFinished(() => run("rm", "-rf", root) as unknown as undefined);
    const { report } = await measured(root);
    expect(report).toMatchObject({ leaves: 256, claims: [{ reason: "path-too-long" }] });
  });

  test("mounts are not crossed", async () => {
    const root = scratch();
    mkdirSync(join(root, "mounted"));
    writeFileSync(join(root, "file"), "");
    const script = `mount -t tmpfs none "$1/mounted"; echo hidden > "$1/mounted/secret"; $NODE --input-type=module -e '
      const { LiveTree } = await import("@hullmark/native");
      const tree = new LiveTree(process.argv[1]);
      const { claims } = await tree.measure();
      console.log(JSON.stringify({ size: tree.size, claims: claims.map(({ path, reason }) => [String(path), reason]) }));' "$1"`;
    const output = inMountNamespace(script, root);
    expect(JSON.parse(output)).toEqual({ size: 1, claims: [["mounted", "mount-point"]] });
  });

  test("a root given as descriptor", async () => {
    const root = oddTree();
    const { openSync, closeSync } = await import("node:fs");
    const fd = openSync(root, "r");
    const tree = new LiveTree(fd);
    closeSync(fd);
    onTestFinished(() => tree.close());
    await tree.measure();
    expect(tree.root().toString("hex")).toBe(naiveRoot(root));
    expect(() => new LiveTree(join(root, "suid"))).toThrow(expect.objectContaining({ code: "SYSTEM", syscall: "open", errno: 20 }));
  });
});
