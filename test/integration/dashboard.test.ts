/** The dashboard in a real Chromium, before a whole verifier with nodes that tell it things: what people see, do with keys and pointer, and cannot be tricked with. */
import { execFile } from "node:child_process";
import { hash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { encodeRecord } from "@hullmark/proto/codec";
import { Admin } from "@hullmark/proto/v1/admin";
import { Verdict } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import { ActionState, Response } from "@hullmark/proto/v1/response";
import { dockerInitLayer, LayerTree, MergedTree } from "@hullmark/verifier/core/reference-value/index";
import type { OperatorRole } from "@hullmark/verifier/ports/certificate-authority";
import type { Browser, BrowserContext, Locator, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bundleDashboard } from "../../dashboard/bundle.ts";
import type { Attester, ScriptedContainer } from "../fakes/attester.ts";
import { accessibilityProblems, screenshot, startChromium, visit } from "../fakes/chromium.ts";
import { hullmarkOf } from "../fakes/hullmark.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { listeningActuator } from "../fakes/listening-actuator.ts";
import { program } from "../fakes/program.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { trivyReport } from "../fakes/scan-reports.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const run = promisify(execFile);
const main = program("cli");
const CONFIG = `enrolment: { mode: tofu, acceptWithoutCertificate: true }
dashboard: { listen: "127.0.0.1:0" }`;
/** What is unsigned is told, and no drift; and nobody is away only because the test takes its time. */
const POLICY = `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: pilot }
spec: { mode: observe, intervals: { heartbeat: 5m, quote: 1h } }
`;
/** The loaded machine of a gate takes its time. */
const TIMEOUT_MS = 60_000;

const file = (content: string): Buffer =>
  encodeRecord({ type: "f", mode: 0o644, uid: 0, gid: 0, xattrs: [], size: BigInt(content.length), sha256: hash("sha256", content, "buffer") });
const folder = encodeRecord({ type: "d", mode: 0o755, uid: 0, gid: 0, xattrs: [], opaque: false });
const layer = LayerTree.build([
  { path: Buffer.from("etc"), record: folder, implied: true },
  { path: Buffer.from("etc/app.conf"), record: file("port=80\n"), implied: false },
]);
/** What a container's owner may call a file, so that it would be a script, look like another name, or break a line. */
const HOSTILE = ["<img src=x onerror=window.pwned=1>", "\u202egnp.exe", "a\nb\x1b[31m", "javascript:alert(1)"];

let verifier: TestVerifier;
let registry: FakeRegistry;
let image: PushedImage;
let browser: Browser;
let directory: string;
const nodes: Attester[] = [];
const contexts: BrowserContext[] = [];

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-dashboard-"));
  [registry, browser] = await Promise.all([startFakeRegistry(), startChromium(), bundleDashboard(directory)]);
  image = await pushImage(`${registry.host}/acme/web`);
  verifier = new TestVerifier();
  await verifier.start(`${CONFIG}\npolicyFile: ${verifier.policy(POLICY)}`, directory);
  for (const name of ["w-1", "w-2"]) {
    const attester = verifier.attester({ name, quoter: new FakeQuoter() });
    await attester.connect();
    attester.set(container(name));
    await attester.report();
    nodes.push(attester);
  }
}, 300_000);
afterAll(async () => {
  for (const context of contexts) await context.close();
  await browser?.close();
  await verifier?.dispose();
  await registry?.close();
  rmSync(directory, { recursive: true });
});

function container(node: string, upper: Readonly<Record<string, Buffer>> = {}, name = `web-${node}`): ScriptedContainer {
  return {
    ...{ id: name.padEnd(64, "0"), name },
    image: { reference: `${image.repository}:${image.tag}`, configDigest: image.configDigest },
    layers: [
      { id: "layer-0", tree: layer },
      { id: `init-${node}`, tree: dockerInitLayer(MergedTree.of([layer])), runtimeMade: true },
    ],
    upper: new Map(Object.entries(upper)),
  };
}

async function write(node: number, files: Readonly<Record<string, Buffer>>): Promise<void> {
  const attester = nodes[node - 1] as Attester;
  const changed = container(`w-${node}`, Object.keys(files).length > 0 ? { etc: folder, ...files } : {});
  attester.set(changed);
  await attester.report([changed.id]);
}

/** A page of a browser of its own, signed in as a person of this role; whatever it logs as an error fails the test. */
async function pageOf(role: OperatorRole, path = "/", look: Parameters<Browser["newContext"]>[0] = {}): Promise<Page> {
  // What the browser must not do is refuse the verifier's own CA; everything else is as people have it.
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 900 }, ...look });
  contexts.push(context);
  const page = await context.newPage();
  page.setDefaultTimeout(TIMEOUT_MS);
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => {
    // 401: signed out. Chromium drops what it asks where the machine's interfaces change, as other tests change them; the page asks again.
    if (message.type() === "error" && !/401|ERR_NETWORK_CHANGED/.test(message.text())) problems.push(message.text());
  });
  const { code } = await (await verifier.operator(role)).client(Admin).openDashboard({});
  await visit(page, `${origin()}${path}#${code}`);
  await page.getByRole("navigation").waitFor();
  return page;
}
const problems: string[] = [];
/** As people type two keys: the second does not wait until the page has taken the first. */
const type = (page: Page, keys: string): Promise<unknown> => Promise.all([...keys].map((key) => page.keyboard.press(key)));
const origin = (): string => `https://localhost:${verifier.running?.dashboardPort}`;
const seen = async (page: Page, text: string | RegExp): Promise<void> => await page.getByText(text).first().waitFor();

test("what runs on both nodes is judged", { timeout: 300_000 }, async () => {
  const judged = async (name: string) => (await verifier.query.getWorkload({ container: `web-${name}` })).workload;
  for (const name of ["w-1", "w-2"]) await expect.poll(() => judged(name), { timeout: 240_000 }).toMatchObject({ content: Verdict.AFFIRMING });
});

test("what the command prints opens the page once; a page without a session says how to get in", async () => {
  const config = join(verifier.directory, "state/admin/config.yaml");
  const { stdout } = await run(process.execPath, [main, "--config", config, "dashboard", "-o", "json"]);
  const { url } = JSON.parse(stdout) as { url: string };
  expect(url).toMatch(/^https:\/\/localhost:\d+\/#[A-Za-z0-9_-]{43}$/);
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  contexts.push(context);
  const page = await context.newPage();
  await visit(page, url);
  await seen(page, "No drift; 2 workloads with warnings");
  expect(page.url()).toBe(`${origin()}/`);
  await page.getByRole("button", { name: "Sign out" }).click();
  await seen(page, "You are signed out.");
  await visit(page, url);
  await page.reload();
  await seen(page, /used already/);
  await screenshot(page, "signed-out");
  expect(await accessibilityProblems(page)).toEqual([]);
}, 120_000);

test("a drift is on the first screen by itself, where it is, since when, and who is at it", async () => {
  const page = await pageOf("responder");
  await seen(page, "live");
  await seen(page, "2 of 2 attested");
  await screenshot(page, "overview-clean");
  expect(await accessibilityProblems(page)).toEqual([]);
  await write(1, { "etc/app.conf": file("port=81\n") });
  await seen(page, "1 incident stands");
  await write(2, { "etc/app.conf": file("port=81\n") });
  const line = page.getByRole("row").filter({ hasText: "/etc/app.conf altered" });
  await line.getByText("nobody yet").waitFor();
  await expect.poll(() => line.getByRole("cell").nth(3).textContent(), { timeout: TIMEOUT_MS }).toBe("2");
  await screenshot(page, "overview-incident");
  expect(await accessibilityProblems(page)).toEqual([]);
}, 240_000);

test("by keys alone: to the list, to the line, into it; acknowledged there, and seen by others at once", async () => {
  const [page, other] = [await pageOf("responder", "/", { colorScheme: "dark" }), await pageOf("viewer")];
  await seen(page, "1 incident stands");
  await type(page, "gi");
  await page.getByRole("heading", { name: "Incidents" }).waitFor();
  await seen(page, "/etc/app.conf");
  expect(await accessibilityProblems(page)).toEqual([]);
  await page.keyboard.press("/");
  await page.keyboard.type("nothing so called");
  await seen(page, /^0 incidents shown that match/);
  await page.keyboard.press("Escape");
  await page.getByRole("searchbox").fill("app.conf");
  await page.getByRole("searchbox").blur();
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Timeline" }).waitFor();
  await screenshot(page, "incident-dark");
  expect(await accessibilityProblems(page)).toEqual([]);
  await page.getByLabel("Acknowledge, because").fill("mine: a hotfix that was not rolled out");
  await page.getByRole("button", { name: "Acknowledge 2 drifts" }).click();
  await seen(page, "by some-responder");
  await page.getByRole("button", { name: /^Acknowledge/ }).waitFor({ state: "detached" });
  await other.getByText("acknowledged").first().waitFor();
  // Who may only look is offered nothing else.
  await other.goto(page.url());
  await other.getByRole("heading", { name: "Timeline" }).waitFor();
  expect(await other.getByRole("button", { name: /^Acknowledge/ }).count()).toBe(0);
  await page.keyboard.press("?");
  await page.getByRole("dialog").waitFor();
  expect(await accessibilityProblems(page)).toEqual([]);
  await page.keyboard.press("Escape");
  await page.keyboard.press("t");
  expect(await page.evaluate("document.documentElement.dataset.theme")).toBe("light");
}, 240_000);

test("names that are scripts, markup, or turn the line around are text", async () => {
  await write(
    1,
    Object.fromEntries([
      ["etc/app.conf", file("port=81\n")] as const,
      ...HOSTILE.map((name) => [`etc/${Buffer.from(name).toString("latin1")}`, file(name)] as const),
    ]),
  );
  const page = await pageOf("viewer", "/incidents");
  await seen(page, "<img src=x onerror=window.pwned=1>");
  await seen(page, String.raw`\u{202e}gnp.exe`);
  await seen(page, String.raw`a\x0ab\x1b[31m`);
  await screenshot(page, "incidents-hostile");
  const found = await page.evaluate(`({
    pwned: "pwned" in globalThis,
    foreign: document.querySelectorAll("main img, main script, main iframe, a[href^='javascript:']").length,
    control: /[\\u202a-\\u202e\\u2066-\\u2069\\x1b]/.test(document.body.textContent),
  })`);
  expect(found).toEqual({ pwned: false, foreign: 0, control: false });
  await page.setViewportSize({ width: 390, height: 844 });
  await screenshot(page, "incidents-phone");
  expect(await accessibilityProblems(page)).toEqual([]);
}, 240_000);

test("what was signed beside what is there, the image and who vouched for it, the node, and the log up to its signed checkpoint: each page by a link or a key", {
  timeout: 240_000,
}, async () => {
  const page = await pageOf("viewer", "/", { colorScheme: "dark" });
  const visit = async (keys: string, heading: string, then: () => Promise<void>): Promise<void> => {
    await type(page, keys);
    await page.getByRole("heading", { level: 1, name: heading }).waitFor();
    await then();
    await screenshot(page, heading.toLowerCase());
    expect([heading, await accessibilityProblems(page)]).toEqual([heading, []]);
  };
  // Once the page has taken the first, it is busy for longer than the two may be apart.
  await page.evaluate(`addEventListener("keydown", () => { for (const until = performance.now() + 2000; performance.now() < until; ); }, { once: true })`);
  await visit("gd", "Drift", () => seen(page, "/etc/app.conf"));
  await page.getByRole("row").filter({ hasText: "/etc/app.conf" }).getByRole("link").first().click();
  const difference = page.getByRole("row").filter({ hasText: "sha256" });
  await difference.waitFor();
  expect(await difference.getByRole("cell").allTextContents()).toEqual(["sha256", expect.stringMatching(/^8ac56ba2/), expect.stringMatching(/^da278707/)]);
  const id = page.url().split("/").at(-1) ?? "";
  const { drift } = await verifier.query.getDrift({ id });
  const asked = { driftId: id, seen: drift?.seen ?? "", reason: "a hotfix", lifeSeconds: 86_400 };
  const { id: exception } = await (await verifier.operator("responder")).client(Admin).requestException(asked);
  await (await verifier.operator("approver")).client(Admin).approveException({ id: exception });
  await seen(page, `hullmark exception show ${exception}`);
  await screenshot(page, "drift-one");
  expect(await accessibilityProblems(page)).toEqual([]);
  await page.getByRole("link", { name: /acme\/web/ }).click();
  await seen(page, image.configDigest);
  await seen(page, "nobody whom policy knows");
  expect(await accessibilityProblems(page)).toEqual([]);
  await seen(page, "not scanned");
  const ssl = { id: "CVE-2025-0001", name: "libssl3<b>", version: "3.0.11-1", severity: "High", fixed: "3.0.15-1", layer: image.diffIds[0] ?? "" };
  const of = { config: image.configDigest, manifests: [`${image.repository}@${image.manifestDigest}`], diffIds: image.diffIds };
  const report = trivyReport([ssl], { ...of, createdAt: new Date().toISOString() });
  await verifier.adminClient.importVulnerabilities({ report: Buffer.from(JSON.stringify(report)), image: "" });
  await page.reload();
  const finding = page.getByRole("row").filter({ hasText: "libssl3<b>" }).last();
  await finding.waitFor();
  expect((await finding.getByRole("cell").allTextContents()).slice(0, 4)).toEqual(["CVE-2025-0001 ", "high", "libssl3<b> 3.0.11-1", "3.0.15-1"]);
  await screenshot(page, "image-one");
  expect(await accessibilityProblems(page)).toEqual([]);
  await visit("gw", "Images", () => seen(page, "1 high"));
  await visit("go", "Overview", () => seen(page, /critical or high/));
  await visit("gm", "Nodes", () => seen(page, "w-2"));
  // The one with drift before the others.
  expect(await page.locator("tbody tr td:first-child").first().textContent()).toBe("w-1");
  expect(await page.locator("tbody tr").first().getByRole("cell").nth(4).textContent()).not.toBe("0");
  await page.getByRole("searchbox").fill("W-2");
  await expect.poll(() => page.getByRole("row").count(), { timeout: TIMEOUT_MS }).toBe(2);
  await page.getByRole("link", { name: "w-2" }).click();
  await page.getByRole("row").filter({ hasText: "web-w-2" }).waitFor();
  await screenshot(page, "node-one");
  expect(await accessibilityProblems(page)).toEqual([]);
  await visit("ga", "Actions", () => seen(page, "No action"));
  await visit("gl", "Log", () => seen(page, "signed"));
  await page.getByRole("searchbox").fill("acknowledgement");
  await seen(page, /mine: a hotfix that was not rolled out/);
});

/** In light and in dark. */
async function problemsOf(page: Page): Promise<string[]> {
  const light = await accessibilityProblems(page);
  await page.emulateMedia({ colorScheme: "dark" });
  const dark = await accessibilityProblems(page);
  await page.emulateMedia({ colorScheme: "light" });
  return [...light, ...dark];
}

/** The one drift of a file that stands. */
const driftOf = async (path: string): Promise<string> => {
  const ids = async () => (await verifier.query.listDrift({ states: [DriftState.OPEN] })).drifts.filter((each) => Buffer.from(each.path).toString() === path);
  await expect.poll(async () => (await ids()).length, { timeout: TIMEOUT_MS }).toBe(1);
  return (await ids())[0]?.id ?? "";
};

test("an exception is asked for from the drift, and decided by somebody else who sees what exactly it excuses", { timeout: 300_000 }, async () => {
  await write(2, { "etc/app.conf": file("port=81\n"), "etc/seed.conf": file("seed"), "etc/own.conf": file("own") });
  const [seed, own] = [await driftOf("/etc/seed.conf"), await driftOf("/etc/own.conf")];
  const request = async (page: Page, drift: string, reason: string): Promise<void> => {
    await visit(page, `${origin()}/drift/${drift}`);
    await page.getByText("Ask for an exception").click();
    await page.getByLabel("Excuse it as it is now, because").fill(reason);
    await page.getByLabel("Days").fill("3");
    await page.getByRole("button", { name: "Ask", exact: true }).click();
    await seen(page, /asks that this be excused until/);
  };
  const [responder, approver] = [await pageOf("responder"), await pageOf("approver")];
  await responder.goto(`${origin()}/drift/${seed}`);
  await responder.getByText("Ask for an exception").click();
  await responder.getByLabel("Excuse it as it is now, because").fill("for ever");
  await responder.getByLabel("Days").fill("365");
  await responder.getByRole("button", { name: "Ask", exact: true }).click();
  await seen(responder, /lets an exception last 30 days/);
  await screenshot(responder, "exception-asking");
  expect(await problemsOf(responder)).toEqual([]);
  await request(responder, seed, "seed data <b>");
  await request(approver, own, "mine");
  await screenshot(responder, "drift-exception");
  expect(await problemsOf(responder)).toEqual([]);
  // On the first screen, and on the incident.
  await type(approver, "go");
  await seen(approver, "2 exceptions wait");
  await approver.getByRole("link", { name: "/etc/seed.conf" }).click();
  await seen(approver, /asks that this be excused until/);
  await type(approver, "gx");
  const waiting = (name: string) => approver.getByRole("article").filter({ hasText: name });
  await waiting("seed data <b>").getByText("as it was seen").waitFor();
  for (const text of ["/etc/seed.conf", "upper/added", `config ${image.configDigest} alone`, "by some-responder"])
    expect(await waiting("seed data <b>").textContent()).toContain(text);
  await waiting("mine").getByText("You asked for this: somebody else approves or denies it.").waitFor();
  expect(await waiting("mine").getByRole("button").allTextContents()).toEqual(["Take it back…"]);
  await waiting("seed data <b>").getByRole("button", { name: "Approve…" }).click();
  await waiting("seed data <b>").getByText("Excuse exactly this until").waitFor();
  await screenshot(approver, "exceptions");
  expect(await problemsOf(approver)).toEqual([]);
  await approver.getByRole("button", { name: "Yes, excuse it" }).click();
  const row = approver.getByRole("row").filter({ hasText: "seed data <b>" });
  await row.getByText("approved").waitFor();
  expect(await row.textContent()).toMatch(/\/etc\/seed\.conf.*in 7[12]h|in [23]d/);
  // Who asked learns of it without asking again.
  await seen(responder, /excuses this until .*, approved by some-approver/);
  await expect.poll(async () => (await verifier.query.getDrift({ id: seed })).drift?.state, { timeout: TIMEOUT_MS }).toBe(DriftState.NOTICE);
  await responder.getByText("excused by").waitFor();
  expect(await responder.getByText("Ask for an exception").count()).toBe(0);
  await row.getByRole("link").click();
  await approver.getByRole("listitem").filter({ hasText: seed }).waitFor();
  await screenshot(approver, "exception-one");
  expect(await problemsOf(approver)).toEqual([]);
  // It excuses what was there, not what is there now: another can be asked for.
  await write(2, { "etc/app.conf": file("port=81\n"), "etc/seed.conf": file("other seed"), "etc/own.conf": file("own") });
  await seen(responder, /does not excuse what is there now: it changed since some-approver approved that/);
  await responder.getByText("Ask for an exception").waitFor();
  const admin = await pageOf("admin", "/exceptions");
  await admin.getByRole("button", { name: "Deny…" }).click();
  await admin.locator("form input:focus").waitFor();
  await admin.keyboard.type("bring it into the image");
  await admin.keyboard.press("Enter");
  await admin.getByRole("button", { name: "Deny…" }).waitFor({ state: "detached" });
  await admin.getByLabel("also what is over").check();
  await admin.getByRole("row").filter({ hasText: "denied" }).getByText("some-admin").waitFor();
  await screenshot(admin, "exceptions-over");
  const { exceptions } = await verifier.query.listExceptions({});
  expect(exceptions.filter(({ driftId }) => [own, seed].includes(driftId))).toMatchObject([
    { driftId: own, state: "denied", decidedBy: "some-admin", decision: "bring it into the image", scope: { pathGlob: "" } },
    { driftId: seed, state: "approved", decidedBy: "some-approver", requestedBy: "some-responder", scope: { pathGlob: "" } },
  ]);
  await admin.setViewportSize({ width: 390, height: 844 });
  await screenshot(admin, "exceptions-phone");
  expect(await accessibilityProblems(admin)).toEqual([]);
  // Who may only look is offered nothing.
  const viewer = await pageOf("viewer", "/exceptions");
  await viewer.getByRole("row").filter({ hasText: "seed data <b>" }).getByRole("link").click();
  await viewer.getByRole("heading", { name: "Excuses now" }).waitFor();
  expect(await viewer.locator("main").getByRole("button").count()).toBe(0);
});

test("an incident is given to somebody, taken, and done with once nothing of it stands; whoever looks is offered none of it", {
  timeout: 240_000,
}, async () => {
  const own = { "etc/app.conf": file("port=81\n"), "etc/given.conf": file("given") };
  await write(2, own);
  const page = await pageOf("responder", "/incidents");
  await page.getByRole("link", { name: "/etc/given.conf" }).click();
  await page.getByRole("button", { name: "Give it to…" }).click();
  const whom = page.getByLabel("Person or team");
  await page.locator("form.decide input:focus").waitFor();
  await page.keyboard.type("two words");
  await page.keyboard.press("Tab");
  await page.keyboard.type("their shop");
  await page.keyboard.press("Enter");
  // The browser says what a name may be, and nothing was asked of the verifier.
  expect(await whom.evaluate((field) => field.matches(":invalid"))).toBe(true);
  await screenshot(page, "incident-giving");
  expect(await problemsOf(page)).toEqual([]);
  await whom.fill("team-cart");
  await page.getByRole("button", { name: "Give it", exact: true }).click();
  await seen(page, /team-cart.*, given by some-responder/);
  const id = page.url().split("/").at(-1) ?? "";
  const told = async () => (await verifier.query.getIncident({ id, now: true })).incident;
  expect(await told()).toMatchObject({ owner: "team-cart", assigned: { by: "some-responder", reason: "their shop" } });
  expect(await page.getByRole("button", { name: "Done with it…" }).count()).toBe(0);
  await page.getByRole("button", { name: "Take it…" }).click();
  await page.locator("form.decide input:focus").waitFor();
  await page.keyboard.type("they are asleep");
  await page.keyboard.press("Enter");
  await seen(page, /some-responder.*, given by some-responder/);
  await write(2, { "etc/app.conf": own["etc/app.conf"] });
  await page.getByRole("button", { name: "Done with it…" }).click();
  await page.locator("form.decide input:focus").waitFor();
  await page.keyboard.type("put back");
  await screenshot(page, "incident-done");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Done with it…" }).waitFor({ state: "detached" });
  await seen(page, "Closed");
  expect(await told()).toMatchObject({ state: "resolved", owner: "some-responder", closed: { by: "some-responder", reason: "put back" } });
  await screenshot(page, "incident-closed");
  expect(await problemsOf(page)).toEqual([]);
  const viewer = await pageOf("viewer", `/incidents/${id}`);
  await viewer.getByRole("heading", { name: "Timeline" }).waitFor();
  expect(await viewer.locator("main").getByRole("button").count()).toBe(0);
});

test("what to do about an incident is what the command prints, and each command can be copied", { timeout: 240_000 }, async () => {
  const page = await pageOf("viewer", "/incidents", { permissions: ["clipboard-read", "clipboard-write"] });
  await page.getByRole("link", { name: "<img src=x onerror=window.pwned=1>" }).click();
  await page.getByRole("link", { name: "What to do" }).click();
  await page.getByRole("heading", { name: "Files" }).waitFor();
  const incident = /(I-[0-9A-Z]+)\/playbook$/.exec(page.url())?.[1] ?? "";
  const { out } = await (await hullmarkOf(verifier, "viewer"))("playbook", "show", incident);
  const printed = [...out.matchAll(/^```sh\n([\s\S]*?)^```/gm)].flatMap(([, block = ""]) => block.trimEnd().split("\n"));
  const shown = page.locator(".commands li");
  expect(printed).toContain("docker cp web-w-1:'/etc/<img src=x onerror=window.pwned=1>' .");
  expect(await shown.locator("code").allTextContents()).toEqual(printed.map((line) => line.replace(/ +# .*$/, "")));
  // The words around them too, but for what Markdown marks them with.
  const words = (text: string): string => text.replaceAll(/[*`]|\]\([^)]*\)|\[|^\d+\. |^#+ /gm, "").replaceAll(/\s+/g, "");
  const article = words((await page.getByRole("article").textContent()) ?? "");
  const prose = out.slice(out.indexOf("## ")).split(/^```sh\n[\s\S]*?^```/m);
  expect(prose.length).toBeGreaterThan(2);
  for (const each of prose) expect(article).toContain(words(each));
  await page.getByRole("button", { name: "Copy: docker cp" }).click();
  await shown.filter({ hasText: "docker cp" }).getByText("copied").waitFor();
  expect(await page.evaluate("navigator.clipboard.readText()")).toBe("docker cp web-w-1:'/etc/<img src=x onerror=window.pwned=1>' .");
  await screenshot(page, "playbook");
  expect(await problemsOf(page)).toEqual([]);
});

test("an action waits for a person: one is approved and goes to its actuator, one is denied and says why", { timeout: 300_000 }, async () => {
  const [node] = nodes as [Attester];
  const { intents } = await listeningActuator(verifier, node.credential?.nodeId ?? "");
  const rules = 'rules: [{ name: api, select: { containers: ["api-*"] }, ladder: { medium: [recreate] }, approvals: 1 }]';
  verifier.policy(
    `${POLICY.replace("mode: observe, intervals", "mode: enforce, intervals").replace(/ }\n$/, "")}, response: { hourlyPercent: 100, ${rules} } }\n`,
  );
  await verifier.adminClient.reloadPolicy({});
  for (const name of ["api-1", "api-2"]) node.set(container("w-1", { etc: folder, "etc/added": file(name) }, name));
  await node.report();
  // Before a quote has vouched for what it says, nothing is done by its word.
  await verifier.adminClient.requestQuote({ nodeId: "w-1" });
  const page = await pageOf("approver");
  await seen(page, "2 actions wait");
  await page.keyboard.press("g");
  await page.keyboard.press("a");
  const [first, second] = ["api-1", "api-2"].map((name) => page.getByRole("row").filter({ hasText: name })) as [Locator, Locator];
  await first.getByRole("button", { name: "Approve…" }).click();
  await first.getByText("recreate api-1?").waitFor();
  await screenshot(page, "actions-deciding");
  expect(await problemsOf(page)).toEqual([]);
  await first.getByRole("button", { name: "Yes, approve" }).click();
  await first.getByText("issued").waitFor();
  await second.getByRole("button", { name: "Deny…" }).click();
  await page.locator("form input:focus").waitFor();
  await page.keyboard.type("a test of ours");
  await second.getByRole("button", { name: "Deny", exact: true }).click();
  await second.getByText("denied").waitFor();
  await screenshot(page, "actions-decided");
  const { actions } = await verifier.admin().client(Response).listActions({});
  const told = actions.map(({ containerName, state, approvals, deniedBy, reason }) => [containerName, state, approvals.map(({ by }) => by), deniedBy, reason]);
  expect(told.sort()).toEqual([
    ["api-1", ActionState.ISSUED, ["some-approver"], "", ""],
    ["api-2", ActionState.DENIED, [], "some-approver", "a test of ours"],
  ]);
  await expect.poll(() => intents.map(({ containerId }) => containerId), { timeout: TIMEOUT_MS }).toEqual(["api-1".padEnd(64, "0")]);
  // Who may not decide is not asked.
  const responder = await pageOf("responder", "/actions");
  await responder.getByRole("row").filter({ hasText: "api-2" }).getByText("denied").waitFor();
  expect(await responder.locator("main").getByRole("button").count()).toBe(0);
});

test("drills show how each stands, when the next is due, and what their runs measured against objectives", { timeout: 240_000 }, async () => {
  const page = await pageOf("viewer");
  await page.keyboard.press("g");
  await page.keyboard.press("r");
  await seen(page, "No drill has run");
  expect(await problemsOf(page)).toEqual([]);
  const objectives = { container: "hullmark-drill-x", detectWithinMs: 5000, alertWithinMs: 60_000 };
  const tell = async (drill: string, run: string, outcome: string, more: object) => {
    await verifier.adminClient.recordDrill({ drill, run, outcome: "begun", ...objectives });
    if (outcome) await verifier.adminClient.recordDrill({ drill, run, outcome, ...objectives, ...more });
  };
  await verifier.adminClient.scheduleDrill({ drill: "canary-file", everySeconds: 3600 });
  await tell("canary-file", "aaaaaaaaaa", "passed", { detectMs: 84, alertMs: 1200, containMs: 2900, containWithinMs: 90_000, containment: "done" });
  await tell("canary-exec", "bbbbbbbbbb", "failed", { detectMs: 12_400, problem: "detected after 12400 ms: <b>5000</b>" });
  await tell("unsigned-canary-image", "cccccccccc", "", {});
  // By itself: the page was told.
  const stands = page.getByRole("table", { name: "How each drill stands" }).getByRole("row");
  const cells = async (name: string) => (await stands.filter({ hasText: name }).getByRole("cell").allTextContents()).slice(1, 6);
  await expect.poll(() => stands.count(), { timeout: TIMEOUT_MS }).toBe(4);
  expect(await cells("canary-file")).toEqual(["passed", expect.stringMatching(/s$|^now$/), "1h", expect.stringMatching(/^in (1h|[56]\dm)/), "84 ms"]);
  expect(await cells("canary-exec")).toEqual(["failed", expect.any(String), "-", "-", "12400 ms"]);
  const run = page.getByRole("row").filter({ has: page.getByRole("cell", { name: "bbbbbbbbbb", exact: true }) });
  await run.getByText("12.4 s, too late").waitFor();
  await run.getByText("<b>5000</b>").waitFor();
  await page.getByRole("row").filter({ hasText: "cccccccccc" }).getByText("running").waitFor();
  await screenshot(page, "drills");
  await page.emulateMedia({ colorScheme: "dark" });
  await screenshot(page, "drills-dark");
  expect(await problemsOf(page)).toEqual([]);
  await page.setViewportSize({ width: 390, height: 844 });
  await screenshot(page, "drills-phone");
  expect(await accessibilityProblems(page)).toEqual([]);
});

test("nothing of all this was an error to the browser, the policy of the page's content not broken", () =>
  // An exception for ever was asked for, and refused.
  expect(problems).toEqual(["Failed to load resource: the server responded with a status of 400 (Bad Request)"]));
