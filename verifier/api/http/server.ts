/**
 * What the verifier serves over plain HTTP: the log and the keys of Attestation Results for anyone who wants to check it, health for the orchestrator, metrics for Prometheus.
 * All of it is read-only and none of it secret; requests come from strangers, so every path is parsed strictly and answers are bounded.
 */
import Fastify, { type FastifyInstance, type FastifyReply } from "fastify";
import type { Readiness } from "../../core/fleet/health.ts";
import type { LogReader } from "../../ports/log-store.ts";
import { registerLogRoutes } from "./log.ts";

export interface HttpServerOptions {
  readonly log: LogReader;
  /** Prometheus text. */
  readonly metrics: { readonly contentType: string; metrics(): Promise<string> };
  readonly readiness: () => Readiness;
  /** Public keys of Attestation Results, as a JWK Set. */
  readonly jwks: () => object;
  /** A request that takes longer is cut off. Default 10,000. */
  readonly requestTimeoutMs?: number;
}

/** The server, not yet listening: `await server.listen({ host, port })`, and `await server.close()` at the end. */
export function buildHttpServer({ log, metrics, readiness, jwks, requestTimeoutMs = 10_000 }: HttpServerOptions): FastifyInstance {
  const server = Fastify({
    logger: false,
    bodyLimit: 1024,
    requestTimeout: requestTimeoutMs,
    connectionTimeout: 60_000,
    keepAliveTimeout: 30_000,
    maxRequestsPerSocket: 10_000,
    routerOptions: { maxParamLength: 128 },
    // Nobody is told what went wrong inside.
    frameworkErrors: (_error, _request, reply: FastifyReply) => void reply.code(400).type("text/plain").send("bad request\n"),
  });
  server.addHook("onSend", async (_request, reply) => {
    reply.header("x-content-type-options", "nosniff");
  });
  server.setNotFoundHandler((_request, reply) => reply.code(404).type("text/plain").send("not found\n"));
  server.setErrorHandler((error, _request, reply) => {
    const status = (error as { statusCode?: number }).statusCode ?? 500;
    return reply
      .code(status)
      .type("text/plain")
      .send(status < 500 ? "bad request\n" : "internal error\n");
  });
  // Alive: the event loop answers. Ready: see Readiness.
  server.get("/healthz", (_request, reply) => reply.header("cache-control", "no-store").type("text/plain").send("ok\n"));
  server.get("/readyz", (_request, reply) => {
    const state = readiness();
    return reply
      .code(state.ready ? 200 : 503)
      .header("cache-control", "no-store")
      .send(state);
  });
  server.get("/metrics", async (_request, reply) =>
    reply
      .header("cache-control", "no-store")
      .type(metrics.contentType)
      .send(await metrics.metrics()),
  );
  // Caches may be a few minutes old: a key is published a day before it signs.
  server.get("/.well-known/jwks.json", (_request, reply) =>
    reply.header("cache-control", "public, max-age=300").type("application/jwk-set+json").send(JSON.stringify(jwks())),
  );
  registerLogRoutes(server, log);
  return server;
}
