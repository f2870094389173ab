/** From a write to a clean container, on real parts: found, decided, signed, carried out by the actuator, resolved; and what must not be acted on is not. */
import { execFile } from "node:child_process";
import { hash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { gunzipSync } from "node:zlib";
import { RESPONSE_FAILPOINTS } from "@hullmark/verifier/core/response/index";
import { Decrypter, generateX25519Identity, identityToRecipient } from "age-encryption";
import { afterAll, beforeAll, expect, onTestFailed, test, vi } from "vitest";
import { parse, stringify } from "yaml";
import { tail } from "../../deploy/stack/stack.ts";
import { freePort } from "../../deploy/testbed/http-service.ts";
import { REPOSITORY } from "../../deploy/testbed/paths.ts";
import { type Daemon, run, startDaemon } from "../../deploy/testbed/run.ts";
import { type CosignKey, cosign, cosignKeyPair } from "../fakes/cosign.ts";
import { alertsOf, HttpReceiver } from "../fakes/http-receiver.ts";
import { program } from "../fakes/program.ts";
import { trivyReport } from "../fakes/scan-reports.ts";
import { drifts, engineOf, eventually, type FaultBed, killedAt, logEntries, startFaultBed, verifyLog, workloads } from "./fault-support.ts";
import { acceptanceImage } from "./images/acceptance.ts";
import { loadPrograms } from "./images/programs.ts";
import { type PushedImage, pushImage } from "./images/push.ts";

const policyOf = (publicKey: string, revocations = "[]", crowded = false): string => `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: response }
spec:
  mode: enforce
  intervals: { quote: 10s, rescan: 1m, heartbeat: 1s }
  authorities:
    - name: release
      key: |
${publicKey.trim().replace(/^/gm, "        ")}
  revocations: ${revocations}
  alerts: { routes: [${crowded ? `{ name: page, type: webhook, url: "${pager.url}", minSeverity: info, match: { kinds: [breaker] } }` : ""}] }
  rules:
    - name: shop
      select: { images: ["**/acme/shop**"] }
      require: { signatures: { authorities: [release] }, registries: ["**/acme/shop"] }
      allow: { env: [COLOUR], mounts: [/data] }
  response:
    pause: 60s
    hourlyPercent: ${crowded ? CROWD_PERCENT : 100}
    rules:
      - name: web
        select: { containers: ["web*"] }
        ladder: { low: [recreate], medium: [recreate], high: [recreate], critical: [recreate] }
      - name: drills
        select: { containers: ["hullmark-drill-*"] }
        ladder: { medium: [stop], high: [stop], critical: [stop] }
        untrusted: [stop]
      - name: greedy
        select: { containers: ["greedy"] }
        unmeasurable: [recreate]
        unmeasurableAfter: 1m
      - name: shop
        select: { containers: ["shop*"] }
        untrusted: [rollback, stop]
        owners: [compose]
      - name: api
        select: { containers: ["api*"] }
        ladder: { low: [isolate], medium: [isolate], high: [isolate], critical: [isolate] }
`;

interface ToldAction {
  readonly id: string;
  readonly kind: string;
  readonly state: string;
  readonly container: { readonly id: string; readonly name: string };
  readonly drift: string;
  readonly newContainerId: string | null;
  readonly target: { readonly reference: string; readonly configDigest: string } | null;
  readonly reason: string;
  readonly logIndex: number;
}

const SETTLE_MS = 90_000;
/** Three pauses of a minute, the shortest there is, between actions. */
const LOOP_MS = 300_000;
/** How many are said to have changed in the first test, and of how many in a hundred policy has it act then. */
const CROWD = 10;
const CROWD_PERCENT = 10;
let faults: FaultBed;
/** Of whom it is that actions are held back. */
const pager = new HttpReceiver();
let actuator: Daemon;
let startActuator: () => Promise<Daemon>;
/** Certificate, key and the keys of intents that it knows, made anew. */
let credentialed: () => Promise<{ readonly code: number }>;
let home: string;
/** Whose other half the actuator does not have. */
let responderKey: string;
let key: CosignKey;
let publicKey: string;

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "hullmark-response-"));
  responderKey = await generateX25519Identity();
  key = await cosignKeyPair("v3", home, "release");
  publicKey = readFileSync(key.publicKeyPath, "utf8");
  await pager.start();
  faults = await startFaultBed("response", {}, { policy: policyOf(publicKey, "[]", true) });
  const { stack, bed } = faults;
  const directory = join(stack.directory, "actuator");
  mkdirSync(directory, { mode: 0o700 });
  const credentialDirectory = join(directory, "credentials");
  credentialed = async () => stack.hullmark("node", "actuator", "node-0", "--dir", credentialDirectory);
  await eventually("the node is known", credentialed, ({ code }) => code === 0, SETTLE_MS);
  const config = join(directory, "actuator.yaml");
  const address = /localhost:\d+/.exec(readFileSync(stack.cliConfig, "utf8"))?.[0];
  writeFileSync(
    config,
    stringify({
      ...{ stateDirectory: join(directory, "state"), credentialDirectory, verifier: { address } },
      ...{ docker: { socket: engineOf(bed).socketPath }, limits: { hourlyPercent: 100, pauseSeconds: 1 } },
      capture: { recipients: [await identityToRecipient(responderKey)], maxSeconds: 5 },
    }),
  );
  const argv = bed.wrap([process.execPath, join(REPOSITORY, "dist/actuator.js"), "--config", config]);
  startActuator = () => startDaemon({ name: "actuator", argv, env: { ...bed.env }, logPath: join(bed.directory, "actuator.log"), ready: async () => true });
  actuator = await startActuator();
});

afterAll(async () => {
  vi.unstubAllEnvs();
  await actuator?.stop();
  await faults?.bed.down();
  await pager[Symbol.asyncDispose]();
  if (home) rmSync(home, { recursive: true, force: true });
});

function logsOnFailure(): void {
  onTestFailed(() => {
    for (const name of ["actuator", "verifier"]) console.error(`--- ${name}\n${tail(join(faults.bed.directory, `${name}.log`), 40)}`);
  });
}

const actions = async (): Promise<readonly ToldAction[]> => (await faults.stack.json<{ actions: ToldAction[] }>("action", "ls")).actions;

async function clean(name: string): Promise<string> {
  const found = await eventually(
    `${name} is measured`,
    async () => (await workloads(faults.stack)).find(({ container }) => container.name === name),
    (each) => each?.content === "affirming",
    SETTLE_MS,
  );
  return found?.container.id ?? "";
}

test(
  "an agent with a fault finds each of ten containers changed: a tenth is acted on, the others wait and run on, people are paged once; put right, it ends that",
  async () => {
    logsOnFailure();
    const { stack, bed } = faults;
    const names = Array.from({ length: CROWD }, (_, i) => `web-crowd-${i}`);
    const crowd = faults.victim("crowd");
    for (const name of names) await crowd.docker("run", "-d", "--name", name, "--stop-signal", "SIGKILL", faults.image.reference, "sleep", "3600");
    const isWell = (all: Awaited<ReturnType<typeof workloads>>): boolean =>
      names.every((each) => all.some(({ container, content }) => container.name === each && content === "affirming"));
    await eventually("they are measured", () => workloads(stack), isWell, SETTLE_MS);
    const running = async () => (await crowd.docker("ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}")).split("\n").sort();
    const before = await running();

    const [agent] = stack.agents;
    if (!agent) throw new Error("there is no agent");
    await agent.stop();
    const argv = bed.wrap([process.execPath, "--import", join(REPOSITORY, "test/e2e/faulty-agent.ts"), join(REPOSITORY, "dist/agent.js")]);
    const logPath = join(bed.directory, "agent-0.log");
    const faulty = await startDaemon({ name: "agent-0", argv: [...argv, "--config", agent.configPath], env: { ...bed.env }, logPath, ready: async () => true });

    const listed = () => stack.json<{ actions: ToldAction[]; held: Record<string, number> }>("action", "ls");
    const allowed = (CROWD * CROWD_PERCENT) / 100;
    const { actions: taken } = await eventually("the others wait", listed, ({ held }) => (held["breaker"] ?? 0) >= CROWD - allowed, SETTLE_MS);
    expect(taken).toHaveLength(allowed);
    for (const { container } of taken) await doneTo(container.name);
    await eventually(
      "people are paged",
      async () => alertsOf(pager, "breaker"),
      (pages) => pages.length > 0,
      SETTLE_MS,
    );
    expect(alertsOf(pager, "breaker").map(({ status, severity }) => [status, severity])).toEqual([["firing", "critical"]]);

    await faulty.stop();
    await agent.start();
    await eventually("nothing is held", listed, ({ held }) => JSON.stringify(held) === "{}", SETTLE_MS);
    await eventually("they are measured again", () => workloads(stack), isWell, SETTLE_MS);
    expect((await listed()).actions).toHaveLength(allowed);
    // What was not acted on has run on all the while.
    const ended = new Set(taken.map(({ container }) => `${container.id} ${container.name}`));
    expect(await running()).toEqual(expect.arrayContaining(before.filter((each) => !ended.has(each))));
    expect(await running()).toHaveLength(CROWD);

    // Those that were acted on stay, for the limits of what comes after count them.
    const stay = taken.map(({ container }) => container.name);
    await crowd.docker("rm", "-f", ...names.filter((name) => !stay.includes(name)), ...taken.map(({ container }) => container.id));
    // What is not known to be gone would count within the limits of the next policy.
    const told = async () => (await workloads(stack)).map(({ container }) => container.name);
    await eventually("they are known to be gone", told, (all) => !names.some((name) => !stay.includes(name) && all.includes(name)), SETTLE_MS);
    writeFileSync(stack.policyPath, policyOf(publicKey));
  },
  4 * SETTLE_MS,
);

const LOOPING = "web-looping";
let looping: Promise<void> | undefined;

/** At each start it changes a file of its own, and ends soon; the engine starts it again. */
async function startLooping(): Promise<void> {
  const victim = faults.victim(LOOPING);
  // The breakers allow as many actions an hour as there are containers.
  for (const spare of ["spare-k", "spare-l", "spare-m", "spare-n"]) await victim.docker("run", "-d", "--name", spare, faults.image.reference);
  const own = ["--name", LOOPING, "--restart", "always", "--stop-signal", "SIGKILL", "--user", "0"];
  await victim.docker("run", "-d", ...own, faults.image.reference, "sh", "-c", "echo x >> /etc/nginx/nginx.conf; sleep 12; exit 1");
}

test("a file that a container changed is answered by another container of the same digest, with all that belongs to it", async () => {
  logsOnFailure();
  // Its pauses pass while other tests run.
  looping ??= startLooping();
  await looping;
  const web = faults.victim("web");
  const port = await freePort();
  const answers = async (): Promise<number> => (await fetch(`http://127.0.0.1:${port}/`, { signal: AbortSignal.timeout(2000) })).status;
  await web.docker("network", "create", "shop");
  await web.docker(
    ...["run", "-d", "--name", "web", "--restart", "unless-stopped", "-p", `127.0.0.1:${port}:8080`, "-v", "data:/data", "-v", "/scratch", "-e", "COLOUR=red"],
    ...[
      "--label",
      "team=cart",
      "--network",
      "shop",
      "--network-alias",
      "cart",
      "--user",
      "0",
      faults.image.reference,
      "httpd",
      "-f",
      "-p",
      "8080",
      "-h",
      "/data",
    ],
  );
  await web.docker("network", "connect", "bridge", "web");
  await web.sh("echo kept > /data/index.html; echo kept > /scratch/file");
  const before = await clean("web");
  await eventually("it serves", answers, (status) => status === 200);

  await web.sh("echo x >> /etc/nginx/nginx.conf");

  const own = async () => (await actions()).filter(({ container }) => container.name === "web");
  const [done] = await eventually("the action is done", own, ([first]) => first?.state === "done", SETTLE_MS);
  expect(done).toMatchObject({ kind: "recreate", container: { id: before, name: "web" } });
  await eventually("it serves again", answers, (status) => status === 200);
  const after = await clean("web");
  expect(after).toBe(done?.newContainerId);
  const [now] = JSON.parse(await web.docker("inspect", "web"));
  expect(now.Id).toBe(after);
  expect(now.HostConfig).toMatchObject({ RestartPolicy: { Name: "unless-stopped" }, PortBindings: { "8080/tcp": [{ HostPort: String(port) }] } });
  expect(now.Config).toMatchObject({ Labels: { team: "cart" }, User: "0", Cmd: ["httpd", "-f", "-p", "8080", "-h", "/data"] });
  expect(now.Config.Env).toContain("COLOUR=red");
  expect(Object.keys(now.NetworkSettings.Networks).sort()).toEqual(["bridge", "shop"]);
  expect(now.NetworkSettings.Networks.shop.Aliases).toContain("cart");
  expect(await web.sh("cat /data/index.html /scratch/file")).toBe("kept\nkept");
  // What was written is evidence: the old container is kept, and stays stopped.
  const [old] = JSON.parse(await web.docker("inspect", before));
  expect(old).toMatchObject({ Name: `/web.hullmark-${done?.id}`, State: { Running: false }, HostConfig: { RestartPolicy: { Name: "no" } } });

  const drift = await eventually(
    "the drift is resolved",
    () => drifts(faults.stack),
    (all) => all.some(({ id, state }) => id === done?.drift && state === "resolved"),
    SETTLE_MS,
  );
  const told = drift.find(({ id }) => id === done?.drift);
  const ofAction = (all: Awaited<ReturnType<typeof logEntries>>) => all.filter(({ type, id }) => type === "action" && id === done?.id);
  const entries = await eventually(
    "the log tells",
    () => logEntries(faults.stack),
    (all) => ofAction(all).length >= 2,
    SETTLE_MS,
  );
  expect(ofAction(entries).map(({ id, state, drift: of, driftIndex }) => ({ id, state, of, driftIndex }))).toEqual(
    ["issued", "done"].map((state) => ({ id: done?.id, state, of: told?.id, driftIndex: expect.any(Number) })),
  );
  expect(entries[done?.logIndex ?? -1]).toMatchObject({ type: "action", state: "done", newContainer: after });
  await verifyLog(faults.stack);
});

test("the key of intents changes under an actuator that is at work: by the old one alone, then by the new one alone, each change is answered once", async () => {
  logsOnFailure();
  /** A container is changed; exactly one other takes its place. */
  const answered = async (name: string): Promise<void> => {
    const container = faults.victim(name);
    await container.docker("run", "-d", "--name", name, "--stop-signal", "SIGKILL", faults.image.reference, "sleep", "3600");
    const before = await clean(name);
    await container.sh("echo x >> /etc/nginx/nginx.conf");
    const own = async () => (await actions()).filter((each) => each.container.name === name);
    await eventually(`the action on ${name} is done`, own, ([first]) => first?.state === "done", SETTLE_MS);
    expect(await own()).toMatchObject([{ container: { id: before }, newContainerId: await clean(name) }]);
    expect((await container.docker("ps", "-a", "-q", "--filter", `name=^${name}`)).trim().split("\n")).toHaveLength(2);
  };
  const change = async (how: "rotate" | "retire") => expect((await faults.stack.hullmark("keys", how, "intent", "-m", "a year old")).code).toBe(0);
  const known = () => readFileSync(join(faults.stack.directory, "actuator/credentials/intent.pub"), "utf8").match(/BEGIN/g);

  await change("rotate");
  await answered("web-old");
  expect((await credentialed()).code).toBe(0);
  expect(known()).toHaveLength(2);
  await actuator.stop();
  actuator = await startActuator();
  await answered("web-both");
  await change("retire");
  await answered("web-new");
  expect((await credentialed()).code).toBe(0);
  expect(known()).toHaveLength(1);
  expect((await logEntries(faults.stack)).filter(({ key }) => key === "intent").map(({ action }) => action)).toEqual(["key-rotated", "key-retired"]);
});

/** @param added to the image's own environment */
async function pushShop(edition: string, ...added: string[]): Promise<PushedImage> {
  return await pushTo("acme/shop", edition, ...added);
}

async function pushTo(repository: string, edition: string, ...added: string[]): Promise<PushedImage> {
  const image = acceptanceImage(faults.victim("shop").programs, edition);
  const env = [...(image.config["Env"] as string[]), ...added];
  return await pushImage(faults.bed.registry?.host ?? "", repository, edition, { ...image, config: { ...image.config, Env: env } });
}

async function verdictOf(name: string, verdict: string): Promise<void> {
  const named = async () => (await workloads(faults.stack)).find(({ container }) => container.name === name);
  await eventually(`${name} is ${verdict}`, named, (each) => each?.verdict === verdict, SETTLE_MS);
}

async function doneTo(name: string): Promise<ToldAction> {
  const newest = async () => (await actions()).find(({ container }) => container.name === name);
  const done = await eventually(`${name} is acted on`, newest, (each) => each?.state === "done", SETTLE_MS);
  if (!done) throw new Error("no action");
  return done;
}

test("drills measure until their own container is stopped", async () => {
  logsOnFailure();
  vi.stubEnv("DOCKER_HOST", engineOf(faults.bed).dockerHost);
  // The breakers allow as many actions an hour as there are containers.
  for (const spare of ["spare-a", "spare-b", "spare-c"]) await faults.victim("web").docker("run", "-d", "--name", spare, faults.image.reference);
  const unsigned = await pushShop("canary", "SHOP_EDITION=canary");
  const objectives = ["--detect-within=60000", "--contain-within=90000", "--output=json"];
  for (const [kind, image] of [
    ["canary-exec", faults.image.reference],
    ["unsigned-canary-image", unsigned.tagged],
  ] as const) {
    const { code, stdout, stderr } = await faults.stack.hullmark("drill", "run", kind, "--image", image, ...objectives);
    expect(code, `${stdout}${stderr}`).toBe(0);
    const { container, contain } = JSON.parse(stdout) as { container: string; contain: { state: string; action: string; ms: number } };
    expect(contain).toMatchObject({ state: "done", ms: expect.any(Number) });
    expect(await actions()).toContainEqual(
      expect.objectContaining({ id: contain.action, kind: "stop", state: "done", container: expect.objectContaining({ name: container }) }),
    );
  }
  expect(await faults.victim("web").docker("ps", "--all", "--quiet", "--filter", "label=hullmark.dev/drill")).toBe("");
});

test("the drill of a revoked key says what the policy lacks, and then measures until its own container is stopped, again and again", async () => {
  logsOnFailure();
  vi.stubEnv("DOCKER_HOST", engineOf(faults.bed).dockerHost);
  for (const spare of ["spare-d", "spare-e", "spare-f"]) await faults.victim("web").docker("run", "-d", "--name", spare, faults.image.reference);
  const { tagged } = await pushImage(faults.bed.registry?.host ?? "", "acme/canary", "1", { ...acceptanceImage(await loadPrograms()), index: "attested" });
  const keys = join(home, "drill");
  const drill = (...args: string[]) => faults.stack.hullmark("drill", "run", "revoked-canary-key", "--image", tagged, "--policy-keys", keys, ...args);
  const unprepared = await drill();
  expect(unprepared).toMatchObject({ code: 3, stdout: "" });
  const [, authority = "", revocation = "", rule = ""] =
    /to spec\.authorities (.*), to spec\.revocations (.*), and first to spec\.rules (.*)$/m.exec(unprepared.stderr) ?? [];
  const policy = parse(policyOf(publicKey)) as { spec: Record<"authorities" | "revocations" | "rules", object[]> };
  policy.spec.authorities.push(parse(authority));
  policy.spec.revocations.push(parse(revocation));
  policy.spec.rules.unshift(parse(rule));

  const unnamed = await drill("--timeout=15", "--output=json");
  expect(unnamed).toMatchObject({ code: 3, stdout: expect.stringContaining("not signed by hullmark-drill") });
  writeFileSync(faults.stack.policyPath, stringify(policy));
  for (let run = 0; run < 2; run++) {
    const { code, stdout, stderr } = await drill("--detect-within=60000", "--contain-within=90000", "--output=json");
    expect(code, `${stdout}${stderr}`).toBe(0);
    const told = JSON.parse(stdout) as { container: string; drift: string };
    expect(told).toMatchObject({ drill: "revoked-canary-key", outcome: "passed", detect: { ms: expect.any(Number) }, contain: { state: "done" } });
    const { kind, container } = (await drifts(faults.stack)).find(({ id }) => id === told.drift) ?? {};
    expect({ kind, name: container?.name }).toEqual({ kind: "revoked", name: told.container });
  }
  // The key that is trusted is the one that is revoked, and nothing of the drill is left on the host.
  const [trusted, revoked] = ["hullmark-drill.pub", "hullmark-drill-revoked.pub"].map((name) => readFileSync(join(keys, name), "utf8"));
  expect(trusted).toBe(revoked);
  for (const what of ["ps", "images"]) expect(await faults.victim("web").docker(what, "--all", "--quiet", "--filter", "label=hullmark.dev/drill")).toBe("");
});

/** The first is signed. */
const editions = async (): Promise<readonly [good: PushedImage, bad: PushedImage]> => {
  const pushed = [await pushShop("2", "SHOP_EDITION=good"), await pushShop("3", "SHOP_EDITION=bad", "LD_PRELOAD=/evil.so")] as const;
  await signedBy(key, pushed[0]);
  return pushed;
};
let shopEditions: ReturnType<typeof editions> | undefined;

test("an unsigned image that Compose rolled out is rolled back, where policy lets Compose's go; the verifier is killed at each step of that, and it is done once; Compose takes what is there for its own", async () => {
  logsOnFailure();
  const shop = faults.victim("shop");
  // The breakers allow as many actions an hour as there are containers.
  await shop.docker("run", "-d", "--name", "spare-0", faults.image.reference);
  writeFileSync(faults.stack.policyPath, policyOf(publicKey));
  shopEditions ??= editions();
  const [good, bad] = await shopEditions;
  const file = join(home, "compose.yaml");
  /** Under another name, so that nothing but Compose's label says that it is the same service. */
  const up = async ({ tagged: image }: PushedImage, name = "shop-composed"): Promise<string> => {
    // Beyond what makes it Compose's it is as any other.
    const cart = { image, container_name: name, network_mode: "bridge", stop_signal: "SIGKILL", restart: "always" };
    writeFileSync(file, JSON.stringify({ version: "3.7", services: { cart } }));
    await run(["docker-compose", "-p", "acme", "-f", file, "up", "-d"], { DOCKER_HOST: engineOf(faults.bed).dockerHost });
    return await shop.docker("ps", "-a", "--no-trunc", "-q", "--filter", "label=com.docker.compose.project=acme");
  };
  await up(good, "shop-composed-before");
  await verdictOf("shop-composed-before", "affirming");

  let before = "";
  const rolledOut = async (): Promise<void> => {
    before = await up(bad);
  };
  await killedAt(faults.stack, RESPONSE_FAILPOINTS, rolledOut, SETTLE_MS);
  const back = await doneTo("shop-composed");
  expect(back).toMatchObject({ kind: "rollback", container: { id: before }, target: { reference: good.reference, configDigest: good.configDigest } });
  expect((await actions()).filter(({ container }) => container.name === "shop-composed")).toHaveLength(1);
  expect(await shop.docker("inspect", "-f", "{{.Id}} {{.Image}} {{.State.Running}} {{.HostConfig.RestartPolicy.Name}}", "shop-composed")).toBe(
    `${back.newContainerId} ${good.configDigest} true always`,
  );
  // It goes by labels, of containers that stand still too: there is one, and no other.
  expect(await up(bad)).toBe(back.newContainerId);
});

test("an unsigned image that is rolled out is rolled back to the signed one before; with its key revoked there is none, and the service is halted as policy says", async () => {
  logsOnFailure();
  const shop = faults.victim("shop");
  // The breakers allow as many actions an hour as there are containers.
  for (const spare of ["spare-1", "spare-2", "spare-3"]) await shop.docker("run", "-d", "--name", spare, faults.image.reference);
  shopEditions ??= editions();
  const [good, bad] = await shopEditions;
  const rollOut = (name: string, reference: string) =>
    shop.docker("run", "-d", "--name", name, "--restart", "unless-stopped", "-e", "COLOUR=red", "-v", `${name}:/data`, reference);
  for (const name of ["shop", "shop-two"]) await rollOut(name, good.tagged);
  for (const name of ["shop", "shop-two"]) await verdictOf(name, "affirming");

  await shop.docker("rm", "-f", "shop");
  const before = await rollOut("shop", bad.tagged);

  const back = await doneTo("shop");
  expect(back).toMatchObject({
    kind: "rollback",
    container: { id: before },
    target: { reference: good.reference, configDigest: good.configDigest },
  });
  const [now, old] = JSON.parse(await shop.docker("inspect", "shop", before));
  expect(now).toMatchObject({
    Id: back.newContainerId,
    State: { Running: true },
    HostConfig: { RestartPolicy: { Name: "unless-stopped" }, Binds: ["shop:/data"] },
  });
  expect(old).toMatchObject({ Name: `/shop.hullmark-${back.id}`, State: { Running: false }, HostConfig: { RestartPolicy: { Name: "no" } } });
  // What was asked for stays, what the bad image brought goes.
  expect(now.Config.Env).toEqual(expect.arrayContaining(["COLOUR=red", "SHOP_EDITION=good"]));
  expect(JSON.stringify(now.Config)).not.toMatch(/bad|evil/);
  await verdictOf("shop", "affirming");

  const revocation = JSON.stringify([{ reason: "leaked", key: publicKey.trim() }]);
  writeFileSync(faults.stack.policyPath, policyOf(publicKey, revocation));
  const halted = await doneTo("shop-two");
  expect(halted).toMatchObject({ kind: "stop", target: null });
  expect(await shop.docker("inspect", "-f", "{{.State.Running}} {{.HostConfig.RestartPolicy.Name}}", "shop-two")).toBe("false no");
  await verifyLog(faults.stack);
});

/** Under both keys, of which one may be revoked. */
function policyOfTwo(other: string, ...revocations: object[]): string {
  const policy = parse(policyOf(publicKey, JSON.stringify(revocations))) as {
    spec: { authorities: object[]; rules: { require: { signatures: { authorities: string[] } } }[] };
  };
  policy.spec.authorities.push({ name: "retiring", key: other });
  policy.spec.rules[0]?.require.signatures.authorities.push("retiring");
  return stringify(policy);
}

const OFFLINE = ["--use-signing-config=false", "--tlog-upload=false", "--allow-insecure-registry", "--allow-http-registry", "--yes"];
const signedBy = async ({ privateKey }: CosignKey, { reference }: PushedImage): Promise<unknown> =>
  await cosign("v3", home, ["sign", "--key", privateKey, ...OFFLINE, reference]);
const start = (name: string, { tagged }: PushedImage, ...labels: string[]): Promise<string> =>
  faults.victim("shop").docker("run", "-d", "--name", name, ...labels.flatMap((label) => ["--label", label]), tagged);
const replaced = async (name: string, image: PushedImage): Promise<string> => {
  await faults.victim("shop").docker("rm", "-f", name);
  return await start(name, image);
};

test("a key is revoked while what it signed runs: a service, which is what its own label says, goes back to what another key signed, and is halted where a label forbids that; what it signed is the newest to go back to until then, and passed over after that", async () => {
  logsOnFailure();
  for (const spare of ["spare-4", "spare-5", "spare-6", "spare-9", "spare-11"])
    await faults.victim("shop").docker("run", "-d", "--name", spare, faults.image.reference);
  const retiring = await cosignKeyPair("v3", home, "retiring");
  const other = readFileSync(retiring.publicKeyPath, "utf8").trim();
  const [kept, newer, stranger] = [await pushShop("4"), await pushShop("5"), await pushShop("6")];
  await signedBy(key, kept);
  await signedBy(retiring, newer);
  writeFileSync(faults.stack.policyPath, policyOfTwo(other));
  const shop = faults.victim("shop");
  const services = ["shop-key", "shop-passed", "shop-kept", "shop-newest"];
  /** Under another name each time, as schedulers give them. */
  const run = (service: string, turn: number, image: PushedImage): Promise<string> =>
    start(`${service}-${turn}`, image, `dev.hullmark.workload=${service}`, ...(service === "shop-kept" && turn > 0 ? ["hullmark.dev/rollback=never"] : []));
  for (const [turn, image] of [kept, newer].entries()) {
    if (turn > 0) await shop.docker("rm", "-f", ...services.map((service) => `${service}-0`));
    for (const service of services) await run(service, turn, image);
    for (const service of services) await verdictOf(`${service}-${turn}`, "affirming");
  }
  // Both are verified still: it is the newest.
  await shop.docker("rm", "-f", "shop-newest-1");
  await run("shop-newest", 2, stranger);
  expect(await doneTo("shop-newest-2")).toMatchObject({ kind: "rollback", target: { configDigest: newer.configDigest } });
  await shop.docker("rm", "-f", "shop-newest-2");
  // Two of them run what the key signed, when that is revoked; of the other it is what ran last, verified then.
  await shop.docker("rm", "-f", "shop-passed-1");
  writeFileSync(faults.stack.policyPath, policyOfTwo(other, { reason: "INC-8", key: other }));
  await run("shop-passed", 2, stranger);
  for (const name of ["shop-key-1", "shop-passed-2"]) {
    const back = await doneTo(name);
    expect(back).toMatchObject({ kind: "rollback", target: { configDigest: kept.configDigest } });
    expect(await shop.docker("inspect", "-f", "{{.Id}} {{.Image}}", name)).toBe(`${back.newContainerId} ${kept.configDigest}`);
    await verdictOf(name, "affirming");
  }
  expect(await doneTo("shop-kept-1")).toMatchObject({ kind: "stop", target: null });
  expect(await shop.docker("inspect", "-f", "{{.State.Running}} {{.Image}}", "shop-kept-1")).toBe(`false ${newer.configDigest}`);
});

test("what is verified is not gone back to where worse is known of it than of what runs and is signed: that is on record, and the rung after it is taken; from what nobody signed it is, since no scan tells malware", async () => {
  logsOnFailure();
  for (const spare of ["spare-7", "spare-8", "spare-10"]) await faults.victim("shop").docker("run", "-d", "--name", spare, faults.image.reference);
  writeFileSync(faults.stack.policyPath, policyOf(publicKey));
  // Signed as policy asks, and not where policy asks for it.
  const [worse, misplaced, stranger] = [await pushShop("7"), await pushTo("acme/shop-elsewhere", "8"), await pushShop("10")];
  for (const image of [worse, misplaced]) await signedBy(key, image);
  for (const name of ["shop-risk", "shop-forged"]) await start(name, worse);
  // No rule of response is for these.
  const beside = { "beside-misplaced": misplaced, "beside-stranger": stranger };
  for (const [name, image] of Object.entries(beside)) await start(name, image);
  for (const name of ["shop-risk", "shop-forged"]) await verdictOf(name, "affirming");
  for (const name of Object.keys(beside)) await verdictOf(name, "contraindicated");
  const flaw = { id: "CVE-2026-0001", name: "libssl3", version: "3.0.1", severity: "critical" };
  for (const image of [worse, misplaced, stranger]) {
    const report = join(home, `${image.configDigest.slice(7, 19)}.json`);
    const found = image === worse ? [flaw] : [];
    writeFileSync(report, JSON.stringify(trivyReport(found, { config: image.configDigest, createdAt: new Date().toISOString() })));
    const { code, stderr } = await faults.stack.hullmark("vulnerabilities", "import", report);
    expect(code, stderr).toBe(0);
  }
  await replaced("shop-forged", stranger);
  expect(await doneTo("shop-forged")).toMatchObject({ kind: "rollback", target: { configDigest: worse.configDigest } });
  const container = await replaced("shop-risk", misplaced);
  expect(await doneTo("shop-risk")).toMatchObject({ kind: "stop", container: { id: container } });
  const refused = (await actions()).find(({ container: { id }, state }) => id === container && state === "refused");
  expect(refused).toMatchObject({ kind: "rollback", reason: "higher-risk", target: { configDigest: worse.configDigest } });
  const ofIt = async () => (await logEntries(faults.stack)).filter(({ id }) => id === refused?.id);
  const entries = await eventually("the log tells of it", ofIt, ({ length }) => length > 0, SETTLE_MS);
  expect(entries).toMatchObject([{ type: "action", state: "refused", reason: "higher-risk", detail: expect.stringContaining("CVE-2026-0001"), intent: null }]);
});

test(
  "a crash loop that changes its own file at each start is replaced three times, then left to itself, which people are told",
  async () => {
    logsOnFailure();
    looping ??= startLooping();
    await looping;
    const claims = async () => (await faults.stack.json<{ claims: { code: string; detail: string }[] }>("status")).claims;
    const listed = () => faults.stack.json<{ held: Record<string, number> }>("action", "ls");
    await eventually("it is left", listed, ({ held }) => held["recurring"] === 1, LOOP_MS);
    await eventually("people are told", claims, (all) => all.some(({ code, detail }) => code === "breaker" && /^1 container/.test(detail)), SETTLE_MS);
    const inspected = (what: string): Promise<string> => faults.victim(LOOPING).docker("inspect", "-f", what, LOOPING);
    const restarts = Number(await inspected("{{.RestartCount}}"));
    await eventually(
      "it goes on by itself",
      () => inspected("{{.RestartCount}}"),
      (now) => Number(now) > restarts + 1,
      SETTLE_MS,
    );
    const own = (await actions()).filter(({ container }) => container.name === LOOPING);
    expect(own.map(({ kind, state }) => [kind, state])).toEqual(Array.from({ length: 3 }, () => ["recreate", "done"]));
    expect(await inspected("{{.Id}}")).toBe(own[0]?.newContainerId);
    await faults.victim(LOOPING).docker("rm", "-f", LOOPING);
  },
  LOOP_MS + 3 * SETTLE_MS,
);

test("a container that drifts is isolated, and is found wrong in nothing else for that; people release it, and it is left in peace", async () => {
  logsOnFailure();
  const api = faults.victim("api");
  writeFileSync(faults.stack.policyPath, policyOf(publicKey).replace("pause: 60s", "pause: 10m"));
  const port = await freePort();
  const answers = async (): Promise<string> =>
    fetch(`http://127.0.0.1:${port}/`, { signal: AbortSignal.timeout(2000) }).then(
      async (answer) => String(answer.status),
      () => "none",
    );
  const serve = ["httpd", "-f", "-p", "8080", "-h", "/data"];
  await api.docker("run", "-d", "--name", "api", "-p", `127.0.0.1:${port}:8080`, "-v", "api:/data", "--user", "0", faults.image.reference, ...serve);
  await api.sh("echo kept > /data/index.html");
  const id = await clean("api");
  await eventually("it serves", answers, (status) => status === "200");

  await api.sh("echo x >> /etc/nginx/nginx.conf");

  const done = await doneTo("api");
  expect(done).toMatchObject({ kind: "isolate", container: { id } });
  expect(await answers()).toBe("none");
  expect(await api.docker("inspect", "-f", "{{.State.Running}} {{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}", "api")).toMatch(
    /^true none/,
  );
  const own = async () => (await drifts(faults.stack)).filter((each) => each.container?.id === id && each.state !== "resolved");
  expect(await own()).toHaveLength(1);

  expect((await faults.stack.hullmark("action", "undo", done.id, "-m", "a test of ours")).code).toBe(0);
  const newest = async () => (await actions()).find(({ container }) => container.id === id);
  await eventually("it is released", newest, (each) => each?.kind === "release" && each.state === "done", SETTLE_MS);
  await eventually("it serves again", answers, (status) => status === "200");
  expect((await actions()).filter(({ container }) => container.id === id)).toHaveLength(2);
  // What comes now would be answered again, once the pause between two actions is over; and it is all that its node has found since.
  await api.sh("echo x > /etc/second");
  const found = await eventually("the second is found", own, (all) => all.length >= 2, SETTLE_MS);
  expect(found.map(({ path }) => path).sort()).toEqual(["/etc/nginx/nginx.conf", "/etc/second"]);
  const held = async () => (await faults.stack.json<{ held: Record<string, number> }>("action", "ls")).held;
  await eventually("it waits", held, (each) => (each["cooling-down"] ?? 0) >= 1, SETTLE_MS);
  expect((await faults.stack.hullmark("action", "undo", done.id, "-m", "again")).code).not.toBe(0);
  await api.docker("rm", "-f", "api");
  writeFileSync(faults.stack.policyPath, policyOf(publicKey));
  await verifyLog(faults.stack);
});

test("a container that fills its writable layer until nobody can measure it is replaced, once it has been so for as long as policy says, and for no drift", async () => {
  logsOnFailure();
  const greedy = faults.victim("greedy");
  await greedy.docker("run", "-d", "--name", "greedy", "--stop-signal", "SIGKILL", faults.image.reference, "sleep", "3600");
  const before = await clean("greedy");
  await greedy.sh("mkdir /srv/many && cd /srv/many && seq 1 50100 | xargs touch");
  await verdictOf("greedy", "unknown");

  const done = await doneTo("greedy");
  expect(done).toMatchObject({ kind: "recreate", container: { id: before } });
  const [asked] = (await logEntries(faults.stack)).filter(({ type, id }) => type === "action" && id === done.id);
  expect(asked).toMatchObject({ drift: "", detail: expect.stringMatching(/^unmeasurable: \d+ changed entries/) });
  expect(await clean("greedy")).toBe(done.newContainerId);
});

test("what was captured of a container is fetched by a responder, sealed as it was, and who fetched it and why is in the log; until its host removes it", async () => {
  logsOnFailure();
  const { stack, bed } = faults;
  const { captures } = await stack.json<{
    captures: { action: string; digest: string; bytes: number; expiresAt: string | null; container: { name: string } }[];
  }>("capture", "ls");
  const taken = captures.findLast(({ container }) => container.name === "web");
  if (!taken) throw new Error("nothing was captured of web");
  expect(Date.parse(taken.expiresAt ?? "")).toBeGreaterThan(Date.now());
  const out = join(home, "web.age");
  const { code, stderr } = await stack.hullmark("capture", "get", taken.action, "-m", "INC-7", "--out", out);
  expect(code, stderr).toBe(0);
  const sealed = readFileSync(out);
  expect(`sha256:${hash("sha256", sealed)}`).toBe(taken.digest);
  const decrypter = new Decrypter();
  decrypter.addIdentity(responderKey);
  expect(gunzipSync(await decrypter.decrypt(sealed)).toString("latin1")).toContain("hullmark-capture-v1");
  const noted = async () => (await logEntries(stack)).filter((each) => each["action"] === "capture-fetched");
  const [entry] = await eventually("the log's checkpoint covers it", noted, ({ length }) => length === 1);
  expect(entry).toMatchObject({ by: "admin", reason: "INC-7", capture: taken.digest });
  expect(readFileSync(join(bed.directory, "actuator.log"), "utf8")).toContain("capture handed out");
  await exported(taken.action, taken.digest);
  // Its time is over: the actuator removes it, and no other.
  const kept = join(stack.directory, "actuator/state/captures");
  const before = readdirSync(kept).sort();
  const [own = ""] = before.filter((each) => each.startsWith(`${taken.action}.`));
  utimesSync(join(kept, own), 1, 1);
  await actuator.stop();
  actuator = await startActuator();
  await eventually(
    "it is removed",
    async () => existsSync(join(kept, own)),
    (there) => !there,
  );
  expect(readdirSync(kept).sort()).toEqual(before.filter((each) => each !== own));
  const again = () => stack.hullmark("capture", "get", taken.action, "-m", "again", "--out", join(home, "gone.age"));
  const gone = await eventually("it is connected", again, ({ stderr }) => !stderr.includes("is not connected"));
  expect(gone).toMatchObject({ code: 3, stderr: expect.stringContaining("does not keep it any more") });
  expect(existsSync(join(home, "gone.age"))).toBe(false);
  await actuator.stop();
  const silent = await stack.hullmark("capture", "get", taken.action, "-m", "again", "--out", join(home, "gone.age"));
  expect(silent).toMatchObject({ code: 3, stderr: expect.stringContaining("is not connected") });
  actuator = await startActuator();
});

test("what cannot be captured is acted on, and everything that tells of it says so and why; what looks at processes may stand still; the next one is captured", async () => {
  logsOnFailure();
  const { stack } = faults;
  const store = join(stack.directory, "actuator/state/captures");
  const kept = (): string[] => readdirSync(store).sort();
  // As much as may be kept there; it takes no room on the disk.
  const full = join(store, `A-0000.${"0".repeat(32)}.age`);
  writeFileSync(full, "");
  truncateSync(full, 16 * 268_435_456);
  const before = kept();
  const missed = await changed("web-missed");
  const problem = "there is no room left for captures: none is removed before its time";
  expect(missed).toMatchObject({ kind: "recreate", capture: null, captureMissed: "not-taken", captureProblem: problem });
  expect(kept()).toEqual(before);
  const { stdout: page } = await stack.hullmark("drift", "show", missed.drift);
  expect(page).toContain(`nothing captured before: not-taken (${problem})`);
  const { timeline } = await stack.json<{ timeline: { what: string; detail: string; actionId: string | null }[] }>(
    "incident",
    "show",
    /I-\w+/.exec(page)?.[0] ?? "",
  );
  expect(timeline).toContainEqual(expect.objectContaining({ what: "captured", actionId: missed.id, detail: `capture missed: not-taken (${problem})` }));
  const entries = async () => (await logEntries(stack)).filter(({ id, captureMissed }) => id === missed.id && captureMissed === "not-taken");
  await eventually("the log's checkpoint covers it", entries, ([entry]) => entry?.["captureProblem"] === problem);

  rmSync(full);
  const { pid } = actuator.process;
  const stopping = (async () => {
    for (;;) {
      const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean);
      const looking = children.find(
        (child) => existsSync(`/proc/${child}/cmdline`) && readFileSync(`/proc/${child}/cmdline`, "latin1").includes("--capture-processes"),
      );
      if (looking) return process.kill(Number(looking), "SIGSTOP");
      await delay(1);
    }
  })();
  const [partial] = await Promise.all([changed("web-partial"), stopping]);
  expect(partial).toMatchObject({ capture: { complete: false, processes: 0 }, captureMissed: null });
  expect(await changed("web-whole")).toMatchObject({ capture: { complete: true, processes: 1 }, captureMissed: null });
  expect(kept().every((name) => name.endsWith(".age"))).toBe(true);

  /** @returns what was done about it */
  async function changed(
    name: string,
  ): Promise<ToldAction & { readonly capture: object | null; readonly captureMissed: string | null; readonly captureProblem: string | null }> {
    await faults.victim(name).docker("run", "-d", "--name", name, "--stop-signal", "SIGKILL", faults.image.reference, "sleep", "3600");
    await clean(name);
    await faults.victim(name).sh("echo x >> /etc/nginx/nginx.conf");
    return (await doneTo(name)) as Awaited<ReturnType<typeof changed>>;
  }
});

/** The incident of an action in a folder of its own, as it is handed to somebody who has the log's key and no way to the verifier. */
async function exported(action: string, digest: string): Promise<void> {
  const { stack } = faults;
  interface Told {
    id: string;
    state: string;
    owner: string | null;
    nodes: string[];
    timeline: { actionId: string | null; what: string; detail: string }[];
  }
  const { incidents } = await stack.json<{ incidents: Told[] }>("incident", "ls", "--all");
  const incident = incidents.find(({ timeline }) => timeline.some(({ actionId }) => actionId === action));
  if (!incident) throw new Error(`no incident has ${action}`);
  const folder = join(home, "handed-over");
  mkdirSync(folder);
  const record = join(folder, "incident.json");
  const told = await eventually(
    "the log's checkpoint covers it",
    () => stack.hullmark("incident", "export", incident.id, record, "--captures", "-m", "INC-7"),
    ({ code }) => code === 0,
  );
  expect(told.stdout).toContain(`${action} in ${record}.${action}.age`);
  // What was done is proven, line by line, and makes the same of the incident as the verifier makes of it.
  const proven = JSON.parse(readFileSync(record, "utf8")).incident as Told;
  const [id, lines] = [incident.id, proven.timeline.filter(({ actionId }) => actionId === action)];
  expect([proven.state, proven.owner, proven.nodes]).toEqual([incident.state, incident.owner, incident.nodes]);
  expect(lines.map(({ what }) => what)).toEqual(expect.arrayContaining(["issued", "done", "capture-fetched"]));
  expect(lines).toContainEqual(expect.objectContaining({ what: "capture-fetched", detail: "INC-7" }));
  const log = ["--url", `${stack.httpUrl}/log`, "--key", join(stack.directory, "verifier/admin/log.pub")];
  const live = JSON.parse((await stack.hullmark("incident", "verify", record, ...log, "-o", "json")).stdout);
  expect(live).toMatchObject({
    verdict: "ok",
    id,
    complete: true,
    captures: expect.arrayContaining([expect.objectContaining({ action, digest, file: "same" })]),
  });
  copyFileSync(join(stack.directory, "verifier/admin/log.pub"), join(folder, "log.pub"));
  const offline = async () => {
    const config = join(folder, "no-such-config.yaml");
    const argv = [program("cli"), "--config", config, "incident", "verify", record, "--key", join(folder, "log.pub")];
    return await new Promise<{ code: number; out: string }>((resolve) => {
      execFile(process.execPath, argv, { cwd: folder, env: { PATH: process.env["PATH"] } }, (error, stdout, stderr) =>
        resolve({ code: error ? Number(error.code) : 0, out: `${stdout}${stderr}` }),
      );
    });
  };
  const named = `capture of ${action} (${digest}, entry `;
  expect(await offline()).toMatchObject({ code: 0, out: expect.stringMatching(/^VERIFIED/) });
  expect((await offline()).out).toMatch(new RegExp(`✓ ${named.replace("(", "\\(")}\\d+\\) is beside it, as captured`));
  const sealed = readFileSync(`${record}.${action}.age`);
  writeFileSync(`${record}.${action}.age`, Buffer.concat([sealed, Buffer.from("x")]));
  expect(await offline()).toMatchObject({ code: 1, out: expect.stringMatching(/^TAMPERED WITH/) });
  rmSync(`${record}.${action}.age`);
  expect(await offline()).toMatchObject({ code: 0, out: expect.stringContaining(`- ${named}`) });
}
