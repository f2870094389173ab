/** The verifier, over mutual TLS: intents as they come, outcomes as they are. Credentials are what `hullmark node actuator` wrote. */
import { createPublicKey, type KeyObject, verify, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { credentials } from "@grpc/grpc-js";
import { captureMessage } from "@hullmark/capture/capture";
import type { CapturePart, WantedCapture } from "@hullmark/capture/hand-out";
import { RpcChannel, RpcError } from "@hullmark/proto/rpc";
import { Actuation } from "@hullmark/proto/v1/response";
import type { ActuatorIdentity, SignedIntent } from "../../core/check-intent.ts";
import type { Settled } from "../../ports/ledger.ts";

const PUBLIC_KEYS = /-----BEGIN PUBLIC KEY-----[^-]+-----END PUBLIC KEY-----/g;
const REPORT_TIMEOUT_MS = 15_000;
/** A person takes the part before. */
const UPLOAD_TIMEOUT_MS = 75_000;
const KEEPALIVE = { "grpc.keepalive_time_ms": 20_000, "grpc.keepalive_timeout_ms": 10_000, "grpc.keepalive_permit_without_calls": 1 };

export interface Credentials {
  readonly ca: Buffer;
  readonly certificate: Buffer;
  readonly key: Buffer;
  /** Two while one gives way. */
  readonly intentKeys: readonly KeyObject[];
  readonly identity: ActuatorIdentity;
}

/** @throws the system's error (ENOENT: they are not there yet); Error where the certificate is not an actuator's, or the key is not Ed25519 */
export function readCredentials(directory: string): Credentials {
  const read = (name: string): Buffer => readFileSync(join(directory, name));
  const certificate = read("client.crt");
  const names = new X509Certificate(certificate).subjectAltName ?? "";
  const identity = identityOf(names);
  if (!identity) throw new Error(`${join(directory, "client.crt")} is not an actuator's certificate`);
  const intentKeys = (read("intent.pub").toString("latin1").match(PUBLIC_KEYS) ?? []).map((pem) => createPublicKey(pem));
  if (intentKeys.length === 0 || !intentKeys.every(({ asymmetricKeyType }) => asymmetricKeyType === "ed25519"))
    throw new Error(`${join(directory, "intent.pub")} holds no Ed25519 key, or another key`);
  return { ca: read("ca.crt"), certificate, key: read("client.key"), intentKeys, identity };
}

function identityOf(names: string): ActuatorIdentity | undefined {
  const [, region, nodeId] = /^URI:spiffe:\/\/hullmark\/([a-z0-9-]{1,32})\/actuator\/([0-9a-f]{16})$/.exec(names) ?? [];
  if (region !== undefined && nodeId !== undefined) return { region, nodeId };
  const [, ofCluster, cluster] = /^URI:spiffe:\/\/hullmark\/([a-z0-9-]{1,32})\/cluster-actuator\/([a-z0-9-]{1,32})$/.exec(names) ?? [];
  return ofCluster !== undefined && cluster !== undefined ? { region: ofCluster, cluster } : undefined;
}

/** What intents are known by: the verifier may have changed its keys since they were read. */
export class IntentKeys {
  #keys: readonly KeyObject[];
  readonly #read: () => readonly KeyObject[];

  /** @param read those that are there now; may throw */
  constructor(keys: readonly KeyObject[], read: () => readonly KeyObject[]) {
    this.#keys = keys;
    this.#read = read;
  }

  /** Ed25519 by one of them; where it is by none that was read before, they are read once more. */
  verify(message: Uint8Array, signature: Uint8Array): boolean {
    return this.#isByAny(message, signature) || (this.#renew() && this.#isByAny(message, signature));
  }

  #isByAny(message: Uint8Array, signature: Uint8Array): boolean {
    return this.#keys.some((key) => verify(null, message, key, signature));
  }

  #renew(): boolean {
    try {
      this.#keys = this.#read();
      return true;
    } catch {
      return false; // being written, or another actuator's: those that are held stay
    }
  }
}

export class VerifierLink {
  readonly #channel: RpcChannel;

  /** @param address `host:port` of the verifier's main listener */
  constructor(address: string, { ca, certificate, key }: Credentials) {
    this.#channel = new RpcChannel(address, credentials.createSsl(ca, key, certificate), KEEPALIVE);
  }

  /** Intents, and captures that people fetch. @throws RpcError at the stream's end */
  async *asked(signal: AbortSignal): AsyncGenerator<{ readonly intent: SignedIntent } | { readonly capture: WantedCapture }> {
    for await (const { intent, capture } of this.#channel.client(Actuation).pullIntents({}, { signal })) {
      if (intent) yield { intent };
      else if (capture) yield { capture };
    }
  }

  /** Resolves when the person who fetches has taken it. @throws RpcError */
  async upload({ requestId, offset, bytes, last, refusal }: CapturePart): Promise<void> {
    await this.#channel.client(Actuation).uploadCapture({ requestId, offset: BigInt(offset), part: bytes, last, refusal }, { timeoutMs: UPLOAD_TIMEOUT_MS });
  }

  /** Resolves when the verifier has it, or does not know of it any more. @throws RpcError */
  async report(intentId: string, { outcome, reason, detail, newContainerId, capture, captureProblem = "", marks = [] }: Settled): Promise<void> {
    const request = {
      intentId: Buffer.from(intentId, "hex"),
      outcome,
      reason,
      detail,
      newContainerId,
      marks: [...marks],
      captureProblem,
      ...(capture && { capture: captureMessage(capture) }),
    };
    try {
      await this.#channel.client(Actuation).reportOutcome(request, { timeoutMs: REPORT_TIMEOUT_MS });
    } catch (error) {
      if (!(error instanceof RpcError) || error.code !== "NOT_FOUND") throw error;
    }
  }

  close(): void {
    this.#channel.close();
  }
}
