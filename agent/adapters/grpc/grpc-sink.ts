/** {@link EvidenceSink} over gRPC with mutual TLS. A certificate is renewed when two thirds of its life are gone, on a new stream. */
import { type ChannelOptions, credentials } from "@grpc/grpc-js";
import type { CapturePart } from "@hullmark/capture/hand-out";
import { RpcChannel, RpcError } from "@hullmark/proto/rpc";
import { Attestation } from "@hullmark/proto/v1/attestation";
import type { Clock } from "../../ports/clock.ts";
import type { AttestResponse, EvidenceSink, OutgoingMessage } from "../../ports/evidence-sink.ts";
import { isIssuedBy, readCredential, writeCredential } from "./credential-file.ts";
import { type Credential, type EnrolmentOptions, enrol, type Issued, renew } from "./enrolment.ts";

const CHANNEL: ChannelOptions = {
  // One that has fallen silent is found within 30 s. Each ping is 78 bytes with its answer, and a verifier may be busy for seconds.
  "grpc.keepalive_time_ms": 20_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.keepalive_permit_without_calls": 1,
  // The session decides when to try again.
  "grpc.enable_retries": 0,
};

/** A person has a minute to take what came before. */
const UPLOAD_TIMEOUT_MS = 90_000;
/** Share of a certificate's life after which the next one is asked for. */
const RENEW_AFTER = 2 / 3;

/**
 * From the attempt to connect until the verifier's first message, milliseconds. Where packets go to an address that nobody has any more the kernel tries for over two
 * minutes, always that one, and a verifier that stands still after it has accepted the connection would be waited for without end. Where nothing came the next attempt waits
 * twice as long: a verifier to which a whole fleet comes back needs longer than an address that is wrong.
 */
const ANSWER = { firstMs: 10_000, mostMs: 60_000 };

/**
 * TOKEN_NEEDED: no TPM, no certificate that is valid still, and no join token that the verifier takes.
 * NO_ANSWER: nothing came in time.
 */
export type GrpcSinkErrorCode = "TOKEN_NEEDED" | "NO_ANSWER";

export class GrpcSinkError extends Error {
  readonly code: GrpcSinkErrorCode;

  constructor(code: GrpcSinkErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "GrpcSinkError";
    this.code = code;
  }
}

export interface GrpcSinkOptions {
  readonly enrolment: Omit<EnrolmentOptions, "joinToken">;
  /** Asked at each enrolment without TPM, for an operator may have brought a new one. undefined: there is none. */
  readonly joinToken: () => string | undefined;
  /** `host:port` of the verifier's main listener. */
  readonly address: string;
  readonly clock: Clock;
  /** Where a node that joins by join token keeps key and certificate, so that a restart needs no new one. Not used by others. */
  readonly credentialFile: string;
  /** @param notAfterMs the certificate's end, by this node's clock */
  readonly enrolled: (credential: Credential, notAfterMs: number) => void;
  /** How long the first message of a stream is waited for. Default {@link ANSWER}. */
  readonly answer?: typeof ANSWER;
}

export class GrpcSink implements EvidenceSink {
  readonly #options: GrpcSinkOptions;
  #credential: Credential | undefined;
  /** Of the present stream. */
  #channel: RpcChannel | undefined;
  /** When the present certificate was asked for: by this node's clock, and by one that nobody sets (but that may stand still while the machine sleeps). */
  #asked = { wallMs: 0, steadyMs: 0, lifetimeMs: 0 };
  /** Whether the kept certificate may be tried: not right after the verifier has refused it, for then a token may help. */
  #useKept = true;
  /** Attempts on end on which nothing came. */
  #unanswered = 0;
  /** Ends the present stream so that the next begins with a new certificate. */
  #enrolAnew = new AbortController();

  constructor(options: GrpcSinkOptions) {
    this.#options = options;
  }

  async *connect(outgoing: AsyncIterable<OutgoingMessage>, signal: AbortSignal): AsyncGenerator<AttestResponse> {
    const credential = await this.#ensureCredential(signal);
    const { address, enrolment } = this.#options;
    const tls = credentials.createSsl(enrolment.caCertificate, Buffer.from(credential.privateKey), Buffer.from(credential.certificateChain));
    const channel = new RpcChannel(address, tls, CHANNEL);
    this.#channel = channel;
    const aged = AbortSignal.timeout(Math.max(1000, Math.round(RENEW_AFTER * this.#asked.lifetimeMs - this.#ageMs())));
    const renew = AbortSignal.any([aged, this.#enrolAnew.signal]);
    const unanswered = new AbortController();
    const answerMs = this.#answerMs();
    const timer = setTimeout(() => unanswered.abort(), answerMs);
    try {
      for await (const response of channel.client(Attestation).attest(outgoing, { signal: AbortSignal.any([signal, renew, unanswered.signal]) })) {
        clearTimeout(timer);
        this.#unanswered = 0;
        yield response;
      }
    } catch (error) {
      if (unanswered.signal.aborted && !signal.aborted) {
        this.#unanswered++;
        throw new GrpcSinkError("NO_ANSWER", `nothing came from the verifier at ${address} within ${answerMs / 1000} s`, { cause: error });
      }
      if (!renew.aborted || signal.aborted) throw error;
    } finally {
      clearTimeout(timer);
      this.#channel = undefined;
      channel.close();
    }
  }

  #answerMs(): number {
    const { firstMs, mostMs } = this.#options.answer ?? ANSWER;
    return Math.min(mostMs, firstMs * 2 ** Math.min(this.#unanswered, 10));
  }

  /** Beside the stream, which it must not hold up. Resolves when the person who fetches has taken it. @throws RpcError; Error where there is no stream */
  async uploadCapture({ requestId, offset, bytes, last, refusal }: CapturePart): Promise<void> {
    if (!this.#channel) throw new Error("there is no connection to the verifier");
    const part = { requestId, offset: BigInt(offset), part: bytes, last, refusal };
    await this.#channel.client(Attestation).uploadPodCapture(part, { timeoutMs: UPLOAD_TIMEOUT_MS });
  }

  /** Drops the certificate, so that the next stream enrols again: the verifier does not know it (any more). */
  forgetCredential(): void {
    this.#credential = undefined;
    this.#useKept = false;
  }

  /** The key that the node enrolled with is no more: a new certificate is asked for at once, on a new stream. */
  enrolAnew(): void {
    this.#credential = undefined;
    const before = this.#enrolAnew;
    this.#enrolAnew = new AbortController();
    before.abort();
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
    const [wallMs, steadyMs] = [clock.nowMs(), performance.now()];
    // A certificate of another CA than those that count now opens nothing.
    if (this.#credential && !isIssuedBy(this.#credential.certificateChain, enrolment.caCertificate)) this.#credential = undefined;
    if (this.#credential && this.#ageMs() < RENEW_AFTER * this.#asked.lifetimeMs) return this.#credential;
    const anew = enrolment.quoter !== undefined || enrolment.serviceAccountToken !== undefined;
    const { lifetimeMs, ...credential } = await (anew ? this.#enrol(undefined, signal) : this.#issuedWithoutTpm(wallMs, signal));
    const notAfterMs = wallMs + lifetimeMs;
    if (!anew) writeCredential(this.#options.credentialFile, { ...credential, notAfterMs });
    this.#credential = credential;
    this.#asked = { wallMs, steadyMs, lifetimeMs };
    enrolled(credential, notAfterMs);
    return credential;
  }

  /** By the certificate that it has, as long as that is valid; then by token. */
  async #issuedWithoutTpm(nowMs: number, signal: AbortSignal): Promise<Issued> {
    const { address, enrolment, credentialFile } = this.#options;
    const read = !this.#credential && this.#useKept ? readCredential(credentialFile, enrolment.caCertificate) : undefined;
    this.#useKept = true;
    const held = this.#credential && performance.now() - this.#asked.steadyMs < this.#asked.lifetimeMs ? this.#credential : undefined;
    const valid = held ?? (read && nowMs < read.notAfterMs ? read : undefined);
    const renewed = valid && this.#patiently((answerMs) => renew(address, enrolment, valid, signal, answerMs));
    const issued = await renewed?.catch((error: unknown) => this.#refused(error));
    return issued ?? (await this.#joinByToken(signal));
  }

  /** An attempt to enrol may go to an address that nobody has, as one to connect. */
  async #patiently<T>(ask: (answerMs: number) => Promise<T>): Promise<T> {
    try {
      return await ask(this.#answerMs());
    } catch (error) {
      if (RpcError.from(error).code === "DEADLINE_EXCEEDED") this.#unanswered++;
      throw error;
    }
  }

  #enrol(joinToken: string | undefined, signal: AbortSignal): Promise<Issued> {
    return this.#patiently((answerMs) => enrol({ ...this.#options.enrolment, joinToken }, signal, answerMs));
  }

  /** Of the present certificate, at least: a clock that was set back makes nothing younger. */
  #ageMs(): number {
    return Math.max(this.#options.clock.nowMs() - this.#asked.wallMs, performance.now() - this.#asked.steadyMs);
  }

  async #joinByToken(signal: AbortSignal): Promise<Issued> {
    const { enrolment, joinToken } = this.#options;
    const token = joinToken();
    const needed = (why: string, cause?: unknown): GrpcSinkError => {
      const how = `get a new join token with "hullmark node token ${enrolment.nodeName}" and put it into the file of joinTokenFile`;
      return new GrpcSinkError("TOKEN_NEEDED", `no TPM, no certificate that is still valid, and ${why}: ${how}`, { cause });
    };
    if (token === undefined) throw needed("no join token");
    return await this.#enrol(token, signal).catch((error: unknown) => {
      throw RpcError.from(error).detail.reason === "TOKEN" ? needed("the join token is used, expired or unknown", error) : error;
    });
  }

  /** A certificate that the verifier does not know (any more) is no reason not to try the token; every other failure is. */
  #refused(error: unknown): undefined {
    if (RpcError.from(error).code !== "UNAUTHENTICATED") throw error;
    this.#credential = undefined;
  }
}
