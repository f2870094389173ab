/** A transparency log as Rekor is one: RFC 6962 tree, checkpoints, promises (v1) and proofs. */
import { sign } from "node:crypto";
import { mth, path } from "../naive-merkle.ts";
import { newKey, sha256, type TestKey } from "./keys.ts";

export const LOG_NAME = "rekor.test";

/** As a bundle holds it (sigstore protobuf-specs, TransparencyLogEntry in JSON). */
export interface LogEntryJson {
  logIndex: string;
  logId: { keyId: string };
  kindVersion: { kind: string; version: string };
  integratedTime: string;
  inclusionPromise?: { signedEntryTimestamp: string };
  inclusionProof: { logIndex: string; rootHash: string; treeSize: string; hashes: string[]; checkpoint: { envelope: string } };
  canonicalizedBody: string;
}

export interface ProposedEntry {
  readonly kind: string;
  readonly apiVersion: string;
  readonly spec: unknown;
}

export class FakeRekor {
  readonly key: TestKey;
  /** Version 2 dates nothing and promises nothing. */
  readonly version: 1 | 2;
  readonly #bodies: Buffer[] = [Buffer.from("an entry of somebody else"), Buffer.from("and another")];

  private constructor(key: TestKey, version: 1 | 2) {
    this.key = key;
    this.version = version;
  }

  static async create(version: 1 | 2): Promise<FakeRekor> {
    return new FakeRekor(await newKey(), version);
  }

  add({ apiVersion, kind, spec }: ProposedEntry, atMs: number): LogEntryJson {
    const body = Buffer.from(JSON.stringify({ apiVersion, kind, spec }));
    const index = this.#bodies.push(body) - 1;
    const integratedTime = this.version === 1 ? Math.floor(atMs / 1000) : 0;
    const promise = { body: body.toString("base64"), integratedTime, logID: this.key.id.toString("hex"), logIndex: index };
    return {
      logIndex: String(index),
      logId: { keyId: this.key.id.toString("base64") },
      kindVersion: { kind, version: apiVersion },
      integratedTime: String(integratedTime),
      ...(this.version === 1 && {
        inclusionPromise: { signedEntryTimestamp: sign("sha256", Buffer.from(JSON.stringify(promise)), this.key.privateKey).toString("base64") },
      }),
      inclusionProof: {
        logIndex: String(index),
        rootHash: mth(this.#bodies).toString("base64"),
        treeSize: String(this.#bodies.length),
        hashes: path(index, this.#bodies).map((hash) => hash.toString("base64")),
        checkpoint: { envelope: this.#checkpoint() },
      },
      canonicalizedBody: body.toString("base64"),
    };
  }

  /** C2SP tlog-checkpoint as Rekor signs it: the hint is of the log's key alone. */
  #checkpoint(): string {
    const note = `${LOG_NAME} - 1\n${this.#bodies.length}\n${mth(this.#bodies).toString("base64")}\n`;
    const signature = Buffer.concat([this.key.id.subarray(0, 4), sign("sha256", Buffer.from(note), this.key.privateKey)]);
    return `${note}\n\u2014 ${LOG_NAME} ${signature.toString("base64")}\n`;
  }
}

/** Rekor's `dsse` entry, v1 or v2. */
export function dsseEntry(version: 1 | 2, payload: Buffer, signature: Buffer, certificatePem: string): ProposedEntry {
  const verifier = Buffer.from(certificatePem).toString("base64");
  if (version === 1) {
    const payloadHash = { algorithm: "sha256", value: sha256(payload).toString("hex") };
    return { kind: "dsse", apiVersion: "0.0.1", spec: { payloadHash, signatures: [{ signature: signature.toString("base64"), verifier }] } };
  }
  const payloadHash = { algorithm: "SHA2_256", digest: sha256(payload).toString("base64") };
  return { kind: "dsse", apiVersion: "0.0.2", spec: { dsseV002: { payloadHash, signatures: [{ content: signature.toString("base64") }] } } };
}

/** Rekor's `hashedrekord` entry v1. */
export function hashedRekordEntry(payload: Buffer, signature: Buffer, certificatePem: string): ProposedEntry {
  const data = { hash: { algorithm: "sha256", value: sha256(payload).toString("hex") } };
  const publicKey = { content: Buffer.from(certificatePem).toString("base64") };
  return { kind: "hashedrekord", apiVersion: "0.0.1", spec: { data, signature: { content: signature.toString("base64"), publicKey } } };
}
