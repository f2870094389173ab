/** What changed in a file, and the page for browsers, on real parts: a container on a real engine, its agent, a verifier, a registry, and a real Chromium. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, onTestFailed, test } from "vitest";
import { tail } from "../../deploy/stack/stack.ts";
import { accessibilityProblems, screenshot, startChromium, visit } from "../fakes/chromium.ts";
import { drifts, engineOf, eventually, type FaultBed, logEntries, SHORT_INTERVALS, startFaultBed, type ToldDrift, workloads } from "./fault-support.ts";
import { ACCEPTANCE, CONTENT } from "./images/acceptance.ts";
import type { DockerVictim } from "./scenarios.ts";

const SETTLE_MS = 90_000;
const CONTENTS = { allow: ["/etc/**", "/usr/bin/curl", "/srv/**"], deny: ["/srv/private/**"], maxBytes: 131_072 };

let faults: FaultBed;
let web: DockerVictim;
let browser: Browser;

beforeAll(async () => {
  faults = await startFaultBed("dashboard", {}, { policy: SHORT_INTERVALS, contents: CONTENTS, dashboard: true });
  web = await started("web");
  browser = await startChromium();
});

afterAll(async () => {
  await browser?.close();
  await faults?.bed.down();
});

async function started(name: string): Promise<DockerVictim> {
  const victim = faults.victim(name);
  await victim.docker("run", "-d", "--name", name, faults.image.reference);
  await eventually(
    `${name} is measured`,
    async () => (await workloads(faults.stack)).find(({ container }) => container.name === name),
    (each) => each?.content === "affirming",
    SETTLE_MS,
  );
  return victim;
}

function logsOnFailure(): void {
  onTestFailed(() => {
    for (const name of ["agent-0", "verifier"]) console.error(`--- ${name}\n${tail(join(faults.bed.directory, `${name}.log`), 40)}`);
  });
}

const driftOf = (path: string, state = "open"): Promise<ToldDrift> =>
  eventually(
    `drift of ${path} is ${state}`,
    async () => (await drifts(faults.stack)).find((each) => each.path === path && each.state === state),
    (each) => each !== undefined,
    SETTLE_MS,
  ) as Promise<ToldDrift>;

interface ToldDiff {
  readonly path: string;
  readonly hunks: string;
  readonly binary: boolean;
  readonly sizeBefore: number | null;
  readonly sizeAfter: number | null;
}

const diff = (id: string, reason = "INC-7"): Promise<ToldDiff> => faults.stack.json<ToldDiff>("drift", "diff", id, "-m", reason);

async function refusal(id: string): Promise<string> {
  const { code, stdout, stderr } = await faults.stack.hullmark("drift", "diff", id, "-m", "INC-7");
  expect(code, stdout).toBe(3);
  return stderr;
}

describe("what changed in a file", () => {
  test("is shown line by line, and who read it and why is on record on both sides", async () => {
    logsOnFailure();
    await web.sh(`sed -i s/8080/9090/ ${ACCEPTANCE.configFile}`);
    const { id } = await driftOf(ACCEPTANCE.configFile);
    const told = await diff(id, "is it the\nchange of INC-7?");
    expect(told).toMatchObject({ path: ACCEPTANCE.configFile, binary: false, sizeBefore: CONTENT.configFile.length, sizeAfter: CONTENT.configFile.length });
    expect(told.hunks.split("\n").filter((line) => /^[-+]/.test(line))).toEqual([
      "-http { server { listen 8080; root /srv; } }",
      "+http { server { listen 9090; root /srv; } }",
    ]);
    const { stdout } = await faults.stack.hullmark("drift", "diff", id, "-m", "again");
    expect(stdout).toContain(`--- ${ACCEPTANCE.configFile} (image)\n+++ ${ACCEPTANCE.configFile} (web)\n@@ -1,3 +1,3 @@\n worker_processes 1;\n`);
    const asked = async () => (await logEntries(faults.stack)).filter((each) => each["action"] === "content-asked" && each["drift"] === id);
    expect(await eventually("the log's checkpoint covers it", asked, ({ length }) => length === 2)).toMatchObject([
      { path: ACCEPTANCE.configFile, by: "admin", reason: "is it the\\x0achange of INC-7?" },
      { path: ACCEPTANCE.configFile, by: "admin", reason: "again" },
    ]);
    const own = readFileSync(join(faults.bed.directory, "agent-0.log"), "utf8");
    expect(own).toMatch(
      /"path":"etc\/nginx\/nginx.conf","drift":"D-[0-9A-Z]+","requestedBy":"admin","reason":"again","bytes":\d+,"msg":"content of a file was handed out"/,
    );
  });

  test("whole where the image has no such file, or has it no more; sizes alone where it is no text; nothing that takes a terminal over", async () => {
    logsOnFailure();
    await web.sh("printf 'one\\ntwo \\033[31mred\\n' > /etc/added.conf; printf 'a\\0b' > /etc/binary.conf; rm /etc/passwd");
    const added = await driftOf("/etc/added.conf");
    expect(await diff(added.id)).toMatchObject({ sizeBefore: null, hunks: "@@ -0,0 +1,2 @@\n+one\n+two \u001b[31mred\n" });
    expect((await faults.stack.hullmark("drift", "diff", added.id, "-m", "x")).stdout).toContain("+two \\x1b[31mred\n");
    expect(await diff((await driftOf("/etc/binary.conf")).id)).toMatchObject({ binary: true, hunks: "", sizeAfter: 3 });
    const removed = await diff((await driftOf("/etc/passwd")).id);
    expect(removed).toMatchObject({ sizeAfter: null, binary: false });
    expect(removed.hunks).toMatch(/^@@ -1,\d+ \+0,0 @@\n-/);
  });

  test("in a layer of the image too, where the node's own root altered it", async () => {
    logsOnFailure();
    const layer = await web.layerDirectory(1);
    await web.onHost("/bin/sh", "-c", `sed -i 's/^echo curl/echo owned/' ${layer}${ACCEPTANCE.curl}`);
    const { id } = await driftOf(ACCEPTANCE.curl);
    const { hunks } = await diff(id);
    expect(hunks.split("\n").filter((line) => /^[-+]/.test(line))).toEqual(['-echo curl "$@"', '+echo owned "$@"']);
    await web.onHost("/bin/sh", "-c", `sed -i 's/^echo owned/echo curl/' ${layer}${ACCEPTANCE.curl}`);
  });

  test("not where the node's configuration says nothing of it, says no, or the file holds secrets; the node is asked for nothing else", async () => {
    logsOnFailure();
    await web.sh("mkdir -p /srv/private; for f in /app/config.yml /srv/private/a /etc/server.key /srv/note; do echo x >> $f; done");
    await web.sh(
      "printf -- '-----BEGIN RSA PRIVATE KEY-----\\n' > /srv/note; echo linked > /srv/linked; ln /srv/linked /srv/other; head -c 200000 /dev/zero > /srv/large",
    );
    for (const path of ["/app/config.yml", "/srv/private/a"])
      expect(await refusal((await driftOf(path)).id), path).toContain("not allowed by the node: its agent's configuration");
    for (const path of ["/etc/server.key", "/srv/note"]) expect(await refusal((await driftOf(path)).id), path).toContain("may hold secrets");
    expect(await refusal((await driftOf("/srv/linked")).id)).toContain("has another name too");
    expect(await refusal((await driftOf("/srv/large")).id)).toContain("larger than the node hands out");
  });
});

/** A page of a browser of its own, signed in by what the command prints. */
async function pageOf(path: string, look: Parameters<Browser["newContext"]>[0] = {}): Promise<Page> {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 900 }, ...look });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => {
    // 412: what the node does not let out. Chromium drops what it asks where the machine's interfaces change; the page asks again.
    if (message.type() === "error" && !/status of 4\d\d|ERR_NETWORK_CHANGED/.test(message.text())) problems.push(message.text());
  });
  const { url } = await faults.stack.json<{ url: string }>("dashboard");
  await visit(page, `${faults.stack.dashboardUrl}${path}${new URL(url).hash}`);
  await page.getByRole("navigation").waitFor();
  return page;
}
const problems: string[] = [];

async function readable(page: Page, name: string): Promise<void> {
  expect(await accessibilityProblems(page), name).toEqual([]);
  await screenshot(page, name);
}

describe("in a browser", () => {
  test("a write in a container shows by itself, is looked into with keys alone, acknowledged, and over when the container is", async () => {
    logsOnFailure();
    const shop = await started("shop");
    const page = await pageOf("/incidents");
    await page.getByRole("heading", { name: "Incidents" }).waitFor();
    await shop.sh(`sed -i s/8080/6666/ ${ACCEPTANCE.configFile}; echo y >> /app/config.yml`);
    const { id } = (await eventually(
      "the drift is known",
      async () => (await drifts(faults.stack)).find((each) => each.path === ACCEPTANCE.configFile && each.container.name === "shop"),
      (each) => each !== undefined,
      SETTLE_MS,
    )) as ToldDrift;
    // Nobody reloads: the page was told.
    await page.getByText(/shop/).first().waitFor();
    await readable(page, "e2e-incidents");
    await visit(page, `${faults.stack.dashboardUrl}/drift/${id}`);
    await page.getByLabel(/Read it, because/).focus();
    await page.keyboard.type("who opened port 6666?");
    await page.keyboard.press("Enter");
    const lines = page.getByLabel("Lines that changed");
    await lines.waitFor();
    expect(await lines.locator(".removed").textContent()).toContain("listen 8080");
    expect(await lines.locator(".added").textContent()).toContain("listen 6666");
    await readable(page, "e2e-diff");
    // Out of the field, where letters are letters: as the system, light, dark.
    await lines.focus();
    await page.keyboard.press("t");
    await page.keyboard.press("t");
    await page.locator(':root[data-theme="dark"]').waitFor();
    await readable(page, "e2e-diff-dark");

    const other = await driftOf("/app/config.yml");
    await visit(page, `${faults.stack.dashboardUrl}/drift/${other.id}`);
    await page.getByLabel(/Read it, because/).fill("and this?");
    await page.getByRole("button", { name: "Show what changed" }).click();
    await page.getByText("not allowed by the node").waitFor();
    await readable(page, "e2e-not-allowed");

    await visit(page, `${faults.stack.dashboardUrl}/incidents`);
    await page
      .getByRole("link", { name: /nginx.conf/ })
      .first()
      .click();
    await page.getByRole("link", { name: "What to do" }).waitFor();
    await readable(page, "e2e-incident");
    await page.getByRole("link", { name: "What to do" }).click();
    await page.getByText("hullmark incident").first().waitFor();
    await readable(page, "e2e-playbook");

    await visit(page, `${faults.stack.dashboardUrl}/drift/${id}`);
    await page.getByLabel(/Acknowledge, because/).fill("INC-7");
    await page.getByRole("button", { name: /Acknowledge/ }).click();
    await page.getByText("by admin: INC-7").waitFor();
    await shop.docker("rm", "-f", "shop");
    await page.getByText("resolved", { exact: true }).waitFor();
    expect(await page.getByRole("button", { name: "Show what changed" }).count()).toBe(0);
    await readable(page, "e2e-resolved");
    expect(await refusal(id)).toContain("this drift is over");
    expect(problems).toEqual([]);
  });

  test("the same in the dark and on a phone", async () => {
    const { id } = await driftOf(ACCEPTANCE.configFile);
    const page = await pageOf(`/drift/${id}`, { colorScheme: "dark", viewport: { width: 390, height: 800 } });
    await page.getByLabel(/Read it, because/).fill("on call");
    await page.getByRole("button", { name: "Show what changed" }).click();
    await page.getByLabel("Lines that changed").waitFor();
    await readable(page, "e2e-diff-phone");
    expect(await page.evaluate("document.documentElement.scrollWidth <= innerWidth")).toBe(true);
    expect(problems).toEqual([]);
  });
});

describe("the playbook", () => {
  test("of an incident of each kind that stands has commands that run as they are printed", { timeout: 400_000 }, async () => {
    logsOnFailure();
    await web.sh("cp /bin/busybox /srv/busybox; chmod 4755 /srv/busybox; mkdir -p '/srv/it is mine'; echo x > \"/srv/it is mine/a'b\"; chmod 777 /app");
    await web.background("/srv/busybox", "sleep", "3600");
    const standing = async () => (await faults.stack.json<{ incidents: { id: string; kind: string; path: string }[] }>("incident", "ls")).incidents;
    const incidents = await eventually("they stand", standing, (all) => all.some(({ kind }) => kind === "code-upper"), SETTLE_MS);
    const pages = new Map(incidents.map(({ kind, id }) => [kind, id]));
    expect([...pages.keys()]).toEqual(expect.arrayContaining(["added", "content", "removed", "mode", "code-upper"]));
    const directory = join(faults.bed.directory, "evidence-of-a-person");
    mkdirSync(directory);
    const done = new Set<string>();
    for (const id of [...pages.values(), ...incidents.flatMap((each) => (each.path.includes("it is mine") ? [each.id] : []))]) {
      const { stdout } = await faults.stack.hullmark("playbook", "show", id);
      const lines = [...stdout.matchAll(/^```sh\n([\s\S]*?)^```/gm)].flatMap(([, block = ""]) => block.trimEnd().split("\n"));
      expect(lines.length, stdout).toBeGreaterThan(3);
      for (const line of lines) {
        const typed = line.replace("TEXT", "INC-7");
        const words = execFileSync("/bin/sh", ["-c", `printf '%s\\0' ${typed}`], { encoding: "utf8" })
          .split("\0")
          .slice(1, -1);
        if (!typed.startsWith("hullmark ")) await web.onHost("/bin/sh", "-c", `cd ${directory} && DOCKER_HOST=${engineOf(faults.bed).dockerHost} ${typed}`);
        else if (!done.has(words.slice(0, 2).join())) {
          done.add(words.slice(0, 2).join());
          const of = await faults.stack.hullmark(...words.map((word) => (word.endsWith(".json") ? join(directory, word) : word)));
          // What stands is told by 1; what a node does not let out by 3.
          expect(words[1] === "diff" ? [0, 3] : [0, 1], `${typed}\n${of.stdout}${of.stderr}`).toContain(of.code);
        }
      }
    }
    for (const copied of ["nginx.conf", "a'b", "busybox"]) expect(readdirSync(directory)).toContain(copied);
  });
});
