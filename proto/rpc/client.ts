/** Calls a protobuf-es service over grpc-js: promises and async iterables, deadlines and AbortSignals. */
import type {
  DescMethod,
  DescMethodBiDiStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
  DescService,
  Message,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import { type ChannelCredentials, type ChannelOptions, Client, type CallOptions as GrpcCallOptions, Metadata } from "@grpc/grpc-js";
import { MAX_MESSAGE_BYTES, methodDefinition } from "./definition.ts";
import { RpcError } from "./error.ts";
import { iterate, pump } from "./stream.ts";

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** Milliseconds until DEADLINE_EXCEEDED. Unary calls: default 10,000; streams: none. */
  readonly timeoutMs?: number;
}

type Method<M> =
  M extends DescMethodUnary<infer I, infer O>
    ? (request: MessageInitShape<I>, options?: CallOptions) => Promise<MessageShape<O>>
    : M extends DescMethodServerStreaming<infer I, infer O>
      ? (request: MessageInitShape<I>, options?: CallOptions) => AsyncIterable<MessageShape<O>>
      : M extends DescMethodBiDiStreaming<infer I, infer O>
        ? (requests: AsyncIterable<MessageInitShape<I>>, options?: CallOptions) => AsyncIterable<MessageShape<O>>
        : never;

export type ServiceClient<S extends DescService> = { readonly [K in keyof S["method"]]: Method<S["method"][K]> };

const DEFAULT_UNARY_TIMEOUT_MS = 10_000;
/** Reasons of a refusal that another token may lift. */
const OF_TOKENS = ["TOKEN", "TOKEN_EXPIRED"];
const NEVER = new AbortController().signal;

/** A connection to one address; several services may share it. */
export class RpcChannel {
  readonly #client: Client;
  readonly #renew: () => boolean;

  /**
   * @param address `host:port` @param options grpc-js channel options beside the size limits
   * @param renew called where a call was refused for its token; whether the next one brings another
   */
  constructor(address: string, credentials: ChannelCredentials, options: ChannelOptions = {}, renew: () => boolean = () => false) {
    this.#renew = renew;
    this.#client = new Client(address, credentials, {
      "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
      "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
      ...options,
    });
  }

  client<S extends DescService>(service: S): ServiceClient<S> {
    const methods: Record<string, unknown> = {};
    for (const method of service.methods) methods[method.localName] = this.#method(service, method);
    return methods as ServiceClient<S>;
  }

  close(): void {
    this.#client.close();
  }

  /** Whether what ended so, for its token, can be asked again by another one. */
  mayAskAgain(error: unknown): boolean {
    return error instanceof RpcError && error.code === "UNAUTHENTICATED" && OF_TOKENS.includes(error.detail.reason) && this.#renew();
  }

  #method(service: DescService, method: DescMethod): unknown {
    if (method.methodKind === "unary")
      return async (request: never, options: CallOptions = {}) => {
        try {
          return await this.#unary(service, method, request, options);
        } catch (error) {
          // It was refused before anything of it was done.
          if (!this.mayAskAgain(error)) throw error;
          return await this.#unary(service, method, request, options);
        }
      };
    if (method.methodKind === "server_streaming")
      return (request: never, options: CallOptions = {}) => this.#serverStreaming(service, method, request, options);
    if (method.methodKind === "bidi_streaming")
      return (requests: AsyncIterable<never>, options: CallOptions = {}) => this.#bidi(service, method, requests, options);
    throw new TypeError(`${method.name}: client streaming is not used by any service here`);
  }

  #unary(service: DescService, method: DescMethod, request: never, options: CallOptions): Promise<Message> {
    const { path, requestSerialize, responseDeserialize } = methodDefinition(service, method);
    return new Promise((resolve, reject) => {
      if (options.signal?.aborted) return reject(RpcError.from(new DOMException("aborted", "AbortError")));
      const call = this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        create(method.input, request),
        new Metadata(),
        deadline(options.timeoutMs ?? DEFAULT_UNARY_TIMEOUT_MS),
        (error, response) => {
          options.signal?.removeEventListener("abort", cancel);
          if (error || !response) reject(RpcError.from(error));
          else resolve(response);
        },
      );
      const cancel = (): void => call.cancel();
      options.signal?.addEventListener("abort", cancel, { once: true });
    });
  }

  async *#serverStreaming(service: DescService, method: DescMethod, request: never, options: CallOptions): AsyncGenerator<Message> {
    const { path, requestSerialize, responseDeserialize } = methodDefinition(service, method);
    const call = this.#client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      create(method.input, request),
      new Metadata(),
      deadline(options.timeoutMs),
    );
    try {
      yield* iterate<Message>(call, options.signal ?? NEVER);
    } catch (thrown) {
      throw RpcError.from(thrown);
    } finally {
      call.cancel();
    }
  }

  async *#bidi(service: DescService, method: DescMethod, requests: AsyncIterable<never>, options: CallOptions): AsyncGenerator<Message> {
    const { path, requestSerialize, responseDeserialize } = methodDefinition(service, method);
    const call = this.#client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, new Metadata(), deadline(options.timeoutMs));
    const stop = new AbortController();
    const sending = pump(messages(method, requests), call, stop.signal).then(
      () => call.end(),
      () => call.cancel(),
    );
    try {
      yield* iterate<Message>(call, options.signal ?? NEVER);
    } catch (thrown) {
      throw RpcError.from(thrown);
    } finally {
      stop.abort();
      call.cancel();
      // The request iterable may be waiting for its next item: it ends with the caller's own signal, not here.
      void sending;
    }
  }
}

async function* messages(method: DescMethod, requests: AsyncIterable<never>): AsyncGenerator<Message> {
  for await (const request of requests) yield create(method.input, request);
}

function deadline(timeoutMs: number | undefined): GrpcCallOptions {
  return timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs };
}
