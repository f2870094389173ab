import { hash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { imaListFile } from "@hullmark/agent/adapters/ima/ima-list-file";
import { CodecError, MAX_IMA_REPORT_BYTES, readImaAsciiEntry, readImaEntry } from "@hullmark/proto/codec";
import {
  appraiseIma,
  type ImaQuote,
  type ImaRules,
  type ImaState,
  measuredFile,
  newImaState,
  parseImaEntries,
  takeIma,
  untoldIma,
} from "@hullmark/verifier/core/ima/index";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { brokenBytes } from "../fakes/broken-bytes.ts";
import { extended384, KERNEL_HASHES, listOf, type MeasuredContent, measured, pcrAfter, textOf, type WrittenMeasurement } from "../fakes/ima-list.ts";

const sha256 = (content: string): string => hash("sha256", content);
const KNOWN = new Set(["init", "sshd", "boot"].map(sha256));
const RULES: ImaRules = {
  list: "required",
  digest: "rules",
  baseline: (digest) => KNOWN.has(digest),
  ignored: (path) => path.toString().startsWith("/var/log/"),
  violations: "refuse",
};
const nobody = (): boolean => false;
const START = newImaState("boot-1", RULES.digest);
/** A quote that covers nothing but PCR 10. */
const only = (pcr: Uint8Array): ImaQuote => ({ pcr, quoted: [] });

const file = (path: string, content = "init", more: Partial<MeasuredContent> = {}): WrittenMeasurement => measured({ path, content, ...more });
const many = (count: number): WrittenMeasurement[] => Array.from({ length: count }, (_, i) => file(`/usr/bin/program-${i}`));

/** What the node tells after a quote over the first `quoted` of these entries. */
function told(state: ImaState, entries: readonly WrittenMeasurement[], quoted = entries.length, scheme: "hashed" | "padded" = "hashed"): ImaState {
  const report = { start: state.count, entries: listOf(entries.slice(state.count)), more: false, absent: false };
  return takeIma(state, report, only(pcrAfter(entries.slice(0, quoted), scheme)), RULES, nobody);
}

/** The whole of a text. @throws CodecError, also where its end is missing */
function asBinary(text: Buffer): Buffer {
  const entries: Buffer[] = [];
  for (let at = 0; at < text.length; ) {
    const read = readImaAsciiEntry(text, at);
    if (!read) throw new CodecError("TRUNCATED", "cut");
    entries.push(read.entry);
    at += read.length;
  }
  return Buffer.concat(entries);
}

const anyContent: fc.Arbitrary<MeasuredContent> = fc
  .record({
    path: fc.string({ minLength: 1, maxLength: 80 }).map((name) => `/${name.replaceAll("\0", "")}`),
    content: fc.string({ maxLength: 40 }),
    template: fc.constantFrom("ima", "ima-ng", "ima-sig", "ima-ngv2", "ima-buf"),
    algorithm: fc.constantFrom(...KERNEL_HASHES),
    violation: fc.boolean(),
  })
  // A buffer's name is no path, and it does not begin as a signature does.
  .map((each) => (each.template === "ima-buf" ? { ...each, path: `buffer${each.path}`, content: `=${each.content}` } : each));

describe("measurement lists from hostile bytes", () => {
  it("are read as they were written, for every template and hash", () => {
    fc.assert(
      fc.property(fc.array(anyContent, { maxLength: 20 }), (contents) => {
        const entries = parseImaEntries(listOf(contents.map(measured)));
        expect(entries).toHaveLength(contents.length);
        for (const [i, entry] of entries.entries()) {
          const { path, content, template, algorithm, violation } = contents[i] as Required<MeasuredContent>;
          const want = template === "ima" ? (violation ? "00".repeat(20) : hash("sha1", content)) : hash(algorithm, content);
          expect(measuredFile(entry)).toMatchObject({
            digest: want,
            path: Buffer.from(template === "ima" ? path : path.replaceAll(" ", "_")),
            buffer: template === "ima-buf",
          });
        }
      }),
    );
  });

  it("are refused cut, and with anything after", () => {
    const whole = listOf([file("/a"), file("/b", "sshd", { template: "ima" })]);
    const first = file("/a").bytes.length;
    for (let length = 1; length < whole.length; length++)
      if (length !== first) expect(() => parseImaEntries(whole.subarray(0, length)), `${length} bytes`).toThrow(CodecError);
    expect(() => parseImaEntries(Buffer.concat([whole, Buffer.alloc(3)]))).toThrow(CodecError);
  });

  it("never fail otherwise, whatever the bytes, and never prove another value than theirs", () => {
    const entries = many(4);
    const whole = listOf(entries);
    fc.assert(
      fc.property(brokenBytes(whole, 400), fc.boolean(), (bytes, more) => {
        const after = takeIma(START, { start: 0, entries: bytes, more, absent: false }, only(pcrAfter(entries)), RULES, nobody);
        // What a template digest says is not looked at: the data is hashed. Only an all-zero one means something.
        if (after.standing === "proven")
          expect(
            parseImaEntries(bytes)
              .slice(0, 4)
              .map(({ data }) => data),
          ).toEqual(parseImaEntries(whole).map(({ data }) => data));
      }),
      { numRuns: 2000 },
    );
  });

  it("are the same as text: every template, hash and name, also names that hold spaces and line feeds", () => {
    const name = fc.oneof(fc.string({ maxLength: 60 }), fc.constantFrom("a b", "a\nb", "a\n10 0123 ima-ng x", "(deleted)", "\n\n"));
    const contents = fc.tuple(anyContent, name).map(([content, more]) => {
      const path = `${content.path}${more.replaceAll("\0", "")}`;
      return { ...content, path: content.violation ? path.replaceAll("\n", "") : path };
    });
    fc.assert(
      fc.property(fc.array(contents, { maxLength: 20 }), (all) => {
        const entries = all.map(measured);
        expect(asBinary(textOf(entries))).toEqual(listOf(entries));
      }),
    );
  });

  it("as text are never taken for what the kernel did not extend, whatever the bytes", () => {
    const entries = ["ima-ng", "ima", "ima-sig", "ima-ngv2", "ima-buf"].map((template, i) =>
      file(`/usr/bin/${i}`, "init", { template } as Partial<MeasuredContent>),
    );
    fc.assert(
      fc.property(brokenBytes(textOf(entries), 400), (bytes) => {
        let list: Buffer;
        try {
          list = asBinary(bytes);
        } catch (error) {
          if (error instanceof CodecError) return;
          throw error;
        }
        const { standing } = takeIma(START, { start: 0, entries: list, more: false, absent: false }, only(pcrAfter(entries)), RULES, nobody);
        if (standing === "proven") expect(list.subarray(0, listOf(entries).length)).toEqual(listOf(entries));
      }),
      { numRuns: 2000 },
    );
  });

  it.each<[string, string]>([
    ["a digest of another template", "10 $DIGEST ima-sig $FIELDS\n"],
    ["another digest", `10 ${"a".repeat(40)} ima-ng $FIELDS\n`],
    ["a digest of odd length", `10 ${"a".repeat(42)} ima-ng $FIELDS\n`],
    ["a PCR that no TPM has", "24 $DIGEST ima-ng $FIELDS\n"],
    ["a template that nobody knows", "10 $DIGEST ima-xy $FIELDS\n"],
    ["a template named after what objects have", "10 $DIGEST constructor $FIELDS\n"],
    ["a violation without fields", `10 ${"0".repeat(40)} ima-ng \n`],
    ["a line of something else", "measurements: none\n"],
  ])("as text are refused, or wait for an end that never comes: %s", (_, line) => {
    const { line: whole } = file("/a");
    const [, digest, , ...fields] = whole.toString().trim().split(" ") as [string, string, string, ...string[]];
    const text = Buffer.from(line.replace("$DIGEST", digest).replace("$FIELDS", fields.join(" ")));
    expect(asBinary(whole)).toEqual(file("/a").bytes);
    expect(() => asBinary(Buffer.concat(Array.from({ length: 300 }, () => text)))).toThrow(CodecError);
  });

  it("as text of another bank are the same list: kernels since 6.10 show one for each", () => {
    const { bytes, line, hashed } = file("/a");
    expect(asBinary(Buffer.from(line.toString().replace(/ [0-9a-f]{40} /, ` ${hashed.toString("hex")} `)))).toEqual(bytes);
  });

  it("have bounds", () => {
    const entry = file("/a").bytes;
    const huge = Buffer.from(entry);
    huge.writeUInt32LE(0x7fffffff, 4 + 20 + 4 + "ima-ng".length);
    expect(() => readImaEntry(huge, 0)).toThrow("TOO_LONG");
    const name = Buffer.from(entry);
    name.writeUInt32LE(0xffffffff, 24);
    expect(() => readImaEntry(name, 0)).toThrow("TOO_LONG");
    const after = takeIma(
      START,
      { start: 0, entries: Buffer.alloc(MAX_IMA_REPORT_BYTES + 1), more: false, absent: false },
      only(Buffer.alloc(32)),
      RULES,
      nobody,
    );
    expect(after).toMatchObject({ standing: "partial", failures: 1 });
  });
});

describe("a list against quotes", () => {
  it.each(["hashed", "padded"] as const)("is proven by the PCR of kernels that extend it %s, and by no other value", (scheme) => {
    const entries = [file("boot_aggregate", "boot"), file("/sbin/init"), file("/x", "init", { template: "ima" }), file("/etc/x", "x", { violation: true })];
    expect(told(START, entries, entries.length, scheme)).toMatchObject({ standing: "proven", count: 4, violations: 1, failures: 0 });
    const other = takeIma(START, { start: 0, entries: listOf(entries), more: false, absent: false }, only(Buffer.alloc(32, 1)), RULES, nobody);
    expect(other).toMatchObject({ standing: "partial", count: 0, failures: 1 });
  });

  it("is proven by the PCR of the sha384 bank where that is what is quoted, and begins anew when the bank changes", () => {
    const entries = [file("boot_aggregate", "boot"), file("/sbin/init"), file("/x", "init", { template: "ima" }), file("/etc/x", "x", { violation: true })];
    const pcr = entries.reduce<Buffer>((value, entry) => hash("sha384", Buffer.concat([value, extended384(entry)]), "buffer"), Buffer.alloc(48));
    const report = (start: number) => ({ start, entries: listOf(entries.slice(start)), more: false, absent: false });
    const proven = takeIma(START, report(0), only(pcr), RULES, nobody);
    expect(proven).toMatchObject({ standing: "proven", count: 4, violations: 1 });
    expect(takeIma(START, report(0), only(Buffer.alloc(48, 1)), RULES, nobody)).toMatchObject({ standing: "partial", failures: 1 });
    const other = takeIma(proven, report(4), only(pcrAfter(entries)), RULES, nobody);
    expect(other).toMatchObject({ standing: "partial", count: 0 });
    expect(takeIma(other, report(0), only(pcrAfter(entries)), RULES, nobody)).toMatchObject({ standing: "proven", count: 4, failures: 0 });
    expect(untoldIma(proven, pcrAfter(entries))).toMatchObject({ standing: "partial" });
  });

  it("that went on after the quote is cut where the quote matches, and the rest comes with the next", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(6), { minLength: 1, maxLength: 6 }), fc.nat(3), (steps, ahead) => {
        const entries = many(60);
        let state = START;
        let quoted = 0;
        for (const step of steps) {
          quoted += step;
          state = told(state, entries.slice(0, quoted + ahead), quoted);
          expect(state).toMatchObject({ standing: "proven", count: quoted });
        }
      }),
    );
  });

  it("is appended to only: an entry changed, left out, exchanged or cut off before the quoted one is found, and again from the start", () => {
    const entries = many(8);
    const proven = told(START, entries.slice(0, 5));
    const quoted = pcrAfter(entries);
    for (const lie of [entries.slice(5, 7), [entries[6], entries[5], entries[7]], [entries[5], file("/evil", "evil"), entries[7]], []]) {
      const report = { start: 5, entries: listOf(lie as WrittenMeasurement[]), more: false, absent: false };
      const once = takeIma(proven, report, only(quoted), RULES, nobody);
      expect(once).toMatchObject({ standing: "partial", count: 0, failures: 1 });
      const twice = takeIma(once, { ...report, start: 0 }, only(quoted), RULES, nobody);
      expect(twice).toMatchObject({ standing: "contradicted", count: 0 });
      expect(appraiseIma(twice, RULES).findings).toMatchObject([{ kind: "ima", what: "list" }]);
      expect(told(twice, entries)).toMatchObject({ standing: "proven", count: 8, failures: 0 });
    }
  });

  it("told from another place is asked for again from the start", () => {
    const entries = many(8);
    const lost = takeIma(
      told(START, entries.slice(0, 5)),
      { start: 2, entries: listOf(entries.slice(2)), more: false, absent: false },
      only(pcrAfter(entries)),
      RULES,
      nobody,
    );
    expect(lost).toMatchObject({ standing: "partial", count: 0 });
    expect(told(lost, entries)).toMatchObject({ standing: "proven", count: 8 });
  });

  it("that does not fit into one report is unknown until the last part proves it", () => {
    const entries = many(9);
    const part = (state: ImaState, until: number): ImaState =>
      takeIma(
        state,
        { start: state.count, entries: listOf(entries.slice(state.count, until)), more: true, absent: false },
        only(pcrAfter(entries)),
        RULES,
        nobody,
      );
    const partial = part(part(START, 4), 6);
    expect(partial).toMatchObject({ standing: "partial", count: 6 });
    expect(appraiseIma(partial, RULES).unknown).toMatchObject([{ code: "ima-catching-up" }]);
    expect(told(partial, entries)).toMatchObject({ standing: "proven", count: 9 });
    expect(part(partial, 6)).toMatchObject({ failures: 1, count: 0 });
  });

  it("costs its length once: an update of a long list extends what is new, and nothing else", () => {
    const entries = many(5000);
    const proven = told(START, entries.slice(0, 4990));
    const report = { start: 4990, entries: listOf(entries.slice(4990)), more: false, absent: false };
    const after = takeIma(proven, report, only(pcrAfter(entries)), RULES, nobody);
    expect(after).toMatchObject({ standing: "proven", count: 5000 });
    // Nothing of the old entries is held that an update could walk over.
    expect(JSON.stringify(after).length).toBeLessThan(1000);
  });
});

describe("what ran", () => {
  it("is held against baselines, signed images and what is ignored", () => {
    const signed = (path: Buffer, digest: Buffer): boolean => path.toString() === "usr/bin/app" && digest.toString("hex") === sha256("app");
    const layer = "/var/lib/docker/overlay2/0123abc/diff/usr/bin/app";
    const entries = [
      file("boot_aggregate", "whatever"),
      file("/usr/sbin/sshd", "sshd"),
      file("/usr/bin/app", "app"),
      file(layer, "app"),
      file(`/var/lib/docker/rootfs/overlayfs/${"0".repeat(64)}/usr/bin/app`, "app"),
      file("/var/log/x", "log"),
      file(".ima", "a key", { template: "ima-buf" }),
      file("/usr/bin/evil", "evil"),
      file("/usr/bin/sshd", "sshd", { algorithm: "sha1" }),
      file("/etc/shadow", "x", { violation: true }),
    ];
    const after = takeIma(START, { start: 0, entries: listOf(entries), more: false, absent: false }, only(pcrAfter(entries)), RULES, signed);
    expect(after.items.map(({ path, digest }) => [path.toString(), digest.slice(0, 10)])).toEqual([
      ["/usr/bin/evil", `sha256:${sha256("evil").slice(0, 3)}`],
      ["/usr/bin/sshd", `sha1:${hash("sha1", "sshd").slice(0, 5)}`],
      ["/etc/shadow", "violation"],
    ]);
    expect(appraiseIma(after, RULES).findings.map(({ detail }) => detail)).toContain("/etc/shadow was written while it was measured");
    // An image that becomes known takes its files back.
    const evilSigned = (_path: Buffer, digest: Buffer): boolean => digest.toString("hex") === sha256("evil");
    const later = takeIma(after, { start: entries.length, entries: Buffer.alloc(0), more: false, absent: false }, only(pcrAfter(entries)), RULES, evilSigned);
    expect(later.items).toHaveLength(2);
  });

  it("begins with the boot's PCRs as the quote has them: SHA-1 over 0 to 7, every other bank over 0 to 9, or 0 to 7 on older kernels", () => {
    const value = (bank: string, pcr: number): Buffer => hash(bank, `PCR ${pcr}`, "buffer");
    const read = (bank: string, count: number): Buffer => Buffer.concat(Array.from({ length: count }, (_, pcr) => value(bank, pcr)));
    const banks = ["sha1", "sha256", "sha384"] as const;
    const quoted = banks.flatMap((bank) => Array.from({ length: 11 }, (_, index) => ({ bank, index, value: value(bank, index) })));
    const items = (entries: readonly WrittenMeasurement[], pcrs = quoted) =>
      takeIma(START, { start: 0, entries: listOf(entries), more: false, absent: false }, { pcr: pcrAfter(entries), quoted: pcrs }, RULES, nobody).items;
    const first = (content: Buffer, more: Partial<MeasuredContent> = {}) => measured({ path: "boot_aggregate", content, ...more });
    for (const template of ["ima", "ima-ng", "ima-sig", "ima-ngv2"] as const) {
      const prefix = template === "ima-ngv2" ? { template, algorithm: "sha256" as const } : { template, algorithm: "sha1" as const };
      const bank = template === "ima-ngv2" ? "sha256" : "sha1";
      expect(items([first(read(bank, 8), prefix)])).toEqual([]);
      expect(items([first(read(bank, 7), prefix)])).toHaveLength(1);
    }
    expect(items([first(read("sha1", 10), { algorithm: "sha1" })])).toHaveLength(1);
    for (const algorithm of ["sha256", "sha384"] as const)
      for (const [count, found] of [
        [10, 0],
        [8, 0],
        [9, 1],
        [11, 1],
      ] as const)
        expect(items([first(read(algorithm, count), { algorithm })]), `${algorithm} over ${count}`).toHaveLength(found);
    // Every PCR counts.
    for (let pcr = 0; pcr < 10; pcr++) {
      const other = quoted.map((each) => (each.index === pcr ? { ...each, value: value(each.bank, 99) } : each));
      expect(items([first(read("sha256", 10))], other), `PCR ${pcr}`).toMatchObject([{ path: Buffer.from("boot_aggregate"), index: 0 }]);
    }
    // What the quote does not cover is not judged, and only the first entry then passes.
    expect(items([first(read("sha512", 10), { algorithm: "sha512" })])).toEqual([]);
    expect(items([first(read("sha256", 10)), file("/sbin/init"), first(read("sha256", 10))])).toEqual([]);
    expect(items([first(read("sha256", 10)), first(read("sha512", 10), { algorithm: "sha512" })])).toHaveLength(1);
    const state = takeIma(
      START,
      { start: 0, entries: listOf([file("boot_aggregate")]), more: false, absent: false },
      { pcr: pcrAfter([file("boot_aggregate")]), quoted },
      RULES,
      nobody,
    );
    expect(appraiseIma(state, RULES).findings).toMatchObject([{ kind: "ima", detail: expect.stringContaining("the kernel's reading of the boot's PCRs") }]);
  });

  it("is no buffer because the node calls it one: the name of a template is covered by nothing", () => {
    const evil = file("/usr/bin/evil", "evil");
    const renamed = (bytes: Buffer): Buffer => Buffer.from(bytes.toString("latin1").replace("\u0006\0\0\0ima-ng", "\u0007\0\0\0ima-buf"), "latin1");
    const entries = renamed(listOf([evil]));
    expect(entries.includes("ima-buf")).toBe(true);
    const after = takeIma(START, { start: 0, entries, more: false, absent: false }, only(pcrAfter([evil])), RULES, nobody);
    expect(after).toMatchObject({ standing: "proven", items: [{ path: Buffer.from("/usr/bin/evil") }] });
  });

  it("is no buffer because its signature is its own content, nor under a path", () => {
    const renamed = ({ bytes }: WrittenMeasurement): Buffer =>
      Buffer.from(bytes.toString("latin1").replace("\u0007\0\0\0ima-sig", "\u0007\0\0\0ima-buf"), "latin1");
    // The kernel takes what root writes into `security.ima` for a signature by its first byte.
    for (const type of ["\u0003", "\u0005", "\u0006"])
      for (const path of ["/usr/bin/evil", "evil"]) {
        const evil = file(path, `${type}\nsh -c evil`, { template: "ima-sig", signature: `${type}\nsh -c evil` });
        const after = takeIma(START, { start: 0, entries: renamed(evil), more: false, absent: false }, only(pcrAfter([evil])), RULES, nobody);
        expect(after, JSON.stringify([type, path])).toMatchObject({ standing: "proven", items: [{ path: Buffer.from(path) }] });
      }
    for (const [length, items] of [
      [32, 0],
      [33, 1],
    ] as const)
      expect(told(START, [file("selinux-policy-hash", `\u0003${"x".repeat(length - 1)}`, { template: "ima-buf" })]).items).toHaveLength(items);
    expect(told(START, [file("/usr/bin/evil", "quiet splash", { template: "ima-buf" })]).items).toHaveLength(1);
    expect(told(START, [file("kexec-cmdline", "quiet splash", { template: "ima-buf" })]).items).toEqual([]);
  });

  it("is proven by a kernel that extends the template's digest only where that is of the data", () => {
    const real = [file("/usr/bin/evil", "evil")];
    const lie = listOf([file("/usr/bin/init", "init")]);
    (real[0] as WrittenMeasurement).bytes.copy(lie, 4, 4, 24);
    const after = takeIma(START, { start: 0, entries: lie, more: false, absent: false }, only(pcrAfter(real, "padded")), RULES, nobody);
    expect(after).toMatchObject({ standing: "partial", failures: 1 });
  });

  it("is unknown from when the node stops telling it, as long as the kernel goes on measuring", () => {
    const proven = told(START, many(3));
    expect(untoldIma(proven, pcrAfter(many(3)))).toBe(proven);
    const untold = untoldIma(proven, pcrAfter(many(4)));
    for (const list of ["required", "optional"] as const)
      expect(appraiseIma(untold, { ...RULES, list })).toMatchObject({ findings: [], unknown: [{ code: "ima-catching-up" }] });
    expect(told(untold, many(4))).toMatchObject({ standing: "proven", count: 4, problem: "" });
    const absent = (quoted: Buffer): ImaState =>
      takeIma(proven, { start: 3, entries: Buffer.alloc(0), more: false, absent: true }, only(quoted), RULES, nobody);
    expect(appraiseIma(absent(Buffer.alloc(32)), { ...RULES, list: "optional" })).toEqual({ findings: [], unknown: [] });
    expect(appraiseIma(absent(pcrAfter(many(3))), { ...RULES, list: "optional" }).unknown).toMatchObject([{ code: "no-ima-list" }]);
    // One that had none, and says nothing more when its kernel begins to measure.
    const none = absent(Buffer.alloc(32));
    expect(untoldIma(none, Buffer.alloc(32))).toBe(none);
    expect(appraiseIma(untoldIma(none, pcrAfter(many(1))), { ...RULES, list: "optional" }).unknown).toMatchObject([{ code: "no-ima-list" }]);
  });

  it("is counted beyond a thousand, and told in fifty findings and one", () => {
    const entries = Array.from({ length: 1200 }, (_, i) => file(`/evil-${i}`, `evil ${i}`));
    const after = told(START, entries);
    expect(after).toMatchObject({ standing: "proven", moreItems: 200 });
    expect(after.items).toHaveLength(1000);
    const { findings } = appraiseIma(after, RULES);
    expect(findings).toHaveLength(51);
    expect(findings.at(-1)?.detail).toBe("and 1150 more measurements that nothing vouches for");
  });

  it("is unknown where no list is told", () => {
    expect(appraiseIma(undefined, RULES).unknown).toMatchObject([{ code: "no-ima-list" }]);
    expect(appraiseIma({ ...START, standing: "absent" }, RULES).unknown).toMatchObject([{ code: "no-ima-list" }]);
    expect(appraiseIma(undefined, { ...RULES, list: "optional" })).toEqual({ findings: [], unknown: [] });
  });
});

describe("the agent's reading of the list", () => {
  const directory = mkdtempSync(join(tmpdir(), "hullmark-ima-"));
  afterAll(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "list");

  it("goes on where it is asked to, forward and back, and leaves what is still being written", async () => {
    const entries = many(3000);
    writeFileSync(path, Buffer.concat([listOf(entries), file("/late").bytes.subarray(0, 30)]));
    const list = imaListFile(path);
    for (const from of [0, 10, 2999, 3000, 5, 0]) expect(await list.read(from)).toEqual({ entries: listOf(entries.slice(from)), more: false, absent: false });
    expect(await list.read(3001)).toMatchObject({ absent: true });
  });

  it("is of the text where that is what the kernel shows, and tells the same", async () => {
    const entries = [...many(3000), file(`/${"a".repeat(100)}`, "x".repeat(60_000), { template: "ima-buf" }), file("/a\nb")];
    writeFileSync(path, Buffer.concat([textOf(entries), file("/late").line.subarray(0, 60)]));
    const list = imaListFile(path);
    for (const from of [0, 10, 3001, 3002, 5, 0]) expect(await list.read(from)).toEqual({ entries: listOf(entries.slice(from)), more: false, absent: false });
    expect(await list.read(3003)).toMatchObject({ absent: true });
  });

  it("stops at what a report holds, and says so", async () => {
    const entries = Array.from({ length: 30 }, (_, i) => file(`/${i}`, "x".repeat(100_000), { template: "ima-buf" }));
    writeFileSync(path, listOf(entries));
    const list = imaListFile(path);
    const first = await list.read(0);
    const count = parseImaEntries(first.entries).length;
    expect(first.more).toBe(true);
    expect(first.entries.length).toBeLessThanOrEqual(MAX_IMA_REPORT_BYTES);
    expect(await list.read(count)).toEqual({ entries: listOf(entries.slice(count)), more: false, absent: false });
  });

  it("tells of no list where there is none, or where it is something else", async () => {
    expect(await imaListFile(undefined).read(0)).toMatchObject({ absent: true });
    expect(await imaListFile(join(directory, "none")).read(0)).toMatchObject({ absent: true });
    writeFileSync(path, Buffer.alloc(200, 0xff));
    expect(await imaListFile(path).read(0)).toMatchObject({ absent: true });
  });
});
