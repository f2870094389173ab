/**
 * The dashboard's listener: HTTPS, a page, and the procedures that it asks. Anybody may reach it; without a session there is nothing but the page. What a browser sends is
 * bounded before it is read, and counts only where the page itself sent it: SameSite=Strict, a header of ours, and an Origin that is the host's own.
 */
import { randomUUID } from "node:crypto";
import fastifyCookie from "@fastify/cookie";
import { type CallContext, type OnError, type RpcCode, RpcError } from "@hullmark/proto/rpc";
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import type { EventBus } from "../../core/fleet/events.ts";
import type { Bearer } from "../../core/people/bearers.ts";
import type { BrowserSession, BrowserSessions } from "../../core/people/browser-sessions.ts";
import { highestOf } from "../../core/people/grants.ts";
import { type AccessServices, callerOf, mainGuard, TokenCaller } from "../grpc/index.ts";
import { Changes } from "./changes.ts";
import { type PageFiles, registerPages } from "./pages.ts";
import { type ProcedureServices, procedures } from "./procedures.ts";
import { registerSignIn, type SignInFact, type SignInServices } from "./sign-in.ts";

/** What a person was known by when the code was asked for. */
export type Credentials = Pick<CallContext, "peerCertificate" | "caller">;

export interface DashboardServerOptions extends ProcedureServices {
  readonly access: AccessServices;
  /** Whether a CA that counts has signed a certificate (DER): of a session nobody else asks, its connection was another one. */
  readonly hasIssued: (certificate: Buffer) => boolean;
  readonly sessions: BrowserSessions<Credentials>;
  readonly events: EventBus;
  /** undefined: by the command alone. */
  readonly signIn: SignInServices | undefined;
  readonly files: PageFiles;
  /** PEM. */
  readonly certificateChain: Buffer;
  readonly privateKey: Buffer;
  /** Not told of what strangers are refused: anybody reaches the listener, and a line for each request would be theirs to write. */
  readonly onError: OnError;
  readonly onSignIn: (fact: { readonly name: string; readonly peer: string }) => void;
  /** What became of a browser that came back from an issuer, or could not be sent there. */
  readonly onSignInResult: (result: SignInFact) => void;
}

export interface DashboardServer {
  /** Not yet listening. */
  readonly server: FastifyInstance;
  /** Sessions, and codes that wait, of people who would be refused now. */
  endRefused(): void;
  stop(): Promise<void>;
}

/** No path, so that every path has it; the prefix binds it to this host, over TLS. */
const COOKIE = "__Host-hullmark";
const COOKIE_OPTIONS = { path: "/", httpOnly: true, secure: true, sameSite: "strict" } as const;
const MAX_REQUEST_BYTES = 64 * 1024;
const MAX_CONNECTIONS = 2048;
const MESSAGE_TYPE = "application/proto";
/** Of ours: a page of another origin cannot send it without being asked about first, and nobody answers that. `page`: nobody did anything. */
const BY_HEADER = "hullmark-by";

/** Why somebody without a session is refused. */
const OF_STRANGERS: ReadonlySet<string> = new Set(["SESSION", "CODE", "ORIGIN"]);

const HEADERS = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
};

const STATUS: Partial<Record<RpcCode, number>> = {
  ...{ INVALID_ARGUMENT: 400, OUT_OF_RANGE: 400, FAILED_PRECONDITION: 409, ABORTED: 409, ALREADY_EXISTS: 409, UNAUTHENTICATED: 401 },
  ...{ PERMISSION_DENIED: 403, NOT_FOUND: 404, RESOURCE_EXHAUSTED: 429, CANCELLED: 499, UNAVAILABLE: 503, DEADLINE_EXCEEDED: 504 },
};

export function buildDashboardServer(options: DashboardServerOptions): DashboardServer {
  const { access, hasIssued, sessions, files, certificateChain, privateKey, onError, onSignIn } = options;
  const server = Fastify({
    https: { cert: certificateChain, key: privateKey, minVersion: "TLSv1.2" },
    logger: false,
    bodyLimit: MAX_REQUEST_BYTES,
    requestTimeout: 10_000,
    connectionTimeout: 120_000,
    keepAliveTimeout: 60_000,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 512 },
    frameworkErrors: (_error, _request, reply: FastifyReply) => void reply.code(400).type("text/plain").send("bad request\n"),
  }) as unknown as FastifyInstance;
  // What strangers keep open must not take the descriptors that agents' streams and the store need.
  server.server.maxConnections = MAX_CONNECTIONS;
  server.register(fastifyCookie);
  server.removeAllContentTypeParsers();
  server.addContentTypeParser([MESSAGE_TYPE, "text/plain"], { parseAs: "buffer" }, (_request, body, done) => done(null, body));
  server.addHook("onRequest", async (_request, reply) => void reply.headers(HEADERS));
  server.setNotFoundHandler((_request, reply) => reply.code(404).type("text/plain").send("not found\n"));
  server.setErrorHandler((error, request, reply) => {
    const status = (error as { statusCode?: number }).statusCode;
    if (!(error instanceof RpcError) && status !== undefined && status < 500) return reply.code(status).type("text/plain").send("bad request\n");
    const { code, message, detail } = RpcError.from(error);
    const context = contextOf(request, undefined);
    if (!OF_STRANGERS.has(detail.reason ?? "")) onError(RpcError.from(error), context);
    return reply
      .code(STATUS[code] ?? 500)
      .header("cache-control", "no-store")
      .send({ code, message, ...detail, requestId: context.requestId });
  });
  registerPages(server, files);
  const changes = new Changes(options.events);
  const guard = mainGuard(access);
  const calls = procedures(options, guard);

  /** @throws RpcError UNAUTHENTICATED */
  const stillKnown = (context: CallContext): void => {
    callerOf(context, access);
    if (context.caller) return;
    if (!context.peerCertificate || !hasIssued(context.peerCertificate))
      throw new RpcError("UNAUTHENTICATED", "the CA of this certificate counts no more", { reason: "CERTIFICATE", fix: "ask an admin for another" });
  };

  /** @throws RpcError UNAUTHENTICATED: no session, or one whose person counts no more, which is ended */
  const sessionOf = (request: FastifyRequest): BrowserSession<Credentials> => {
    const token = request.cookies[COOKIE] ?? "";
    const session = sessions.find(token, request.headers[BY_HEADER] === "person");
    if (!session) throw new RpcError("UNAUTHENTICATED", "nobody is signed in", { reason: "SESSION", fix: "hullmark dashboard" });
    try {
      stillKnown(contextOf(request, session.credentials));
    } catch (error) {
      sessions.end(token);
      throw error;
    }
    return session;
  };

  server.post("/api/session", async (request, reply) => {
    fromThePage(request);
    const code = Buffer.isBuffer(request.body) ? request.body.toString("latin1", 0, 64) : "";
    const redeemed = sessions.redeem(code);
    if (!redeemed) throw new RpcError("UNAUTHENTICATED", "this code is not good, or not any more", { reason: "CODE", fix: "hullmark dashboard makes another" });
    const { token, session } = redeemed;
    try {
      stillKnown(contextOf(request, session.credentials));
    } catch (error) {
      sessions.end(token);
      throw error;
    }
    onSignIn({ name: session.name, peer: request.ip });
    return await reply.setCookie(COOKIE, token, COOKIE_OPTIONS).header("cache-control", "no-store").send(shown(session));
  });
  const signedIn = (bearer: Bearer, request: FastifyRequest, reply: FastifyReply): void => {
    const credentials: Credentials = { peerCertificate: undefined, caller: new TokenCaller(bearer) };
    stillKnown(contextOf(request, credentials));
    const redeemed = sessions.redeem(sessions.offer(bearer.name, credentials).code);
    if (!redeemed) throw new RpcError("UNAVAILABLE", "too many sign in", { reason: "SESSION" });
    onSignIn({ name: bearer.name, peer: request.ip });
    reply.setCookie(COOKIE, redeemed.token, COOKIE_OPTIONS);
  };
  registerSignIn(server, options.signIn, signedIn, options.onSignInResult);
  server.get("/api/session", async (request, reply) => await reply.header("cache-control", "no-store").send(shown(sessionOf(request))));
  server.delete("/api/session", async (request, reply) => {
    fromThePage(request);
    sessions.end(request.cookies[COOKIE] ?? "");
    return await reply.clearCookie(COOKIE, COOKIE_OPTIONS).header("clear-site-data", '"cache", "storage"').code(204).send();
  });
  server.get("/api/changes", async (request, reply) => {
    const session = sessionOf(request);
    const stands = (): boolean => {
      try {
        sessionOf(request);
        return true;
      } catch {
        return false;
      }
    };
    if (!changes.stream(reply, stands, session.ended)) throw new RpcError("RESOURCE_EXHAUSTED", "too many pages are open", { reason: "STREAMS" });
  });
  server.post<{ Params: { service: string; method: string } }>("/api/:service/:method", async (request, reply) => {
    fromThePage(request);
    const session = sessionOf(request);
    const path = `/${request.params.service}/${request.params.method}`;
    const call = calls.get(path);
    if (!call) throw new RpcError("PERMISSION_DENIED", "this is not for a browser", { reason: "NOT_HERE", fix: "use the hullmark command" });
    const abort = new AbortController();
    reply.raw.once("close", () => abort.abort(new DOMException("the browser went away", "AbortError")));
    const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
    const answer = await call(body, contextOf(request, session.credentials, path, abort.signal));
    return await reply
      .header("cache-control", "no-store")
      .type(MESSAGE_TYPE)
      .send(Buffer.from(answer.buffer, answer.byteOffset, answer.byteLength));
  });

  function shown({ credentials, endsAtMs }: BrowserSession<Credentials>) {
    const caller = callerOf({ ...NOBODY, ...credentials }, access);
    return {
      name: caller.kind === "operator" ? caller.name : "",
      shownAs: caller.kind === "operator" ? (caller.shownAs ?? "") : "",
      // What a page offers goes by the highest, wherever it holds; whether somebody may is decided at each call.
      role: caller.kind === "operator" ? highestOf(caller.grants) : "",
      namespaces: caller.kind === "operator" && caller.grants.cluster === undefined ? [...caller.grants.namespaces.keys()] : [],
      endsAt: new Date(endsAtMs).toISOString(),
    };
  }

  return {
    server,
    endRefused: () =>
      sessions.endWhere((credentials) => {
        try {
          stillKnown({ ...NOBODY, ...credentials });
          return false;
        } catch {
          return true;
        }
      }),
    stop: async () => {
      changes.stop();
      await server.close();
    },
  };
}

const NOBODY: CallContext = { requestId: "", path: "", signal: new AbortController().signal, peerCertificate: undefined, peer: "", end: undefined };

function contextOf(request: FastifyRequest, credentials: Credentials | undefined, path = request.routeOptions.url ?? "", signal = NOBODY.signal): CallContext {
  return { ...NOBODY, ...credentials, requestId: randomUUID(), path, signal, peer: request.ip };
}

/** @throws RpcError PERMISSION_DENIED where another page, or none, may have sent it */
function fromThePage({ headers }: FastifyRequest): void {
  const own = headers.origin === `https://${headers.host}` && (headers["sec-fetch-site"] ?? "same-origin") === "same-origin";
  if (!own || headers[BY_HEADER] === undefined) throw new RpcError("PERMISSION_DENIED", "only the dashboard's own page may ask", { reason: "ORIGIN" });
}
