/** {@link EvidenceSink} over gRPC with mutual TLS. A certificate is renewed when two thirds of its life are gone, on a new stream. */
import { type ChannelOptions, credentials } from "@grpc/grpc-js";
import { RpcChannel } from "@hullmark/proto/rpc";
import { Attestation } from "@hullmark/proto/v1/attestation";
import type { Clock } from "../../ports/clock.ts";
import type { AttestResponse, EvidenceSink, OutgoingMessage } from "../../ports/evidence-sink.ts";
import { type Credential, type EnrolmentOptions, enrol } from "./enrolment.ts";

const CHANNEL: ChannelOptions = {
  "grpc.keepalive_time_ms": 20_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.keepalive_permit_without_calls": 1,
  // The session decides when to try again.
  "grpc.enable_retries": 0,
};

export interface GrpcSinkOptions {
  readonly enrolment: EnrolmentOptions;
  /** `host:port` of the verifier's main listener. */
  readonly address: string;
  readonly clock: Clock;
  readonly enrolled: (credential: Credential) => void;
}

export class GrpcSink implements EvidenceSink {
  readonly #options: GrpcSinkOptions;
  #credential: Credential | undefined;
  #renewAtMs = 0;

  constructor(options: GrpcSinkOptions) {
    this.#options = options;
  }

  async *connect(outgoing: AsyncIterable<OutgoingMessage>, signal: AbortSignal): AsyncGenerator<AttestResponse> {
    const credential = await this.#ensureCredential(signal);
    const { address, enrolment, clock } = this.#options;
    const tls = credentials.createSsl(enrolment.caCertificate, Buffer.from(credential.privateKey), Buffer.from(credential.certificateChain));
    const channel = new RpcChannel(address, tls, CHANNEL);
    const renew = AbortSignal.timeout(Math.max(1000, Math.round(this.#renewAtMs - clock.nowMs())));
    try {
      yield* channel.client(Attestation).attest(outgoing, { signal: AbortSignal.any([signal, renew]) });
    } catch (error) {
      if (!renew.aborted || signal.aborted) throw error;
    } finally {
      channel.close();
    }
  }

  /** Drops the certificate, so that the next stream enrols again: the verifier does not know it (any more). */
  forgetCredential(): void {
    this.#credential = undefined;
  }

  spkiSha256(): Buffer {
    return this.#current().spkiSha256;
  }

  binding(): { readonly verifierId: string; readonly region: string; readonly nodeId: string } {
    const { verifierId, region, nodeId } = this.#current();
    return { verifierId, region, nodeId };
  }

  #current(): Credential {
    if (!this.#credential) throw new Error("not enrolled yet");
    return this.#credential;
  }

  async #ensureCredential(signal: AbortSignal): Promise<Credential> {
    const { clock, enrolment, enrolled } = this.#options;
    const nowMs = clock.nowMs();
    if (this.#credential && nowMs < this.#renewAtMs) return this.#credential;
    const credential = await enrol(enrolment, signal);
    this.#credential = credential;
    this.#renewAtMs = nowMs + ((credential.notAfterMs - nowMs) * 2) / 3;
    enrolled(credential);
    return credential;
  }
}
