/** The dashboard's listener, with every header of a browser in the test's own hand: who gets in, what they may ask, and what ends it. */
import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DescMethodUnary, DescService } from "@bufbuild/protobuf";
import { credentials } from "@grpc/grpc-js";
import { RpcChannel } from "@hullmark/proto/rpc";
import { Admin } from "@hullmark/proto/v1/admin";
import { Query } from "@hullmark/proto/v1/query";
import { Response } from "@hullmark/proto/v1/response";
import { ACCESS, SCOPES } from "@hullmark/verifier/api/grpc/index";
import type { OperatorRole } from "@hullmark/verifier/ports/certificate-authority";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bundleDashboard } from "../../dashboard/bundle.ts";
import { Browserless, told } from "../fakes/browserless.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const CONFIG = `enrolment: { mode: tofu, acceptWithoutCertificate: true }
dashboard: { listen: "127.0.0.1:0", idleMinutes: 30, sessionHours: 8 }`;
const ROLES: readonly OperatorRole[] = ["viewer", "responder", "approver", "admin"];
const EMPTY = new Uint8Array();

let verifier: TestVerifier;
let directory: string;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-dashboard-"));
  await bundleDashboard(directory);
  verifier = await new TestVerifier().start(CONFIG, directory);
});
afterAll(async () => {
  await verifier?.dispose();
  rmSync(directory, { recursive: true });
});

const signedIn = async (role: OperatorRole, namespaces?: readonly string[]): Promise<Browserless> => {
  const browser = new Browserless(verifier);
  expect(await browser.signIn(await verifier.operator(role, namespaces))).toMatchObject({ status: 200 });
  return browser;
};

describe("the way in", () => {
  test("a code opens one session, which the page's scripts cannot read and no other site can use", async () => {
    const browser = new Browserless(verifier);
    const answer = await browser.signIn(await verifier.operator("responder"));
    expect(told(answer)).toMatchObject({ name: "some-responder", role: "responder" });
    const [cookie] = answer.headers["set-cookie"] ?? [];
    expect(cookie).toMatch(/^__Host-hullmark=[A-Za-z0-9_-]{43}; Path=\/; HttpOnly; Secure; SameSite=Strict$/);
    expect(told(await browser.send("GET", "/api/session"))).toMatchObject({ name: "some-responder" });
  });

  test("a code is good once, for a minute, and only where the page itself sends it", async () => {
    const admin = await verifier.operator("viewer");
    const code = async () => (await admin.client(Admin).openDashboard({})).code;
    const browser = new Browserless(verifier);
    const once = await code();
    expect(await browser.fromPage("POST", "/api/session", once)).toMatchObject({ status: 200 });
    expect(told(await browser.fromPage("POST", "/api/session", once))).toMatchObject({ code: "UNAUTHENTICATED", reason: "CODE" });
    for (const other of ["", "x".repeat(43), `${await code()}x`, "\0".repeat(43)])
      expect(await browser.fromPage("POST", "/api/session", other)).toMatchObject({ status: 401 });
    const foreign = { "hullmark-by": "person", "content-type": "text/plain" };
    for (const headers of [
      { ...foreign },
      { ...foreign, origin: "https://evil.example" },
      { ...foreign, origin: "null" },
      { ...foreign, origin: browser.origin, "sec-fetch-site": "cross-site" },
      { origin: browser.origin, "content-type": "text/plain" },
    ])
      expect(await browser.send("POST", "/api/session", { headers, body: await code() })).toMatchObject({ status: 403 });
    const late = await code();
    verifier.clock.shiftMs += 60_000;
    expect(told(await browser.fromPage("POST", "/api/session", late))).toMatchObject({ reason: "CODE" });
  });

  test("without a session there is the page and nothing else; a verifier that serves none says so", async () => {
    const browser = new Browserless(verifier);
    for (const cookie of ["", "__Host-hullmark=", `__Host-hullmark=${"A".repeat(43)}`, "__Host-hullmark=%00"]) {
      browser.cookie = cookie;
      expect(await browser.call(Query.method.getStatus, EMPTY)).toMatchObject({ status: 401 });
      expect(await browser.send("GET", "/api/changes")).toMatchObject({ status: 401 });
    }
    expect((await browser.send("GET", "/")).body.toString()).toContain('<div id="page">');
    const other = await new TestVerifier("other").start();
    try {
      await expect(other.adminClient.openDashboard({})).rejects.toMatchObject({ code: "FAILED_PRECONDITION", detail: { reason: "NO_DASHBOARD" } });
    } finally {
      await other.dispose();
    }
  });
});

describe("what may be asked", () => {
  const services: readonly DescService[] = [Query, Admin, Response];
  const unary = services.flatMap(({ methods }) => methods.filter((method): method is DescMethodUnary => method.methodKind === "unary"));

  test("is the same by role as with a certificate, and never what lets anybody in", async () => {
    const open: string[] = [];
    for (const role of ROLES) {
      const browser = await signedIn(role);
      for (const method of unary) {
        const path = `/${method.parent.typeName}/${method.name}` as keyof typeof ACCESS;
        const answer = await browser.call(method, EMPTY);
        if (answer.status === 200 || told(answer)["reason"] !== "NOT_HERE") open.push(method.name);
        else continue;
        const allowed = ROLES.indexOf(role) >= ROLES.indexOf(ACCESS[path] as OperatorRole);
        if (allowed) expect([path, role, answer.status === 403]).toEqual([path, role, false]);
        else expect([path, told(answer)]).toEqual([path, expect.objectContaining({ code: "PERMISSION_DENIED", reason: "ROLE" })]);
      }
    }
    // Whoever opens another to browsers says so here.
    expect([...new Set(open)].sort()).toEqual([
      ...[
        "AcknowledgeDrift",
        "ApproveAction",
        "ApproveException",
        "AssignIncident",
        "DenyAction",
        "DenyException",
        "DiffDrift",
        "GetAction",
        "GetDrift",
        "GetImage",
        "GetIncident",
        "GetNode",
      ],
      ...["GetStatus", "GetVulnerabilities", "GetWorkload", "ListActions", "ListBaselines", "ListDrift", "ListDrills", "ListExceptions", "ListImages"],
      ...["ListIncidents", "ListLogEntries", "ListNodes", "ListVulnerabilities", "ListWorkloads", "PauseActions", "RequestException"],
      ...["ResolveIncident", "RevokeException", "UndoAction"],
    ]);
  });

  test("is for a role in namespaces what it is by the command, and the page is told where it holds", async () => {
    const browser = await signedIn("approver", ["shop"]);
    expect(told(await browser.send("GET", "/api/session"))).toMatchObject({ name: "some-approver-shop", role: "approver", namespaces: ["shop"] });
    for (const method of unary) {
      const path = `/${method.parent.typeName}/${method.name}`;
      const answer = await browser.call(method, EMPTY);
      if (answer.status !== 200 && told(answer)["reason"] === "NOT_HERE") continue;
      const inside = SCOPES[path as keyof typeof SCOPES] === "namespace";
      expect([path, answer.status === 403]).toEqual([path, !inside]);
    }
    expect(await browser.ask(Query.method.getStatus, {})).toMatchObject({ namespaces: ["shop"], nodesTotal: 0 });
  });

  test("counts only from the page's own origin, with the header that no form can send, and in the bounds", async () => {
    const browser = await signedIn("admin");
    const path = "/api/hullmark.v1.Response/PauseActions";
    const type = { "content-type": "application/proto" };
    for (const headers of [
      { ...type, "hullmark-by": "person" },
      { ...type, "hullmark-by": "person", origin: "https://evil.example" },
      { ...type, origin: browser.origin },
      { ...type, "hullmark-by": "person", origin: browser.origin, "sec-fetch-site": "same-site" },
    ])
      expect(await browser.send("POST", path, { headers, body: "" })).toMatchObject({ status: 403 });
    expect(await browser.fromPage("POST", path, "a=b", "application/x-www-form-urlencoded")).toMatchObject({ status: 415 });
    expect(await browser.fromPage("POST", path, Buffer.alloc(65_537), "application/proto")).toMatchObject({ status: 413 });
    expect(told(await browser.fromPage("POST", path, Buffer.from("ff", "hex"), "application/proto"))).toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(told(await browser.fromPage("POST", "/api/hullmark.v1.Attestation/Attest", EMPTY, "application/proto"))).toMatchObject({ reason: "NOT_HERE" });
    expect(await browser.ask(Response.method.listActions, {})).not.toHaveProperty("pause.by");
    await browser.ask(Response.method.pauseActions, { reason: "trying" });
    expect(await browser.ask(Response.method.listActions, {})).toMatchObject({ pause: { by: "some-admin", reason: "trying" } });
  });
});

describe("what ends a session", () => {
  const stands = async (browser: Browserless, by = "person"): Promise<boolean> => (await browser.call(Query.method.getStatus, EMPTY, by)).status === 200;

  test("signing out", async () => {
    const browser = await signedIn("viewer");
    expect(await browser.fromPage("DELETE", "/api/session")).toMatchObject({ status: 204 });
    expect(await stands(browser)).toBe(false);
  });

  test("half an hour in which nobody does anything, whatever the page asks by itself; eight hours in any case", async () => {
    const pass = (minutes: number): void => {
      verifier.clock.shiftMs += minutes * 60_000;
    };
    const [idle, busy] = [await signedIn("admin"), new Browserless(verifier)];
    // A year's certificate: an hour's would end first.
    await busy.signIn(verifier.admin());
    for (let minutes = 0; minutes < 60; minutes += 20) {
      pass(20);
      expect(await stands(busy)).toBe(true);
      expect(await stands(idle, "page")).toBe(minutes === 0);
    }
    for (let minutes = 60; minutes < 460; minutes += 20) {
      pass(20);
      expect(await stands(busy)).toBe(true);
    }
    pass(20);
    expect(await stands(busy)).toBe(false);
  });

  test("the end of the certificate that it was asked for with, or of whom it was given to: what is open ends at once", async () => {
    const { key, pem } = await verifier.certify((authority, spki) => authority.issueOperator("viewer", "eve", spki, 120_000));
    const eve = verifier.track(new RpcChannel(verifier.mainAddress, credentials.createSsl(verifier.ca, key, pem)));
    const browser = new Browserless(verifier);
    await browser.signIn(eve);
    expect(await stands(browser)).toBe(true);
    const waiting = (await eve.client(Admin).openDashboard({})).code;
    const stream = await open(browser);
    await verifier.adminClient.revokePerson({ name: "eve", reason: "has left" });
    await stream.ended;
    expect(await stands(browser)).toBe(false);
    expect(told(await browser.fromPage("POST", "/api/session", waiting))).toMatchObject({ reason: "CODE" });

    const viewer = await signedIn("viewer");
    verifier.clock.shiftMs += 3_600_000;
    expect(told(await viewer.call(Query.method.getStatus, EMPTY))["code"]).toBe("UNAUTHENTICATED");
  });
});

test("one session's pages leave others theirs", async () => {
  const [greedy, other] = [await signedIn("viewer"), await signedIn("viewer")];
  const streams = await Promise.all(Array.from({ length: 16 }, () => open(greedy)));
  expect(told(await greedy.send("GET", "/api/changes"))).toMatchObject({ code: "RESOURCE_EXHAUSTED" });
  const fine = await open(other);
  expect(await greedy.fromPage("DELETE", "/api/session")).toMatchObject({ status: 204 });
  await Promise.all(streams.map(({ ended }) => ended));
  expect(await other.fromPage("DELETE", "/api/session")).toMatchObject({ status: 204 });
  await fine.ended;
});

test("a session ends with the CA that its certificate is of, and so does a code that waits", async () => {
  const own = await new TestVerifier().start(CONFIG, directory);
  try {
    const viewer = await own.operator("viewer");
    const browser = new Browserless(own);
    await browser.signIn(viewer);
    const stream = await open(browser, own);
    const { code } = await viewer.client(Admin).openDashboard({});
    await own.adminClient.rotateKey({ name: "ca", reason: "it may have leaked" });
    expect((await browser.call(Query.method.getStatus, EMPTY)).status).toBe(200);
    await own.adminClient.retireKey({ name: "ca", reason: "all have moved" });
    await stream.ended;
    expect((await browser.call(Query.method.getStatus, EMPTY)).status).toBe(401);
    expect((await browser.fromPage("POST", "/api/session", code)).status).toBe(401);
    const admin = new Browserless(own);
    expect(await admin.signIn(own.admin())).toMatchObject({ status: 200 });
  } finally {
    await own.dispose();
  }
});

test("a stranger's requests write no lines into the verifier's log, whatever they ask for", async () => {
  const lines: string[] = [];
  const own = new TestVerifier();
  own.logger = pino({ level: "info" }, { write: (line: string) => void lines.push(line) });
  await own.start(CONFIG, directory);
  try {
    const stranger = new Browserless(own);
    const before = lines.length;
    expect((await stranger.fromPage("POST", "/api/session", "A".repeat(43))).status).toBe(401);
    expect((await stranger.send("POST", "/api/session", { headers: { "content-type": "text/plain" }, body: "x" })).status).toBe(403);
    for (const path of ["/api/session", "/api/changes", "/nowhere"]) expect((await stranger.send("GET", path)).status).toBeGreaterThanOrEqual(401);
    expect((await stranger.call(Query.method.getStatus, EMPTY)).status).toBe(401);
    expect(lines.slice(before).filter((line) => line.includes("refused"))).toEqual([]);
    // What somebody is refused who is known is told.
    await stranger.signIn(await own.operator("viewer"));
    expect((await stranger.call(Admin.method.acknowledgeDrift, EMPTY)).status).toBe(403);
    expect(lines.slice(before).filter((line) => line.includes("a call was refused"))).toHaveLength(1);
  } finally {
    await own.dispose();
  }
});

/** The stream of changes, once it has begun. */
async function open(browser: Browserless, of = verifier): Promise<{ readonly ended: Promise<unknown> }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ readonly ended: Promise<unknown> }>();
  const asking = request(`${browser.origin}/api/changes`, { ca: of.ca, headers: { cookie: browser.cookie }, agent: false }, (response) => {
    response.resume();
    const ended = new Promise((done) => response.once("close", done));
    response.once("data", () => resolve({ ended }));
  });
  asking.on("error", reject);
  asking.end();
  return await promise;
}

test("the page is named by its content, loads nothing from elsewhere and runs no script but its own", async () => {
  const browser = new Browserless(verifier);
  const page = await browser.send("GET", "/incidents/I-0");
  expect(page.headers).toMatchObject({
    "content-security-policy": expect.stringMatching(/^default-src 'none'; script-src 'self'; .*frame-ancestors 'none'.*trusted-types 'none'$/),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
  });
  expect(String(page.headers["content-security-policy"])).not.toMatch(/unsafe|https?:|\*/);
  expect((await browser.send("GET", "/", { headers: { "if-none-match": String(page.headers["etag"]) } })).status).toBe(304);
  const names = page.body.toString().match(/\/dashboard\.[0-9a-f]{16}\.(?:js|css)/g) ?? [];
  expect(names).toHaveLength(2);
  for (const name of names) expect((await browser.send("GET", name)).headers["cache-control"]).toContain("immutable");
  for (const path of ["/dashboard.js", "/../verifier.js", "/%2e%2e/verifier.js", "/etc/passwd", "/api/session/x"])
    expect((await browser.send("GET", path)).status).toBe(404);
});
