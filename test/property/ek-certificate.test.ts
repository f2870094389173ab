/** EK certificates that an attacker would bring: each is refused by name, beside the same one without the lie. */
import { generateKeyPairSync, webcrypto } from "node:crypto";
import "reflect-metadata";
import { type EndorsementKey, type MakerTrust, readEndorsementKey, readMakerTrust, verifyEkCertificate } from "@hullmark/verifier/core/endorsement/index";
import {
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PublicKey,
  X509CertificateGenerator,
} from "@peculiar/x509";
import { beforeAll, expect, test } from "vitest";
import { FakeQuoter } from "../fakes/quoter.ts";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const DAY_MS = 86_400_000;
const NOW_MS = Date.now();
const TCG_KP_EK_CERTIFICATE = "2.23.133.8.1";

type Keys = webcrypto.CryptoKeyPair;
const newKeys = async (): Promise<Keys> => (await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"])) as Keys;

interface Wish {
  readonly subject?: string;
  readonly issuer?: string;
  readonly days?: readonly [number, number];
  readonly ca?: boolean;
  readonly pathLength?: number;
  readonly usages?: KeyUsageFlags;
  readonly extended?: readonly string[];
  readonly critical?: string;
}

let ek: EndorsementKey;
let ekSpki: Uint8Array;
let [root, issuing, other]: Keys[] = [];

beforeAll(async () => {
  const read = readEndorsementKey((await new FakeQuoter().identify(new AbortController().signal)).ekPublic);
  if (!read.ok) throw new Error(read.detail);
  ek = read.key;
  ekSpki = new Uint8Array(ek.spki);
  [root, issuing, other] = [await newKeys(), await newKeys(), await newKeys()];
});

async function certificate(publicKey: PublicKey | webcrypto.CryptoKey, signingKey: webcrypto.CryptoKey, wish: Wish): Promise<Buffer> {
  const { subject = "", issuer = "CN=Issuing", days = [-1, 30], ca = false, pathLength, usages = KeyUsageFlags.keyAgreement, extended, critical } = wish;
  const made = await X509CertificateGenerator.create({
    ...{ serialNumber: "01", subject, issuer, publicKey, signingKey, signingAlgorithm: ALGORITHM },
    ...{ notBefore: new Date(NOW_MS + days[0] * DAY_MS), notAfter: new Date(NOW_MS + days[1] * DAY_MS) },
    extensions: [
      new BasicConstraintsExtension(ca, pathLength, true),
      new KeyUsagesExtension(usages, true),
      ...(extended ? [new ExtendedKeyUsageExtension([...extended])] : []),
      ...(critical ? [new Extension(critical, true, Buffer.from("0500", "hex"))] : []),
    ],
  });
  return Buffer.from(made.rawData);
}

const CA: Wish = { ca: true, usages: KeyUsageFlags.keyCertSign, days: [-100, 1000] };
const rootOf = (wish: Wish = {}) =>
  certificate((root as Keys).publicKey, (root as Keys).privateKey, { ...CA, subject: "CN=Maker", issuer: "CN=Maker", ...wish });
const issuingOf = (wish: Wish = {}) =>
  certificate((issuing as Keys).publicKey, (root as Keys).privateKey, { ...CA, subject: "CN=Issuing", issuer: "CN=Maker", ...wish });
const leafOf = (wish: Wish = {}, by: Keys | undefined = issuing) =>
  certificate(new PublicKey(ekSpki), (by as Keys).privateKey, { extended: [TCG_KP_EK_CERTIFICATE], ...wish });

async function judge(leaf: Buffer, presented?: readonly Buffer[], trust?: MakerTrust, nowMs = NOW_MS): Promise<string> {
  const result = verifyEkCertificate(ek, leaf, presented ?? [await issuingOf()], trust ?? readMakerTrust([await rootOf()]), nowMs);
  return result.ok ? "ok" : result.reason;
}

test("a chain from the maker's root over an intermediate that the TPM holds is taken", async () => {
  expect(await judge(await leafOf())).toBe("ok");
  expect(await judge(await leafOf({ extended: [] }))).not.toBe("ok");
});

test.each<[string, Wish, string]>([
  ["expired", { days: [-30, -1] }, "certificate-expired"],
  ["not valid yet", { days: [1, 30] }, "certificate-expired"],
  ["a CA's", { ca: true }, "certificate-not-for-ek"],
  ["for signing", { usages: KeyUsageFlags.digitalSignature }, "certificate-not-for-ek"],
  ["for a web server", { extended: ["1.3.6.1.5.5.7.3.1"] }, "certificate-not-for-ek"],
  ["restricted by an extension that nobody here knows", { critical: "1.2.3.4.5" }, "certificate-critical-extension"],
  ["said to be of another issuer", { issuer: "CN=Somebody" }, "certificate-unknown-maker"],
])("a certificate that is %s is refused", async (_name, wish, reason) => expect(await judge(await leafOf(wish))).toBe(reason));

test.each<[string, () => Promise<string>, string]>([
  ["an issuing CA that has expired", async () => judge(await leafOf(), [await issuingOf({ days: [-100, -1] })]), "certificate-expired"],
  ["a root that has expired", async () => judge(await leafOf(), undefined, readMakerTrust([await rootOf({ days: [-100, -1] })])), "certificate-expired"],
  ["an issuer that is no CA", async () => judge(await leafOf(), [await issuingOf({ ca: false })]), "certificate-unknown-maker"],
  [
    "an issuer that may not sign certificates",
    async () => judge(await leafOf(), [await issuingOf({ usages: KeyUsageFlags.digitalSignature })]),
    "certificate-unknown-maker",
  ],
  [
    "an issuer that the root does not let issue",
    async () => judge(await leafOf(), undefined, readMakerTrust([await rootOf({ pathLength: 0 })])),
    "certificate-unknown-maker",
  ],
  ["the issuer's name under another key", async () => judge(await leafOf({}, other)), "certificate-unknown-maker"],
  ["no intermediate", async () => judge(await leafOf(), []), "certificate-unknown-maker"],
  [
    "a root that the node brings itself",
    async () => judge(await leafOf(), [await issuingOf(), await rootOf()], readMakerTrust([])),
    "certificate-unknown-maker",
  ],
  ["more intermediates than are looked at", async () => judge(await leafOf(), Array(9).fill(await issuingOf())), "certificate-malformed"],
  ["an intermediate that is none", async () => judge(await leafOf(), [Buffer.from("none")]), "certificate-malformed"],
])("%s is refused", async (_name, attempt, reason) => expect(await attempt()).toBe(reason));

test("a good certificate for another key is refused, as is one with any byte changed or cut", async () => {
  const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const stolen = await certificate(new PublicKey(new Uint8Array(publicKey.export({ type: "spki", format: "der" }))), (issuing as Keys).privateKey, {});
  expect(await judge(stolen)).toBe("certificate-for-another-key");
  const good = await leafOf();
  const [presented, trust] = [[await issuingOf()], readMakerTrust([await rootOf()])];
  for (let at = 0; at < good.length; at++) {
    const changed = Buffer.from(good);
    changed[at] = (changed[at] as number) ^ 0x01;
    expect(verifyEkCertificate(ek, changed, presented, trust, NOW_MS).ok, `byte ${at}`).toBe(false);
    expect(verifyEkCertificate(ek, good.subarray(0, at), presented, trust, NOW_MS).ok).toBe(false);
  }
});
