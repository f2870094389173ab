/** The verifier, over mutual TLS: intents as they come, outcomes as they are. Credentials are what `hullmark node actuator` wrote. */
import { createPublicKey, type KeyObject, verify, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { credentials } from "@grpc/grpc-js";
import { RpcChannel, RpcError } from "@hullmark/proto/rpc";
import { Actuation } from "@hullmark/proto/v1/response";
import type { ActuatorIdentity } from "../../core/check-intent.ts";
import type { Settled } from "../../ports/ledger.ts";

const REPORT_TIMEOUT_MS = 15_000;
const KEEPALIVE = { "grpc.keepalive_time_ms": 20_000, "grpc.keepalive_timeout_ms": 10_000, "grpc.keepalive_permit_without_calls": 1 };

export interface Credentials {
  readonly ca: Buffer;
  readonly certificate: Buffer;
  readonly key: Buffer;
  readonly intentKey: KeyObject;
  readonly identity: ActuatorIdentity;
}

/** @throws the system's error; Error where the certificate is not an actuator's, or the key is not Ed25519 */
export function readCredentials(directory: string): Credentials {
  const read = (name: string): Buffer => readFileSync(join(directory, name));
  const certificate = read("client.crt");
  const names = new X509Certificate(certificate).subjectAltName ?? "";
  const [, region, nodeId] = /^URI:spiffe:\/\/hullmark\/([a-z0-9-]{1,32})\/actuator\/([0-9a-f]{16})$/.exec(names) ?? [];
  if (region === undefined || nodeId === undefined) throw new Error(`${join(directory, "client.crt")} is not an actuator's certificate`);
  const intentKey = createPublicKey(read("intent.pub"));
  if (intentKey.asymmetricKeyType !== "ed25519") throw new Error(`${join(directory, "intent.pub")} is not an Ed25519 key`);
  return { ca: read("ca.crt"), certificate, key: read("client.key"), intentKey, identity: { nodeId, region } };
}

export class VerifierLink {
  readonly #channel: RpcChannel;
  readonly #intentKey: KeyObject;

  /** @param address `host:port` of the verifier's main listener */
  constructor(address: string, { ca, certificate, key, intentKey }: Credentials) {
    this.#channel = new RpcChannel(address, credentials.createSsl(ca, key, certificate), KEEPALIVE);
    this.#intentKey = intentKey;
  }

  /** Ed25519 by the verifier's key for intents. */
  verify(message: Uint8Array, signature: Uint8Array): boolean {
    return verify(null, message, this.#intentKey, signature);
  }

  /** @throws RpcError at the stream's end */
  async *intents(signal: AbortSignal): AsyncGenerator<{ readonly body: Uint8Array; readonly signature: Uint8Array }> {
    for await (const { intent } of this.#channel.client(Actuation).pullIntents({}, { signal })) if (intent) yield intent;
  }

  /** Resolves when the verifier has it, or does not know of it any more. @throws RpcError */
  async report(intentId: string, { outcome, reason, detail, newContainerId }: Settled): Promise<void> {
    const request = { intentId: Buffer.from(intentId, "hex"), outcome, reason, detail, newContainerId };
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
