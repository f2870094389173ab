/** Passes a client's calls on to a unix socket and keeps their names: which of a runtime's interfaces is used. */
import { once } from "node:events";
import { type ClientHttp2Session, connect, constants, createServer, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { createConnection } from "node:net";

export interface GrpcRelay extends AsyncDisposable {
  /** `/PACKAGE.SERVICE/METHOD`, in the order that they were made. */
  readonly calls: readonly string[];
}

/** @param at unix socket that it listens on @param target one that serves HTTP/2 without TLS */
export async function relayCalls(at: string, target: string): Promise<GrpcRelay> {
  const calls: string[] = [];
  const upstream = connect("http://localhost", { createConnection: () => createConnection(target) });
  // What waits for an answer is told by its own stream.
  upstream.on("error", () => {});
  const server = createServer();
  server.on("stream", (stream, headers) => {
    calls.push(headers[":path"] ?? "");
    pass(stream, headers, upstream);
  });
  server.listen(at);
  await once(server, "listening");
  return {
    calls,
    async [Symbol.asyncDispose]() {
      upstream.destroy();
      server.close();
    },
  };
}

function pass(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, upstream: ClientHttp2Session): void {
  const onward = upstream.request(headers);
  let trailers: IncomingHttpHeaders = {};
  onward.on("response", (answer, flags) => {
    if (flags & constants.NGHTTP2_FLAG_END_STREAM) return stream.respond(answer, { endStream: true });
    stream.respond(answer, { waitForTrailers: true });
    onward.pipe(stream);
  });
  onward.on("trailers", (told) => {
    trailers = told;
  });
  stream.on("wantTrailers", () => stream.sendTrailers(trailers));
  stream.pipe(onward);
  onward.on("error", () => stream.close(constants.NGHTTP2_CANCEL));
  // It ends by itself once all of it is passed on.
  stream.on("error", () => {});
  stream.on("close", () => onward.close(constants.NGHTTP2_CANCEL));
}
