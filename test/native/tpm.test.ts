import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { promisify } from "node:util";
import { EK_KINDS, type EkKind, MAX_EK_INTERMEDIATES, type PcrSelection, Tpm, TpmError } from "@hullmark/native";
import { makeCredential, readAttestationKey, readEndorsementKey, readMakerTrust, verifyEkCertificate } from "@hullmark/verifier/core/endorsement/index";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { newMaker } from "../fakes/maker.ts";
import { NV_UNREADABLE, writeNv } from "../fakes/nv.ts";
import { Swtpm } from "../fakes/swtpm.ts";

const run = promisify(execFile);
const SELECTION: PcrSelection[] = [{ hash: "sha256", pcrs: [0, 1, 2, 3, 4, 5, 6, 7, 10, 23] }];
const NO_AUTH = Buffer.alloc(0);

async function newAk(tpm: Tpm, kind: EkKind) {
  const auth = randomBytes(32);
  const endorsement = await tpm.endorsement(kind);
  const blobs = await tpm.createAk(kind, auth);
  const ek = readEndorsementKey(endorsement.publicArea);
  const ak = ek.ok ? readAttestationKey(blobs.publicArea, ek.key) : ek;
  if (!ek.ok || !ak.ok) throw new Error("not an EK and AK");
  return { auth, blobs, id: await tpm.loadAk(kind, blobs), ek: ek.key, ak: ak.key };
}

describe.each([
  ["with EK certificates", false],
  ["without EK certificates", true],
])("Tpm %s", (_, withoutEkCertificate) => {
  let swtpm: Swtpm;
  let tpm: Tpm;
  beforeAll(async () => {
    swtpm = await Swtpm.start({ withoutEkCertificate });
  });
  afterAll(() => swtpm.stop());
  beforeEach(async () => {
    tpm = new Tpm();
    await tpm.open(swtpm.tcti);
  });
  afterEach(() => tpm.close());

  it("says what it is", async () => {
    const capabilities = await tpm.capabilities();
    expect(capabilities).toMatchObject({ manufacturer: "IBM", managed: false, swept: 0 });
    expect(capabilities.pcrBanks).toContainEqual({ hash: "sha256", pcrs: Array.from({ length: 24 }, (_, pcr) => pcr) });
  });

  it.each(EK_KINDS)("makes an AK below the %s EK, activates credentials and quotes, leaving nothing loaded", async (kind) => {
    const { certificate, intermediates } = await tpm.ekCertificates(kind);
    expect(certificate !== null).toBe(!withoutEkCertificate && (kind === "rsa2048" || kind === "p384"));
    expect(intermediates).toEqual([]);
    const { auth, id, ek, ak } = await newAk(tpm, kind);
    // More often than the TPM has slots: a leak of a session or object shows.
    for (let i = 0; i < 6; i++) {
      const secret = randomBytes(32);
      const { credentialBlob, encryptedSecret } = makeCredential(ek, ak.name, secret, randomBytes);
      expect(await tpm.activate(kind, id, auth, credentialBlob, encryptedSecret)).toEqual(secret);
      const quote = await tpm.quote(id, auth, randomBytes(32), SELECTION);
      expect(quote.attest.readUInt32BE(0)).toBe(0xff544347);
      expect(quote.signature[0]).toBe(0x30);
    }
    await tpm.flushAk(id);
    await expect(tpm.flushAk(id)).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  it("does not quote or activate without the AK's authValue, and is not locked out by guesses", async () => {
    const { auth, id, ek, ak } = await newAk(tpm, "rsa2048");
    const { credentialBlob, encryptedSecret } = makeCredential(ek, ak.name, randomBytes(32), randomBytes);
    for (let i = 0; i < 40; i++) {
      const guess = i % 2 ? NO_AUTH : randomBytes(32);
      // TPM_RC_BAD_AUTH of the first session (TPM 2.0 Part 2, 6.6.3).
      await expect(tpm.quote(id, guess, NO_AUTH, SELECTION)).rejects.toMatchObject({ code: "AUTH", tssRc: 0x9a2, retryable: false });
    }
    await expect(tpm.activate("rsa2048", id, NO_AUTH, credentialBlob, encryptedSecret)).rejects.toMatchObject({ code: "AUTH" });
    await tpm.quote(id, auth, NO_AUTH, SELECTION);
  });

  it("reads all PCRs at once, and sees an extend", async () => {
    const all: PcrSelection[] = [{ hash: "sha256", pcrs: Array.from({ length: 24 }, (_, pcr) => pcr) }];
    const [before] = await tpm.readPcrs(all);
    expect(before?.values.map(({ pcr }) => pcr)).toEqual(all[0]?.pcrs);
    await tpm.extendPcr(11, "sha256", randomBytes(32));
    const [after] = await tpm.readPcrs(all);
    expect(before?.values.filter(({ digest, pcr }) => !digest.equals(after?.values[pcr]?.digest as Buffer)).map(({ pcr }) => pcr)).toEqual([11]);
  });

  it("refuses arguments that make no sense", async () => {
    const { id, auth, blobs } = await newAk(tpm, "p256");
    const bad = (promise: Promise<unknown>) => expect(promise).rejects.toMatchObject({ name: "TpmError", code: "BAD_INPUT" });
    await bad(tpm.quote(id, auth, Buffer.alloc(65), SELECTION));
    await bad(tpm.quote(id, auth, NO_AUTH, [{ hash: "sha256", pcrs: [24] }]));
    await bad(tpm.extendPcr(24, "sha256", Buffer.alloc(32)));
    await bad(tpm.extendPcr(1, "sha256", Buffer.alloc(31)));
    await bad(tpm.activate("p256", id, auth, Buffer.alloc(5000), NO_AUTH));
    await bad(tpm.activate("p256", id, auth, Buffer.alloc(10), Buffer.alloc(10)));
    await bad(tpm.loadAk("p256", { ...blobs, publicArea: Buffer.concat([blobs.publicArea, Buffer.alloc(1)]) }));
    await bad(tpm.endorsement("rsa1024" as EkKind));
    await bad(tpm.open(swtpm.tcti));
  });

  it("refuses more calls than it will hold", async () => {
    const calls = await Promise.allSettled(Array.from({ length: 200 }, () => tpm.capabilities()));
    const failed = calls.filter((call) => call.status === "rejected");
    expect(failed.length).toBeGreaterThan(0);
    expect(failed.every(({ reason }) => reason instanceof TpmError && reason.code === "BUSY")).toBe(true);
    await tpm.capabilities();
  });
});

describe("EK certificates in NV", () => {
  const INDEX: Readonly<Record<EkKind, number>> = {
    rsa2048: 0x01c00002,
    p256: 0x01c0000a,
    "rsa2048-high": 0x01c00012,
    "p256-high": 0x01c00014,
    p384: 0x01c00016,
  };
  const [CHAIN_FIRST, CHAIN_LAST] = [0x01c00100, 0x01c001ff];
  let swtpm: Swtpm;
  beforeAll(async () => {
    swtpm = await Swtpm.start({ withoutEkCertificate: true });
  });
  afterAll(() => swtpm.stop());

  /** A software TPM has one client at a time. */
  async function asked<T>(question: (tpm: Tpm) => Promise<T>): Promise<T> {
    const tpm = new Tpm();
    await tpm.open(swtpm.tcti);
    try {
      return await question(tpm);
    } finally {
      await tpm.close();
    }
  }
  const certificates = (kind: EkKind) => asked((tpm) => tpm.ekCertificates(kind));
  async function ekOf(kind: EkKind) {
    const read = readEndorsementKey((await asked((tpm) => tpm.endorsement(kind))).publicArea);
    if (!read.ok) throw new Error(read.detail);
    return read.key;
  }

  it("are found in both ranges, each for a key of its own, with the issuers that lead to the maker's root", async () => {
    const maker = await newMaker(3);
    const trust = readMakerTrust([maker.root]);
    const keys = new Set<string>();
    for (const kind of EK_KINDS) {
      expect(await certificates(kind)).toEqual({ certificate: null, intermediates: [] });
      const ek = await ekOf(kind);
      keys.add(ek.sha256);
      const leaf = await maker.certify(ek.spki);
      await writeNv(swtpm.socket, INDEX[kind], leaf, { size: leaf.length + 100 });
      expect((await certificates(kind)).certificate).toEqual(leaf);
    }
    expect(keys.size).toBe(EK_KINDS.length);
    // A certificate may go on in the next index; the last index of the range is of it, the one after is not.
    const chain = Buffer.concat(maker.issuers.slice(0, 2));
    await writeNv(swtpm.socket, CHAIN_FIRST, chain.subarray(0, chain.length - 20));
    await writeNv(swtpm.socket, CHAIN_FIRST + 1, chain.subarray(-20), { size: 60 });
    await writeNv(swtpm.socket, CHAIN_LAST, maker.issuers[2]);
    await writeNv(swtpm.socket, CHAIN_LAST + 1, maker.root);
    for (const kind of EK_KINDS) {
      const { certificate, intermediates } = await certificates(kind);
      expect(intermediates).toEqual(maker.issuers);
      const ek = await ekOf(kind);
      expect(verifyEkCertificate(ek, certificate as Buffer, intermediates, trust, Date.now())).toMatchObject({ ok: true, rootSubject: "CN=Maker" });
      expect(verifyEkCertificate(ek, certificate as Buffer, intermediates.slice(1), trust, Date.now())).toMatchObject({ reason: "certificate-unknown-maker" });
    }
  });

  it.each<[string, () => Promise<void>, number]>([
    ["never written", () => writeNv(swtpm.socket, CHAIN_FIRST, undefined), 0],
    ["read by nobody", () => writeNv(swtpm.socket, CHAIN_FIRST, Buffer.alloc(64), { attributes: NV_UNREADABLE }), 0],
    ["no certificate", () => writeNv(swtpm.socket, CHAIN_FIRST, Buffer.from("none")), 0],
    ["cut in its header", () => writeNv(swtpm.socket, CHAIN_LAST, Buffer.from([0x30, 0x82, 0x01])), 1],
    ["cut after it", () => writeNv(swtpm.socket, CHAIN_LAST, Buffer.from([0x30, 0x82, 0, 2, 5])), 1],
    [
      "more than is looked at",
      () => writeNv(swtpm.socket, CHAIN_FIRST, Buffer.concat(Array(20).fill(Buffer.from([0x30, 0x82, 0, 1, 5])))),
      MAX_EK_INTERMEDIATES,
    ],
  ])("lose their chain alone, from where it is %s", async (_what, write, left) => {
    await writeNv(swtpm.socket, INDEX["p256-high"], Buffer.from([0x30, 0x82, 0, 1, 5]));
    await writeNv(swtpm.socket, CHAIN_FIRST, Buffer.from([0x30, 0x82, 0, 1, 5]));
    for (const index of [CHAIN_FIRST + 1, CHAIN_LAST]) await writeNv(swtpm.socket, index, Buffer.from([0xff]));
    await write();
    const { certificate, intermediates } = await certificates("p256-high");
    expect(certificate).toHaveLength(5);
    expect(intermediates.map(({ length }) => length)).toEqual(Array(left).fill(5));
  });
});

describe("Tpm in trouble", () => {
  let swtpm: Swtpm;
  beforeEach(async () => {
    swtpm = await Swtpm.start();
  });
  afterEach(() => swtpm.stop());

  it("flushes what a killed process left loaded", async () => {
    const leak = `
      import { Tpm } from "@hullmark/native";
      const tpm = new Tpm();
      await tpm.open(${JSON.stringify(swtpm.tcti)});
      for (let i = 0; i < 2; i++) await tpm.loadAk("rsa2048", await tpm.createAk("rsa2048", Buffer.alloc(32)));
      process.kill(process.pid, "SIGKILL");`;
    await expect(run(process.execPath, ["--input-type=module", "-e", leak], { cwd: import.meta.dirname })).rejects.toMatchObject({ signal: "SIGKILL" });
    const tpm = new Tpm();
    await tpm.open(swtpm.tcti);
    expect((await tpm.capabilities()).swept).toBe(2);
    const { id, auth } = await newAk(tpm, "rsa2048");
    await tpm.quote(id, auth, NO_AUTH, SELECTION);
    await tpm.close();
  });

  it("does not load the AK of another TPM", async () => {
    const other = await Swtpm.start();
    const [mine, theirs] = [new Tpm(), new Tpm()];
    await mine.open(swtpm.tcti);
    await theirs.open(other.tcti);
    const blobs = await mine.createAk("rsa2048", randomBytes(32));
    await expect(theirs.loadAk("rsa2048", blobs)).rejects.toMatchObject({ code: "REPLACED" });
    await Promise.all([mine.close(), theirs.close()]);
    await other.stop();
  });

  it("fails with ABSENT where there is no TPM, when it goes away, and after close", async () => {
    const tpm = new Tpm();
    await expect(tpm.capabilities()).rejects.toMatchObject({ code: "ABSENT" });
    await expect(tpm.open("device:/nonexistent")).rejects.toMatchObject({ code: "ABSENT", retryable: true });
    await tpm.open(swtpm.tcti);
    await swtpm.powerOff();
    await expect(tpm.capabilities()).rejects.toMatchObject({ code: "ABSENT" });
    await expect(tpm.capabilities()).rejects.toMatchObject({ code: "ABSENT" });
    await tpm.close();
    await swtpm.powerOn();
    await tpm.open(swtpm.tcti);
    await tpm.close();
    await tpm.close();
    await expect(tpm.capabilities()).rejects.toMatchObject({ code: "ABSENT" });
  });

  it("can be interrupted while the TPM does not answer, in a call and in open", async () => {
    const tpm = new Tpm();
    await tpm.open(swtpm.tcti);
    process.kill(swtpm.pid as number, "SIGSTOP");
    const call = expect(tpm.capabilities()).rejects.toMatchObject({ code: "ABSENT" });
    tpm.abort();
    await call;
    await tpm.close();
    const open = expect(tpm.open(swtpm.tcti)).rejects.toMatchObject({ code: "ABSENT" });
    tpm.abort();
    await open;
    process.kill(swtpm.pid as number, "SIGCONT");
    await tpm.open(swtpm.tcti);
    await tpm.capabilities();
    await tpm.close();
  });
});
