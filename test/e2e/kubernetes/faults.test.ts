/** What breaks on a node: runtime, kubelet and API server go and come back, images and pods vanish. Nothing is lost, nothing stays believed that is not known. */
import { readdirSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Stack, startStack, tail } from "../../../deploy/stack/stack.ts";
import { type Kubernetes, startTestbed, type Testbed } from "../../../deploy/testbed/index.ts";
import { run } from "../../../deploy/testbed/run.ts";
import { believed, drifts, eventually, nodes, workloads } from "../fault-support.ts";
import { acceptanceImage } from "../images/acceptance.ts";
import { loadPrograms, type Programs } from "../images/programs.ts";
import { type PushedImage, pushImage } from "../images/push.ts";
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
  stack = await startStack({ bed, policy: POLICY });
  await apply([pod("web", image.tagged)]);
  web = new PodVictim(cluster, programs, "web");
  await isBelieved(web.container)();
});

afterAll(async () => {
  await bed?.down();
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

/** What the descriptors show, so that a failure says which are left; not programs that start anywhere on the machine, each of which is looked at for a moment. */
function openFiles(fds: string): string[] {
  return readdirSync(fds).flatMap((fd) => {
    try {
      const shown = readlinkSync(join(fds, fd));
      return !shown.startsWith("/") || shown.startsWith(bed.directory) ? [shown] : [];
    } catch {
      return [];
    }
  });
}

test("pods that come and go faster than they can be measured leave nothing behind", { timeout: 400_000 }, async () => {
  const [agent] = stack.agents;
  const fds = `/proc/${agent?.daemon().process.pid}/fd`;
  const before = openFiles(fds).length;
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
    async () => openFiles(fds),
    (now) => now.length <= before + 8,
    180_000,
  );
  expect(tail(join(bed.directory, "agent-0.log"), 400)).not.toMatch(/"level":(50|60)/);
});
