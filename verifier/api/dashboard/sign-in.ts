/** Signing in at an issuer: a browser goes there and comes back, and gets a session as by a code of the command. Anybody may begin. */
import { RpcError } from "@hullmark/proto/rpc";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { Turns } from "../../core/enrolment/turns.ts";
import { type Bearer, NoRoleError } from "../../core/people/bearers.ts";
import type { SignIns } from "../../core/people/sign-ins.ts";
import type { SignInProvider } from "../../ports/sign-in.ts";
import { type ProvenToken, TokenError } from "../../ports/token-authenticator.ts";

export interface SignInServices {
  readonly providers: readonly SignInProvider[];
  readonly waiting: SignIns;
  /** Where browsers reach this: the origin, without a path. */
  readonly origin: string;
  /** Who that is, and what they may do. @throws NoRoleError */
  readonly admit: (source: string, proven: ProvenToken) => Bearer;
}

export interface SignInFact {
  /** As configuration names it: no word of a stranger's. */
  readonly issuer: string;
  readonly result: SignInResult;
  readonly detail: string;
  readonly peer: string;
}

/** `not-begun`: by this browser, or too long ago. `revoked`: the person counts no more. */
export type SignInResult = "signed-in" | "not-begun" | "refused" | "no-role" | "revoked" | "unavailable";

/** Comes back from another site, so it cannot be SameSite=Strict as the session's is; it opens nothing by itself. */
const COOKIE = "__Host-hullmark-sign-in";
const COOKIE_OPTIONS = { path: "/", httpOnly: true, secure: true, sameSite: "lax", maxAge: 600 } as const;
/** Who has come back, and is held against the issuer. */
const COMING_BACK = { all: 32, ofAddress: 8 };
const MAX_QUERY_CHARACTERS = 8192;

/** @param open makes a session of somebody who has come back */
export function registerSignIn(
  server: FastifyInstance,
  services: SignInServices | undefined,
  open: (bearer: Bearer, request: FastifyRequest, reply: FastifyReply) => void,
  onResult: (fact: SignInFact) => void,
): void {
  const { providers, waiting, origin, admit } = services ?? { providers: [], waiting: undefined, origin: "", admit: undefined };
  const turns = new Turns(COMING_BACK);
  const backAt = (source: string): string => `${origin}/api/signed-in/${source}`;
  const notSigned = (reply: FastifyReply, status: number, why: string) =>
    reply.code(status).header("cache-control", "no-store").type("text/plain; charset=utf-8").send(`Not signed in: ${why}\n`);
  server.get("/api/sign-in", async (_request, reply) => await reply.header("cache-control", "no-store").send(providers.map(({ source }) => source)));
  const told = ({ ip }: FastifyRequest, { source }: SignInProvider, result: SignInResult, detail: string): void =>
    onResult({ issuer: source, result, detail, peer: ip });
  server.get<{ Params: { source: string } }>("/api/sign-in/:source", async (request, reply) => {
    const provider = providers.find(({ source }) => source === request.params.source);
    if (!provider || !waiting) return notSigned(reply, 404, "no such issuer");
    try {
      const { url, flow } = await provider.begin(backAt(provider.source));
      const secret = waiting.begin({ source: provider.source, flow }, peerOf(request));
      return await reply.setCookie(COOKIE, secret, COOKIE_OPTIONS).header("cache-control", "no-store").redirect(url, 303);
    } catch (error) {
      if (!(error instanceof TokenError)) throw error;
      told(request, provider, "unavailable", error.message);
      return notSigned(reply, 503, error.message);
    }
  });
  const comeBack = async (request: FastifyRequest, reply: FastifyReply, source: string) => {
    const provider = providers.find((each) => each.source === source);
    const flow = provider && waiting?.end(request.cookies[COOKIE] ?? "", provider.source);
    reply.clearCookie(COOKIE, COOKIE_OPTIONS);
    if (!provider || !admit || !flow || request.url.length > MAX_QUERY_CHARACTERS) {
      if (provider) told(request, provider, "not-begun", "");
      return notSigned(reply, 400, "this browser has not begun, or too long ago: begin again");
    }
    try {
      const proven = await provider.finish(flow, new URL(request.url, origin));
      open(admit(provider.source, proven), request, reply);
      told(request, provider, "signed-in", "");
      return await reply.header("cache-control", "no-store").redirect("/", 303);
    } catch (error) {
      if (error instanceof TokenError) {
        const refused = error.code === "REFUSED";
        told(request, provider, refused ? "refused" : "unavailable", error.message);
        return notSigned(reply, refused ? 401 : 503, error.message);
      }
      if (error instanceof NoRoleError) {
        told(request, provider, "no-role", error.message);
        return notSigned(reply, 403, error.message);
      }
      if (error instanceof RpcError && error.detail.reason === "REVOKED") told(request, provider, "revoked", error.message);
      throw error;
    }
  };
  server.get<{ Params: { source: string } }>("/api/signed-in/:source", async (request, reply) => {
    // Each that comes back makes the verifier ask the issuer, in its own name: whether the browser waits for the answer or not.
    const over = turns.take(peerOf(request));
    if (!over) return notSigned(reply, 429, "too many sign in at this moment: reload this page");
    try {
      return await comeBack(request, reply, request.params.source);
    } finally {
      over();
    }
  });
}

function peerOf({ ip, socket }: FastifyRequest): string {
  return `${ip}:${socket.remotePort ?? 0}`;
}
