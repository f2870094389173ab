/** Layer stacks that pin each rule of extraction, one rule a case. Whether an engine refuses is what the engine says, not this list. */
import { directory as d, type Entry, entry, file as f, gnuLong, hardlink as h, opaque as o, pax, raw, symlink as s, tar, whiteout as w } from "./tar-writer.ts";

export interface ReplayCase {
  readonly name: string;
  /** Tars, bottom first. */
  readonly layers: readonly Buffer[];
}

const acl = (...entries: readonly [tag: number, perm: number, id?: number][]): Buffer => {
  const value = Buffer.alloc(4 + entries.length * 8);
  value.writeUInt32LE(2, 0);
  for (const [i, [tag, perm, id]] of entries.entries()) {
    value.writeUInt16LE(tag, 4 + i * 8);
    value.writeUInt16LE(perm, 6 + i * 8);
    value.writeUInt32LE(id ?? 0xffffffff, 8 + i * 8);
  }
  return value;
};
const ACCESS = "system.posix_acl_access";
const DEFAULT = "system.posix_acl_default";
const CAP = "security.capability";
const extended = acl([1, 7], [2, 5, 1000], [4, 5], [16, 7], [32, 1]);
const trivial = acl([1, 6], [4, 4], [32, 4]);
const cap2 = Buffer.from("0100000200200000000000000000000000000000", "hex");
const cap3 = (rootid: number): Buffer => {
  const value = Buffer.concat([Buffer.from("0100000300200000000000000000000000000000", "hex"), Buffer.alloc(4)]);
  value.writeUInt32LE(rootid, 20);
  return value;
};
const x = (name: string, value: Buffer): { xattrs: Record<string, Buffer> } => ({ xattrs: { [name]: value } });
const times = (n: number, text: string): string => Array.from({ length: n }, () => text).join("/");

/** Xattr sets that extractors take, for random entries. */
export const REPLAY_XATTRS: readonly Readonly<Record<string, Buffer>>[] = [
  { [CAP]: cap2 },
  { [CAP]: cap3(1000) },
  { [ACCESS]: extended },
  { [ACCESS]: trivial },
  { [DEFAULT]: extended },
  { [DEFAULT]: trivial, [ACCESS]: extended },
  { "trusted.overlay.opaque": Buffer.from("y") },
  { "user.comment": Buffer.from("x") },
];

const cases: ReplayCase[] = [];
/** One argument a layer. */
function add(name: string, ...layers: (readonly (Entry | Buffer)[] | Buffer)[]): void {
  cases.push({ name, layers: layers.map((layer) => (Buffer.isBuffer(layer) ? layer : tar(...layer))) });
}

add("empty", []);
add("empty-over-empty", [], []);
add("zero-bytes", Buffer.alloc(0));
add("plain", [d("etc"), f("etc/passwd", "root\n", { mode: 0o600, uid: 3, gid: 4 }), s("etc/link", "../nowhere"), f("bin/sh", "#!", { mode: 0o4755 })]);
add("root-entry", [d("./", 0o2700, { uid: 5, gid: 6 }), f("./a"), d("x/"), f("x/b")]);
add("root-slash-setgid", [d("/", 0o2775, { uid: 5, gid: 6 }), f("a"), d("x"), f("y/b"), s("l", "a")]);
add("root-default-acl", [d("/", 0o755, x(DEFAULT, extended)), f("a"), d("x"), f("y/z/b"), s("l", "a")]);
add("root-file", [f("/", "root")]);
add("root-symlink", [s("/", "x")]);
add("dotdot-names", [f("../../etc/a"), f("/abs/b"), f("x/../c"), f("./d/./e"), f("x//y///f"), d("..")]);
add("dotdot-dir-root", [d("..", 0o700), f("a")]);
add("dotdot-file", [f("..")]);
add("empty-name", [f("")]);
add("empty-name-dir", [d("")]);
add("trailing-slash-file", [f("a/")]);
add("v7-trailing-slash", [raw({ name: "a/", type: "\0", format: "v7", mode: 0o700 }), raw({ name: "b", type: "\0", format: "v7", data: "b" })]);
add("implied", [f("a/b/c/d")]);
add("implied-setgid", [d("a", 0o2750, { gid: 42 }), f("a/b/c/d"), d("a/e/f")]);
add("implied-then-named", [f("a/b/c"), d("a", 0o700, { uid: 9 }), d("a/b", 0o1777)]);
add("implied-over-lower", [d("a", 0o2711, { uid: 7, gid: 8 }), d("a/b", 0o1700, { uid: 1 })], [f("a/b/c/d")]);
add("implied-over-lower-acl", [d("a", 0o750, { xattrs: { [ACCESS]: extended, [DEFAULT]: extended } }), d("a/b", 0o770)], [f("a/b/c")], [f("a/b/e/f")]);
add("implied-over-lower-file", [f("a")], [f("a/b")]);
add("implied-over-lower-file-deep", [f("a")], [f("a/b/c")]);
add("implied-over-lower-symlink", [s("a", "real"), d("real", 0o700)], [f("a/b")]);
add("implied-over-lower-symlink-parent", [s("a", "real"), d("real/sub", 0o700)], [f("a/sub/b")]);
add("implied-over-lower-absolute-symlink", [s("a", "/real"), d("real/sub", 0o700)], [f("a/sub/b")]);
add("implied-over-lower-escape", [s("a", "../../real"), d("real/sub", 0o710)], [f("a/sub/b")]);
add("implied-over-whiteout", [d("a", 0o700), f("a/x")], [w("a")], [f("a/b")]);
add("implied-over-whiteout-deep", [d("a/b", 0o700), f("a/x")], [w("a")], [f("a/b/c")]);
add("implied-over-opaque", [d("a", 0o711), d("a/b", 0o700)], [d("a", 0o755), o("a")], [f("a/b/c")]);
add("implied-third-layer", [d("a", 0o700)], [f("other")], [f("a/b")]);
add("implied-setuid-lower", [d("a", 0o6755, { uid: 3, gid: 4 })], [f("a/b")]);
add("implied-cap-lower", [d("a", 0o755, x(CAP, cap2))], [f("a/b")]);
add("whiteout", [f("a"), f("b")], [w("a")]);
add("whiteout-absent", [f("a")], [w("zzz"), w("x/y/z")]);
add("whiteout-bottom", [f("a"), w("b"), w("c/d")]);
add("whiteout-bottom-existing", [f("a"), d("dir"), f("dir/x"), w("a"), w("dir")]);
add("whiteout-existing", [f("x")], [f("a"), w("a")]);
add("whiteout-existing-dir", [f("x")], [d("a"), f("a/b"), w("a")]);
add("whiteout-twice", [f("a")], [w("a"), w("a")]);
add("whiteout-twice-other-name", [f("a")], [w("a"), w("./a")]);
add("whiteout-then-file", [d("a"), f("a/old")], [w("a"), f("a")]);
add("whiteout-then-dir", [d("a"), f("a/old")], [w("a"), d("a"), f("a/new")]);
add("whiteout-then-below", [d("a"), f("a/old")], [w("a"), f("a/new")]);
add("whiteout-through-symlink", [f("x")], [d("real"), s("l", "real"), w("l/a")]);
add("whiteout-through-dangling", [f("x")], [s("l", "nowhere"), w("l/a")]);
add("whiteout-through-file", [f("x")], [f("l"), w("l/a")]);
add("whiteout-directory-type", [f("a")], [d(".wh.a")]);
add("whiteout-symlink-type", [f("a")], [s(".wh.a", "x")]);
add("whiteout-with-content", [f("a")], [f(".wh.a", "content".repeat(200), { mode: 0o4755, uid: 5 })]);
add("whiteout-odd-type", [f("a")], [raw({ name: ".wh.a", type: "7", data: "x" })]);
add("whiteout-name-empty", [f("a")], [f(".wh.")]);
add("whiteout-name-dot", [f("a")], [f("x/.wh..")]);
add("whiteout-name-dotdot", [f("a")], [f("x/.wh...")]);
add("whiteout-prefix-directory", [f("a")], [f(".wh.a/b")]);
add("whiteout-prefix-directory-then", [f("a")], [f(".wh.a/b"), f(".wh.a")]);
add("whiteout-prefix-directory-then-dir", [f("a")], [f(".wh.a/b"), d(".wh.a/")]);
add("whiteout-aufs", [f("a")], [d(".wh..wh.plnk"), f(".wh..wh.plnk/1.2"), f(".wh..wh.aufs")]);
add("whiteout-aufs-bottom", [f(".wh..wh.aufs"), d(".wh..wh.orph"), f("a")]);
add("opaque", [d("a"), f("a/x")], [d("a", 0o700), o("a"), f("a/y")]);
add("opaque-after", [d("a"), f("a/x")], [d("a"), f("a/y"), o("a")]);
add("opaque-implied", [d("a", 0o711), f("a/x")], [o("a"), f("a/b/y")]);
add("opaque-root", [f("x"), d("keep")], [o(""), f("y")]);
add("opaque-twice", [d("a")], [o("a"), o("./a")]);
add("opaque-then-replaced", [d("a")], [o("a"), f("a")]);
add("opaque-merged", [d("a")], [o("a"), d("a", 0o701)]);
add("opaque-on-file", [d("a")], [f("a"), o("a")]);
add("opaque-through-symlink", [d("a")], [d("real"), s("l", "real"), o("l")]);
add("opaque-through-symlink-to-file", [d("a")], [f("real"), s("l", "real"), o("l")]);
add("opaque-dangling", [d("a")], [s("l", "nope"), o("l")]);
add("opaque-bottom", [f("a/b/c"), f("a/d"), d("a/e"), f("a/e/f"), o("a"), f("a/late")]);
add("opaque-bottom-implied", [d("a"), f("a/b/c"), o("a")]);
add("opaque-bottom-root", [f("a/b"), f("c"), o("")]);
add("opaque-bottom-file", [f("a"), o("a")]);
add("opaque-dir-typed", [d("a")], [d("a/.wh..wh..opq")]);
add("devices", [
  { name: "c", type: "3", major: 1, minor: 3, mode: 0o666 },
  { name: "b", type: "4", major: 8, minor: 1, mode: 0o660, gid: 6 },
  { name: "p", type: "6", mode: 0o1622 },
  { name: "big", type: "3", major: 4095, minor: 1048575 },
]);
add("device-overflow", [{ name: "c", type: "3", major: 4097, minor: 1048577 }]);
add("device-overflow-whiteout", [{ name: "c", type: "3", major: 4096, minor: 1048576 }]);
add(
  "device-zero",
  [f("a")],
  [
    { name: "a", type: "3", mode: 0o666, uid: 3 },
    { name: "n", type: "3" },
  ],
);
add("device-zero-block", [{ name: "n", type: "4" }]);
add("device-zero-linked", [f("a")], [{ name: "a", type: "3" }, h("b", "a", { mode: 0o755, uid: 5 })]);
add("device-linked", [{ name: "a", type: "3", major: 1, minor: 3 }, h("b", "a", { mode: 0o600, uid: 5 })]);
add("whiteout-linked", [f("a")], [w("a"), h("b", "a", { mode: 0o600 })]);
add("below-device", [{ name: "a", type: "3", major: 1, minor: 3 }, f("a/b")]);
add("hardlink", [f("a", "data", { mode: 0o4755, uid: 1 }), h("b", "a", { mode: 0o644, uid: 2, gid: 3 }), h("c/d", "/a", { mode: 0o2755, uid: 2, gid: 3 })]);
add("hardlink-cap-kept-by-header", [f("a", "data", { mode: 0o755, ...x(CAP, cap2) }), h("b", "a", { mode: 0o755, ...x(CAP, cap2) })]);
add("hardlink-cap-lost", [f("a", "data", { mode: 0o755, ...x(CAP, cap2) }), h("b", "a", { mode: 0o755 })]);
add("hardlink-cap-lost-keep-ids", [f("a", "data", { mode: 0o755, ...x(CAP, cap2) }), h("b", "a", { mode: 0o755, uid: 0xffffffff, gid: 0xffffffff })]);
add("hardlink-acl", [f("a", "data", { mode: 0o755, ...x(ACCESS, extended) }), h("b", "a", { mode: 0o640 })]);
add("hardlink-forward", [h("b", "a"), f("a")]);
add("hardlink-lower", [f("a")], [h("b", "a")]);
add("hardlink-self", [f("a"), h("a", "a")]);
add("hardlink-self-other-name", [f("a"), h("./a", "a")]);
add("hardlink-directory", [d("a"), h("b", "a")]);
add("hardlink-symlink", [f("t"), s("a", "t"), h("b", "a", { uid: 4, mode: 0o600 })]);
add("hardlink-symlink-dangling", [s("a", "t"), h("b", "a", { uid: 4, mode: 0o600 })]);
add("hardlink-through-symlink", [d("real"), f("real/t"), s("l", "real"), h("b", "l/t", { mode: 0o600 })]);
add("hardlink-through-absolute-symlink", [d("real"), f("real/t"), s("l", "/real"), h("b", "l/t", { mode: 0o600 })]);
add("hardlink-dotdot", [f("t"), h("b", "../../t", { mode: 0o600 })]);
add("hardlink-dotdot-missing-middle", [f("t", "x", { mode: 0o4711 }), h("b", "zzz/../t", { mode: 0o600 })]);
add("hardlink-dotdot-through-symlink", [d("real/sub"), f("t"), f("real/t", "other"), s("l", "real/sub"), h("b", "l/../t", { mode: 0o600 })]);
add("hardlink-trailing-slash", [f("t"), h("b", "t/", { mode: 0o600 })]);
add("hardlink-empty", [h("b", "")]);
add("hardlink-removed-target", [f("t", "x"), h("b", "t"), s("./t", "b")]);
add("hardlink-with-size", [f("t", "x"), raw({ name: "b", type: "1", linkname: "t", size: 512 }), f("c")]);
add("setgid-file", [f("a", "x", { mode: 0o2755 }), f("b", "x", { mode: 0o2644 }), f("c", "x", { mode: 0o7777 })]);
add("modes-high-bits", [f("a", "x", { mode: 0o100644 }), d("b", 0o40700), f("c", "x", { mode: 0o1234567 })]);
add("ids-max", [
  d("s", 0o2755, { gid: 77 }),
  f("s/a", "x", { uid: 0xffffffff, gid: 0xffffffff }),
  f("b", "x", { uid: 0xffffffff, gid: 1 }),
  f("c", "x", { uid: 4294967294, gid: 4294967296 }),
]);
add("ids-pax", [f("a", "x", { pax: { uid: "4000000000", gid: "-1" } }), f("b", "x", { pax: { uid: "4294967297", gid: "+7" } })]);
add("ids-pax-bad", [f("a", "x", { pax: { uid: "1_000" } })]);
add("acl", [
  f("a", "x", { mode: 0o640, ...x(ACCESS, extended) }),
  d("d", 0o755, x(DEFAULT, extended)),
  f("d/e", "x", { mode: 0o604 }),
  d("d/f", 0o700),
  f("d/g/h"),
  s("d/l", "e"),
]);
add("acl-trivial", [
  f("a", "x", { mode: 0o751, ...x(ACCESS, trivial) }),
  d("d", 0o755, x(DEFAULT, trivial)),
  f("d/e", "x", { mode: 0o606 }),
  d("d/f"),
  f("d/i/j"),
]);
add("acl-inherit-device", [
  d("d", 0o755, x(DEFAULT, extended)),
  { name: "d/p", type: "6", mode: 0o622 },
  { name: "d/c", type: "3", major: 1, minor: 3, mode: 0o666 },
]);
add("acl-inherit-whiteout", [f("z")], [d("d", 0o755, x(DEFAULT, extended)), w("d/x")]);
add("acl-merged", [d("d", 0o755, x(DEFAULT, extended)), d("./d", 0o700), f("d/e")]);
add("acl-default-on-file", [f("a", "x", x(DEFAULT, extended))]);
add("acl-on-symlink", [s("a", "x", x(ACCESS, extended))]);
add("acl-bad-order", [f("a", "x", x(ACCESS, acl([1, 7], [4, 5], [2, 5, 1000], [16, 7], [32, 1])))]);
add("acl-no-mask", [f("a", "x", x(ACCESS, acl([1, 7], [2, 5, 1000], [4, 5], [32, 1])))]);
add("acl-version", [f("a", "x", x(ACCESS, Buffer.from("01000000", "hex")))]);
add("acl-empty-list", [f("a", "x", x(ACCESS, Buffer.from("02000000", "hex")))]);
add("acl-odd-ids", [f("a", "x", x(ACCESS, acl([1, 7, 5], [2, 5, 1000], [4, 5, 6], [16, 7, 7], [32, 1, 8])))]);
add("acl-setgid-default", [d("d", 0o2755, { gid: 50, ...x(DEFAULT, extended) }), f("d/a/b"), f("d/c", "x", { gid: 0xffffffff })]);
add("cap", [
  f("a", "x", { mode: 0o755, uid: 3, ...x(CAP, cap2) }),
  d("d", 0o755, x(CAP, cap2)),
  s("l", "a", x(CAP, cap2)),
  { name: "p", type: "6", ...x(CAP, cap2) },
]);
add("cap-v3-root", [f("a", "x", x(CAP, cap3(0)))]);
add("cap-v3", [f("a", "x", x(CAP, cap3(1000)))]);
add("cap-v3-flags", [f("a", "x", x(CAP, Buffer.concat([Buffer.from("03000003", "hex"), cap3(1000).subarray(4)])))]);
add("cap-v2-flags", [f("a", "x", x(CAP, Buffer.concat([Buffer.from("03000002", "hex"), cap2.subarray(4)])))]);
add("cap-v1", [f("a", "x", x(CAP, Buffer.from("010000010020000000000000", "hex")))]);
add("cap-bad", [f("a", "x", x(CAP, Buffer.from("xx")))]);
add("cap-empty", [f("a", "x", x(CAP, Buffer.alloc(0)))]);
add("acl-empty", [f("a", "x", x(ACCESS, Buffer.alloc(0)))]);
add("cap-lost-by-merge-order", [d("a", 0o755, x(CAP, cap2)), d("./a", 0o711)]);
add("xattr-user", [
  f("a", "x", x("user.k", Buffer.from("v"))),
  s("l", "a", x("user.k", Buffer.from("v"))),
  { name: "p", type: "6", ...x("user.k", Buffer.from("v")) },
]);
add("xattr-unknown", [f("a", "x", x("foo.bar", Buffer.from("v")))]);
add("xattr-nameless", [f("a", "x", x("", Buffer.from("v")))]);
add("xattr-user-bare", [f("a", "x", x("user.", Buffer.from("v")))]);
add("xattr-trusted-bare", [f("a", "x", x("trusted.", Buffer.from("v")))]);
add("xattr-name-long", [f("a", "x", x(`user.${"n".repeat(251)}`, Buffer.from("v")))]);
add("xattr-security-other", [f("a", "x", x("security.hullmark", Buffer.from("v")))]);
add(
  "xattr-overlay-opaque",
  [d("a"), f("a/x")],
  [d("a", 0o755, x("trusted.overlay.opaque", Buffer.from("y"))), d("b", 0o755, x("trusted.overlay.opaque", Buffer.from("n")))],
);
add(
  "xattr-overlay-redirect",
  [d("a")],
  [d("b", 0o755, x("trusted.overlay.redirect", Buffer.from("a"))), f("c", "x", x("trusted.overlay.metacopy", Buffer.from("")))],
);
add("xattr-overlay-on-file", [f("a", "x", { xattrs: { "trusted.overlay.opaque": Buffer.from("y"), "trusted.overlay.origin": Buffer.from("o") } })]);
add("replace-file-by-dir", [f("a")], [d("a"), f("a/b")]);
add("replace-in-layer-file-by-dir", [f("a"), d("./a", 0o700), f("a/b")]);
add("replace-in-layer-dir-by-file", [d("a"), f("a/b"), f("./a", "file")]);
add("replace-in-layer-implied-by-file", [f("a/b"), f("a", "file")]);
add("replace-in-layer-dir-by-symlink", [d("a"), f("a/b"), s("./a", "x")]);
add("replace-in-layer-nested-dir-gone", [d("a"), d("a/b"), f("./a", "file")]);
add("replace-symlink-by-dir", [s("a", "t"), d("t"), d("./a"), f("a/x")]);
add("duplicate-file", [f("a", "one"), f("a", "two", { mode: 0o600 })]);
add("duplicate-dir", [d("a", 0o700), d("a", 0o711)]);
add("duplicate-dir-slash", [d("a/", 0o700), d("a", 0o711)]);
add("duplicate-absolute", [f("a", "one"), f("/a", "two")]);
add("duplicate-dotdot", [f("a", "one"), f("../a", "two")]);
add("duplicate-whiteout-and-entry", [f("a")], [w("a"), h("a", "a")]);
add("parent-symlink", [d("real"), s("l", "real"), f("l/a"), d("l/sub"), f("l/sub/x")]);
add("parent-symlink-absolute", [d("real", 0o700), s("l", "/real"), f("l/a"), f("l/x/y")]);
add("parent-symlink-dotdot", [d("a/b"), s("a/b/l", "../../t"), d("t"), f("a/b/l/f")]);
add("parent-symlink-escape", [s("l", "../../../t"), d("t"), f("l/f")]);
add("parent-symlink-chain", [d("t"), s("l1", "t"), s("l2", "l1"), s("l3", "l2"), f("l3/f"), f("l3/g/h")]);
add("parent-symlink-chain-absolute", [d("t"), s("l1", "/t"), s("l2", "/l1"), s("x", "l2"), f("x/f")]);
add("parent-symlink-loop", [s("l", "m"), s("m", "l"), f("l/f")]);
add("parent-symlink-dangling", [s("l", "nowhere"), f("l/f")]);
add("parent-symlink-dangling-deep", [s("l", "nowhere"), f("l/x/f")]);
add("parent-symlink-dangling-dir", [s("l", "nowhere"), d("l/")]);
add("parent-symlink-to-file", [f("t"), s("l", "t"), f("l/f")]);
add("parent-symlink-lower", [d("real"), s("l", "real")], [f("l/f")]);
add("parent-symlink-replaced", [d("t"), s("l", "t"), f("l/a"), d("./l"), f("l/b")]);
add("parent-file", [f("a"), f("a/b")]);
add("parent-file-deep", [f("a"), f("a/b/c")]);
add("symlink-links-40", [d("t"), s("l0", "t"), ...Array.from({ length: 39 }, (_, i) => s(`l${i + 1}`, `l${i}`)), f("l39/f")]);
add("symlink-links-41", [d("t"), s("l0", "t"), ...Array.from({ length: 40 }, (_, i) => s(`l${i + 1}`, `l${i}`)), f("l40/f")]);
add("symlink-empty", [s("a", "")]);
add("symlink-long", [s("a", "t".repeat(4000)), s("b", times(16, "u".repeat(255)).slice(0, 4095))]);
add("symlink-too-long", [s("a", "t".repeat(4096))]);
add("symlink-odd-mode", [s("a", "b", { mode: 0o600, uid: 3, gid: 4 })]);
add("name-newline", [f("a\nb"), f("c\x1b[31m"), f("\x01\x02"), f("sp ace"), f("tab\t")]);
add("name-not-utf8", [f("caf\xe9"), f("\xff\xfe/\x80"), s("l\xff", "\xfe\xff"), f(`${"\xf0".repeat(120)}`, "x")]);
add("name-nul-cut", [raw({ name: "abc\0def", data: "x" })]);
add("name-255", [f("n".repeat(255)), f(`${"p".repeat(255)}/${"q".repeat(255)}`)]);
add("name-256", [f("n".repeat(256))]);
add("name-256-parent", [f(`${"n".repeat(256)}/a`)]);
add("path-deep", [f(times(300, "d").concat("/f"))]);
add("path-3900", [f(times(15, "e".repeat(255)).concat("/f"))]);
add("path-4200", [f(times(17, "e".repeat(255)))]);
add("path-long-gnu", [
  gnuLong("L", times(10, "g".repeat(60))),
  raw({ name: "short", format: "gnu", data: "x" }),
  gnuLong("K", `${"t".repeat(200)}`),
  raw({ name: "l", type: "2", format: "gnu" }),
]);
add("path-gnu-over-pax", [pax({ path: "pax-name" }), gnuLong("L", "gnu-name"), raw({ name: "x", format: "gnu", data: "x" })]);
add("path-prefix", [raw({ name: "n", prefix: "pre/fix", data: "x" }), raw({ name: "m", prefix: "star/pre", format: "star", data: "x" })]);
add("gnu-prefix-old-go", [raw({ name: "n", format: "gnu", data: "x", patch: [{ at: 345, bytes: "not a time prefix" }] })]);
add("gnu-times", [
  raw({
    name: "n",
    format: "gnu",
    data: "x",
    patch: [
      { at: 345, bytes: "14400000000\0" },
      { at: 357, bytes: "14400000000\0" },
    ],
  }),
]);
add("pax-global", [pax({ comment: "abc", uid: "5" }, "g", "pax_global_header"), f("a"), f("b")]);
add("pax-global-path", [pax({ path: "from/global" }, "g", "g"), f("a")]);
add("pax-global-parents", [pax({ comment: "x" }, "g", "made/by/global"), f("a")]);
add("pax-global-replaces", [f("a", "x"), pax({ comment: "x" }, "g", "./a")]);
add("pax-global-twice", [pax({ comment: "x" }, "g", "pax_global_header"), f("a"), pax({ comment: "y" }, "g", "pax_global_header"), f("b")]);
add("pax-global-drops-local", [pax({ path: "lost" }), pax({ comment: "x" }, "g", "gg"), f("a")]);
add("pax-twice", [pax({ path: "one", uid: "5" }), pax({ path: "two" }), raw({ name: "x", data: "x" })]);
add("pax-empty-values", [f("a", "x", { pax: { path: "", uid: "", size: "", mtime: "" }, uid: 3 })]);
add("pax-size", [pax({ size: "3" }), raw({ name: "a", size: 0, data: "" }), Buffer.concat([Buffer.from("abc"), Buffer.alloc(509)]), f("b")]);
add("pax-size-bad", [pax({ size: "3x" }), raw({ name: "a" })]);
add("pax-mtime", [f("a", "x", { pax: { mtime: "1600000000.5", atime: "-1.25" } })]);
add("pax-mtime-bad", [f("a", "x", { pax: { mtime: "1600000000.5x" } })]);
add("pax-bad-length", [raw({ name: "p", type: "x", data: "9 a=b\n" }), raw({ name: "a" })]);
add("pax-no-newline", [raw({ name: "p", type: "x", data: "6 a=bc" }), raw({ name: "a" })]);
add("pax-nul-path", [pax({ path: "a\0b" }), raw({ name: "a" })]);
add("pax-nul-value", [f("a", "x", { pax: { comment: "a\0b" } })]);
add("pax-trailing", [pax({ path: "b" })]);
add("sparse-01", [
  pax({
    "GNU.sparse.major": "0",
    "GNU.sparse.minor": "1",
    "GNU.sparse.size": "1000",
    "GNU.sparse.numblocks": "2",
    "GNU.sparse.map": "0,3,500,4",
    "GNU.sparse.name": "real",
  }),
  raw({ name: "s", data: "abcdefg" }),
]);
add("sparse-00", [
  raw({
    name: "p",
    type: "x",
    data: "24 GNU.sparse.size=1000\n25 GNU.sparse.numblocks=2\n23 GNU.sparse.offset=0\n25 GNU.sparse.numbytes=3\n25 GNU.sparse.offset=500\n25 GNU.sparse.numbytes=4\n",
  }),
  raw({ name: "s", data: "abcdefg" }),
]);
add("sparse-10", [
  pax({ "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "2000", "GNU.sparse.name": "dir/real" }),
  raw({ name: "GNUSparseFile.0/s", data: Buffer.concat([Buffer.from("2\n100\n3\n1500\n4\n".padEnd(512, "\0")), Buffer.from("abcdefg")]) }),
  f("after"),
]);
add("sparse-10-empty", [
  pax({ "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "100000", "GNU.sparse.name": "real" }),
  raw({ name: "s", data: "0\n".padEnd(512, "\0") }),
]);
add("sparse-10-overlap", [
  pax({ "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "2000" }),
  raw({ name: "s", data: "2\n100\n3\n101\n4\n".padEnd(512, "\0").concat("abcdefg") }),
]);
add("sparse-short-data", [
  pax({ "GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": "1000", "GNU.sparse.numblocks": "1", "GNU.sparse.map": "0,9" }),
  raw({ name: "s", data: "abc" }),
]);
add("sparse-old-gnu", [
  raw({
    name: "s",
    type: "S",
    format: "gnu",
    data: "abc",
    patch: [
      { at: 386, bytes: "00000000000\x0000000000003\0" },
      { at: 483, bytes: "00000000144\0" },
    ],
  }),
]);
add("size-base256", [raw({ name: "a", data: "x".repeat(10), patch: [{ at: 124, bytes: `\x80${"\0".repeat(10)}\x0a` }] })]);
add("size-negative", [raw({ name: "a", patch: [{ at: 124, bytes: "\xff".repeat(12) }] })]);
add("uid-negative-base256", [raw({ name: "a", data: "x", patch: [{ at: 108, bytes: "\xff".repeat(8) }] })]);
add("octal-spaces", [
  raw({
    name: "a",
    data: "x",
    patch: [
      { at: 100, bytes: "  0644 \0" },
      { at: 124, bytes: "          1 " },
    ],
  }),
]);
add("octal-bad", [raw({ name: "a", data: "x", patch: [{ at: 100, bytes: "0000689\0" }] })]);
add("mtime-bad", [raw({ name: "a", data: "x", patch: [{ at: 136, bytes: "abc" }] })]);
add("checksum-bad", Buffer.concat([raw({ name: "a", data: "x" }).fill(0x41, 0, 1), Buffer.alloc(1024)]));
add("type-contiguous", [raw({ name: "a", type: "7", data: "x" })]);
add("type-vendor", [raw({ name: "a", type: "Z", data: "x" })]);
add("type-dir-with-size", [raw({ name: "a", type: "5", mode: 0o755, size: 512 }), f("b")]);
add("symlink-with-size", [raw({ name: "a", type: "2", linkname: "x", size: 99 }), f("b")]);
add("fifo-with-size", [raw({ name: "a", type: "6", size: 99 }), f("b")]);
add("no-end", Buffer.concat([entry(f("a", "x".repeat(512)))]));
add("one-zero-block", Buffer.concat([entry(f("a", "x")), Buffer.alloc(512)]));
add("zero-block-then-entry", Buffer.concat([entry(f("a", "x")), Buffer.alloc(512), entry(f("b"))]));
add("after-end", Buffer.concat([tar(f("a", "x")), entry(f("b")), Buffer.from("garbage")]));
add("padding-cut", entry(f("a", "x")).subarray(0, 600));
add("content-cut", entry(f("a", "x".repeat(900))).subarray(0, 1000));
add("header-cut", entry(f("a")).subarray(0, 300));
add("end-cut", tar(f("a", "x")).subarray(0, -100));
add("big-file", [f("a", Buffer.alloc(3_000_001, "hullmark"), { mode: 0o755 })]);
add("three-layers", [d("a"), f("a/1"), f("a/2"), f("b", "b")], [w("a/1"), f("a/3"), d("c", 0o1777)], [o("a"), f("a/4"), w("b"), s("c/l", "../b")]);
add("dir-over-symlink-lower", [d("t"), f("t/x"), s("l", "t")], [d("l", 0o700), f("l/y")]);
add("times-dir-gone-through-symlink", [d("t"), d("t/sub"), s("l", "t"), d("l/sub2"), f("./l", "now a file")]);

/** All of them. */
export const REPLAY_CASES: readonly ReplayCase[] = cases;
