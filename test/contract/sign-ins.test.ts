/** Browsers on their way to an issuer and back: once, at that issuer, in time, and of a flood the newest. */
import { randomBytes } from "node:crypto";
import { buildDashboardServer } from "@hullmark/verifier/api/dashboard/server";
import { EventBus } from "@hullmark/verifier/core/fleet/events";
import { SignIns } from "@hullmark/verifier/core/people/sign-ins";
import { TokenError } from "@hullmark/verifier/ports/token-authenticator";
import { expect, test } from "vitest";

const flow = { state: "s", nonce: "n", codeVerifier: "v" };

function fixture() {
  const clock = { nowMs: 1_790_000_000_000 };
  return { clock, signIns: new SignIns({ nowMs: () => clock.nowMs, random: (bytes) => randomBytes(bytes) }) };
}

test("it ends what it began, once, at the same issuer, within ten minutes", () => {
  const { clock, signIns } = fixture();
  const secret = signIns.begin({ source: "corp", flow }, "192.0.2.1:999");
  for (const other of ["", "x", `${secret}A`, secret.toLowerCase().slice(0, 42), randomBytes(32).toString("base64url")])
    expect(signIns.end(other, "corp")).toBeUndefined();
  expect(signIns.end(secret, "corp")).toEqual(flow);
  expect(signIns.end(secret, "corp")).toBeUndefined();
  const elsewhere = signIns.begin({ source: "corp", flow }, "192.0.2.1:999");
  expect([signIns.end(elsewhere, "other"), signIns.end(elsewhere, "corp")]).toEqual([undefined, undefined]);
  const late = [0, 1].map(() => signIns.begin({ source: "corp", flow }, "192.0.2.1:999"));
  clock.nowMs += 599_999;
  expect(signIns.end(late[0] ?? "", "corp")).toEqual(flow);
  clock.nowMs += 1;
  expect(signIns.end(late[1] ?? "", "corp")).toBeUndefined();
  // A clock that was set back makes nothing last longer.
  const back = signIns.begin({ source: "corp", flow }, "192.0.2.1:999");
  clock.nowMs -= 1;
  expect(signIns.end(back, "corp")).toBeUndefined();
});

test("of more than a thousand the oldest gives way, of the address that began most", () => {
  const { signIns } = fixture();
  const secrets = Array.from({ length: 1001 }, () => signIns.begin({ source: "corp", flow }, "192.0.2.1:999"));
  expect(signIns.end(secrets[0] ?? "", "corp")).toBeUndefined();
  for (const secret of secrets.slice(1)) expect(signIns.end(secret, "corp")).toEqual(flow);
  const flood = (peer: string) => Array.from({ length: 1001 }, () => signIns.begin({ source: "corp", flow }, peer));
  const person = signIns.begin({ source: "corp", flow }, "192.0.2.7:999");
  const last = [flood("2001:db8::1:999"), flood("2001:db8::2:999")].at(-1)?.at(-1) ?? "";
  expect([signIns.end(person, "corp"), signIns.end(last, "corp")]).toEqual([flow, flow]);
});

test("who comes back makes the verifier ask the issuer: of one address eight at a time, also where nobody waits for the answer", async () => {
  const { signIns } = fixture();
  const asked: PromiseWithResolvers<never>[] = [];
  const provider = {
    source: "corp",
    begin: async () => ({ url: "https://issuer.example/", flow }),
    finish: () => {
      const asking = Promise.withResolvers<never>();
      asked.push(asking);
      return asking.promise;
    },
  };
  const admit = () => {
    throw new Error("nobody is let in");
  };
  const { server } = buildDashboardServer({
    ...{ signIn: { providers: [provider], waiting: signIns, origin: "https://here.example", admit }, onSignInResult: () => {}, events: new EventBus() },
    ...{ files: { html: "", script: Buffer.alloc(0), style: Buffer.alloc(0) }, access: {}, query: {}, admin: {}, response: {} },
  } as unknown as Parameters<typeof buildDashboardServer>[0]);
  const begin = async (remoteAddress: string): Promise<string> => {
    const { headers } = await server.inject({ url: "/api/sign-in/corp", remoteAddress });
    return String(headers["set-cookie"]).split(";")[0] ?? "";
  };
  const back = async (cookie: string, remoteAddress: string) => await server.inject({ url: "/api/signed-in/corp?code=x", headers: { cookie }, remoteAddress });
  const cookies: string[] = [];
  for (let at = 0; at < 9; at++) cookies.push(await begin("192.0.2.1"));
  const answers = cookies.slice(0, 8).map((cookie) => back(cookie, "192.0.2.1"));
  await expect.poll(() => asked.length).toBe(8);
  expect((await back(cookies[8] ?? "", "192.0.2.1")).statusCode).toBe(429);
  const other = back(await begin("192.0.2.2"), "192.0.2.2");
  await expect.poll(() => asked.length).toBe(9);
  for (const { reject } of asked) reject(new TokenError("REFUSED", "no"));
  for (const { statusCode } of await Promise.all([...answers, other])) expect(statusCode).toBe(401);
  // What was refused for being one too many was not used up.
  const last = back(cookies[8] ?? "", "192.0.2.1");
  await expect.poll(() => asked.length).toBe(10);
  asked[9]?.reject(new TokenError("REFUSED", "no"));
  expect((await last).statusCode).toBe(401);
  await server.close();
});
