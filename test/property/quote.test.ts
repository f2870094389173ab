/** Whatever is changed in a real quote or in what it was made for, it is refused. */
import { randomBytes } from "node:crypto";
import { Tpm } from "@hullmark/native";
import { type QuoteBinding, quoteExtraData } from "@hullmark/proto/codec";
import {
  type AttestationKey,
  checkClock,
  clockLoss,
  makeCredential,
  type QuoteExpectation,
  type QuoteInput,
  readAttestationKey,
  readEndorsementKey,
  verifyQuote,
} from "@hullmark/verifier/core/endorsement/index";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FakeQuoter } from "../fakes/quoter.ts";
import { Swtpm } from "../fakes/swtpm.ts";

const PCRS = [0, 1, 2, 7, 14];
const BINDING: QuoteBinding = {
  verifierId: "verifier-1",
  region: "eu-1",
  nonce: randomBytes(32),
  spkiSha256: randomBytes(32),
  tlsExporter: randomBytes(32),
  nodeId: "0123456789abcdef",
  bootId: "5f0c6a55-3d5b-4d5e-8a4f-6f5a3f0f1d11",
  seq: 41n,
  evidenceDigest: randomBytes(32),
  stateRoot: randomBytes(32),
  imaCount: 7n,
  imaAggregate: randomBytes(32),
  eventLogSha256: randomBytes(32),
  policyDigest: randomBytes(32),
};

let swtpm: Swtpm;
let ak: AttestationKey;
let ekPublic: Buffer;
let akPublic: Buffer;
let input: QuoteInput;
let want: QuoteExpectation;

beforeAll(async () => {
  swtpm = await Swtpm.start();
  const tpm = new Tpm();
  await tpm.open(swtpm.tcti);
  const auth = randomBytes(32);
  const blobs = await tpm.createAk("rsa2048", auth);
  ekPublic = (await tpm.endorsement("rsa2048")).publicArea;
  akPublic = blobs.publicArea;
  const ek = readEndorsementKey(ekPublic);
  const key = ek.ok ? readAttestationKey(akPublic, ek.key) : ek;
  if (!key.ok) throw new Error(key.detail);
  ak = key.key as AttestationKey;
  for (const pcr of [0, 7]) await tpm.extendPcr(pcr, "sha256", randomBytes(32));
  const selection = [{ hash: "sha256" as const, pcrs: PCRS }];
  const extraData = quoteExtraData(BINDING);
  const quote = await tpm.quote(await tpm.loadAk("rsa2048", blobs), auth, extraData, selection);
  const [bank] = await tpm.readPcrs(selection);
  const pcrs = bank?.values.map(({ pcr, digest }) => ({ bank: "sha256" as const, index: pcr, value: digest })) ?? [];
  input = { ...quote, pcrs };
  want = { key: ak, extraData, selection: [{ bank: "sha256", pcrs: PCRS }], previousClock: undefined };
  await tpm.close();
});
afterAll(() => swtpm.stop());

function flipped(bytes: Uint8Array, bit: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
  return copy;
}

describe("a real quote", () => {
  it("is accepted as it is, with PCRs supplied in any order", () => {
    expect(verifyQuote(input, want)).toMatchObject({ ok: true, claims: { resets: 0 } });
    expect(verifyQuote({ ...input, pcrs: input.pcrs.toReversed() }, want)).toMatchObject({ ok: true });
  });

  it("is refused with any bit of the attest or of the signature flipped, cut or lengthened", () => {
    for (const field of ["attest", "signature"] as const) {
      for (let bit = 0; bit < input[field].length * 8; bit++)
        expect(verifyQuote({ ...input, [field]: flipped(input[field], bit) }, want).ok, `${field} bit ${bit}`).toBe(false);
      for (let length = 0; length < input[field].length; length++)
        expect(verifyQuote({ ...input, [field]: input[field].subarray(0, length) }, want).ok).toBe(false);
      expect(verifyQuote({ ...input, [field]: Buffer.concat([input[field], Buffer.alloc(1)]) }, want).ok).toBe(false);
    }
  });

  it("is refused for any other value of any field of the binding", () => {
    for (const [name, value] of Object.entries(BINDING) as [keyof QuoteBinding, string | bigint | Uint8Array][]) {
      const changed =
        typeof value === "string" ? [`${value}x`, ""] : typeof value === "bigint" ? [value + 1n, 0n] : [flipped(value, 0), value.subarray(1), Buffer.alloc(0)];
      for (const other of changed) {
        const extraData = quoteExtraData({ ...BINDING, [name]: other });
        expect(verifyQuote(input, { ...want, extraData }), name).toMatchObject({ ok: false, reason: "wrong-binding" });
      }
    }
  });

  it("is refused with any bit of a PCR value flipped", () => {
    for (const [i, pcr] of input.pcrs.entries())
      for (let bit = 0; bit < 256; bit++) {
        const pcrs = input.pcrs.with(i, { ...pcr, value: flipped(pcr.value, bit) });
        expect(verifyQuote({ ...input, pcrs }, want)).toMatchObject({ ok: false, reason: "wrong-pcr-values" });
      }
  });

  it("is refused when a PCR is missing, doubled, unasked for, or asked for and not quoted", () => {
    const refusedWith = (pcrs: QuoteInput["pcrs"], selection = want.selection) =>
      expect(verifyQuote({ ...input, pcrs }, { ...want, selection })).toMatchObject({ ok: false, reason: "wrong-pcr-selection" });
    refusedWith(input.pcrs.slice(1));
    refusedWith([...input.pcrs, input.pcrs[0] as (typeof input.pcrs)[0]]);
    refusedWith([...input.pcrs, { bank: "sha256", index: 9, value: Buffer.alloc(32) }]);
    refusedWith(input.pcrs, [{ bank: "sha256", pcrs: [...PCRS, 9] }]);
    refusedWith(input.pcrs, [{ bank: "sha256", pcrs: PCRS.slice(1) }]);
    refusedWith(input.pcrs, [{ bank: "sha384", pcrs: PCRS }]);
    refusedWith(input.pcrs, []);
  });

  it("is refused as another AK's", async () => {
    const other = await new FakeQuoter().identify(new AbortController().signal);
    const ek = readEndorsementKey(other.ekPublic);
    const key = ek.ok ? readAttestationKey(other.akPublic, ek.key) : undefined;
    if (!key?.ok) throw new Error("no other key");
    expect(verifyQuote(input, { ...want, key: key.key })).toMatchObject({ ok: false, reason: "wrong-signer" });
    expect(verifyQuote(input, { ...want, key: { ...key.key, qualifiedName: ak.qualifiedName } })).toMatchObject({ ok: false, reason: "bad-signature" });
  });
});

describe("public areas", () => {
  it("with any bit flipped are refused, or are another key", () => {
    const ek = readEndorsementKey(ekPublic);
    if (!ek.ok) throw new Error(ek.detail);
    for (let bit = 0; bit < akPublic.length * 8; bit++) {
      const result = readAttestationKey(flipped(akPublic, bit), ek.key);
      if (result.ok) expect(result.key.name.equals(ak.name), `bit ${bit}`).toBe(false);
    }
    for (let bit = 0; bit < ekPublic.length * 8; bit++) {
      const result = readEndorsementKey(flipped(ekPublic, bit));
      const child = result.ok ? readAttestationKey(akPublic, result.key) : undefined;
      if (child?.ok) expect(child.key.qualifiedName.equals(ak.qualifiedName), `bit ${bit}`).toBe(false);
    }
  });

  it("never make the reader throw, whatever the bytes", () => {
    const near = fc.tuple(fc.constantFrom(0, 1), fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 6 }), fc.nat(400)).map(([which, edits, cut]) => {
      const bytes = Buffer.from(which ? akPublic : ekPublic);
      for (const [at, value] of edits) bytes[at % bytes.length] = value;
      return bytes.subarray(0, Math.max(1, bytes.length - (cut % 5)));
    });
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 2000 }), near), (bytes) => {
        expect(typeof readEndorsementKey(bytes).ok).toBe("boolean");
        expect(typeof verifyQuote({ ...input, attest: bytes }, want).ok).toBe("boolean");
      }),
      { numRuns: 2000 },
    );
  });

  it.each([
    ["restricted", 1 << 16, "not-restricted"],
    ["fixedTPM", 1 << 1, "not-fixed"],
    ["fixedParent", 1 << 4, "not-fixed"],
    ["sensitiveDataOrigin", 1 << 5, "not-fixed"],
    ["sign", 1 << 18, "wrong-use"],
    ["userWithAuth", 1 << 6, "wrong-use"],
  ])("of an AK without %s are refused", async (_, bit, reason) => {
    const fake = await new FakeQuoter({ akAttributes: 0x00050472 & ~bit }).identify(new AbortController().signal);
    const ek = readEndorsementKey(fake.ekPublic);
    if (!ek.ok) throw new Error(ek.detail);
    expect(readAttestationKey(fake.akPublic, ek.key)).toMatchObject({ ok: false, reason });
  });

  it.each([
    ["decrypt", 1 << 17, "wrong-use"],
    ["x509sign", 1 << 19, "wrong-use"],
    ["encryptedDuplication", 1 << 11, "not-fixed"],
  ])("of an AK with %s are refused", async (_, bit, reason) => {
    const fake = await new FakeQuoter({ akAttributes: 0x00050472 | bit }).identify(new AbortController().signal);
    const ek = readEndorsementKey(fake.ekPublic);
    if (!ek.ok) throw new Error(ek.detail);
    expect(readAttestationKey(fake.akPublic, ek.key)).toMatchObject({ ok: false, reason });
  });

  it("take secrets of one length only", () => {
    const ek = readEndorsementKey(ekPublic);
    if (!ek.ok) throw new Error(ek.detail);
    expect(() => makeCredential(ek.key, ak.name, Buffer.alloc(31), randomBytes)).toThrow(RangeError);
  });
});

describe("the TPM's clock", () => {
  const at = (resetCount: number, restartCount: number, clock: bigint, safe = true) => ({ resetCount, restartCount, clock, safe });
  const before = { clock: at(5, 2, 1000n) };
  it("may go on, restart and reset, and lose an hour by an unclean reset", () => {
    for (const next of [at(5, 2, 1000n), at(5, 2, 1001n), at(5, 3, 1000n), at(6, 0, 1000n), at(9, 0, 5000n), at(6, 0, 1n, false)]) {
      expect(checkClock(before.clock, next)).toBeUndefined();
      expect(clockLoss(before, next)).toBeUndefined();
    }
  });
  it("may not go back", () => {
    for (const next of [at(4, 9, 9000n), at(5, 1, 9000n), at(5, 2, 999n), at(5, 2, 999n, false)]) expect(checkClock(before.clock, next)).toBeDefined();
  });
  it("that goes back over a reset is no refusal, and told until the next one: when it is said to be safe, or by more than an hour", () => {
    const hour = 2n ** 22n;
    expect(clockLoss({ clock: at(5, 2, hour + 1n) }, at(6, 0, 1n, false))).toBeUndefined();
    for (const [clock, next, words] of [
      [at(5, 2, 1000n), at(6, 0, 999n), "from 1000 ms to 999 ms, and is said to be safe"],
      [at(5, 2, hour + 2n), at(6, 0, 1n, false), "from 4194306 ms to 1 ms"],
    ] as const) {
      expect(checkClock(clock, next)).toBeUndefined();
      const clockLost = clockLoss({ clock }, next);
      expect(clockLost).toMatch(new RegExp(`${words}$`));
      expect(clockLoss({ clock: next, clockLost }, at(6, 0, 2000n))).toBe(clockLost);
      expect(clockLoss({ clock: next, clockLost }, at(7, 0, 3000n))).toBeUndefined();
    }
    expect(clockLoss({ clock: undefined }, at(6, 0, 1n))).toBeUndefined();
  });
});
