/** Signing in at an issuer: a browser goes there and comes back, and gets a session as by a code of the command. Anybody may begin. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
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

/** Comes back from another site, so it cannot be SameSite=Strict as the session's is; it opens nothing by itself. */
const COOKIE = "__Host-hullmark-sign-in";
const COOKIE_OPTIONS = { path: "/", httpOnly: true, secure: true, sameSite: "lax", maxAge: 600 } as const;
const MAX_QUERY_CHARACTERS = 8192;

/** @param open makes a session of somebody who has come back */
export function registerSignIn(
  server: FastifyInstance,
  services: SignInServices | undefined,
  open: (bearer: Bearer, request: FastifyRequest, reply: FastifyReply) => void,
): void {
  const { providers, waiting, origin, admit } = services ?? { providers: [], waiting: undefined, origin: "", admit: undefined };
  const backAt = (source: string): string => `${origin}/api/signed-in/${source}`;
  const notSigned = (reply: FastifyReply, status: number, why: string) =>
    reply.code(status).header("cache-control", "no-store").type("text/plain; charset=utf-8").send(`Not signed in: ${why}\n`);
  server.get("/api/sign-in", async (_request, reply) => await reply.header("cache-control", "no-store").send(providers.map(({ source }) => source)));
  server.get<{ Params: { source: string } }>("/api/sign-in/:source", async ({ params }, reply) => {
    const provider = providers.find(({ source }) => source === params.source);
    if (!provider || !waiting) return notSigned(reply, 404, "no such issuer");
    try {
      const { url, flow } = await provider.begin(backAt(provider.source));
      const secret = waiting.begin({ source: provider.source, flow });
      return await reply.setCookie(COOKIE, secret, COOKIE_OPTIONS).header("cache-control", "no-store").redirect(url, 303);
    } catch (error) {
      if (!(error instanceof TokenError)) throw error;
      return notSigned(reply, 503, error.message);
    }
  });
  server.get<{ Params: { source: string } }>("/api/signed-in/:source", async (request, reply) => {
    const provider = providers.find(({ source }) => source === request.params.source);
    const flow = provider && waiting?.end(request.cookies[COOKIE] ?? "", provider.source);
    reply.clearCookie(COOKIE, COOKIE_OPTIONS);
    if (!provider || !admit || !flow || request.url.length > MAX_QUERY_CHARACTERS)
      return notSigned(reply, 400, "this browser has not begun, or too long ago: begin again");
    try {
      const proven = await provider.finish(flow, new URL(request.url, origin));
      open(admit(provider.source, proven), request, reply);
      return await reply.header("cache-control", "no-store").redirect("/", 303);
    } catch (error) {
      if (error instanceof TokenError) return notSigned(reply, error.code === "REFUSED" ? 401 : 503, error.message);
      if (error instanceof NoRoleError) return notSigned(reply, 403, error.message);
      throw error;
    }
  });
}
