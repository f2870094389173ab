/** What breaks on a node: runtime, kubelet and API server go and come back, images and pods vanish. Nothing is lost, nothing stays believed that is not known. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Stack, startStack, tail } from "../../../deploy/stack/stack.ts";
import { type Kubernetes, startTestbed, type Testbed } from "../../../deploy/testbed/index.ts";
import { run } from "../../../deploy/testbed/run.ts";
import { believed, drifts, eventually, nodes, workloads } from "../fault-support.ts";
import { acceptanceImage } from "../images/acceptance.ts";
import { loadPrograms, type Programs } from "../images/programs.ts";
import { type PushedImage, pushImage } from "../images/push.ts";
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
/** etcd stands for so long at a time, and for longer. */
const [SLOW_MS, STILL_MS] = [2_000, 12_000];

let home: string;
let bed: Testbed;
let cluster: Kubernetes;
let stack: Stack;
let programs: Programs;
let image: PushedImage;
let web: PodVictim;

const apply = (items: readonly object[]): Promise<string> =>
  cluster.kubectl(["apply", "--filename=-"], JSON.stringify({ apiVersion: "v1", kind: "List", items }));
const remove = (...names: readonly string[]): Promise<string> =>
  cluster.kubectl(["delete", "pod", ...names, "--ignore-not-found", "--grace-period=0", "--force"]);
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

test("kubelet and API server go and come back: the agent asks neither, verdicts stand meanwhile, and pods made after that are judged", async () => {
  await apply([pod("steady", image.tagged)]);
  await isBelieved("default/steady/web")();
  const id = await web.id();
  await Promise.all([cluster.services.kubelet.kill(), cluster.services.apiserver.kill()]);
  await run(cluster.ctr("tasks", "exec", "--exec-id", "past-the-kubelet", id, "/bin/sh", "-c", "echo unseen > /srv/unseen"));
  await eventually(
    "a write while they are away",
    () => drifts(stack),
    (found) => found.some(({ path }) => path === "/srv/unseen"),
  );
  expect((await workloads(stack)).filter(({ container }) => container.name === "default/steady/web").map(believed)).toEqual([true]);
  expect((await nodes(stack)).map(believed)).toEqual([true]);
  await cluster.services.apiserver.start();
  await cluster.services.kubelet.start();
  await apply([pod("after", image.tagged)]);
  await isBelieved("default/after/web")();
  await new PodVictim(cluster, programs, "after").sh("echo x > /srv/after");
  await eventually(
    "a write in a pod that was made after it",
    () => drifts(stack),
    (found) => found.some(({ path, container }) => path === "/srv/after" && container.name === "default/after/web"),
  );
  expect((await drifts(stack)).filter(({ kind, container }) => kind === "no-pod" || container.name === "default/steady/web")).toEqual([]);
  await remove("steady", "after");
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
  await remove("collected");
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

test("etcd is slow, for less than the API server waits for it: a pod made meanwhile is judged, a write is told, and no verdict changes for it", async () => {
  await apply([pod("quiet", image.tagged)]);
  await isBelieved("default/quiet/web")();
  const { pid } = cluster.services.etcd.daemon().process;
  const over = new AbortController();
  const slowly = (async () => {
    while (!over.signal.aborted) {
      process.kill(pid, "SIGSTOP");
      await sleep(SLOW_MS);
      process.kill(pid, "SIGCONT");
      await sleep(SLOW_MS / 8);
    }
  })();
  try {
    await eventually(
      "it is asked for",
      () => apply([pod("slow-born", image.tagged)]),
      () => true,
      WITHIN_MS,
    );
    await isBelieved("default/slow-born/web")();
    await eventually(
      "it is written to",
      () => new PodVictim(cluster, programs, "slow-born").sh("echo x > /srv/slow-born"),
      () => true,
      WITHIN_MS,
    );
    await eventually(
      "the write is told",
      () => drifts(stack),
      (found) => found.some(({ path }) => path === "/srv/slow-born"),
      WITHIN_MS,
    );
    expect((await workloads(stack)).filter(({ container }) => container.name === "default/quiet/web").map(believed)).toEqual([true]);
    expect((await drifts(stack)).filter(({ kind }) => kind === "no-pod")).toEqual([]);
  } finally {
    over.abort();
    await slowly;
  }
});

test.each([1, 2])(
  "etcd stands still, %s: writes are told all the same, no pod is missed for it, and what the API server says after that is heard",
  async (time) => {
    const quiet = `quiet-${time}`;
    await apply([pod(quiet, image.tagged)]);
    await isBelieved(`default/${quiet}/web`)();
    const id = await web.id();
    const { pid } = cluster.services.etcd.daemon().process;
    process.kill(pid, "SIGSTOP");
    try {
      await run(cluster.ctr("tasks", "exec", "--exec-id", `while-it-stands-${time}`, id, "/bin/sh", "-c", `echo slow > /srv/slow-${time}`));
      await eventually(
        "a write meanwhile",
        () => drifts(stack),
        (found) => found.some(({ path }) => path === `/srv/slow-${time}`),
        WITHIN_MS,
      );
      // Longer than a pod may be without one at the API server, and than that waits for etcd.
      await sleep(STILL_MS * time);
      expect((await workloads(stack)).filter(({ container }) => container.name === `default/${quiet}/web`).map(believed)).toEqual([true]);
      expect((await drifts(stack)).filter(({ kind }) => kind === "no-pod")).toEqual([]);
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await eventually(
      "the API server takes a pod again",
      () => apply([pod(`later-${time}`, image.tagged)]),
      () => true,
      WITHIN_MS,
    );
    await isBelieved(`default/later-${time}/web`)();
    await remove("quiet", "newcomer", "slow-born", quiet, `later-${time}`);
  },
);

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
    await remove(...names);
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
