/** A whole sigstore deployment in this process: certificate authority, logs of both versions, timestamp authority, the trust root of it all, and signers who use it. */
import { sign } from "node:crypto";
import { FakeFulcio, type LeafOptions, type Person } from "./ca.ts";
import { newKey, pem, type TestKey } from "./keys.ts";
import { dsseEntry, FakeRekor, hashedRekordEntry, LOG_NAME, type LogEntryJson } from "./rekor.ts";
import { FakeTsa } from "./tsa.ts";

export type { Person } from "./ca.ts";

export const PAYLOAD_TYPE = "application/vnd.in-toto+json";

export interface BundleJson {
  mediaType: string;
  verificationMaterial: {
    certificate?: { rawBytes: string };
    x509CertificateChain?: { certificates: { rawBytes: string }[] };
    tlogEntries: LogEntryJson[];
    timestampVerificationData?: { rfc3161Timestamps: { signedTimestamp: string }[] };
  };
  dsseEnvelope: { payload: string; payloadType: string; signatures: { sig: string }[] };
}

export interface SignOptions extends LeafOptions {
  readonly version?: "0.1" | "0.2" | "0.3";
  readonly log?: 1 | 2 | "none";
  readonly timestamp?: boolean;
}

export interface TagSignature {
  readonly payload: Buffer;
  readonly signature: string;
  readonly annotations: { certificate: string; rekorBundle: string | undefined; timestamp: string | undefined };
}

export class TestSigstore {
  readonly fulcio: FakeFulcio;
  readonly logs: { readonly 1: FakeRekor; readonly 2: FakeRekor };
  readonly tsa: FakeTsa;

  private constructor(fulcio: FakeFulcio, logs: TestSigstore["logs"], tsa: FakeTsa) {
    this.fulcio = fulcio;
    this.logs = logs;
    this.tsa = tsa;
  }

  static async create(): Promise<TestSigstore> {
    return new TestSigstore(await FakeFulcio.create(), { 1: await FakeRekor.create(1), 2: await FakeRekor.create(2) }, await FakeTsa.create());
  }

  close(): void {
    this.tsa.close();
  }

  /** `trusted_root.json`. */
  trustedRoot(): string {
    const validFor = { start: "2020-01-01T00:00:00Z" };
    const log = ({ spki, id }: TestKey, baseUrl: string) => ({
      baseUrl,
      hashAlgorithm: "SHA2_256",
      publicKey: { rawBytes: spki.toString("base64"), keyDetails: "PKIX_ECDSA_P256_SHA_256", validFor },
      logId: { keyId: id.toString("base64") },
    });
    const authority = (certificates: readonly Buffer[], uri: string) => ({
      subject: { organization: "sigstore.test", commonName: uri },
      uri,
      certChain: { certificates: certificates.map((der) => ({ rawBytes: der.toString("base64") })) },
      validFor,
    });
    return JSON.stringify({
      mediaType: "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
      tlogs: [log(this.logs[1].key, `https://${LOG_NAME}`), log(this.logs[2].key, `https://${LOG_NAME}`)],
      certificateAuthorities: [authority([this.fulcio.intermediate, this.fulcio.root], "https://fulcio.test")],
      ctlogs: [log(this.fulcio.ctLog, "https://ctlog.test")],
      timestampAuthorities: [authority(this.tsa.chain, "https://tsa.test")],
    });
  }

  /** Signs a payload as a DSSE envelope in a bundle, as `cosign sign` and `attest` do. */
  async bundle(payload: Buffer, person: Person, options: SignOptions = {}): Promise<BundleJson> {
    const { version = "0.3", log = 1, timestamp = false, atMs = Date.now() } = options;
    const key = await newKey();
    const certificate = await this.fulcio.issue(key.spki, person, options);
    const signature = sign("sha256", preAuthEncoding(PAYLOAD_TYPE, payload), key.privateKey);
    const entry = log === "none" ? [] : [this.logs[log].add(dsseEntry(log, payload, signature, pem("CERTIFICATE", certificate)), atMs)];
    const rawBytes = certificate.toString("base64");
    return {
      mediaType: version === "0.3" ? "application/vnd.dev.sigstore.bundle.v0.3+json" : `application/vnd.dev.sigstore.bundle+json;version=${version}`,
      verificationMaterial: {
        ...(version === "0.3" ? { certificate: { rawBytes } } : { x509CertificateChain: { certificates: [{ rawBytes }] } }),
        tlogEntries: entry,
        ...(timestamp && { timestampVerificationData: { rfc3161Timestamps: [{ signedTimestamp: this.tsa.stamp(signature).toString("base64") }] } }),
      },
      dsseEnvelope: { payload: payload.toString("base64"), payloadType: PAYLOAD_TYPE, signatures: [{ sig: signature.toString("base64") }] },
    };
  }

  /** Signs a payload by cosign's older scheme: everything but the payload stands in annotations. */
  async tagSignature(payload: Buffer, person: Person, options: SignOptions = {}): Promise<TagSignature> {
    const { log = 1, timestamp = false, atMs = Date.now() } = options;
    const key = await newKey();
    const certificate = pem("CERTIFICATE", await this.fulcio.issue(key.spki, person, options));
    const signature = sign("sha256", payload, key.privateKey);
    const entry = log === "none" ? undefined : this.logs[log].add(hashedRekordEntry(payload, signature, certificate), atMs);
    const stamp = timestamp ? JSON.stringify({ SignedRFC3161Timestamp: this.tsa.stamp(signature).toString("base64") }) : undefined;
    return { payload, signature: signature.toString("base64"), annotations: { certificate, rekorBundle: entry && rekorBundle(entry), timestamp: stamp } };
  }
}

/** sigstore/cosign, pkg/cosign/bundle/rekor.go. */
function rekorBundle({ canonicalizedBody, integratedTime, logIndex, logId, inclusionPromise }: LogEntryJson): string {
  const Payload = {
    ...{ body: canonicalizedBody, integratedTime: Number(integratedTime), logIndex: Number(logIndex) },
    logID: Buffer.from(logId.keyId, "base64").toString("hex"),
  };
  return JSON.stringify({ SignedEntryTimestamp: inclusionPromise?.signedEntryTimestamp, Payload });
}

/** DSSE protocol.md, transcribed. */
export function preAuthEncoding(type: string, payload: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`DSSEv1 ${Buffer.byteLength(type)} ${type} ${payload.length} `), payload]);
}
