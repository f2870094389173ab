// What the trust in a node costs the verifier, in CPU time of one core: a quote with unchanged logs, an event log, a measurement list first and then incrementally.
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { type QuoteBinding, quoteExtraData } from "@hullmark/proto/codec";
import { readAttestationKey, readEndorsementKey, verifyQuote } from "@hullmark/verifier/core/endorsement/index";
import { type ImaRules, type ImaState, newImaState, takeIma } from "@hullmark/verifier/core/ima/index";
import { examineLog, parseEventLog, replay } from "@hullmark/verifier/core/measured-boot/index";
import { BootWatch } from "@hullmark/verifier/core/session/boot-evidence";
import { linuxBoot, sha256, writeLog } from "../test/fakes/boot-log.ts";
import { listOf, measured, pcrAfter } from "../test/fakes/ima-list.ts";
import { FakeQuoter } from "../test/fakes/quoter.ts";

const { values } = parseArgs({ options: { json: { type: "string" } } });
const signal = new AbortController().signal;
const PCRS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14];
const ENTRIES = 100_000;
const NEW_ENTRIES = 10;
const PART = 10_000;

/** CPU microseconds of one run. */
function cpu(runs: number, work: () => void): number {
  const before = process.cpuUsage();
  for (let i = 0; i < runs; i++) work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / runs;
}

async function quotes(): Promise<number> {
  const quoter = new FakeQuoter();
  const { ekPublic, akPublic } = await quoter.identify(signal);
  const ek = readEndorsementKey(ekPublic);
  const key = ek.ok ? readAttestationKey(akPublic, ek.key) : ek;
  if (!key.ok || !("qualifiedName" in key.key)) throw new Error("no key");
  const ak = key.key;
  const log = writeLog(linuxBoot());
  const none = Buffer.alloc(0);
  const binding: QuoteBinding = {
    ...{ verifierId: "v", region: "r", nonce: randomBytes(32), spkiSha256: randomBytes(32), tlsExporter: none, nodeId: "n", bootId: "b", seq: 1n },
    ...{
      evidenceDigest: randomBytes(32),
      stateRoot: randomBytes(32),
      imaCount: 0n,
      imaAggregate: none,
      eventLogSha256: sha256(log),
      policyDigest: randomBytes(32),
    },
  };
  const quote = await quoter.quote(quoteExtraData(binding), PCRS, signal);
  const watch = new BootWatch(undefined);
  const quotedBy = { bootId: "b", akSha256: "k", resetCount: 1, restartCount: 0 };
  watch.quoted({ id: "n" }, quotedBy, binding.eventLogSha256, quote.pcrs);
  watch.received(log);
  const one = (): void => {
    const want = { key: ak, extraData: quoteExtraData(binding), selection: [{ bank: "sha256" as const, pcrs: PCRS }], previousClock: undefined };
    if (!verifyQuote(quote, want).ok || watch.quoted({ id: "n" }, quotedBy, binding.eventLogSha256, quote.pcrs)) throw new Error("the quote does not hold");
  };
  cpu(2000, one);
  return cpu(10_000, one);
}

function eventLog(): number {
  const log = writeLog(linuxBoot());
  const pcrs = [...replay(parseEventLog(log), "sha256")].map(([index, value]) => ({ bank: "sha256" as const, index, value: value as Buffer }));
  cpu(500, () => examineLog(log, pcrs));
  return cpu(2000, () => examineLog(log, pcrs));
}

function measurements(): { first: number; incremental: number; small: number } {
  const all = Array.from({ length: ENTRIES + NEW_ENTRIES }, (_, i) => measured({ path: `/usr/lib/x86_64-linux-gnu/library-${i}.so`, content: `${i % 1000}` }));
  const rules: ImaRules = { list: "required", digest: "", baseline: () => true, ignored: () => false, violations: "refuse" };
  const take = (state: ImaState, until: number, more: boolean, quoted: Buffer): ImaState =>
    takeIma(
      state,
      { start: state.count, entries: listOf(all.slice(state.count, until)), more, absent: false },
      { pcr: quoted, quoted: [] },
      rules,
      () => false,
    );
  const start = newImaState("b", "");
  const through = (count: number): ImaState => {
    const quoted = pcrAfter(all.slice(0, count));
    let state = start;
    for (let at = PART; at <= count; at += PART) state = take(state, at, at < count, quoted);
    if (state.standing !== "proven") throw new Error(state.problem);
    return state;
  };
  const parts = Array.from({ length: ENTRIES / PART }, (_, i) => listOf(all.slice(i * PART, (i + 1) * PART)));
  const quoted = pcrAfter(all.slice(0, ENTRIES));
  const first = cpu(1, () => {
    let state = start;
    for (const [i, entries] of parts.entries())
      state = takeIma(state, { start: state.count, entries, more: i < parts.length - 1, absent: false }, { pcr: quoted, quoted: [] }, rules, () => false);
    if (state.standing !== "proven") throw new Error(state.problem);
  });
  const update = (count: number): number => {
    const state = through(count);
    const entries = listOf(all.slice(count, count + NEW_ENTRIES));
    const next = pcrAfter(all.slice(0, count + NEW_ENTRIES));
    const one = (): void => {
      if (takeIma(state, { start: count, entries, more: false, absent: false }, { pcr: next, quoted: [] }, rules, () => false).standing !== "proven")
        throw new Error("not proven");
    };
    cpu(500, one);
    return cpu(5000, one);
  };
  return { first, incremental: update(ENTRIES), small: update(PART) };
}

const quoteUs = await quotes();
const eventLogUs = eventLog();
const { first, incremental, small } = measurements();
const line = (what: string, figure: string): void => console.log(`  ${what.padEnd(58)} ${figure}`);
line("quote, 14 PCRs, unchanged event log", `${quoteUs.toFixed(0)} µs CPU, ${(1e6 / quoteUs).toFixed(0)}/s a core`);
line("event log of a boot through shim and GRUB", `${eventLogUs.toFixed(0)} µs CPU`);
line(`measurement list of ${ENTRIES} entries, first time`, `${(first / 1000).toFixed(0)} ms CPU`);
line(`${NEW_ENTRIES} new entries after ${ENTRIES}, after ${PART}`, `${incremental.toFixed(0)} µs, ${small.toFixed(0)} µs CPU`);
if (values.json) writeFileSync(values.json, JSON.stringify({ quoteUs, eventLogUs, listFirstUs: first, updateUs: incremental, updateOfShortListUs: small }));
