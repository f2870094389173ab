/** The verifier's calls to an API server, one on a script: what comes of bad answers. Of a real one: test/e2e/kubernetes-chart.test.ts. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { AnswerTooLarge } from "@hullmark/daemon/api-server";
import {
  ApiServer,
  apiServerOfPod,
  deleteReport,
  KubernetesTokenReviewer,
  publish,
  ReviewedPeople,
  reportedNamespaces,
  writePodEvent,
  writeReport,
} from "@hullmark/verifier/adapters/kubernetes/index";
import type { PodEvent } from "@hullmark/verifier/core/fleet/pod-events";
import type { Report } from "@hullmark/verifier/core/fleet/reports";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

const TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzZWNyZXQtYmVhcmVyIn0.c2lnbmF0dXJl";
const OWN = "own-token-of-the-verifier";
const USERNAME = "system:serviceaccount:hullmark:hullmark-agent";

interface Scripted {
  readonly status?: number;
  readonly body: string | object;
}
type Script = (method: string, path: string, body: string) => Scripted;

let home: string;
let server: Server;
let script: Script;
const seen: { readonly method: string; readonly path: string; readonly authorization: string; readonly body: string }[] = [];

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "hullmark-api-"));
  const san = "subjectAltName=IP:127.0.0.1";
  for (const name of ["ca", "other"])
    execFileSync("openssl", [
      ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj", `/CN=${name}`, "-addext", san],
      ...["-keyout", join(home, `${name}.key`), "-out", join(home, `${name}.crt`)],
    ]);
  writeFileSync(join(home, "token"), `${OWN}\n`);
  server = createServer({ key: readFileSync(join(home, "ca.key")), cert: readFileSync(join(home, "ca.crt")) }, (request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body = Buffer.concat(chunks).toString();
      const [method, path] = [request.method ?? "", request.url ?? ""];
      seen.push({ method, path, authorization: request.headers.authorization ?? "", body });
      const { status = 201, body: answer } = script(method, path, body);
      response.writeHead(status, { "content-type": "application/json" }).end(typeof answer === "string" ? answer : JSON.stringify(answer));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterAll(() => {
  server.close();
  server.closeAllConnections();
  rmSync(home, { recursive: true });
});
afterEach(() => seen.splice(0));

function api(ca = "ca"): ApiServer {
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return new ApiServer({ url, caFile: join(home, `${ca}.crt`), tokenFile: join(home, "token") });
}
const reviewer = (ca?: string) => new KubernetesTokenReviewer(api(ca));

const extra = (node?: string[]) => ({
  "authentication.kubernetes.io/pod-name": ["agent-x"],
  "authentication.kubernetes.io/pod-uid": ["uid-1"],
  ...(node && { "authentication.kubernetes.io/node-name": node }),
});
const authentic = (more: object) => ({ status: { authenticated: true, audiences: ["hullmark"], user: { username: USERNAME, extra: more } } });

test("asks with its own token, for one audience, and takes the node that the token names", async () => {
  script = () => ({ body: authentic(extra(["w-07"])) });
  expect(await reviewer().review(TOKEN, "hullmark")).toEqual({ username: USERNAME, audiences: ["hullmark"], nodeName: "w-07" });
  expect(seen).toMatchObject([{ method: "POST", path: "/apis/authentication.k8s.io/v1/tokenreviews", authorization: `Bearer ${OWN}` }]);
  expect(JSON.parse(seen[0]?.body ?? "")).toMatchObject({ kind: "TokenReview", spec: { token: TOKEN, audiences: ["hullmark"] } });
});

const NOW_MS = 1_790_000_000_000;
const jwt = (claims: object) => `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.AA`;

test("a person is whom the API server names, for this audience alone; a name that is none here is nobody's", async () => {
  const people = new ReviewedPeople({
    ...{ name: "prod", audience: "hullmark", issuers: [], opaqueTokens: true, maxTokenHours: 24, nowMs: () => NOW_MS },
    reviewer: reviewer(),
  });
  const answer = (user: object, audiences: string[] | undefined = ["hullmark"]) => {
    script = () => ({ body: { status: { authenticated: true, ...(audiences && { audiences }), user } } });
  };
  answer({ username: "ada@acme.example", groups: ["sre", "system:authenticated"] });
  expect(await people.authenticate("opaque")).toEqual({ name: "ada@acme.example", groups: ["sre", "system:authenticated"], expiresAtMs: undefined });
  // Where its pod runs is nobody's question here.
  expect(seen).toHaveLength(1);
  const [iat, exp] = [NOW_MS / 1000 - 60, NOW_MS / 1000 + 60];
  expect(await people.authenticate(jwt({ iat, exp }))).toMatchObject({ expiresAtMs: exp * 1000 });
  const refused = async () => await expect(people.authenticate(TOKEN)).rejects.toMatchObject({ code: "REFUSED", message: expect.not.stringContaining(TOKEN) });
  answer({ username: "ada" }, []);
  await refused();
  answer({ username: "ada" }, ["vault"]);
  await refused();
  answer({});
  await refused();
  answer({ username: "ada lovelace" });
  await refused();
  script = () => ({ body: { status: { authenticated: false } } });
  await refused();
  for (const script_ of [() => ({ status: 403, body: {} }), () => ({ body: "nonsense" })]) {
    script = script_;
    await expect(people.authenticate(TOKEN)).rejects.toMatchObject({ code: "UNAVAILABLE", message: expect.not.stringContaining(TOKEN) });
  }
});

test("the API server is asked of no token that is of another issuer, does not say its age, or is too old; of the others none counts longer than configuration says", async () => {
  const options = { name: "prod", audience: "hullmark", maxTokenHours: 1, nowMs: () => NOW_MS, reviewer: reviewer() };
  const people = new ReviewedPeople({ ...options, issuers: ["https://cluster.example"], opaqueTokens: false });
  const open = new ReviewedPeople({ ...options, issuers: [], opaqueTokens: true });
  const [iss, iat, exp] = ["https://cluster.example", NOW_MS / 1000 - 60, NOW_MS / 1000 + 31_536_000];
  const claimed = (token: string) => [people.claims(token), open.claims(token)];
  expect(claimed(jwt({ iss, iat, exp }))).toEqual([true, true]);
  expect(claimed(jwt({ iss: "https://other.example", iat, exp }))).toEqual([false, true]);
  expect(claimed("opaque")).toEqual([false, true]);
  // As a service account's of old, which never ends.
  expect([...claimed(jwt({ iss })), ...claimed(jwt({ iss, iat }))]).toEqual([false, false, false, false]);
  script = () => ({ body: { status: { authenticated: true, audiences: ["hullmark"], user: { username: "ada" } } } });
  expect(await people.authenticate(jwt({ iss, iat, exp }))).toMatchObject({ expiresAtMs: iat * 1000 + 3_600_000 });
  expect(seen).toHaveLength(1);
  await expect(people.authenticate(jwt({ iss, iat: iat - 3600, exp }))).rejects.toMatchObject({ code: "REFUSED", message: "the token has expired" });
  expect(seen).toHaveLength(1);
});

test("before Kubernetes 1.30 the node is that of the very pod the token is bound to", async () => {
  const pod = (uid: string, nodeName?: string): Script => {
    return (method) => (method === "POST" ? { body: authentic(extra()) } : { status: 200, body: { metadata: { uid }, spec: { nodeName } } });
  };
  script = pod("uid-1", "w-08");
  expect(await reviewer().review(TOKEN, "hullmark")).toMatchObject({ nodeName: "w-08" });
  expect(seen[1]?.path).toBe("/api/v1/namespaces/hullmark/pods/agent-x");
  script = pod("uid-of-another-pod-of-that-name", "w-08");
  expect(await reviewer().review(TOKEN, "hullmark")).toMatchObject({ nodeName: undefined });
  script = pod("uid-1");
  expect(await reviewer().review(TOKEN, "hullmark")).toMatchObject({ nodeName: undefined });
  script = (method) => (method === "POST" ? { body: authentic(extra()) } : { status: 404, body: {} });
  expect(await reviewer().review(TOKEN, "hullmark")).toMatchObject({ nodeName: undefined });
});

test("a token that is bound to no pod, or names two nodes, has none", async () => {
  script = () => ({ body: authentic({}) });
  expect(await reviewer().review(TOKEN, "hullmark")).toMatchObject({ nodeName: undefined });
  script = (method) => (method === "POST" ? { body: authentic(extra(["w-07", "w-08"])) } : { status: 404, body: {} });
  expect(await reviewer().review(TOKEN, "hullmark")).toMatchObject({ nodeName: undefined });
});

test.each([{ status: {} }, { status: { authenticated: false, error: "token expired" } }])("what is not called authentic is not: %j", async (body) => {
  script = () => ({ body });
  expect(await reviewer().review(TOKEN, "hullmark")).toBeUndefined();
});

test.each<[string, Scripted, RegExp]>([
  ["a refusal names the right that is missing", { status: 403, body: { kind: "Status" } }, /answers 403 .*create tokenreviews/],
  ["an error of the server", { status: 500, body: "oops" }, /answers 500/],
  ["no JSON", { body: "<html>" }, /no TokenReview/],
  ["JSON of another kind", { body: { kind: "Pod" } }, /no TokenReview/],
  ["authenticated as a word", { body: { status: { authenticated: "true" } } }, /no TokenReview/],
  ["more than is read", { body: authentic({ filler: ["x".repeat(5 << 20)] }) }, /does not answer: an answer of more than/],
])("%s is no answer", async (_, answer, message) => {
  script = () => answer;
  const error = await reviewer()
    .review(TOKEN, "hullmark")
    .catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ name: "TokenReviewError", code: "UNAVAILABLE", message: expect.stringMatching(message) });
  for (const secret of [TOKEN, OWN]) expect(inspect(error, { depth: 10, showHidden: true })).not.toContain(secret);
});

test("an answer that is too large is told from one that does not come", async () => {
  script = () => ({ status: 200, body: { filler: "x".repeat(5 << 20) } });
  await expect(api().get("/api/v1/pods?limit=100")).rejects.toBeInstanceOf(AnswerTooLarge);
  await expect(api("other").get("/api/v1/pods?limit=100")).rejects.not.toBeInstanceOf(AnswerTooLarge);
});

test("a server of another CA is not asked, and learns no token", async () => {
  script = () => ({ body: authentic(extra(["w-07"])) });
  await expect(reviewer("other").review(TOKEN, "hullmark")).rejects.toMatchObject({ name: "TokenReviewError", code: "UNAVAILABLE" });
  expect(seen).toEqual([]);
});

test("the pod's environment names the API server, also by IPv6", () => {
  expect(apiServerOfPod({ KUBERNETES_SERVICE_HOST: "10.96.0.1", KUBERNETES_SERVICE_PORT: "443" })).toBe("https://10.96.0.1:443");
  expect(apiServerOfPod({ KUBERNETES_SERVICE_HOST: "fd00::1", KUBERNETES_SERVICE_PORT: "443" })).toBe("https://[fd00::1]:443");
  expect(apiServerOfPod({})).toBeUndefined();
});

const TARGETS = { namespace: "hullmark", caConfigMap: "hullmark-ca" };
const FILES = { rootPem: "PEM", secrets: { "hullmark-admin": { "client.key": "the-key-of-an-admin" }, "hullmark-viewer": { "client.key": "of-a-viewer" } } };

test("what the verifier made is merged into its objects, each role's into its own, and nothing else is touched", async () => {
  script = () => ({ status: 200, body: {} });
  await publish(api(), TARGETS, FILES);
  expect(seen.map(({ method, path, body }) => [method, path, JSON.parse(body)])).toEqual([
    ["PATCH", "/api/v1/namespaces/hullmark/configmaps/hullmark-ca", { data: { "ca.crt": "PEM" } }],
    ["PATCH", "/api/v1/namespaces/hullmark/secrets/hullmark-admin", { stringData: FILES.secrets["hullmark-admin"] }],
    ["PATCH", "/api/v1/namespaces/hullmark/secrets/hullmark-viewer", { stringData: FILES.secrets["hullmark-viewer"] }],
  ]);
});

test("an object that may not be changed is named, its content is not", async () => {
  script = (_, path) => ({ status: path.includes("secrets") ? 403 : 200, body: { message: "the-key-of-an-admin" } });
  const error = await publish(api(), TARGETS, FILES).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ message: "the API server answers 403 to patch secrets hullmark/hullmark-admin" });
  expect(inspect(error, { depth: 10 })).not.toContain("the-key-of-an-admin");
});

const EVENT: PodEvent = {
  id: "0123456789abcdef",
  pod: { namespace: "shop", name: "cart-6d9-x2k", uid: "u-1", container: "web" },
  reason: "Drifted",
  note: "D-7K2Q shop/cart-6d9-x2k/web: /usr/bin/curl: content",
  firstMs: Date.UTC(2026, 10, 25),
  lastMs: Date.UTC(2026, 10, 25, 1),
  count: 1,
  written: false,
};
const EVENTS = "/apis/events.k8s.io/v1/namespaces/shop/events";

test("an Event is written once, about the very pod, and then only counted up", async () => {
  script = () => ({ status: 201, body: {} });
  expect(await writePodEvent(api(), EVENT, "hullmark/hullmark")).toBe(true);
  script = () => ({ status: 200, body: {} });
  expect(await writePodEvent(api(), { ...EVENT, count: 3, written: true }, "hullmark/hullmark")).toBe(true);
  expect(seen.map(({ method, path, body }) => [method, path, JSON.parse(body)])).toMatchObject([
    [
      "POST",
      EVENTS,
      { reason: "Drifted", type: "Warning", eventTime: "2026-11-25T00:00:00.000000Z", regarding: { kind: "Pod", name: "cart-6d9-x2k", uid: "u-1" } },
    ],
    ["PATCH", `${EVENTS}/cart-6d9-x2k.0123456789abcdef`, { series: { count: 3, lastObservedTime: "2026-11-25T01:00:00.000000Z" } }],
  ]);
});

test("an Event about an action names it, its drift and the log's entries of both; one about drift has no annotations", async () => {
  script = () => ({ status: 201, body: {} });
  const about = { id: "A-7K2Q", logIndex: 41, driftId: "D-7K2Q", driftLogIndex: 40 };
  for (const event of [{ ...EVENT, reason: "RollbackRefused" as const, about }, EVENT]) expect(await writePodEvent(api(), event, "v")).toBe(true);
  const named = { "hullmark.dev/action": "A-7K2Q", "hullmark.dev/log-index": "41", "hullmark.dev/drift": "D-7K2Q", "hullmark.dev/drift-log-index": "40" };
  expect(seen.map(({ body }) => JSON.parse(body).metadata.annotations)).toEqual([named, undefined]);
});

test("an Event that persisted although the answer was lost is no failure, and one that was forgotten is written anew", async () => {
  script = () => ({ status: 409, body: {} });
  expect(await writePodEvent(api(), EVENT, "v")).toBe(true);
  script = (method) => ({ status: method === "PATCH" ? 404 : 201, body: {} });
  expect(await writePodEvent(api(), { ...EVENT, count: 2, written: true }, "v")).toBe(true);
  expect(seen.map(({ method }) => method)).toEqual(["POST", "PATCH", "POST"]);
});

test("an Event is given up where it can never be, and tried again where the server or a right is missing", async () => {
  for (const status of [404, 422]) {
    script = () => ({ status, body: {} });
    expect(await writePodEvent(api(), EVENT, "v")).toBe(false);
  }
  script = () => ({ status: 403, body: { details: { causes: [{ reason: "NamespaceTerminating" }] } } });
  expect(await writePodEvent(api(), EVENT, "v")).toBe(false);
  for (const status of [403, 429, 500]) {
    script = () => ({ status, body: {} });
    await expect(writePodEvent(api(), EVENT, "v")).rejects.toThrow(String(status));
  }
  seen.splice(0);
  for (const namespace of ["../../x", "Shop", "", "a/b"]) expect(await writePodEvent(api(), { ...EVENT, pod: { ...EVENT.pod, namespace } }, "v")).toBe(false);
  expect(await writePodEvent(api(), { ...EVENT, pod: { ...EVENT.pod, name: "x?y" } }, "v")).toBe(false);
  expect(seen).toEqual([]);
});

const REPORTS = { name: "hullmark", owner: "hullmark-reports" };
const REPORT: Report = { namespace: "shop", summary: { pass: 1, fail: 0, warn: 0, error: 0, skip: 0 }, entries: [] };
const GENERAL_404 = { kind: "Status", message: "the server could not find the requested resource", code: 404 };

test("a report is applied, whether it is there or not, and owned by what goes with the installation", async () => {
  script = () => ({ status: 201, body: {} });
  await writeReport(api(), REPORTS, "uid-1", REPORT, "production");
  await writeReport(api(), REPORTS, "uid-1", { ...REPORT, namespace: undefined }, "production");
  expect(seen.map(({ method, path }) => `${method} ${path}`)).toEqual([
    "PATCH /apis/openreports.io/v1alpha1/namespaces/shop/reports/hullmark?fieldManager=hullmark&force=true",
    "PATCH /apis/openreports.io/v1alpha1/clusterreports/hullmark?fieldManager=hullmark&force=true",
  ]);
  expect(JSON.parse(seen[0]?.body ?? "")).toMatchObject({
    metadata: { name: "hullmark", namespace: "shop", ownerReferences: [{ kind: "ClusterRole", name: "hullmark-reports", uid: "uid-1" }] },
    summary: { pass: 1 },
    results: [],
  });
});

test("a report of a namespace that is gone is no failure, missing kinds and rights are", async () => {
  script = () => ({ status: 404, body: { message: 'namespaces "shop" not found' } });
  await writeReport(api(), REPORTS, "u", REPORT, "p");
  script = () => ({ status: 403, body: { message: "forbidden", details: { causes: [{ reason: "NamespaceTerminating" }] } } });
  await writeReport(api(), REPORTS, "u", REPORT, "p");
  script = () => ({ status: 404, body: GENERAL_404 });
  await expect(writeReport(api(), REPORTS, "u", REPORT, "p")).rejects.toThrow("are the kinds of openreports.io installed?");
  script = () => ({ status: 404, body: "404 page not found" });
  await expect(writeReport(api(), REPORTS, "u", REPORT, "p")).rejects.toThrow("404");
  script = () => ({ status: 403, body: { message: "forbidden" } });
  await expect(writeReport(api(), REPORTS, "u", REPORT, "p")).rejects.toThrow("403");
  script = () => ({ status: 404, body: GENERAL_404 });
  await deleteReport(api(), REPORTS, "shop");
});

test("reports of an earlier start are found page by page, those of others are not taken for own", async () => {
  const page = (names: readonly (readonly [string, string])[], next?: string) => ({
    status: 200,
    body: { metadata: { continue: next }, items: names.map(([namespace, name]) => ({ metadata: { namespace, name } })) },
  });
  const own = [["a", "hullmark"] as const, ["b", "other"] as const];
  script = (_, path) => (path.includes("continue=") ? page([["c", "hullmark"]]) : page(own, "x&y"));
  expect([...(await reportedNamespaces(api(), REPORTS))]).toEqual(["a", "c"]);
  expect(seen[1]?.path).toContain("&continue=x%26y");
});
