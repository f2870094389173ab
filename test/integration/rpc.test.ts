import { type ClientHttp2Session, type ClientHttp2Stream, connect } from "node:http2";
import { credentials, Server, ServerCredentials } from "@grpc/grpc-js";
import { addService, type CallContext, RpcChannel, RpcError } from "@hullmark/proto/rpc";
import { Attestation } from "@hullmark/proto/v1/attestation";
import { Query } from "@hullmark/proto/v1/query";
import { afterEach, expect, test } from "vitest";

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.forceShutdown();
});

type QueryHandlers = Parameters<typeof addService<typeof Query>>[2];

const refuse = async (): Promise<never> => {
  throw new RpcError("UNIMPLEMENTED", "not in this test");
};

type Attest = Parameters<typeof addService<typeof Attestation>>[2]["attest"];

const echo: Attest = async function* (requests) {
  for await (const { message } of requests) {
    if (message.case === "heartbeat") yield { message: { case: "acknowledgement", value: { seq: message.value.seq } } };
  }
};

async function serve(overrides: Partial<QueryHandlers>, errors: RpcError[] = [], attest = echo): Promise<RpcChannel> {
  return new RpcChannel(await listening(overrides, errors, attest), credentials.createInsecure());
}

/** @param held what the guard of GetStatus waits for @param onWatch told of each WatchNodes, by the guard @returns the address */
async function listening(
  overrides: Partial<QueryHandlers>,
  errors: RpcError[] = [],
  attest = echo,
  held?: Promise<void>,
  onWatch: (context: CallContext) => void = () => {},
): Promise<string> {
  const server = new Server();
  servers.push(server);
  const handlers = Object.fromEntries(Query.methods.map((m) => [m.localName, refuse])) as unknown as QueryHandlers;
  const guard = (context: CallContext): void | Promise<void> => {
    const { path } = context;
    if (path.endsWith("/WatchNodes")) onWatch(context);
    if (path.endsWith("/GetStatus")) return held;
    if (path.endsWith("/GetNode")) throw new RpcError("PERMISSION_DENIED", "viewer role needed", { reason: "ROLE", fix: "ask an admin" });
  };
  addService(server, Query, { ...handlers, ...overrides }, guard, (error) => errors.push(error));
  addService(
    server,
    Attestation,
    { attest, uploadPodCapture: async () => ({}) },
    () => {},
    (error) => errors.push(error),
  );
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound))),
  );
  return `127.0.0.1:${port}`;
}

function plainly(address: string): ClientHttp2Session {
  // It goes with its server.
  return connect(`http://${address}`).on("error", () => {});
}

/** gRPC's, wherever it stands. */
function statusOf(call: ClientHttp2Stream): Promise<unknown> {
  return new Promise((resolve, reject) => {
    for (const event of ["response", "trailers"]) call.on(event, (headers) => headers["grpc-status"] !== undefined && resolve(headers["grpc-status"]));
    call.on("error", reject);
    call.resume();
  });
}

test("unary call carries messages both ways", async () => {
  const channel = await serve({ getStatus: async () => ({ verifierId: "v1", nodesTotal: 3 }) });
  const status = await channel.client(Query).getStatus({});
  expect(status.verifierId).toBe("v1");
  expect(status.nodesTotal).toBe(3);
  channel.close();
});

test("a refusal by the guard arrives with code and detail, and the handler never runs", async () => {
  let ran = false;
  const channel = await serve({
    getNode: async () => {
      ran = true;
      return {};
    },
  });
  const error = await channel
    .client(Query)
    .getNode({ id: "x" })
    .catch((e: unknown) => e);
  expect(error).toBeInstanceOf(RpcError);
  expect(error).toMatchObject({ code: "PERMISSION_DENIED", detail: { reason: "ROLE", fix: "ask an admin", retryable: false } });
  expect(ran).toBe(false);
  channel.close();
});

test("the guard comes before all that a call sends: who is refused need not have sent it, and who waits has sent no more than HTTP/2 lets anybody", async () => {
  const held = Promise.withResolvers<void>();
  let asked = false;
  const getStatus: QueryHandlers["getStatus"] = async () => {
    asked = true;
    return {};
  };
  const session = plainly(await listening({ getStatus }, [], echo, held.promise));
  const call = (method: string) =>
    session.request({ ":method": "POST", ":path": `/hullmark.v1.Query/${method}`, "content-type": "application/grpc", te: "trailers" });
  // Neither its request nor the end of it has come.
  const refused = call("GetNode");
  expect(await statusOf(refused)).toBe("7");
  // One message of unknown fields.
  const message = Buffer.alloc(5 + 1_000_000);
  message.writeUInt32BE(message.length - 5, 1);
  const field = Buffer.from([0xba, 0x3e, 0xbb, 0x84, 0x3d]);
  field.copy(message, 5);
  const waiting = call("GetStatus");
  let sent = false;
  waiting.end(message, () => {
    sent = true;
  });
  const ended = statusOf(waiting);
  for (let i = 0; i < 3; i++) await new Promise((resolve) => session.ping(resolve));
  expect([sent, asked]).toEqual([false, false]);
  held.resolve();
  expect(await ended).toBe("0");
  expect([sent, asked]).toEqual([true, true]);
});

test("a call that has one request is refused where it sends none, or two", async () => {
  const session = plainly(await listening({ getStatus: async () => ({}) }));
  for (const [messages, status] of [
    [0, "12"],
    [1, "0"],
    [2, "12"],
  ] as const) {
    const call = session.request({ ":method": "POST", ":path": "/hullmark.v1.Query/GetStatus", "content-type": "application/grpc", te: "trailers" });
    call.end(Buffer.alloc(5 * messages));
    expect(await statusOf(call), `${messages}`).toBe(status);
  }
});

test("an unexpected exception is INTERNAL without its text, and its cause stays on the server", async () => {
  const errors: RpcError[] = [];
  const channel = await serve({ getStatus: () => Promise.reject(new Error("secret path /etc/x")) }, errors);
  const error = await channel
    .client(Query)
    .getStatus({})
    .catch((e: RpcError) => e);
  expect(error).toMatchObject({ code: "INTERNAL", message: "internal error" });
  expect(errors.map(({ cause }) => String(cause))).toEqual([expect.stringContaining("secret path")]);
  channel.close();
});

test("server stream ends with the caller's abort and the handler sees it", async () => {
  let handlerSignal: AbortSignal | undefined;
  const channel = await serve({
    async *watchDrift(_request, context) {
      handlerSignal = context.signal;
      yield { drift: { id: "D-1" } };
      await new Promise((resolve) => context.signal.addEventListener("abort", resolve, { once: true }));
    },
  });
  const abort = new AbortController();
  const seen: string[] = [];
  const watching = (async () => {
    for await (const { drift } of channel.client(Query).watchDrift({}, { signal: abort.signal })) {
      seen.push(drift?.id ?? "");
      abort.abort();
    }
  })();
  await expect(watching).rejects.toMatchObject({ code: "CANCELLED" });
  expect(seen).toEqual(["D-1"]);
  await expect.poll(() => handlerSignal?.aborted).toBe(true);
  channel.close();
});

test("bidirectional stream answers each request and ends with the requests", async () => {
  const channel = await serve({});
  async function* requests() {
    for (const seq of [1n, 2n, 3n]) yield { message: { case: "heartbeat" as const, value: { seq } } };
  }
  const seqs: bigint[] = [];
  for await (const { message } of channel.client(Attestation).attest(requests())) if (message.case === "acknowledgement") seqs.push(message.value.seq);
  expect(seqs).toEqual([1n, 2n, 3n]);
  channel.close();
});

test("what a stream ends with arrives also while its last messages still wait to be written", async () => {
  const channel = await serve({}, [], async function* (requests) {
    // Read on, as a node's session does: the end of the call ends it.
    const read = async (): Promise<number> => {
      let count = 0;
      for await (const _ of requests) count++;
      return count;
    };
    void read().catch(() => 0);
    // More than the peer has room for, and then the end.
    for (let i = 0; i < 12; i++) yield { message: { case: "resync", value: { reason: "x".repeat(64 * 1024) } } };
    throw new RpcError("ABORTED", "another session of this node was opened", { reason: "SUPERSEDED" });
  });
  async function* requests() {
    yield { message: { case: "hello" as const, value: {} } };
    await new Promise(() => {});
  }
  let seen = 0;
  const reading = (async () => {
    for await (const { message } of channel.client(Attestation).attest(requests())) {
      if (message.case === "resync" && ++seen === 1) await new Promise((resolve) => setTimeout(resolve, 300));
    }
  })();
  await expect(reading).rejects.toMatchObject({ code: "ABORTED", detail: { reason: "SUPERSEDED" } });
  expect(seen).toBe(12);
  channel.close();
});

test("a stream is ended also while its request has not come: the caller is told why", async () => {
  const watched: CallContext[] = [];
  const errors: RpcError[] = [];
  let ran = false;
  const watchNodes: QueryHandlers["watchNodes"] = async function* () {
    ran = true;
    yield {};
  };
  const session = plainly(await listening({ watchNodes }, errors, echo, undefined, (context) => watched.push(context)));
  const request = { ":method": "POST", ":path": "/hullmark.v1.Query/WatchNodes", "content-type": "application/grpc", te: "trailers" };
  const half = session.request(request);
  await expect.poll(() => watched.length).toBe(1);
  watched[0]?.end?.(new RpcError("UNAVAILABLE", "over", { reason: "STOPPING" }));
  expect(await statusOf(half)).toBe("14");
  // Twice, and after its end, is no harm.
  watched[0]?.end?.(new RpcError("UNAVAILABLE", "over", { reason: "STOPPING" }));
  const whole = session.request(request);
  whole.end(Buffer.alloc(5));
  expect(await statusOf(whole)).toBe("0");
  watched[1]?.end?.(new RpcError("UNAVAILABLE", "over", { reason: "STOPPING" }));
  for (let i = 0; i < 3; i++) await new Promise((resolve) => session.ping(resolve));
  expect([ran, errors.map(({ detail }) => detail.reason), watched[0]?.signal.aborted]).toEqual([true, ["STOPPING"], true]);
});

test("a deadline ends a call that is not answered", async () => {
  const channel = await serve({ getStatus: () => new Promise(() => {}) });
  await expect(channel.client(Query).getStatus({}, { timeoutMs: 50 })).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
  channel.close();
});

test("a large message is for the stream of a node: any other request of that size is refused before its handler", async () => {
  let ran = false;
  const channel = await serve({
    getWorkload: async () => {
      ran = true;
      return {};
    },
  });
  const large = "x".repeat(2 * 1024 * 1024);
  const error = await channel
    .client(Query)
    .getWorkload({ container: large })
    .catch((e: unknown) => e);
  expect(error).toBeInstanceOf(RpcError);
  expect(ran).toBe(false);
  async function* requests() {
    yield { message: { case: "hello" as const, value: { agentVersion: large } } };
    yield { message: { case: "heartbeat" as const, value: { seq: 7n } } };
  }
  const answers = [];
  for await (const { message } of channel.client(Attestation).attest(requests())) answers.push(message.case);
  expect(answers).toEqual(["acknowledgement"]);
  channel.close();
});
