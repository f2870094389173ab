/** Serves a protobuf-es service on a grpc-js server: handlers are promises and async generators over typed messages. */
import { randomUUID } from "node:crypto";
import type { EventEmitter } from "node:events";
import type { Readable } from "node:stream";
import type { DescMethodBiDiStreaming, DescMethodServerStreaming, DescMethodUnary, DescService, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import type { Server, ServerDuplexStream, ServerReadableStream, sendUnaryData, UntypedHandleCall } from "@grpc/grpc-js";
import { methodPath, servedDefinition } from "./definition.ts";
import { RpcError } from "./error.ts";
import { iterate, pump } from "./stream.ts";

/** What a handler knows of a call. */
export interface CallContext {
  /** Made here, never taken from the peer: what it is called in logs, and in the error that the peer gets. */
  readonly requestId: string;
  /** `/hullmark.v1.Query/ListDrift` */
  readonly path: string;
  /** Aborted when the peer cancels, the deadline passes or the connection goes. */
  readonly signal: AbortSignal;
  /** DER of the verified client certificate; undefined where the listener asks for none. */
  readonly peerCertificate: Buffer | undefined;
  /** Of `authorization: Bearer`, where it is there once; not looked at. A secret: it goes into no log. */
  readonly bearerToken?: string | undefined;
  /** Who calls, where the guard found that out by asking: set by it alone. */
  caller?: object | undefined;
  /** Address of the peer, for logs only. */
  readonly peer: string;
  /** Of a stream: ends it with this error, whatever waits to be sent. undefined: the call has one answer. */
  readonly end: ((error: RpcError) => void) | undefined;
}

type Handler<M> =
  M extends DescMethodUnary<infer I, infer O>
    ? (request: MessageShape<I>, context: CallContext) => Promise<MessageInitShape<O>>
    : M extends DescMethodServerStreaming<infer I, infer O>
      ? (request: MessageShape<I>, context: CallContext) => AsyncIterable<MessageInitShape<O>>
      : M extends DescMethodBiDiStreaming<infer I, infer O>
        ? (requests: AsyncIterable<MessageShape<I>>, context: CallContext) => AsyncIterable<MessageInitShape<O>>
        : never;

/** One handler a method, by its local name. */
export type ServiceImplementation<S extends DescService> = { [K in keyof S["method"]]: Handler<S["method"][K]> };

/** Called before every handler. Throws, or rejects with, RpcError to refuse. */
export type Guard = (context: CallContext) => void | Promise<void>;

/** Called with every error before it is sent, with its cause. */
export type OnError = (error: RpcError, context: CallContext) => void;

type AnyCall = ServerReadableStream<unknown, unknown> | ServerDuplexStream<unknown, unknown>;

function contextOf(path: string, call: AnyCall, end?: (error: RpcError) => void): { context: CallContext; abort: AbortController } {
  const abort = new AbortController();
  (call as EventEmitter).on("cancelled", () => abort.abort(new DOMException("cancelled by the peer", "AbortError")));
  const certificate = call.getAuthContext().sslPeerCertificate as { raw?: Buffer } | undefined;
  const bearerToken = bearerOf(call.metadata.get("authorization"));
  return { context: { requestId: randomUUID(), path, signal: abort.signal, peerCertificate: certificate?.raw, bearerToken, peer: call.getPeer(), end }, abort };
}

const BEARER = /^bearer +([^ ]+)$/i;

function bearerOf(values: readonly (string | Buffer)[]): string | undefined {
  const [value, another] = values;
  return typeof value === "string" && another === undefined ? BEARER.exec(value)?.[1] : undefined;
}

/**
 * Adds `service` to `server`. Every call passes `guard` first, before anything that it sends is read: what waits for a guard takes of memory what HTTP/2 lets a stream send
 * unasked (64 KiB). There is no way to serve one without.
 */
export function addService<S extends DescService>(server: Server, service: S, implementation: ServiceImplementation<S>, guard: Guard, onError: OnError): void {
  const handlers: Record<string, UntypedHandleCall> = {};
  for (const method of service.methods) {
    const path = methodPath(service, method);
    const handler = implementation[method.localName as keyof S["method"]] as never;
    const output = method.output;
    if (method.methodKind === "unary") handlers[method.localName] = unary(path, handler, guard, onError, (init) => create(output, init as never));
    else handlers[method.localName] = streaming(path, handler, method.methodKind === "bidi_streaming", guard, onError, (init) => create(output, init as never));
  }
  server.addService(servedDefinition(service), handlers);
}

type Create = (init: unknown) => unknown;

function unary(
  path: string,
  handler: (request: unknown, context: CallContext) => Promise<unknown>,
  guard: Guard,
  onError: OnError,
  make: Create,
): UntypedHandleCall {
  return ((call: ServerReadableStream<unknown, unknown>, callback: sendUnaryData<unknown>) => {
    const { context } = contextOf(path, call);
    const run = async (): Promise<unknown> => {
      await guard(context);
      return make(await handler(await only(call, context.signal), context));
    };
    run().then(
      (response) => callback(null, response),
      (thrown) => {
        const error = RpcError.from(thrown);
        onError(error, context);
        callback(error.toServiceError(context.requestId));
      },
    );
  }) as UntypedHandleCall;
}

function streaming(
  path: string,
  handler: (request: unknown, context: CallContext) => AsyncIterable<unknown>,
  bidi: boolean,
  guard: Guard,
  onError: OnError,
  make: Create,
): UntypedHandleCall {
  return ((call: ServerDuplexStream<unknown, unknown>) => {
    const ended = Promise.withResolvers<never>();
    // Nobody may wait for it any more.
    ended.promise.catch(() => {});
    const { context, abort } = contextOf(path, call, ended.reject);
    // Not before all is written, the status too: an abort destroys the call in both directions, and with it what still waits for the peer to read.
    (call as EventEmitter).once("finish", () => abort.abort());
    const run = async (): Promise<void> => {
      await guard(context);
      const request = bidi ? iterate(call, context.signal) : await only(call, context.signal);
      context.signal.throwIfAborted();
      await pump(map(handler(request, context), make), call, context.signal);
    };
    Promise.race([run(), ended.promise]).then(
      () => call.end(),
      (thrown) => {
        const error = RpcError.from(thrown);
        onError(error, context);
        call.emit("error", error.toServiceError(context.requestId));
      },
    );
  }) as UntypedHandleCall;
}

/** Of a call that has one request: the answer can be written still once it is read. @throws RpcError UNIMPLEMENTED, as grpc-js answers, where it is none or several; CANCELLED */
async function only(call: Readable, signal: AbortSignal): Promise<unknown> {
  let request: unknown;
  try {
    for await (const each of call.iterator({ destroyOnReturn: false })) {
      if (request !== undefined) throw new RpcError("UNIMPLEMENTED", "a second request message");
      request = each;
    }
  } catch (thrown) {
    throw signal.aborted ? signal.reason : thrown;
  }
  if (request === undefined) throw new RpcError("UNIMPLEMENTED", "no request message");
  return request;
}

async function* map(items: AsyncIterable<unknown>, make: Create): AsyncGenerator<unknown> {
  for await (const item of items) yield make(item);
}
