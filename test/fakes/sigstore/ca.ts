/** A certificate authority as Fulcio is one, with a certificate transparency log: root, intermediate, short-lived leaves with Fulcio's extensions and a real SCT. */
import "reflect-metadata";
import { sign } from "node:crypto";
import * as x509 from "@peculiar/x509";
import { X509Certificate } from "@sigstore/core";
import { der, newKey, P256, sha256, type TestKey } from "./keys.ts";

export const CODE_SIGNING = "1.3.6.1.5.5.7.3.3";
const FULCIO = "1.3.6.1.4.1.57264.1";
const SCT_LIST = "1.3.6.1.4.1.11129.2.4.2";
const YEAR_MS = 365 * 86_400_000;

export interface Person {
  readonly subject: string;
  readonly issuer: string;
  /** Last arc under Fulcio's → value. */
  readonly extensions?: Readonly<Record<number, string>>;
}

export interface LeafOptions {
  readonly atMs?: number;
  readonly usage?: string;
  readonly sct?: boolean;
  /** Further subject alternative names. */
  readonly moreSubjects?: readonly string[];
}

export class FakeFulcio {
  readonly root: Buffer;
  readonly intermediate: Buffer;
  readonly ctLog: TestKey;
  readonly #key: TestKey;

  private constructor(root: Buffer, intermediate: Buffer, key: TestKey, ctLog: TestKey) {
    this.root = root;
    this.intermediate = intermediate;
    this.#key = key;
    this.ctLog = ctLog;
  }

  static async create(): Promise<FakeFulcio> {
    const [rootKey, key, ctLog] = [await newKey(), await newKey(), await newKey()];
    const root = await issueAuthority("CN=test root,O=sigstore.test", "CN=test root,O=sigstore.test", rootKey, rootKey);
    const intermediate = await issueAuthority("CN=test intermediate,O=sigstore.test", "CN=test root,O=sigstore.test", key, rootKey);
    return new FakeFulcio(root, intermediate, key, ctLog);
  }

  /** A certificate of ten minutes over the key. DER. */
  async issue(spki: Buffer, { subject, issuer, extensions = {} }: Person, options: LeafOptions = {}): Promise<Buffer> {
    const { atMs = Date.now(), usage = CODE_SIGNING, sct = true, moreSubjects = [] } = options;
    const publicKey = new x509.PublicKey(spki);
    const names = [subject, ...moreSubjects].map((value) => ({ type: value.includes("://") ? ("url" as const) : ("email" as const), value }));
    const fixed = [
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([usage]),
      new x509.SubjectAlternativeNameExtension(names, true),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(this.#key.verifier),
      new x509.Extension(`${FULCIO}.1`, false, Buffer.from(issuer)),
      new x509.Extension(`${FULCIO}.8`, false, der(0x0c, Buffer.from(issuer))),
      ...Object.entries(extensions).map(([arc, value]) => new x509.Extension(`${FULCIO}.${arc}`, false, der(0x0c, Buffer.from(value)))),
    ];
    const make = (more: readonly x509.Extension[]) =>
      x509.X509CertificateGenerator.create({
        ...{ serialNumber: atMs.toString(16).padStart(16, "0"), subject: "", issuer: "CN=test intermediate,O=sigstore.test" },
        ...{ notBefore: new Date(atMs - 1000), notAfter: new Date(atMs + 600_000), publicKey },
        ...{ signingKey: this.#key.signer, signingAlgorithm: P256, extensions: [...fixed, ...more] },
      });
    const precertificate = Buffer.from((await make([])).rawData as ArrayBuffer);
    return sct ? Buffer.from((await make([this.#promise(precertificate, atMs)])).rawData) : precertificate;
  }

  /** RFC 6962 section 3.2 and 3.3. */
  #promise(precertificate: Buffer<ArrayBuffer>, atMs: number): x509.Extension {
    const tbs = X509Certificate.parse(precertificate).tbsCertificate.toDER();
    const time = Buffer.alloc(8);
    time.writeBigUInt64BE(BigInt(atMs));
    const size = (bytes: Uint8Array, width: number) => {
      const buffer = Buffer.alloc(width);
      buffer.writeUIntBE(bytes.length, 0, width);
      return buffer;
    };
    const signed = Buffer.concat([Buffer.of(0, 0), time, Buffer.of(0, 1), sha256(this.#key.spki), size(tbs, 3), tbs, Buffer.of(0, 0)]);
    const signature = sign("sha256", signed, this.ctLog.privateKey);
    const sct = Buffer.concat([Buffer.of(0), this.ctLog.id, time, Buffer.of(0, 0, 4, 3), size(signature, 2), signature]);
    const list = Buffer.concat([size(sct, 2), sct]);
    return new x509.Extension(SCT_LIST, false, der(0x04, Buffer.concat([size(list, 2), list])));
  }
}

/** A certificate authority's own certificate, of a year. DER. */
export async function issueAuthority(subject: string, issuer: string, key: TestKey, signer: TestKey): Promise<Buffer> {
  const certificate = await x509.X509CertificateGenerator.create({
    ...{ serialNumber: key.id.subarray(0, 8).toString("hex").replace(/^./, "1"), subject, issuer, publicKey: key.verifier },
    ...{ notBefore: new Date(Date.now() - YEAR_MS / 2), notAfter: new Date(Date.now() + YEAR_MS / 2), signingKey: signer.signer, signingAlgorithm: P256 },
    extensions: [
      new x509.BasicConstraintsExtension(true, subject === issuer ? 1 : 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(key.verifier),
      await x509.AuthorityKeyIdentifierExtension.create(signer.verifier),
    ],
  });
  return Buffer.from(certificate.rawData);
}

/** A leaf for something that is no signer of code, under its own root. */
export async function issueServiceCertificate(usage: string): Promise<{ readonly root: Buffer; readonly leaf: Buffer; readonly key: TestKey }> {
  const [rootKey, key] = [await newKey(), await newKey()];
  const root = await issueAuthority("CN=test service root,O=sigstore.test", "CN=test service root,O=sigstore.test", rootKey, rootKey);
  const leaf = await x509.X509CertificateGenerator.create({
    ...{ serialNumber: "1234", subject: "CN=test service,O=sigstore.test", issuer: "CN=test service root,O=sigstore.test", publicKey: key.verifier },
    ...{ notBefore: new Date(Date.now() - YEAR_MS / 4), notAfter: new Date(Date.now() + YEAR_MS / 4), signingKey: rootKey.signer, signingAlgorithm: P256 },
    extensions: [
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([usage], true),
      await x509.SubjectKeyIdentifierExtension.create(key.verifier),
      await x509.AuthorityKeyIdentifierExtension.create(rootKey.verifier),
    ],
  });
  return { root, leaf: Buffer.from(leaf.rawData), key };
}
