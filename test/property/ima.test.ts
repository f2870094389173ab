import { hash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { imaListFile } from "@hullmark/agent/adapters/ima/ima-list-file";
import { CodecError, MAX_IMA_REPORT_BYTES, readImaEntry } from "@hullmark/proto/codec";
import { appraiseIma, type ImaRules, type ImaState, measuredFile, newImaState, parseImaEntries, takeIma, untoldIma } from "@hullmark/verifier/core/ima/index";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { brokenBytes } from "../fakes/broken-bytes.ts";
import { listOf, type MeasuredContent, measured, pcrAfter, type WrittenMeasurement } from "../fakes/ima-list.ts";

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

const file = (path: string, content = "init", more: Partial<MeasuredContent> = {}): WrittenMeasurement => measured({ path, content, ...more });
const many = (count: number): WrittenMeasurement[] => Array.from({ length: count }, (_, i) => file(`/usr/bin/program-${i}`));

/** What the node tells after a quote over the first `quoted` of these entries. */
function told(state: ImaState, entries: readonly WrittenMeasurement[], quoted = entries.length, scheme: "hashed" | "padded" = "hashed"): ImaState {
  const report = { start: state.count, entries: listOf(entries.slice(state.count)), more: false, absent: false };
  return takeIma(state, report, pcrAfter(entries.slice(0, quoted), scheme), RULES, nobody);
}

const anyContent: fc.Arbitrary<MeasuredContent> = fc.record({
  path: fc.string({ minLength: 1, maxLength: 80 }).map((name) => `/${name.replaceAll("\0", "")}`),
  content: fc.string({ maxLength: 40 }),
  template: fc.constantFrom("ima", "ima-ng", "ima-sig", "ima-ngv2", "ima-buf"),
  algorithm: fc.constantFrom("sha1", "sha256", "sha384", "sha512"),
  violation: fc.boolean(),
});

describe("measurement lists from hostile bytes", () => {
  it("are read as they were written, for every template and hash", () => {
    fc.assert(
      fc.property(fc.array(anyContent, { maxLength: 20 }), (contents) => {
        const entries = parseImaEntries(listOf(contents.map(measured)));
        expect(entries).toHaveLength(contents.length);
        for (const [i, entry] of entries.entries()) {
          const { path, content, template, algorithm, violation } = contents[i] as Required<MeasuredContent>;
          const want = template === "ima" ? (violation ? "00".repeat(20) : hash("sha1", content)) : hash(algorithm, content);
          expect(measuredFile(entry)).toMatchObject({ digest: want, path: Buffer.from(path), buffer: template === "ima-buf" });
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
        const after = takeIma(START, { start: 0, entries: bytes, more, absent: false }, pcrAfter(entries), RULES, nobody);
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

  it("have bounds", () => {
    const entry = file("/a").bytes;
    const huge = Buffer.from(entry);
    huge.writeUInt32LE(0x7fffffff, 4 + 20 + 4 + "ima-ng".length);
    expect(() => readImaEntry(huge, 0)).toThrow("TOO_LONG");
    const name = Buffer.from(entry);
    name.writeUInt32LE(0xffffffff, 24);
    expect(() => readImaEntry(name, 0)).toThrow("TOO_LONG");
    const after = takeIma(START, { start: 0, entries: Buffer.alloc(MAX_IMA_REPORT_BYTES + 1), more: false, absent: false }, Buffer.alloc(32), RULES, nobody);
    expect(after).toMatchObject({ standing: "partial", failures: 1 });
  });
});

describe("a list against quotes", () => {
  it.each(["hashed", "padded"] as const)("is proven by the PCR of kernels that extend it %s, and by no other value", (scheme) => {
    const entries = [file("boot_aggregate", "boot"), file("/sbin/init"), file("/x", "init", { template: "ima" }), file("/etc/x", "x", { violation: true })];
    expect(told(START, entries, entries.length, scheme)).toMatchObject({ standing: "proven", count: 4, violations: 1, failures: 0 });
    const other = takeIma(START, { start: 0, entries: listOf(entries), more: false, absent: false }, Buffer.alloc(32, 1), RULES, nobody);
    expect(other).toMatchObject({ standing: "partial", count: 0, failures: 1 });
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
      const once = takeIma(proven, report, quoted, RULES, nobody);
      expect(once).toMatchObject({ standing: "partial", count: 0, failures: 1 });
      const twice = takeIma(once, { ...report, start: 0 }, quoted, RULES, nobody);
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
      pcrAfter(entries),
      RULES,
      nobody,
    );
    expect(lost).toMatchObject({ standing: "partial", count: 0 });
    expect(told(lost, entries)).toMatchObject({ standing: "proven", count: 8 });
  });

  it("that does not fit into one report is unknown until the last part proves it", () => {
    const entries = many(9);
    const part = (state: ImaState, until: number): ImaState =>
      takeIma(state, { start: state.count, entries: listOf(entries.slice(state.count, until)), more: true, absent: false }, pcrAfter(entries), RULES, nobody);
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
    const after = takeIma(proven, report, pcrAfter(entries), RULES, nobody);
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
      file("/var/log/x", "log"),
      file(".ima", "a key", { template: "ima-buf" }),
      file("/usr/bin/evil", "evil"),
      file("/usr/bin/sshd", "sshd", { algorithm: "sha1" }),
      file("/etc/shadow", "x", { violation: true }),
    ];
    const after = takeIma(START, { start: 0, entries: listOf(entries), more: false, absent: false }, pcrAfter(entries), RULES, signed);
    expect(after.items.map(({ path, digest }) => [path.toString(), digest.slice(0, 10)])).toEqual([
      ["/usr/bin/evil", `sha256:${sha256("evil").slice(0, 3)}`],
      ["/usr/bin/sshd", `sha1:${hash("sha1", "sshd").slice(0, 5)}`],
      ["/etc/shadow", "violation"],
    ]);
    expect(appraiseIma(after, RULES).findings.map(({ detail }) => detail)).toContain("/etc/shadow was written while it was measured");
    // An image that becomes known takes its files back.
    const evilSigned = (_path: Buffer, digest: Buffer): boolean => digest.toString("hex") === sha256("evil");
    const later = takeIma(after, { start: 9, entries: Buffer.alloc(0), more: false, absent: false }, pcrAfter(entries), RULES, evilSigned);
    expect(later.items).toHaveLength(2);
  });

  it("is no buffer because the node calls it one: the name of a template is covered by nothing", () => {
    const evil = file("/usr/bin/evil", "evil");
    const renamed = (bytes: Buffer): Buffer => Buffer.from(bytes.toString("latin1").replace("\u0006\0\0\0ima-ng", "\u0007\0\0\0ima-buf"), "latin1");
    const entries = renamed(listOf([evil]));
    expect(entries.includes("ima-buf")).toBe(true);
    const after = takeIma(START, { start: 0, entries, more: false, absent: false }, pcrAfter([evil]), RULES, nobody);
    expect(after).toMatchObject({ standing: "proven", items: [{ path: Buffer.from("/usr/bin/evil") }] });
  });

  it("is proven by a kernel that extends the template's digest only where that is of the data", () => {
    const real = [file("/usr/bin/evil", "evil")];
    const lie = listOf([file("/usr/bin/init", "init")]);
    (real[0] as WrittenMeasurement).bytes.copy(lie, 4, 4, 24);
    const after = takeIma(START, { start: 0, entries: lie, more: false, absent: false }, pcrAfter(real, "padded"), RULES, nobody);
    expect(after).toMatchObject({ standing: "partial", failures: 1 });
  });

  it("is unknown from when the node stops telling it, as long as the kernel goes on measuring", () => {
    const proven = told(START, many(3));
    expect(untoldIma(proven, pcrAfter(many(3)))).toBe(proven);
    const untold = untoldIma(proven, pcrAfter(many(4)));
    for (const list of ["required", "optional"] as const)
      expect(appraiseIma(untold, { ...RULES, list })).toMatchObject({ findings: [], unknown: [{ code: "ima-catching-up" }] });
    expect(told(untold, many(4))).toMatchObject({ standing: "proven", count: 4, problem: "" });
    const absent = (quoted: Buffer): ImaState => takeIma(proven, { start: 3, entries: Buffer.alloc(0), more: false, absent: true }, quoted, RULES, nobody);
    expect(appraiseIma(absent(Buffer.alloc(32)), { ...RULES, list: "optional" })).toEqual({ findings: [], unknown: [] });
    expect(appraiseIma(absent(pcrAfter(many(3))), { ...RULES, list: "optional" }).unknown).toMatchObject([{ code: "no-ima-list" }]);
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
