/**
 * Every parser of what a node sends about itself, under bytes near valid ones. A parser may refuse by its own error, never otherwise; and what it takes must
 * hold what its caller rests on. HULLMARK_FUZZ_SECONDS=600 runs each for ten minutes.
 */
import { hash, X509Certificate } from "node:crypto";
import { CodecError, encodeRecord, type ImaEntry, imaPreimage, readImaAsciiEntry, readImaEntry } from "@hullmark/proto/codec";
import { EvidenceDecoder } from "@hullmark/verifier/core/appraisal/decode-evidence";
import { applyEvidence, emptyMemory, stateTreeOf } from "@hullmark/verifier/core/appraisal/index";
import { readAttestationKey, readEndorsementKey, readMakerTrust, verifyEkCertificate } from "@hullmark/verifier/core/endorsement/index";
import { NotAQuoteError, parseQuote } from "@hullmark/verifier/core/endorsement/tpm-attest";
import { type ImaRules, isViolation, measuredFile, newImaState, parseImaEntries, takeIma } from "@hullmark/verifier/core/ima/index";
import { certificateSha256, imagePath, parseVariable, taggedEvent } from "@hullmark/verifier/core/measured-boot/efi";
import { appraiseBoot, type BootRules, examineLog, holdAgainst, parseEventLog, replay } from "@hullmark/verifier/core/measured-boot/index";
import { parsePolicy } from "@hullmark/verifier/core/policy/parse";
import fc from "fast-check";
import { beforeAll, describe, expect, it, test } from "vitest";
import { Attester } from "../fakes/attester.ts";
import { linuxBoot, variableData, writeLog } from "../fakes/boot-log.ts";
import { listOf, measured, pcrAfter, textOf } from "../fakes/ima-list.ts";
import { newMaker } from "../fakes/maker.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { FUZZ_SECONDS, fuzz, near } from "./mutate.ts";

const TIMEOUT_MS = FUZZ_SECONDS * 1000 + 60_000;
const target = (name: string, run: () => number): void => it(name, () => expect(run()).toBeGreaterThan(0), TIMEOUT_MS);

/** @returns what the parser made of the input; undefined where it refused by its own error */
function parsed<T>(parse: () => T, ...own: (new (...args: never[]) => Error)[]): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (own.some((kind) => error instanceof kind)) return undefined;
    throw error;
  }
}

const LOG = writeLog(linuxBoot());
const PCRS = [...replay(parseEventLog(LOG), "sha256")].map(([index, value]) => ({ bank: "sha256" as const, index, value: value as Buffer }));
const BOOT_RULES: BootRules = {
  ...{ rule: "all", eventLog: "required", secureBoot: "required", variables: {}, authorities: [], images: [], drivers: [], files: [], initrds: [] },
  commandLine: () => true,
  pcrs: new Map(),
};
const ENTRIES = [
  measured({ path: "boot_aggregate", content: "boot" }),
  measured({ path: "/usr/bin/a", content: "a", template: "ima-sig" }),
  measured({ path: "/usr/bin/b", content: "b", template: "ima" }),
  measured({ path: "/usr/bin/c", content: "c", template: "ima-ngv2", algorithm: "sha512" }),
  measured({ path: ".ima", content: "key", template: "ima-buf" }),
  measured({ path: "/etc/x", content: "x", violation: true }),
];
const LIST = listOf(ENTRIES);
const IMA_RULES: ImaRules = { list: "required", digest: "", baseline: () => false, ignored: () => false, violations: "refuse" };

/** A full report and the next one, of a node with a container whose files changed. */
function evidenceOf(): readonly [first: Buffer, second: Buffer] {
  const node = new Attester({ mainAddress: "", enrolmentAddress: "", ca: Buffer.alloc(0), name: "n" });
  const record = (fill: number) => encodeRecord({ type: "f", mode: 0o755, uid: 0, gid: 0, xattrs: [], size: 1n, sha256: Buffer.alloc(32, fill) });
  const container = { id: "c1", name: "c", image: { reference: "x", configDigest: `sha256:${"a".repeat(64)}` }, layers: [] };
  node.set({ ...container, upper: new Map([["bin/a", record(1)]]) });
  const first = node.evidence();
  node.set({ ...container, upper: new Map([["bin/b", record(2)]]) });
  return [first, node.evidence(["c1"])];
}

describe("parsers of what a node says of itself", () => {
  let keys: Buffer[];
  let chain: readonly [root: Buffer, issuing: Buffer, leaf: Buffer];
  let quote: Buffer;
  beforeAll(async () => {
    const quoter = new FakeQuoter();
    const signal = new AbortController().signal;
    const { ekPublic, akPublic } = await quoter.identify(signal);
    keys = [ekPublic, akPublic];
    const ek = readEndorsementKey(ekPublic);
    if (!ek.ok) throw new Error(ek.detail);
    const maker = await newMaker(1);
    chain = [maker.root, maker.issuers[0] as Buffer, await maker.certify(ek.key.spki)];
    quote = (await quoter.quote(Buffer.alloc(32, 7), [0, 1, 7], signal)).attest;
  });

  target("event logs: one that replays to the quoted PCRs holds their digests, and no other judges clean", () =>
    fuzz(near([LOG]), (bytes) => {
      const log = parsed(() => parseEventLog(bytes), CodecError);
      const examined = examineLog(bytes, PCRS);
      expect(examined.ok).toBe(log !== undefined);
      const { findings, unknown } = appraiseBoot({ pcrs: PCRS, log: examined }, BOOT_RULES);
      if (!log) return expect(unknown).toHaveLength(1);
      const { proven, differing } = holdAgainst(log, PCRS);
      const digests = (pcr: number, events: typeof log.events) =>
        events.filter((event) => event.pcr === pcr && event.type !== 3).map(({ digests: of }) => of.get("sha256")?.toString("hex"));
      for (const pcr of proven.keys()) expect(digests(pcr, log.events)).toEqual(digests(pcr, parseEventLog(LOG).events));
      if (differing.some(({ pcr }) => pcr < 8)) expect(findings.map(({ kind }) => kind)).toContain("event-log");
    }),
  );

  target("EFI structures", () =>
    fuzz(near([variableData("00".repeat(16), "SecureBoot", Buffer.of(1)), ...linuxBoot().map(({ data }) => data)]), (bytes) => {
      const variable = parsed(() => parseVariable(bytes, 8), CodecError);
      if (variable) expect(variable.data.length).toBeLessThanOrEqual(bytes.length);
      expect(imagePath(bytes).length).toBeLessThanOrEqual(4096);
      expect(taggedEvent(bytes)?.data.length ?? 0).toBeLessThanOrEqual(bytes.length);
      expect(certificateSha256(bytes) ?? "").toMatch(/^([0-9a-f]{64})?$/);
    }),
  );

  target("measurement lists: none but the true one is proven by the true PCR", () =>
    fuzz(fc.tuple(near([LIST]), fc.boolean()), ([bytes, more]) => {
      const entries = parsed(() => parseImaEntries(bytes), CodecError);
      for (const entry of entries ?? []) parsed(() => measuredFile(entry), CodecError);
      parsed(() => readImaEntry(bytes, bytes.length >> 1), CodecError);
      const after = takeIma(
        newImaState("b", ""),
        { start: 0, entries: bytes, more, absent: false },
        { pcr: pcrAfter(ENTRIES), quoted: PCRS },
        IMA_RULES,
        () => false,
      );
      if (after.standing !== "proven") return;
      const data = (of: Buffer) => parseImaEntries(of).map((entry) => hash("sha256", entry.data));
      const extended = parseImaEntries(bytes)
        .filter(({ pcr }) => pcr === 10)
        .slice(0, ENTRIES.length);
      expect(extended.slice(0, 5).map((entry) => hash("sha256", entry.data))).toEqual(data(LIST).slice(0, 5));
    }),
  );

  target("measurement lists as text: what is taken is an entry whose digest is its own", () =>
    fuzz(near([textOf(ENTRIES)]), (bytes) => {
      const read = parsed(() => readImaAsciiEntry(bytes, 0), CodecError);
      if (!read) return;
      expect(read.length).toBeLessThanOrEqual(bytes.length);
      const entry = parseImaEntries(read.entry)[0] as ImaEntry;
      expect(entry.length).toBe(read.entry.length);
      if (!isViolation(entry)) expect(hash("sha1", imaPreimage(entry.template, entry.data), "buffer")).toEqual(entry.templateDigest);
    }),
  );

  target("quotes", () => fuzz(near([quote]), (bytes) => void parsed(() => parseQuote(bytes), CodecError, NotAQuoteError)));

  target("public areas", () =>
    fuzz(near(keys), (bytes) => {
      const ek = readEndorsementKey(bytes);
      if (ek.ok) expect(typeof readAttestationKey(bytes, ek.key).ok).toBe("boolean");
      const own = readEndorsementKey(keys[0] as Buffer);
      if (own.ok) expect(typeof readAttestationKey(bytes, own.key).ok).toBe("boolean");
    }),
  );

  target("certificates of endorsement keys: none but the maker's own, whole and nothing after it, vouches", () => {
    const [root, issuing, leaf] = chain;
    const ek = readEndorsementKey(keys[0] as Buffer);
    if (!ek.ok) throw new Error(ek.detail);
    const trust = readMakerTrust([root]);
    const now = Date.now();
    expect(verifyEkCertificate(ek.key, leaf, [issuing], trust, now).ok).toBe(true);
    return fuzz(fc.tuple(near([leaf, issuing]), fc.boolean()), ([bytes, asLeaf]) => {
      const [certificate, presented] = asLeaf ? [bytes, issuing] : [leaf, bytes];
      if (!verifyEkCertificate(ek.key, certificate, [presented], trust, now).ok) return;
      expect(certificate.equals(leaf) && presented.equals(issuing)).toBe(true);
    });
  });

  target("Evidence: what is taken is the state whose root it names, and nothing is changed by what is refused", () => {
    const seeds = evidenceOf();
    const start = emptyMemory("n", Buffer.alloc(16, 1));
    const before = applyEvidence(start, new EvidenceDecoder().decode(seeds[0]), seeds[0]);
    if (!before.ok) throw new Error(before.detail);
    return fuzz(fc.tuple(near([...seeds]), fc.boolean()), ([bytes, truthful]) => {
      const body = parsed(() => new EvidenceDecoder().decode(bytes), Error);
      if (!body) return;
      for (const memory of [start, before.memory]) {
        const told = memory.stateRoot;
        // Past the chain and the root, to what is behind them: a compromised node gets both right.
        if (truthful) Object.assign(body, { seq: memory.seq + 1n, previousDigest: memory.digest });
        let result = applyEvidence(memory, body, bytes);
        if (!result.ok && result.problem === "state-root" && truthful && body.full) {
          const containers = new Map(
            body.containers.map(({ id, identity, configuration, code, filesystem }) => [id, { parts: { identity, configuration, code, filesystem } }]),
          );
          Object.assign(body, { stateRoot: stateTreeOf(body.node, containers as Parameters<typeof stateTreeOf>[1]).root() });
          result = applyEvidence(memory, body, bytes);
        }
        if (result.ok) expect(stateTreeOf(result.memory.nodeBytes, result.memory.containers).root().equals(body.stateRoot)).toBe(true);
        expect(memory.stateRoot).toBe(told);
      }
    });
  });

  target("rules for nodes in policy files", () => {
    const text = `apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: p }\nspec:\n  nodes:\n    - name: n\n      select: { nodes: ["w-*"] }\n      boot: { secureBoot: required, variables: { db: ["${"a".repeat(64)}"] }, commandLines: ["/boot/**"] }\n      pcrs: { "7": ["${"b".repeat(64)}"] }\n      ima: { baselines: [x], ignore: ["/var/**"] }\n      agent: { releases: [{ sums: x, signature: y, authority: z }] }\n`;
    return fuzz(near([Buffer.from(text)]), (bytes) => {
      const result = parsePolicy(bytes.toString("utf8"), "p.yaml", { readKeyFile: () => "" });
      for (const { line, column, fix } of result.ok ? result.warnings : result.errors) {
        expect(line).toBeGreaterThan(0);
        expect(column).toBeGreaterThan(0);
        expect(fix).not.toBe("");
      }
    });
  });

  test("a planted bug is found in each form: the mutations reach behind the first check", () => {
    const [root, issuing] = chain;
    const issuer = new X509Certificate(root).publicKey;
    const [evidence] = evidenceOf();
    /** Takes for the true one whatever can be read. */
    const planted: readonly (readonly [Buffer, (bytes: Buffer) => unknown])[] = [
      [LOG, parseEventLog],
      [LIST, parseImaEntries],
      [quote, parseQuote],
      [keys[0] as Buffer, (bytes) => expect(readEndorsementKey(bytes).ok).toBe(true)],
      // As it was: what follows a certificate is not covered by its signature.
      [issuing, (bytes) => expect(new X509Certificate(bytes).verify(issuer)).toBe(true)],
      [evidence, (bytes) => new EvidenceDecoder().decode(bytes)],
    ];
    for (const [seed, read] of planted) {
      const bug = (bytes: Buffer): boolean => parsed(() => [read(bytes)], Error) === undefined || bytes.equals(seed);
      expect(fc.check(fc.property(near([seed]), bug), { numRuns: 50_000, seed: 7, endOnFailure: true }).failed).toBe(true);
    }
  });
});
