/** What breaks on a node: runtime, kubelet and API server go and come back, images and pods vanish. Nothing is lost, nothing stays believed that is not known. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Stack, startStack, tail } from "../../../deploy/stack/stack.ts";
import { type Kubernetes, startTestbed, type Testbed } from "../../../deploy/testbed/index.ts";
import { run } from "../../../deploy/testbed/run.ts";
import { directory, file, tar } from "../../fakes/tar-writer.ts";
import { believed, drifts, eventually, nodes, workloads } from "../fault-support.ts";
import { acceptanceImage } from "../images/acceptance.ts";
import { loadPrograms, type Programs } from "../images/programs.ts";
import { layerOf, type PushedImage, pushImage } from "../images/push.ts";
import { openFiles } from "./agent-holds.ts";
import { podFollower } from "./follower.ts";
import { PodVictim } from "./pod-victim.ts";
import { pod } from "./workloads.ts";

const POLICY = `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: faults }
spec:
  mode: observe
  rules: [{ name: all, allow: { env: ["**"], args: true } }]
  intervals: { quote: 10s, heartbeat: 2s, rescan: 60s }
`;

const WITHIN_MS = 240_000;
const GRACE_SECONDS = 5;

let home: string;
let bed: Testbed;
let cluster: Kubernetes;
let stack: Stack;
let programs: Programs;
let image: PushedImage;
let web: PodVictim;

const apply = (items: readonly object[]): Promise<string> =>
  cluster.kubectl(["apply", "--filename=-"], JSON.stringify({ apiVersion: "v1", kind: "List", items }));
const isBelieved = (name: string) => () =>
  eventually(
    `${name} is believed`,
    () => workloads(stack),
    (all) => all.some((each) => each.container.name === name && believed(each)),
    90_000,
  );

beforeAll(async () => {
  [bed, programs] = await Promise.all([startTestbed({ name: "e2e-node", parts: { kubernetes: true, registry: true, tpms: 1 } }), loadPrograms()]);
  if (!bed.kubernetes) throw new Error("no cluster");
  cluster = bed.kubernetes;
  image = await pushImage(bed.registry?.host ?? "", "acme/web", "1", acceptanceImage(programs));
  home = mkdtempSync(join(tmpdir(), "hullmark-e2e-"));
  const kubernetes = { ...(await podFollower(cluster, home)), pods: { graceSeconds: GRACE_SECONDS } };
  stack = await startStack({ bed, policy: POLICY, kubernetes });
  await apply([pod("web", image.tagged)]);
  web = new PodVictim(cluster, programs, "web");
  await isBelieved(web.container)();
});

afterAll(async () => {
  await bed?.down();
  if (home) rmSync(home, { recursive: true, force: true });
});

test("containerd goes: the node says so; what is written meanwhile is told; it is back, and so is the node", async () => {
  const pid = await web.pid();
  await cluster.services.containerd.kill();
  await eventually(
    "the node's reason",
    () => nodes(stack),
    ([node]) => node?.reasons.some(({ code }) => code === "runtime-unreachable") === true,
  );
  // No exec without containerd: the file is written where the container's process has its root.
  writeFileSync(`/proc/${pid}/root/srv/meanwhile`, "x");
  await cluster.services.containerd.start();
  await eventually(
    "the runtime is back",
    () => nodes(stack),
    ([node]) => node?.reasons.every(({ code }) => code !== "runtime-unreachable") === true,
  );
  await web.sh("echo late >> /app/config.yml");
  await eventually(
    "both writes",
    () => drifts(stack),
    (found) => ["/srv/meanwhile", "/app/config.yml"].every((path) => found.some((each) => each.path === path && each.container.name === web.container)),
  );
});

test("kubelet and API server go and come back: the agent asks neither", async () => {
  const id = await web.id();
  await Promise.all([cluster.services.kubelet.kill(), cluster.services.apiserver.kill()]);
  await run(cluster.ctr("tasks", "exec", "--exec-id", "past-the-kubelet", id, "/bin/sh", "-c", "echo unseen > /srv/unseen"));
  await eventually(
    "a write while they are away",
    () => drifts(stack),
    (found) => found.some(({ path }) => path === "/srv/unseen"),
  );
  await cluster.services.apiserver.start();
  await cluster.services.kubelet.start();
});

test("the image's name and content go from containerd while it runs: still judged by what was signed", async () => {
  await apply([pod("collected", image.tagged)]);
  await isBelieved("default/collected/web")();
  const names = (await run(cluster.ctr("images", "list", "--quiet"))).split("\n").filter((name) => name.includes("acme/web"));
  await run(cluster.ctr("images", "remove", "--sync", ...names, image.configDigest));
  await new PodVictim(cluster, programs, "collected").sh("echo x > /srv/collected");
  await eventually(
    "a write after that",
    () => drifts(stack),
    (found) => found.some(({ path, container }) => path === "/srv/collected" && container.name === "default/collected/web"),
  );
});

test("the agent alone is away: nothing counts as believed, what is written meanwhile is told, and what was started meanwhile is judged", async () => {
  const [agent] = stack.agents;
  await apply([pod("quiet", image.tagged)]);
  await isBelieved("default/quiet/web")();
  const green = async () => (await workloads(stack)).filter(believed).map(({ container }) => container.name);
  await agent?.stop();
  await web.sh("echo unwatched > /srv/unwatched");
  await eventually("nothing is believed", green, (names) => names.length === 0, WITHIN_MS);
  expect((await nodes(stack)).filter(believed)).toEqual([]);
  await apply([pod("newcomer", image.tagged)]);
  await cluster.kubectl(["wait", "--for=condition=Ready", "pod/newcomer", "--timeout=240s"]);
  await agent?.start();
  await eventually(
    "what was written is told",
    () => drifts(stack),
    (found) => found.some(({ path, container }) => path === "/srv/unwatched" && container.name === web.container),
    WITHIN_MS,
  );
  for (const name of ["default/quiet/web", "default/newcomer/web"]) await isBelieved(name)();
  expect((await nodes(stack)).filter(believed)).toHaveLength(1);
  expect((await drifts(stack)).filter(({ container }) => /quiet|newcomer/.test(container.name))).toEqual([]);
});

test("etcd stands still: writes are told all the same, no pod is missed for it, and what the API server says after that is heard", async () => {
  const id = await web.id();
  const { pid } = cluster.services.etcd.daemon().process;
  process.kill(pid, "SIGSTOP");
  try {
    await run(cluster.ctr("tasks", "exec", "--exec-id", "while-it-stands", id, "/bin/sh", "-c", "echo slow > /srv/slow"));
    await eventually(
      "a write meanwhile",
      () => drifts(stack),
      (found) => found.some(({ path }) => path === "/srv/slow"),
      WITHIN_MS,
    );
    // Longer than a pod may be without one at the API server.
    await new Promise((resolve) => setTimeout(resolve, 2 * GRACE_SECONDS * 1000));
    expect((await workloads(stack)).filter(({ container }) => container.name === "default/quiet/web").every(believed)).toBe(true);
    expect((await drifts(stack)).filter(({ kind }) => kind === "no-pod")).toEqual([]);
  } finally {
    process.kill(pid, "SIGCONT");
  }
  await eventually(
    "the API server takes a pod again",
    () => apply([pod("later", image.tagged)]),
    () => true,
    WITHIN_MS,
  );
  await isBelieved("default/later/web")();
  await cluster.kubectl(["delete", "pod", "quiet", "newcomer", "later", "--ignore-not-found", "--grace-period=0", "--force"]);
});

test("a layer's directory goes while it is being measured: no error, no file stays open, and the image is judged when it is back", {
  timeout: 600_000,
}, async () => {
  const [agent] = stack.agents;
  const agentPid = agent?.daemon().process.pid ?? 0;
  const fds = `/proc/${agentPid}/fd`;
  const many = Array.from({ length: 12_000 }, (_, i) => file(`srv/bulk/${i}`, `${i} ${"x".repeat(2000)}\n`));
  const definition = acceptanceImage(programs);
  const bulk = { createdBy: "COPY bulk", layer: layerOf(tar(directory("srv/bulk"), ...many)) };
  const bulky = await pushImage(bed.registry?.host ?? "", "acme/bulky", "1", { ...definition, steps: [...definition.steps, bulk] });
  const before = openFiles(fds, bed.directory).length;
  await apply([pod("bulky", bulky.tagged)]);
  const layer = await caughtIn("/srv/bulk", agentPid);
  try {
    await cluster.kubectl(["delete", "pod", "bulky", "--ignore-not-found", "--grace-period=0", "--force"]);
    await eventually(
      "the directory is gone",
      async () => {
        const names = (await run(cluster.ctr("images", "list", "--quiet")))
          .split("\n")
          .filter((name) => name.includes("acme/bulky") || name === bulky.configDigest);
        if (names.length > 0) await run(cluster.ctr("images", "remove", "--sync", ...names));
        return existsSync(layer);
      },
      (there) => !there,
      WITHIN_MS,
    );
  } finally {
    process.kill(agentPid, "SIGCONT");
  }
  await eventually(
    "it is gone from the list",
    () => workloads(stack),
    (all) => all.every(({ container }) => !container.name.startsWith("default/bulky/")),
    WITHIN_MS,
  );
  await eventually(
    "no file stays open",
    async () => openFiles(fds, bed.directory),
    (now) => now.length <= before + 8,
    WITHIN_MS,
  );
  await apply([pod("bulky", bulky.tagged)]);
  await isBelieved("default/bulky/web")();
  noErrors();
  await cluster.kubectl(["delete", "pod", "bulky", "--ignore-not-found", "--grace-period=0", "--force"]);
});

/** Stops the agent (SIGSTOP) while it has a file below such a directory open. @returns the layer's directory */
async function caughtIn(below: string, pid: number): Promise<string> {
  for (const endMs = Date.now() + WITHIN_MS; Date.now() < endMs; ) {
    const found = openFiles(`/proc/${pid}/fd`, bed.directory).find((path) => path.includes(below));
    if (found) {
      process.kill(pid, "SIGSTOP");
      return found.slice(0, found.indexOf(below));
    }
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  throw new Error(`${below} was never seen being read`);
}

function noErrors(): void {
  expect(tail(join(bed.directory, "agent-0.log"), 100_000).match(/^.*"level":(50|60).*$/gm) ?? []).toEqual([]);
}

test("pods that come and go faster than they can be measured leave nothing behind", { timeout: 400_000 }, async () => {
  const [agent] = stack.agents;
  const fds = `/proc/${agent?.daemon().process.pid}/fd`;
  const before = openFiles(fds, bed.directory).length;
  const [ROUNDS, PODS] = [3, 12];
  for (let round = 0; round < ROUNDS; round++) {
    const names = Array.from({ length: PODS }, (_, i) => `churn-${round}-${i}`);
    await apply(names.map((name) => pod(name, image.tagged)));
    // Deleted while the first of them are being measured and the last are being made.
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    await cluster.kubectl(["delete", "pod", ...names, "--grace-period=0", "--force"]);
  }
  await eventually(
    "they are gone",
    () => workloads(stack),
    (all) => all.every(({ container }) => !container.name.includes("/churn-")),
    120_000,
  );
  await eventually(
    "no file stays open",
    async () => openFiles(fds, bed.directory),
    (now) => now.length <= before + 8,
    180_000,
  );
  noErrors();
});
