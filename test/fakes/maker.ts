/** A TPM maker with as many issuing CAs below each other as a test wants; for TPMs whose certificates the emulator's own tools do not make. */
import { webcrypto } from "node:crypto";
import "reflect-metadata";
import { BasicConstraintsExtension, PublicKey, X509CertificateGenerator } from "@peculiar/x509";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const DAY_MS = 86_400_000;

export interface Maker {
  /** DER, as all certificates here. */
  readonly root: Buffer;
  /** The last one issues for EKs. */
  readonly issuers: readonly Buffer[];
  /** @param spki of the EK, DER */
  certify(spki: Uint8Array): Promise<Buffer>;
}

export async function newMaker(depth: number): Promise<Maker> {
  const root = await keyPair();
  let above = { name: "CN=Maker", keys: root };
  const issuers: Buffer[] = [];
  for (let i = 1; i <= depth; i++) {
    const below = { name: `CN=Issuing ${i}`, keys: await keyPair() };
    issuers.push(await certificate(below.name, below.keys.publicKey, above, true));
    above = below;
  }
  return {
    root: await certificate("CN=Maker", root.publicKey, { name: "CN=Maker", keys: root }, true),
    issuers,
    certify: (spki) => certificate("CN=EK", new PublicKey(new Uint8Array(spki)), above, false),
  };
}

async function keyPair(): Promise<webcrypto.CryptoKeyPair> {
  return (await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"])) as webcrypto.CryptoKeyPair;
}

async function certificate(
  subject: string,
  publicKey: PublicKey | webcrypto.CryptoKey,
  issuer: { readonly name: string; readonly keys: webcrypto.CryptoKeyPair },
  ca: boolean,
): Promise<Buffer> {
  const made = await X509CertificateGenerator.create({
    ...{ serialNumber: "01", subject, issuer: issuer.name, publicKey, signingKey: issuer.keys.privateKey, signingAlgorithm: ALGORITHM },
    ...{ notBefore: new Date(Date.now() - DAY_MS), notAfter: new Date(Date.now() + 30 * DAY_MS) },
    extensions: [new BasicConstraintsExtension(ca, undefined, true)],
  });
  return Buffer.from(made.rawData);
}
