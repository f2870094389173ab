/** Tokens of people: bounded before anybody is asked, asked about once, and nobody's where nobody vouches for them now. */
import { readFileSync } from "node:fs";
import { RpcError } from "@hullmark/proto/rpc";
import { Admin } from "@hullmark/proto/v1/admin";
import { Attestation } from "@hullmark/proto/v1/attestation";
import { Enrollment } from "@hullmark/proto/v1/enrollment";
import { Query } from "@hullmark/proto/v1/query";
import { Actuation, Response } from "@hullmark/proto/v1/response";
import { OidcIssuer as Adapter } from "@hullmark/verifier/adapters/oidc/index";
import { ACCESS, mainGuard, SCOPES, TokenCaller } from "@hullmark/verifier/api/grpc/index";
import { parseConfig } from "@hullmark/verifier/config";
import { Bearers } from "@hullmark/verifier/core/people/bearers";
import { namespaceOf, ROLES, reaches, reachOf } from "@hullmark/verifier/core/people/grants";
import { Identities } from "@hullmark/verifier/core/people/identities";
import { tokenRefusals } from "@hullmark/verifier/people";
import type { OperatorRole } from "@hullmark/verifier/ports/certificate-authority";
import { type ProvenToken, type TokenAuthenticator, TokenError } from "@hullmark/verifier/ports/token-authenticator";
import { afterEach, expect, test } from "vitest";
import { OidcIssuer } from "../fakes/oidc-issuer.ts";

const T0 = 1_790_000_000_000;
const HOME = "198.51.100.1:4711";
const everywhere = (role: OperatorRole) => ({ cluster: role, namespaces: new Map() });
const RULES = { aliases: { ada: ["corp:ada@acme", "certificate:ada-laptop"] }, roles: [{ role: "viewer" as const, users: [], groups: ["corp:all"] }] };

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

function fixture(answer: (token: string) => Promise<ProvenToken> = async () => ({ name: "ada@acme", groups: ["all"], expiresAtMs: T0 + 60_000 })) {
  const clock = { nowMs: T0 };
  const asked: string[] = [];
  const authenticator: TokenAuthenticator = {
    source: "corp",
    claims: (token) => !token.startsWith("other"),
    authenticate: (token) => {
      asked.push(token);
      return answer(token);
    },
  };
  const bearers = new Bearers({ authenticators: [authenticator], identities: new Identities(RULES), nowMs: () => clock.nowMs });
  return { clock, asked, bearers };
}

test("a token is asked about once in half a minute, and counts no longer than it says", async () => {
  const { bearers, clock, asked } = fixture();
  expect(await bearers.authenticate("t", HOME)).toEqual({ name: "ada", credential: "corp:ada@acme", grants: everywhere("viewer"), notAfterMs: T0 + 60_000 });
  clock.nowMs += 29_999;
  await bearers.authenticate("t", HOME);
  expect(asked).toHaveLength(1);
  clock.nowMs += 1;
  await bearers.authenticate("t", HOME);
  expect(asked).toHaveLength(2);
  clock.nowMs = T0 + 60_000;
  await expect(bearers.authenticate("t", HOME)).rejects.toMatchObject({ code: "REFUSED", message: "the token has expired" });
  // A clock that was set back keeps nothing.
  clock.nowMs = T0 - 1;
  await bearers.authenticate("t", HOME);
  expect(asked).toHaveLength(4);
});

test("one that does not say when it ends is asked about again, and lasts until then", async () => {
  const { bearers } = fixture(async () => ({ name: "x", groups: ["all"], expiresAtMs: undefined }));
  expect(await bearers.authenticate("t", HOME)).toMatchObject({ name: "corp:x", notAfterMs: T0 + 30_000 });
});

test("what is no token, or nobody's, is asked of nobody; of what is asked there is a bound; what fails is kept by nobody", async () => {
  const held = Promise.withResolvers<ProvenToken>();
  const { bearers, asked } = fixture((token) => (token === "down" ? Promise.reject(new TokenError("UNAVAILABLE", "down")) : held.promise));
  for (const token of ["", "a b", "a\n", "ü", "a".repeat(16_385), "other"])
    await expect(bearers.authenticate(token, HOME), token).rejects.toMatchObject({ code: "REFUSED" });
  expect(asked).toEqual([]);
  for (let i = 0; i < 2; i++) await expect(bearers.authenticate("down", HOME)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  const waiting = Array.from({ length: 32 }, (_, i) => bearers.authenticate(`t${i}`, `192.0.2.${i % 4}:${i}`));
  await expect(bearers.authenticate("t32", HOME)).rejects.toMatchObject({ code: "BUSY" });
  held.resolve({ name: "x", groups: [], expiresAtMs: T0 + 1 });
  // Authentic, and of nobody here.
  for (const each of waiting) await expect(each).rejects.toThrow("corp:x has no role here");
});

test("who floods with tokens keeps others of the same address waiting, and nobody else", async () => {
  const held = Promise.withResolvers<ProvenToken>();
  const { bearers } = fixture(() => held.promise);
  const waiting = Array.from({ length: 8 }, (_, i) => bearers.authenticate(`t${i}`, `[2001:db8:0:1::${i + 1}]:${i + 1}`));
  await expect(bearers.authenticate("t8", "[2001:db8:0:1:ffff::]:1")).rejects.toMatchObject({ code: "BUSY" });
  const other = bearers.authenticate("t9", "[2001:db8:0:2::1]:1");
  held.resolve({ name: "ada@acme", groups: ["all"], expiresAtMs: T0 + 60_000 });
  expect(await Promise.all([...waiting, other])).toHaveLength(9);
  // What was held is free again.
  await bearers.authenticate("t8", "[2001:db8:0:1:ffff::]:1");
});

test("names are a person's by configuration alone", () => {
  const { subjectOf, samePerson } = new Identities(RULES);
  expect(["corp:ada@acme", "ada-laptop", "ada", "corp:ada", "kubernetes:ada@acme", "corp:ADA@acme"].map(subjectOf)).toEqual([
    ...["ada", "ada", "ada", "corp:ada", "kubernetes:ada@acme", "corp:ADA@acme"],
  ]);
  // What was written down before it was said, too.
  expect([samePerson("corp:ada@acme", "ada-laptop"), samePerson("corp:ada@acme", "ada"), samePerson("ada", "corp:ada")]).toEqual([true, true, false]);
  const identities = new Identities({
    aliases: {},
    roles: [
      { role: "approver", users: ["corp:bob"], groups: [] },
      { role: "viewer", users: [], groups: ["corp:all", "kubernetes:system:masters"] },
    ],
  });
  expect(identities.grantsOf("corp", "bob", ["all"])).toEqual(everywhere("approver"));
  expect(identities.grantsOf("corp", "eve", ["all"])).toEqual(everywhere("viewer"));
  // A user is no group, and another source's group is another.
  expect([identities.grantsOf("corp", "all", []), identities.grantsOf("kubernetes", "bob", ["all", "bob"])]).toEqual([undefined, undefined]);
  expect(identities.grantsOf("kubernetes", "eve", ["system:masters"])).toEqual(everywhere("viewer"));
});

test("roles in namespaces add up, each where it is given; of several at one place the highest counts", () => {
  const identities = new Identities({
    aliases: {},
    roles: [
      { role: "viewer", users: ["corp:bob"], groups: [] },
      { role: "responder", users: [], groups: ["corp:shop"], namespaces: ["shop", "till"] },
      { role: "approver", users: ["corp:bob"], groups: [], namespaces: ["till"] },
    ],
  });
  const bob = identities.grantsOf("corp", "bob", ["shop"]);
  expect(bob).toEqual({
    cluster: "viewer",
    namespaces: new Map([
      ["shop", "responder"],
      ["till", "approver"],
    ]),
  });
  if (!bob) throw new Error("nothing");
  expect([reachOf(bob, "viewer"), reachOf(bob, "responder"), reachOf(bob, "approver"), reachOf(bob, "admin")]).toEqual([
    ...["cluster", new Set(["shop", "till"]), new Set(["till"]), new Set()],
  ]);
  expect(identities.grantsOf("corp", "eve", ["shop"])).toEqual({
    cluster: undefined,
    namespaces: new Map([
      ["shop", "responder"],
      ["till", "responder"],
    ]),
  });
});

test("a container is of the namespace that its workload names, and of none where its name says otherwise or it names none", () => {
  const of = (workload: string, containerName: string) => namespaceOf({ workload, containerName });
  expect([of("shop/web", "shop/web-1/app"), of("shop/web", "web-1")]).toEqual(["shop", "shop"]);
  expect([of("shop/web", "pay/web-1/app"), of("shop/web", "shopping/web-1/app"), of("web", "shop/web-1/app"), of("", ""), of("/web", "web")]).toEqual(
    new Array(5).fill(undefined),
  );
  const shop = new Set(["shop"]);
  expect([reaches(shop, { workload: "shop/web", containerName: "a" }), reaches(shop, { workload: "", containerName: "" })]).toEqual([true, false]);
  expect([reaches("cluster", { workload: "", containerName: "" }), reaches(new Set(), { workload: "shop/web", containerName: "a" })]).toEqual([true, false]);
});

test("contradictions in the configuration are named with their place", () => {
  const problems = (people: string): string => {
    try {
      parseConfig(`stateDirectory: /x\npeople:\n${people}`, "test.yaml");
      return "";
    } catch (error) {
      return (error as Error).message;
    }
  };
  const oidc = "  oidc: [{ name: corp, issuer: https://login.example, audiences: [hullmark] }]\n";
  expect(problems(`${oidc}  roles: [{ role: admin, users: ["corp:ada"] }]\n  aliases: { ada: ["corp:ada", "certificate:ada-laptop"] }\n`)).toBe("");
  for (const [text, message] of [
    [`  oidc: [{ name: corp, issuer: http://login.example, audiences: [h] }]\n`, "oidc"],
    [`  oidc: [{ name: certificate, issuer: https://login.example, audiences: [h] }]\n`, '"certificate" is taken'],
    [`  oidc: [{ name: corp, issuer: https://login.example, audiences: [h], algorithms: [HS256] }]\n`, "algorithms"],
    [`${oidc}  roles: [{ role: admin, users: ["crop:ada"] }]\n`, '"crop:ada" is of no source that is configured (corp)'],
    [`${oidc}  roles: [{ role: admin, groups: ["certificate:ada"] }]\n`, "certificate:ada"],
    [`${oidc}  roles: [{ role: admin }]\n`, "want users or groups"],
    // Nobody gets the whole cluster by a list that was meant to be filled, or a pattern that was meant to be narrower.
    [`${oidc}  roles: [{ role: admin, users: ["corp:ada"], namespaces: [] }]\n`, "namespaces"],
    [`${oidc}  roles: [{ role: admin, users: ["corp:ada"], namespaces: ["shop-*"] }]\n`, "no patterns"],
    [`${oidc}  aliases: { ada: ["corp:ada"], bob: ["corp:ada"] }\n`, '"corp:ada" is ada already: nobody is two'],
    [`${oidc}  aliases: { ada: ["certificate:bob"], bob: ["corp:bob"] }\n`, "the certificate of bob is bob's"],
    [`  kubernetes: {}\n`, "needs the block kubernetes"],
  ] as const)
    expect(problems(text), text).toContain(message);
});

test("whoever comes with a token may call what the table says of their role, procedure by procedure, and nothing of nodes and actuators", () => {
  const services = [Attestation, Query, Admin, Enrollment, Actuation, Response];
  const paths = services.flatMap(({ typeName, methods }) => methods.map(({ name }) => `/${typeName}/${name}`));
  expect(Object.keys(ACCESS).sort()).toEqual(paths.sort());
  const guard = mainGuard({
    ...{ identify: () => undefined, nowMs: () => T0, nodeMayAttest: () => true, cluster: "prod", subjectOf: (name: string) => name },
    personMay: (name) => name !== "revoked",
  });
  const call = (path: string, role: OperatorRole, more: object = {}) => {
    const caller = new TokenCaller({ name: "ada", credential: "corp:ada", grants: everywhere(role), notAfterMs: T0 + 1, ...more });
    try {
      guard({ requestId: "", path, signal: new AbortController().signal, peerCertificate: undefined, peer: "", end: undefined, caller });
      return "allowed";
    } catch (error) {
      return (error as RpcError).detail.reason;
    }
  };
  for (const path of paths)
    for (const [rank, role] of ROLES.entries()) {
      const wanted = ACCESS[path as keyof typeof ACCESS] as (typeof ROLES)[number];
      const may = ROLES.includes(wanted) && rank >= ROLES.indexOf(wanted);
      expect(call(path, role), `${path} as ${role}`).toBe(may ? "allowed" : "ROLE");
      if (!may) continue;
      expect(call(path, role, { notAfterMs: T0 })).toBe("TOKEN_EXPIRED");
      for (const revoked of [{ name: "revoked" }, { credential: "revoked" }]) expect(call(path, role, revoked)).toBe("REVOKED");
    }
  // A role in namespaces alone opens what looks after them itself, and nothing else.
  for (const path of paths)
    for (const [rank, role] of ROLES.entries()) {
      const wanted = ACCESS[path as keyof typeof ACCESS] as OperatorRole;
      const scope = SCOPES[path as keyof typeof SCOPES];
      expect(scope, `${path} has a scope where people may call it, and nowhere else`)[ROLES.includes(wanted) ? "toBeDefined" : "toBeUndefined"]();
      const may = scope === "namespace" && rank >= ROLES.indexOf(wanted);
      const inShop = { grants: { cluster: undefined, namespaces: new Map([["shop", role]]) } };
      expect(call(path, role, inShop), `${path} as ${role} in shop`).toBe(may ? "allowed" : "ROLE");
      const viewer = { grants: { cluster: "viewer", namespaces: new Map([["shop", role]]) } };
      expect(call(path, role, viewer), `${path} as viewer, and ${role} in shop`).toBe(may || wanted === "viewer" ? "allowed" : "ROLE");
    }
});

test("where an issuer's keys are is asked again each hour, and by the CA that its file has then", async () => {
  const issuer = await OidcIssuer.start({ ann: {} });
  stops.push(() => issuer.stop());
  // No token is of a second that this clock has not seen: it stands.
  const clock = { nowMs: Date.now() + 5_000 };
  let ca = readFileSync(issuer.caFile, "utf8");
  const adapter = new Adapter({
    ...{ name: "corp", issuer: issuer.url, audiences: ["hullmark"], algorithms: ["ES256"], nameClaim: "sub", groupsClaim: "groups" },
    ...{ skewSeconds: 0, maxTokenHours: 24, ca: () => ca, nowMs: () => clock.nowMs, cooldownMs: 0 },
  });
  expect(await adapter.authenticate(await issuer.token("ann"))).toMatchObject({ name: "ann" });
  await issuer.move();
  const lasting = await issuer.signed(issuer.claims("ann", { exp: Math.floor(Date.now() / 1000) + 86_400 }));
  await expect(adapter.authenticate(lasting)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  clock.nowMs += 3_600_000;
  const [own] = [ca];
  ca = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
  await expect(adapter.authenticate(lasting)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  ca = own;
  expect(await adapter.authenticate(lasting)).toMatchObject({ name: "ann" });
});

test("however many tokens are refused, the log has a line a minute, with how many there were", () => {
  const clock = { nowMs: T0 };
  const lines: object[] = [];
  const isRefusal = tokenRefusals({ warn: (fact: object) => void lines.push(fact) } as never, () => clock.nowMs);
  const refuse = (reason = "TOKEN") => isRefusal(new RpcError("UNAUTHENTICATED", "no", { reason }), { peer: "192.0.2.1:5", requestId: "r" });
  expect(refuse("REVOKED")).toBe(false);
  for (let i = 0; i < 1000; i++) expect(refuse()).toBe(true);
  clock.nowMs += 60_000;
  refuse();
  clock.nowMs -= 1;
  refuse();
  expect(lines).toMatchObject([{ refused: 1, peer: "192.0.2.1:5" }, { refused: 1000 }, { refused: 1 }]);
});

test("an issuer's new key counts, its old one no more, and where it cannot be asked nobody is let in", async () => {
  const issuer = await OidcIssuer.start({ ann: { email: "ann@acme.example", email_verified: false } });
  stops.push(() => issuer.stop());
  const given = { name: "corp", issuer: issuer.url, audiences: ["hullmark"], algorithms: ["ES256"], groupsClaim: "groups", skewSeconds: 0, maxTokenHours: 1 };
  const options = { ...given, nameClaim: "sub", ca: () => readFileSync(issuer.caFile, "utf8"), nowMs: () => Date.now(), cooldownMs: 0 };
  const adapter = new Adapter(options);
  const before = await issuer.token("ann");
  expect(await adapter.authenticate(before)).toMatchObject({ name: "ann", groups: [] });
  await issuer.rotate();
  expect(await adapter.authenticate(await issuer.token("ann"))).toMatchObject({ name: "ann" });
  await expect(adapter.authenticate(before)).rejects.toMatchObject({ code: "REFUSED", message: expect.stringContaining("no one key that corp publishes") });
  // Another algorithm than configuration lists, and an address that nobody has proved.
  const listed = new Adapter({ ...options, algorithms: ["RS256"] });
  await expect(listed.authenticate(await issuer.token("ann"))).rejects.toMatchObject({ code: "REFUSED" });
  // Who somebody is, their subject says; what else they are called is for show, and no more.
  const byEmail = new Adapter({ ...options, nameClaim: "email" });
  const calledBy = async (claims: object) => {
    const { name, shownAs } = await byEmail.authenticate(await issuer.signed(issuer.claims("ann", { email_verified: true, ...claims })));
    return [name, shownAs];
  };
  expect(await calledBy({})).toEqual(["ann", "ann@acme.example"]);
  for (const claims of [{ email_verified: false }, { email: undefined }, { email: "ann\u001b[2J@acme.example" }])
    expect(await calledBy(claims)).toEqual(["ann", undefined]);
  // What is open by it ends with its age, whatever it says itself.
  const iat = Math.floor(Date.now() / 1000) - 600;
  const lasting = await adapter.authenticate(await issuer.signed(issuer.claims("ann", { iat, exp: iat + 31_536_000 })));
  expect(lasting.expiresAtMs).toBe((iat + 3600) * 1000);
  // A token that is bound to a key of its holder's is nothing in other hands, and whether it is that key's is not looked at here; nor is a word to log out a person's.
  for (const [claims, header] of [
    [{ cnf: { jkt: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" } }, {}],
    [{}, { typ: "logout+jwt" }],
    [{ events: { "http://schemas.openid.net/event/backchannel-logout": {} } }, {}],
  ])
    await expect(adapter.authenticate(await issuer.signed(issuer.claims("ann", claims), header)), JSON.stringify([claims, header])).rejects.toMatchObject({
      code: "REFUSED",
    });
  for (const typ of ["JWT", "at+jwt", "application/at+jwt", "AT+JWT"])
    expect(await adapter.authenticate(await issuer.signed(issuer.claims("ann"), { typ }))).toMatchObject({ name: "ann" });
  // By a CA that is not its own, and by a name that its document does not have.
  const elsewhere = new Adapter({ ...options, ca: () => undefined });
  await expect(elsewhere.authenticate(before)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  const renamed = new Adapter({ ...options, issuer: `${issuer.url}/` });
  await expect(renamed.authenticate(before)).rejects.toMatchObject({ code: "UNAVAILABLE", message: expect.stringContaining("names another issuer") });
  const fresh = await issuer.token("ann");
  await issuer.stop();
  stops.splice(0);
  await expect(new Adapter(options).authenticate(fresh)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  // What it published holds on for a while.
  expect(await adapter.authenticate(fresh)).toMatchObject({ name: "ann" });
});
