/** A TUF repository on loopback with one target: real metadata, signed with real keys, of which tests make what a hostile or a stale repository would serve. */
import { generateKeyPairSync, hash, type KeyObject, sign } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Key, Metadata, MetaFile, Root, Signature, Snapshot, TargetFile, Targets, Timestamp } from "@tufjs/models";

const DAY_MS = 86_400_000;
const ROLES = ["root", "timestamp", "snapshot", "targets"] as const;
type Kind = Root | Timestamp | Snapshot | Targets;

/** One key has every role. */
export class TufKey {
  readonly #private: KeyObject;
  readonly key: Key;

  constructor() {
    const { privateKey, publicKey } = generateKeyPairSync("ed25519");
    this.#private = privateKey;
    const raw = publicKey.export({ type: "spki", format: "der" }).subarray(-32).toString("hex");
    this.key = new Key({ keyID: hash("sha256", raw), keyType: "ed25519", scheme: "ed25519", keyVal: { public: raw } });
  }

  sign(data: Buffer): Signature {
    return new Signature({ keyID: this.key.keyID, sig: sign(null, data, this.#private).toString("hex") });
  }
}

export class TufRepository {
  /** Path below the address → what is served. */
  readonly files = new Map<string, string>();
  readonly #server = createServer((request, response) => {
    const body = this.files.get((request.url ?? "").slice(1));
    response.writeHead(body === undefined ? 404 : 200).end(body);
  });

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return this;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** The root of a version, signed by all of `signers`. @returns its text */
  root(version: number, key: TufKey, signers: readonly TufKey[] = [key]): string {
    const root = new Root({ version, specVersion: "1.0.0", expires: later(365), consistentSnapshot: true });
    for (const role of ROLES) root.addKey(key.key, role);
    const text = signed(root, signers);
    this.files.set(`${version}.root.json`, text);
    return text;
  }

  /** What the roles below the root say of a target, all of one version. */
  publish(version: number, key: TufKey, target: string, { days = 30, name = "trusted_root.json" } = {}): void {
    const digest = hash("sha256", target);
    const common = { version, specVersion: "1.0.0", expires: later(days) };
    const targets = new Targets(common);
    targets.addTarget(new TargetFile({ path: name, length: Buffer.byteLength(target), hashes: { sha256: digest } }));
    this.files.set(`${version}.targets.json`, signed(targets, [key]));
    this.files.set(`${version}.snapshot.json`, signed(new Snapshot({ ...common, meta: { "targets.json": new MetaFile({ version }) } }), [key]));
    this.files.set("timestamp.json", signed(new Timestamp({ ...common, snapshotMeta: new MetaFile({ version }) }), [key]));
    this.files.set(`targets/${digest}.${name}`, target);
  }
}

function later(days: number): string {
  return new Date(Date.now() + days * DAY_MS).toISOString().replace(/\.\d+Z$/, "Z");
}

function signed(content: Kind, signers: readonly TufKey[]): string {
  const metadata = new Metadata(content);
  for (const signer of signers) metadata.sign((data) => signer.sign(data));
  return JSON.stringify(metadata.toJSON());
}
