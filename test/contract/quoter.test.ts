import { randomBytes } from "node:crypto";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeAk } from "@hullmark/agent/adapters/tpm2/ak-file";
import { Tpm2Quoter } from "@hullmark/agent/adapters/tpm2/index";
import type { Quote, Quoter } from "@hullmark/agent/ports/quoter";
import { Tpm } from "@hullmark/native";
import { clockLoss, makeCredential, readAttestationKey, readEndorsementKey, type TpmClock, verifyQuote } from "@hullmark/verifier/core/endorsement/index";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FakeQuoter } from "../fakes/quoter.ts";
import { Swtpm } from "../fakes/swtpm.ts";
import { lockOut, setClock, TPM_CC, TPM_RC, TpmProxy } from "../fakes/tpm-proxy.ts";

const signal = new AbortController().signal;
const PCRS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 14];

interface Subject {
  readonly quoter: Quoter;
  /** Takes the TPM away and brings it back. */
  break(): Promise<void>;
  mend(): Promise<void>;
  end(): Promise<void>;
}

async function realTpm(): Promise<Subject> {
  const tpm = await Swtpm.start();
  const stateDir = await mkdtemp(join(tmpdir(), "hullmark-quoter-"));
  const quoter = new Tpm2Quoter({ tcti: tpm.tcti, stateDir });
  const end = async (): Promise<void> => {
    await quoter.close();
    await tpm.stop();
    await rm(stateDir, { recursive: true });
  };
  return { quoter, break: () => tpm.powerOff(), mend: () => tpm.powerOn(), end };
}

async function fake(): Promise<Subject> {
  const quoter = new FakeQuoter();
  const set = async (failure: "ABSENT" | undefined): Promise<void> => {
    quoter.failure = failure;
  };
  return { quoter, break: () => set("ABSENT"), mend: () => set(undefined), end: async () => undefined };
}

async function keysOf(quoter: Quoter) {
  const identity = await quoter.identify(signal);
  const ek = readEndorsementKey(identity.ekPublic);
  if (!ek.ok) throw new Error(ek.detail);
  const ak = readAttestationKey(identity.akPublic, ek.key);
  if (!ak.ok) throw new Error(ak.detail);
  return { ek: ek.key, ak: ak.key };
}

for (const [name, make] of [
  ["tpm2 on swtpm", realTpm],
  ["fake", fake],
] as const) {
  describe(`Quoter: ${name}`, () => {
    let subject: Subject;
    let quoter: Quoter;
    beforeAll(async () => {
      subject = await make();
      quoter = subject.quoter;
    });
    afterAll(() => subject.end());

    const verified = async (quote: Quote, extraData: Buffer, pcrs: readonly number[]) => {
      const { ak } = await keysOf(quoter);
      const selection = pcrs.length > 0 ? [{ bank: "sha256" as const, pcrs }] : [];
      return verifyQuote(quote, { key: ak, extraData, selection, previousClock: undefined });
    };

    it("identifies itself the same way each time", async () => {
      const first = await quoter.identify(signal);
      expect(await quoter.identify(signal)).toEqual(first);
    });

    it("opens a credential that was made for it", async () => {
      const { ek, ak } = await keysOf(quoter);
      const secret = randomBytes(32);
      const credential = makeCredential(ek, ak.name, secret, randomBytes);
      expect(await quoter.activate(credential.credentialBlob, credential.encryptedSecret, signal)).toEqual(secret);
    });

    it("refuses a credential for another AK, for another EK, and rubbish, and goes on working", async () => {
      const { ek, ak } = await keysOf(quoter);
      const other = await keysOf(new FakeQuoter());
      const rubbish = { credentialBlob: Buffer.from([0, 1, 2]), encryptedSecret: Buffer.alloc(9, 1) };
      const cases = [makeCredential(ek, other.ak.name, randomBytes(32), randomBytes), makeCredential(other.ek, ak.name, randomBytes(32), randomBytes), rubbish];
      for (const { credentialBlob, encryptedSecret } of cases)
        await expect(quoter.activate(credentialBlob, encryptedSecret, signal)).rejects.toMatchObject({ code: "REFUSED", retryable: false });
      expect(await quoter.health(signal)).toEqual({ ok: true, detail: "ok" });
    });

    it("quotes what was asked, also of no PCR", async () => {
      for (const pcrs of [PCRS, []]) {
        const extraData = randomBytes(32);
        const quote = await quoter.quote(extraData, pcrs, signal);
        expect(quote.pcrs.map(({ index }) => index)).toEqual(pcrs);
        expect(await verified(quote, extraData, pcrs)).toMatchObject({ ok: true });
        expect(await verified(quote, randomBytes(32), pcrs)).toMatchObject({ ok: false, reason: "wrong-binding" });
      }
    });

    it("answers calls that are made at the same time", async () => {
      const extra = Array.from({ length: 8 }, () => randomBytes(32));
      const quotes = await Promise.all(extra.map((extraData) => quoter.quote(extraData, PCRS, signal)));
      for (const [i, quote] of quotes.entries()) expect(await verified(quote, extra[i] as Buffer, PCRS)).toMatchObject({ ok: true });
    });

    it("rejects with the reason of an aborted signal", async () => {
      const reason = new Error("enough");
      await expect(quoter.quote(randomBytes(32), PCRS, AbortSignal.abort(reason))).rejects.toBe(reason);
    });

    it("says that the TPM is absent, and works again when it is back", async () => {
      await subject.break();
      await expect(quoter.quote(randomBytes(32), PCRS, signal)).rejects.toMatchObject({ code: "ABSENT", retryable: true });
      expect(await quoter.health(signal)).toMatchObject({ ok: false });
      await subject.mend();
      const extraData = randomBytes(32);
      expect(await verified(await quoter.quote(extraData, PCRS, signal), extraData, PCRS)).toMatchObject({ ok: true });
      expect(await quoter.health(signal)).toMatchObject({ ok: true });
    });
  });
}

describe("Tpm2Quoter", () => {
  let tpm: Swtpm;
  let stateDir: string;
  beforeAll(async () => {
    tpm = await Swtpm.start();
    stateDir = await mkdtemp(join(tmpdir(), "hullmark-quoter-"));
  });
  afterAll(async () => {
    await tpm.stop();
    await rm(stateDir, { recursive: true });
  });

  it("keeps its AK between runs, in a file that only its owner reads", async () => {
    const identities = [];
    for (let run = 0; run < 2; run++) {
      const quoter = new Tpm2Quoter({ tcti: tpm.tcti, stateDir });
      identities.push(await quoter.identify(signal));
      await quoter.close();
    }
    expect(identities[1]).toEqual(identities[0]);
    expect(identities[0]?.ekCertificate).toBeDefined();
    expect((await stat(join(stateDir, "ak.json"))).mode & 0o777).toBe(0o600);
  });

  it("does not use an AK that quotes for whoever asks the TPM", async () => {
    const open = await mkdtemp(join(tmpdir(), "hullmark-quoter-"));
    const direct = new Tpm();
    await direct.open(tpm.tcti);
    const blobs = await direct.createAk("p256", Buffer.alloc(0));
    await direct.close();
    await writeAk(join(open, "ak.json"), { ekKind: "p256", auth: randomBytes(32), blobs });
    const quoter = new Tpm2Quoter({ tcti: tpm.tcti, stateDir: open });
    try {
      await expect(quoter.identify(signal)).rejects.toMatchObject({ code: "QUOTING_ORACLE" });
      await expect(quoter.quote(randomBytes(32), PCRS, signal)).rejects.toMatchObject({ code: "QUOTING_ORACLE" });
      expect(await quoter.health(signal)).toMatchObject({ ok: false });
    } finally {
      await quoter.close();
      await rm(open, { recursive: true });
    }
  });

  it("says that the TPM was replaced, then makes a new AK", async () => {
    const other = await Swtpm.start();
    const quoter = new Tpm2Quoter({ tcti: other.tcti, stateDir });
    try {
      await expect(quoter.quote(randomBytes(32), PCRS, signal)).rejects.toMatchObject({ code: "REPLACED" });
      expect((await quoter.quote(randomBytes(32), PCRS, signal)).pcrs).toHaveLength(PCRS.length);
    } finally {
      await quoter.close();
      await other.stop();
    }
  });

  it("gives up on a TPM that does not answer, and comes back when it does", async () => {
    await rm(join(stateDir, "ak.json"));
    const quoter = new Tpm2Quoter({ tcti: tpm.tcti, stateDir, timeoutMs: 2000 });
    try {
      await quoter.identify(signal);
      process.kill(tpm.pid as number, "SIGSTOP");
      await expect(quoter.quote(randomBytes(32), PCRS, signal)).rejects.toMatchObject({ code: "TIMEOUT", retryable: true });
      const abort = new AbortController();
      const waiting = quoter.quote(randomBytes(32), PCRS, abort.signal);
      abort.abort(new Error("no longer wanted"));
      await expect(waiting).rejects.toThrow("no longer wanted");
      process.kill(tpm.pid as number, "SIGCONT");
      expect((await quoter.quote(randomBytes(32), PCRS, signal)).pcrs).toHaveLength(PCRS.length);
    } finally {
      await quoter.close();
    }
  });
});

describe("Tpm2Quoter on a TPM that answers otherwise than it should", () => {
  let tpm: Swtpm;
  let proxy: TpmProxy;
  let stateDir: string;
  let quoter: Tpm2Quoter;
  const quotes = (): number => proxy.asked.get(TPM_CC.quote) ?? 0;
  beforeAll(async () => {
    tpm = await Swtpm.start({ withoutEkCertificate: true });
    proxy = await TpmProxy.start(tpm);
    stateDir = await mkdtemp(join(tmpdir(), "hullmark-quoter-"));
    quoter = new Tpm2Quoter({ tcti: proxy.tcti, stateDir });
  });
  afterAll(async () => {
    await quoter.close();
    await proxy.stop();
    await tpm.stop();
    await rm(stateDir, { recursive: true });
  });
  const whole = async (): Promise<void> => {
    expect((await quoter.quote(randomBytes(32), PCRS, signal)).pcrs).toHaveLength(PCRS.length);
    expect(await quoter.health(signal)).toEqual({ ok: true, detail: "ok" });
  };

  // What passes by itself is asked five times (tpm2-tss does so), the rest once.
  it.each([
    ["retry", "BUSY", 5, true],
    ["yielded", "BUSY", 5, true],
    ["testing", "BUSY", 5, true],
    ["nvRate", "BUSY", 1, true],
    ["nvUnavailable", "BUSY", 1, true],
    ["lockout", "LOCKOUT", 1, true],
    ["failure", "FAILED", 1, false],
  ] as const)("%s is %s after so many tries, which its health says, and it works when the TPM does", async (name, code, times, retryable) => {
    await whole();
    const before = quotes();
    proxy.fault = (command) => (command === TPM_CC.quote ? TPM_RC[name] : undefined);
    await expect(quoter.quote(randomBytes(32), PCRS, signal)).rejects.toMatchObject({ code, retryable });
    expect(quotes() - before).toBe(times);
    expect(await quoter.health(signal)).toMatchObject({ ok: false, detail: expect.stringMatching(new RegExp(`^${code}: `)) });
    proxy.fault = () => undefined;
    await whole();
  });

  it("a try that succeeds after others is a quote like any other", async () => {
    await whole();
    let left = 3;
    proxy.fault = (command) => (command === TPM_CC.quote && left-- > 0 ? TPM_RC.retry : undefined);
    await whole();
    expect(left).toBe(-1);
    proxy.fault = () => undefined;
  });

  it("one in dictionary-attack lockout identifies itself, makes keys, opens credentials and quotes as ever: none of its keys is subject to it", async () => {
    await lockOut(proxy);
    // Also in a process that knows nothing yet, and makes its key now.
    const fresh = new Tpm2Quoter({ tcti: proxy.tcti, stateDir: await mkdtemp(join(stateDir, "fresh-")) });
    await whole();
    await quoter.close();
    try {
      const { ek, ak } = await keysOf(fresh);
      const secret = randomBytes(32);
      const { credentialBlob, encryptedSecret } = makeCredential(ek, ak.name, secret, randomBytes);
      expect(await fresh.activate(credentialBlob, encryptedSecret, signal)).toEqual(secret);
      const extraData = randomBytes(32);
      const quote = await fresh.quote(extraData, PCRS, signal);
      expect(verifyQuote(quote, { key: ak, extraData, selection: [{ bank: "sha256", pcrs: PCRS }], previousClock: undefined })).toMatchObject({ ok: true });
    } finally {
      await fresh.close();
    }
    await whole();
  });

  it("says after a power loss that its clock is not safe, and the quote holds after those of before", async () => {
    const { ak } = await keysOf(quoter);
    const verified = async (previousClock: TpmClock | undefined): Promise<TpmClock> => {
      const extraData = randomBytes(32);
      const result = verifyQuote(await quoter.quote(extraData, PCRS, signal), {
        ...{ key: ak, extraData, previousClock },
        selection: [{ bank: "sha256", pcrs: PCRS }],
      });
      if (!result.ok) throw new Error(`${result.reason}: ${result.detail}`);
      return result.claims.clock;
    };
    await setClock(proxy, 1_000_000n);
    const before = await verified(undefined);
    expect(before).toMatchObject({ safe: true });
    await tpm.powerOff();
    await tpm.powerOn();
    // What was loaded is gone with the power; the next call loads it again.
    await expect(quoter.quote(randomBytes(32), PCRS, signal)).rejects.toMatchObject({ name: "QuoterError" });
    // It is so for four seconds of its own clock, which a busy machine may need for less than this.
    const lost = await verified(before);
    expect(lost).toMatchObject({ resetCount: before.resetCount + 1, safe: lost.clock >= 4096n });
    expect(clockLoss({ clock: before }, lost) === undefined).toBe(!lost.safe);
    await setClock(proxy, 5000n + lost.clock);
    const safe = await verified(lost);
    expect(safe).toMatchObject({ resetCount: lost.resetCount, safe: true });
    expect(clockLoss({ clock: before }, safe)).toMatch(/said to be safe$/);
  });
});

describe("banks of PCRs on swtpm", () => {
  let tpm: Swtpm;
  let stateDir: string;
  beforeAll(async () => {
    tpm = await Swtpm.start({ withoutEkCertificate: true, pcrBanks: "sha256,sha384" });
    stateDir = await mkdtemp(join(tmpdir(), "hullmark-quoter-"));
  });
  afterAll(async () => {
    await tpm.stop();
    await rm(stateDir, { recursive: true });
  });

  const both = ["sha256", "sha384"] as const;
  const selection = (banks: readonly ("sha256" | "sha384")[]) => banks.map((bank) => ({ bank, pcrs: PCRS }));

  it.each([[["sha256"]], [["sha384"]], [both]] as const)("%j: exactly these are quoted, and no other selection is taken for them", async (banks) => {
    const quoter = new Tpm2Quoter({ tcti: tpm.tcti, stateDir, banks });
    try {
      const { ak } = await keysOf(quoter);
      const extraData = randomBytes(32);
      const quote = await quoter.quote(extraData, PCRS, signal);
      expect(quote.pcrs.map(({ bank, index, value }) => [bank, index, value.length])).toEqual(
        banks.flatMap((bank) => PCRS.map((index) => [bank, index, bank === "sha256" ? 32 : 48])),
      );
      const verified = (want: readonly ("sha256" | "sha384")[], pcrs = quote.pcrs) =>
        verifyQuote({ ...quote, pcrs }, { key: ak, extraData, selection: selection(want), previousClock: undefined });
      for (const want of [["sha256"], ["sha384"], both] as const)
        expect(verified(want)).toMatchObject(`${want}` === `${banks}` ? { ok: true } : { ok: false, reason: "wrong-pcr-selection" });
      // Left out, told twice, and of another bank: the values must be those of the selection.
      expect(verified(banks, quote.pcrs.slice(1))).toMatchObject({ reason: "wrong-pcr-selection" });
      expect(verified(banks, [...quote.pcrs.slice(1), quote.pcrs[1] as (typeof quote.pcrs)[0]])).toMatchObject({ reason: "wrong-pcr-selection" });
      const [first, ...rest] = quote.pcrs as [(typeof quote.pcrs)[0], ...typeof quote.pcrs];
      expect(verified(banks, [{ ...first, value: Buffer.alloc(first.value.length, 1) }, ...rest])).toMatchObject({ reason: "wrong-pcr-values" });
    } finally {
      await quoter.close();
    }
  });

  it("a bank that the TPM has not allocated is said to be missing", async () => {
    const one = await Swtpm.start({ withoutEkCertificate: true });
    const directory = await mkdtemp(join(tmpdir(), "hullmark-quoter-"));
    const quoter = new Tpm2Quoter({ tcti: one.tcti, stateDir: directory, banks: ["sha256", "sha384"] });
    try {
      await expect(quoter.quote(randomBytes(32), PCRS, signal)).rejects.toThrow("the TPM has no sha384 bank of PCRs");
    } finally {
      await quoter.close();
      await one.stop();
      await rm(directory, { recursive: true });
    }
  });
});
