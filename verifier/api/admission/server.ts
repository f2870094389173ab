/**
 * The webhook that the API server asks before it takes a pod (admission.k8s.io/v1): HTTPS on a port of its own. Whoever reaches the port can ask; where the API server has a
 * client certificate, nobody else. Everything in a question is bounded before it is read.
 */
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import { type AdmissionAnswer, AdmissionError, type AdmissionService, type FailurePolicy, readReview } from "../../core/admission/index.ts";
import { Turns } from "../../core/enrolment/turns.ts";

export interface AdmissionServerOptions {
  readonly service: Pick<AdmissionService, "answer">;
  /** PEM. */
  readonly certificateChain: Buffer;
  readonly privateKey: Buffer;
  /** PEM: who asks must have a certificate of this CA. undefined: anybody may ask. */
  readonly clientCa: string | undefined;
  /** A question could not be answered; the API server's failure policy decides. */
  readonly onError: (error: unknown) => void;
}

/** Two objects of at most 1.5 MiB (etcd), escaped. */
const MAX_BODY_BYTES = 8 * 1024 * 1024;
/** An API server has 200 changes under way by default; nobody who reaches the port from one address takes all places. */
const AT_ONCE = { all: 512, ofAddress: 256 };
/** What they say together, from before it is read until it is answered: 160 KiB each of an API server's 200. */
const BYTES_AT_ONCE = { all: 64 * 1024 * 1024, ofAddress: 32 * 1024 * 1024 };
const CONNECTIONS = { all: 4096, ofAddress: 1024 };
const DEFAULT_BUDGET_MS = 8000;
/** What is kept of the API server's time for the way back. */
const RESERVE_MS = 500;

/** The server, not yet listening. */
export function buildAdmissionServer({ service, certificateChain, privateKey, clientCa, onError }: AdmissionServerOptions): FastifyInstance {
  const client = clientCa === undefined ? {} : { ca: clientCa, requestCert: true, rejectUnauthorized: true };
  const server = Fastify({
    https: { cert: certificateChain, key: privateKey, minVersion: "TLSv1.2", ...client },
    logger: false,
    bodyLimit: MAX_BODY_BYTES,
    requestTimeout: 30_000,
    connectionTimeout: 60_000,
    keepAliveTimeout: 90_000,
    frameworkErrors: (_error, _request, reply: FastifyReply) => void reply.code(400).type("text/plain").send("bad request\n"),
  });
  server.setNotFoundHandler((_request, reply) => reply.code(404).type("text/plain").send("not found\n"));
  server.setErrorHandler((error, _request, reply) => {
    const status = error instanceof AdmissionError ? 400 : ((error as { statusCode?: number }).statusCode ?? 500);
    if (status >= 500) onError(error);
    const told = error instanceof AdmissionError ? error.message : status < 500 ? "bad request" : "internal error";
    return reply.code(status).type("text/plain").send(`${told}\n`);
  });
  boundConnections(server);
  server.addHook("onRequest", bounded());
  const route = (failure: FailurePolicy): void => {
    server.post<{ Querystring: { timeout?: string } }>(`/admission/${failure}`, async (request, reply) => {
      const waiting = AbortSignal.timeout(budgetMs(request.query.timeout));
      return await reply.send(reviewOf(await service.answer(readReview(request.body), failure, waiting)));
    });
  };
  route("fail");
  route("ignore");
  return server;
}

/** Anybody who reaches the port connects: what he then never says takes memory too. */
function boundConnections({ server }: FastifyInstance): void {
  const turns = new Turns(CONNECTIONS);
  server.on("connection", (socket) => {
    const over = turns.take(`${socket.remoteAddress}:${socket.remotePort}`);
    if (over) socket.once("close", over);
    else socket.destroy();
  });
}

/** Before anything of a question is read: a place, and room for all that it says, until it is answered or its asker is gone. */
function bounded() {
  const [turns, bytes] = [new Turns(AT_ONCE), new Turns(BYTES_AT_ONCE)];
  return async ({ ip, socket, headers }: FastifyRequest, reply: FastifyReply) => {
    const refuse = (status: number, why: string) => reply.code(status).header("connection", "close").type("text/plain").send(`${why}\n`);
    const told = Number(headers["content-length"] ?? 0);
    // An API server always says how much it is.
    if (headers["transfer-encoding"] !== undefined || !Number.isSafeInteger(told)) return await refuse(411, "how long is it");
    const peer = `${ip}:${socket.remotePort ?? 0}`;
    const length = Math.min(told, MAX_BODY_BYTES);
    const over = turns.take(peer);
    const read = over && bytes.take(peer, length);
    if (!over || !read) {
      over?.();
      return await refuse(503, "too many questions");
    }
    reply.raw.once("close", () => {
      over();
      read();
    });
  };
}

/** The API server says how long it waits, for example `10s`: an answer before that is told to people, one after it is not. */
export function budgetMs(timeout: string | undefined): number {
  const [, digits, unit] = /^(\d{1,5}(?:\.\d{1,9})?)(ms|s)$/.exec(timeout ?? "") ?? [];
  if (digits === undefined) return DEFAULT_BUDGET_MS;
  const ms = Number(digits) * (unit === "s" ? 1000 : 1);
  return Math.round(Math.min(30_000, Math.max(ms / 2, ms - RESERVE_MS)));
}

function reviewOf({ uid, allowed, message, warnings, audit }: AdmissionAnswer): object {
  return {
    apiVersion: "admission.k8s.io/v1",
    kind: "AdmissionReview",
    response: {
      ...{ uid, allowed, auditAnnotations: audit },
      ...(message !== "" && { status: { code: 403, reason: "Forbidden", message } }),
      ...(warnings.length > 0 && { warnings }),
    },
  };
}
