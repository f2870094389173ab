/** Signing in to the dashboard at a real OpenID Connect issuer, with a real Chromium: there, back, and a session that may do what configuration says; and every way back that is refused. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { bundleDashboard } from "../../dashboard/bundle.ts";
import { freePort } from "../../deploy/testbed/http-service.ts";
import { accessibilityProblems, screenshot, startChromium, visit } from "../fakes/chromium.ts";
import { OidcIssuer } from "../fakes/oidc-issuer.ts";
import { TestVerifier } from "../fakes/verifier.ts";

vi.setConfig({ testTimeout: 240_000, hookTimeout: 240_000 });
const TIMEOUT_MS = 60_000;

let issuer: OidcIssuer;
let verifier: TestVerifier;
let browser: Browser;
let directory: string;
let origin: string;
let secret: string;
const logged: string[] = [];
const contexts: BrowserContext[] = [];
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-sign-in-"));
  const port = await freePort();
  origin = `https://localhost:${port}`;
  [issuer, browser] = await Promise.all([
    OidcIssuer.start({ ann: { groups: ["sre"] }, bea: { groups: ["sre"] }, eve: { groups: ["sales"] } }),
    startChromium(),
    bundleDashboard(directory),
  ]);
  const { clientId, secretFile } = issuer.letSignIn(`${origin}/api/signed-in/corp`);
  secret = secretFile;
  verifier = new TestVerifier();
  verifier.logger = pino({ level: "trace" }, { write: (line: string) => void logged.push(line) });
  await verifier.start(
    `enrolment: { mode: tofu, acceptWithoutCertificate: true }
dashboard: { listen: "127.0.0.1:${port}", url: "${origin}" }
people:
  listen: 127.0.0.1:0
  oidc:
    - name: corp
      issuer: "${issuer.url}"
      audiences: [hullmark]
      caFile: ${issuer.caFile}
      signIn: { clientId: ${clientId}, clientSecretFile: ${secret}, scopes: [openid] }
  roles: [{ role: responder, groups: ["corp:sre"] }]`,
    directory,
  );
});
afterAll(async () => {
  for (const context of contexts) await context.close();
  await browser?.close();
  await verifier?.dispose();
  await issuer?.stop();
  rmSync(directory, { recursive: true, force: true });
});

async function opened(): Promise<Page> {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  contexts.push(context);
  context.setDefaultTimeout(TIMEOUT_MS);
  return await context.newPage();
}

/** With its address first, which says where it went wrong. */
async function shown(page: Page): Promise<string> {
  return `${page.url()} ${await page.content()}`;
}

/** Through the issuer's own pages. */
async function asAtTheIssuer(page: Page, name: string): Promise<void> {
  await page.getByRole("link", { name: "Sign in at corp" }).click();
  await page.locator("input[name=login]").fill(name);
  await page.locator("input[name=password]").fill("anything");
  await page.locator("button[type=submit]").click();
  await page.waitForURL(/consent|interaction|localhost/);
  await page.locator("button[type=submit]").click();
}

test("somebody signs in at the issuer and is whom it says, with the role that configuration gives, until they are revoked", async () => {
  const page = await opened();
  await visit(page, `${origin}/incidents`);
  await page.getByRole("link", { name: "Sign in at corp" }).waitFor();
  expect(await accessibilityProblems(page)).toEqual([]);
  await screenshot(page, "sign-in");
  await asAtTheIssuer(page, "ann");
  await page.getByText("corp:ann").first().waitFor();
  expect(new URL(page.url()).origin).toBe(origin);
  const session = await page.evaluate("fetch('/api/session').then((answer) => answer.json())");
  expect(session).toMatchObject({ name: "corp:ann", role: "responder" });
  // The cookie of the way there is gone, and the session's is no script's. (The issuer is another port of this host, and has cookies too.)
  const cookies = (await page.context().cookies(origin))
    .filter(({ name }) => name.includes("hullmark"))
    .map(({ name, httpOnly, secure, sameSite }) => ({ name, httpOnly, secure, sameSite }));
  expect(cookies).toEqual([{ name: "__Host-hullmark", httpOnly: true, secure: true, sameSite: "Strict" }]);
  await verifier.adminClient.revokePerson({ name: "corp:ann", reason: "left" });
  await page.getByText("You are signed out.").waitFor();
  const again = await opened();
  await visit(again, origin);
  await asAtTheIssuer(again, "ann");
  await expect.poll(() => shown(again), { timeout: TIMEOUT_MS }).toContain("was revoked");
});

test("who has no role is told so, and gets no session", async () => {
  const page = await opened();
  await visit(page, origin);
  await asAtTheIssuer(page, "eve");
  await expect.poll(() => shown(page), { timeout: TIMEOUT_MS }).toContain("Not signed in: corp:eve has no role here");
  expect((await page.context().cookies(origin)).filter(({ name }) => name.includes("hullmark")).map(({ name }) => name)).not.toContain("__Host-hullmark");
});

test("another secret of the client's counts as soon as its file has it; who is not signed in is in the log and the metrics", async () => {
  const good = readFileSync(secret, "utf8");
  writeFileSync(secret, "another");
  const page = await opened();
  await visit(page, origin);
  await asAtTheIssuer(page, "bea");
  await expect.poll(() => shown(page), { timeout: TIMEOUT_MS }).toContain("corp did not sign in");
  writeFileSync(secret, good);
  const again = await opened();
  await visit(again, origin);
  await asAtTheIssuer(again, "bea");
  await again.getByText("corp:bea").first().waitFor();
  // One line a minute, whatever it was for: eve's or ann's were first.
  const lines = logged.map((line) => JSON.parse(line)).filter(({ msg }) => msg === "a browser was not signed in");
  expect(lines[0]).toMatchObject({ level: 40, issuer: "corp", refused: 1, peer: expect.stringContaining("127.0.0.1") });
  const metrics = await (await fetch(`http://127.0.0.1:${verifier.running?.httpPort}/metrics`)).text();
  for (const [result, count] of Object.entries({ "signed-in": 2, revoked: 1, "no-role": 1, refused: 1 }))
    expect(metrics).toContain(`hullmark_dashboard_sign_ins_total{result="${result}"} ${count}\n`);
});

test("what another browser began, what was altered, or comes twice, signs nobody in; no secret is in the log", async () => {
  const [page, other] = [await opened(), await opened()];
  const answer = async (at: Page, path: string) => await at.request.get(`${origin}${path}`, { maxRedirects: 0 });
  const begin = async (at: Page) => new URL((await answer(at, "/api/sign-in/corp")).headers()["location"] ?? "");
  const there = await begin(page);
  expect([there.origin, there.searchParams.get("code_challenge_method"), there.searchParams.get("redirect_uri")]).toEqual([
    ...[issuer.url, "S256", `${origin}/api/signed-in/corp`],
  ]);
  const state = there.searchParams.get("state");
  const back = (more: string) => `/api/signed-in/corp?iss=${encodeURIComponent(issuer.url)}&${more}`;
  // Another browser, which has begun nothing, or something else.
  expect((await answer(other, back(`code=x&state=${state}`))).status()).toBe(400);
  await begin(other);
  expect((await answer(other, back(`code=x&state=${state}`))).status()).toBe(401);
  // The same browser, once, and not with a code of nobody's.
  expect((await answer(page, back(`code=x&state=${state}`))).status()).toBe(401);
  expect((await answer(page, back(`code=x&state=${state}`))).status()).toBe(400);
  const refused = await begin(page);
  const said = await answer(page, back(`error=access_denied&state=${refused.searchParams.get("state")}`));
  expect([said.status(), await said.text()]).toEqual([401, expect.stringContaining("corp did not sign in")]);
  expect((await answer(page, "/api/sign-in/other")).status()).toBe(404);
  for (const cookie of [...(await page.context().cookies()), ...(await other.context().cookies())]) expect(cookie.name).not.toBe("__Host-hullmark");
  for (const word of [state, "anything", "eyJ"]) expect(logged.join("")).not.toContain(word);
});
