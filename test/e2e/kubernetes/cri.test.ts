/**
 * The agent on a node's containerd alone: what it asks of the interface, what it makes of images with one configuration and of layers that were pulled, of pods that come and go,
 * and of containers that the interface does not tell of. What kubelet and API server add is in detect.test.ts and faults.test.ts.
 */
import { spawn } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync, zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CriRuntime } from "../../../agent/adapters/cri/cri-runtime.ts";
import type { RuntimeEvent } from "../../../agent/ports/container-runtime.ts";
import { type Stack, startStack, tail } from "../../../deploy/stack/stack.ts";
import { cgroupName } from "../../../deploy/testbed/cgroup.ts";
import { type NodeRuntime, startTestbed, type Testbed } from "../../../deploy/testbed/index.ts";
import { program } from "../../../deploy/testbed/paths.ts";
import { run } from "../../../deploy/testbed/run.ts";
import { containerGroup, move } from "../../fakes/container-group.ts";
import { cosign, cosignKeyPair } from "../../fakes/cosign.ts";
import { snapshotDirectories } from "../../fakes/engine-layers.ts";
import { relayCalls } from "../../fakes/grpc-relay.ts";
import { disagreements } from "../../fakes/replay-against.ts";
import { REPLAY_CASES, type ReplayCase } from "../../fakes/replay-cases.ts";
import { directory, file, tar } from "../../fakes/tar-writer.ts";
import { type ExpectedDrift, isExpected, saysExpected } from "../expected-drift.ts";
import { drifts, eventually } from "../fault-support.ts";
import { ACCEPTANCE, acceptanceImage } from "../images/acceptance.ts";
import { loadPrograms, type Programs } from "../images/programs.ts";
import { digestOf, type ImageDefinition, type LayerBlob, layerOf, type PushedImage, pushImage } from "../images/push.ts";
import { CANARY, HOST_SCENARIOS, plantCanary, SCENARIOS, type Scenario } from "../scenarios.ts";
import { heldBy, openFiles } from "./agent-holds.ts";
import { CriVictim } from "./cri-victim.ts";
import { podLabels, RuntimeSocket, sandboxOf } from "./past-the-kubelet.ts";
import { pod } from "./workloads.ts";

interface WorkloadView {
  readonly container: { readonly id: string; readonly name: string };
  readonly image: { readonly reference: string; readonly configDigest: string };
  readonly verdict: string;
  readonly content: string;
  readonly provenance: { readonly status: string; readonly text: string };
  readonly reasons: readonly { readonly code: string }[];
}

interface FoundDrift {
  readonly kind: string;
  readonly state: string;
  readonly path: string;
  readonly container: { readonly id: string };
  readonly origin: { readonly place: string; readonly layerIndex: number };
  readonly actor: { readonly executable: string } | null;
  readonly differences: readonly Record<"field" | "expected" | "observed", string>[];
}

const WITHIN_MS = 240_000;
const JUDGED_WITHIN_MS = 120_000;
/** Of what rests on the agent alone another containerd is shown less. */
const AGAIN = process.env["HULLMARK_ENGINE_BIN"] !== undefined;
/** How many come and go. */
const CHURN = Number(process.env["HULLMARK_CHURN_PODS"] ?? (AGAIN ? 20 : 100));
const AT_ONCE = 4;
/** One of so many layer stacks is pulled. */
const EVERY = Number(process.env["HULLMARK_PULLED_EVERY"] ?? (AGAIN ? 12 : 4));

let home: string;
let bed: Testbed;
let node: NodeRuntime;
let socket: RuntimeSocket;
let programs: Programs;
let group: string;
/** Of containerd's version. */
let [major, minor]: [number, number] = [0, 0];

const hostOf = (): string => bed.registry?.host ?? "";

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "hullmark-cri-"));
  [bed, programs] = await Promise.all([startTestbed({ name: "cri", parts: { nodeRuntime: true, registry: true, tpms: 1 } }), loadPrograms()]);
  if (!bed.nodeRuntime) throw new Error("no runtime");
  node = bed.nodeRuntime;
  socket = new RuntimeSocket(node.criSocket);
  const version = /Server:\s+Version:\s+v?(\d+)\.(\d+)/.exec(await run(node.ctr("version")));
  [major, minor] = [Number(version?.[1]), Number(version?.[2])];
  group = `/${cgroupName(JSON.parse(readFileSync(join(bed.directory, "testbed.json"), "utf8")).id)}`;
});

afterAll(async () => {
  socket?.[Symbol.dispose]();
  await bed?.down();
  rmSync(home, { recursive: true, force: true });
});

/** As a kubelet makes one, on the node's network. @param image by the id of its configuration, and by the name that the pod's specification has */
async function runPod(name: string, image: PushedImage, command: readonly string[] = []): Promise<{ readonly sandbox: string; readonly id: string }> {
  const own = { name, uid: randomUUID() };
  const sandbox = await socket.runSandbox(own, group);
  const labels = { ...podLabels(own), "io.kubernetes.container.name": "web" };
  const container = { name: "web", image: image.configDigest, asked: image.tagged, command, labels };
  return { sandbox, id: await socket.startContainer(sandbox, container, sandboxOf(own, group)) };
}

describe("events", () => {
  test("are taken from GetContainerEvents where it tells all of several at a time; else from the tasks', and the list", { timeout: 180_000 }, async () => {
    const stop = new AbortController();
    await using relay = await relayCalls(join(bed.directory, "relay.sock"), node.criSocket);
    const [relayed, direct] = [join(bed.directory, "relay.sock"), node.criSocket].map(
      (socketPath) => new CriRuntime({ socketPath, kubeletDirectory: "/var/lib/kubelet", reportOthers: false }),
    ) as [CriRuntime, CriRuntime];
    const seen: [RuntimeEvent[], RuntimeEvent[]] = [[], []];
    const follow = async (runtime: CriRuntime, into: RuntimeEvent[]): Promise<void> => {
      for await (const event of runtime.events(stop.signal)) into.push(event);
    };
    const following = [follow(relayed, seen[0]), follow(direct, seen[1])];
    try {
      const streams = major >= 2;
      await eventually(
        "both are connected",
        async () => seen,
        (all) => all.every((events) => events.some(({ kind }) => kind === "connected")),
      );
      const made: string[] = [];
      for (let i = 0; i < 5; i++) made.push(await socket.runSandbox({ name: `told-${i}`, uid: randomUUID() }, group));
      await eventually(
        "both are told of each",
        async () => seen,
        (all) => all.every((events) => made.every((id) => events.some(({ containerId }) => containerId === id))),
      );
      for (const id of made) await socket.removeSandbox(id);
      const asked = new Set(relay.calls);
      const [events, tasks, list] = [
        "/runtime.v1.RuntimeService/GetContainerEvents",
        "/containerd.services.events.v1.Events/Subscribe",
        "/runtime.v1.RuntimeService/ListContainers",
      ];
      expect(
        [events, tasks, list].map((call) => asked.has(call)),
        `containerd ${major}.${minor}: ${[...asked].join(" ")}`,
      ).toEqual([streams, !streams, !streams]);
    } finally {
      stop.abort();
      await Promise.all(following);
      for (const runtime of [relayed, direct]) runtime.close();
    }
  });
});

describe("layers that were pulled have exactly the replayed records", () => {
  const COMPRESSIONS: readonly (readonly [suffix: string, compress: (tar: Buffer) => Buffer])[] = [
    ["+gzip", (tar) => gzipSync(tar, { level: 1 })],
    ["+zstd", (tar) => zstdCompressSync(tar)],
    ["", (tar) => tar],
  ];
  const blobOf = (tar: Buffer, i: number): LayerBlob => {
    const [suffix, compress] = COMPRESSIONS[i % COMPRESSIONS.length] as (typeof COMPRESSIONS)[number];
    const content = compress(tar);
    return { digest: digestOf(content), diffId: digestOf(tar), size: content.length, content, mediaType: `application/vnd.oci.image.layer.v1.tar${suffix}` };
  };
  const chosen = REPLAY_CASES.filter((_, i) => i % EVERY === 0);
  const counts = { layers: 0, refused: 0 };

  test.concurrent.each(chosen.map((each, i) => [each.name, each, i] as const))("%s", { timeout: 60_000 }, async (name, { layers }: ReplayCase, i) => {
    const steps = layers.map((tar, at) => ({ createdBy: `step ${at}`, layer: blobOf(tar, i + at) }));
    const image = await pushImage(hostOf(), `replay/${name}`, "1", { steps, config: {}, index: i % 2 === 0 });
    const pull = (): Promise<string | undefined> =>
      socket.pull(image.tagged).then(
        () => undefined,
        (error: Error) => error.message,
      );
    let refused = await pull();
    // What another pull began with has been collected meanwhile: of the layers that says nothing.
    for (let again = 0; again < 3 && refused !== undefined && /parent snapshot \S+ does not exist/.test(refused); again++) refused = await pull();
    if (refused !== undefined) {
      expect(refused).toMatch(/failed to (extract|apply|unpack)/);
      counts.refused++;
    } else counts.layers += layers.length;
    const extracted = refused === undefined ? { directories: await snapshotDirectories((...args) => node.ctr(...args), name, layers) } : { refused };
    expect(disagreements(layers, "containerd", extracted)).toEqual([]);
  });

  test("and there were enough of them", () => {
    expect(counts.layers).toBeGreaterThan(150 / EVERY);
    expect(counts.refused).toBeGreaterThan(20 / EVERY);
  });
});

describe("judged", () => {
  let stack: Stack;
  let image: PushedImage;
  const workloads = (): Promise<readonly WorkloadView[]> => stack.json<WorkloadView[]>("workloads");
  /** @param listed whether a runtime tells of its image: what drifts is judged before the signatures of that are read */
  const judged = async (id: string, listed = true): Promise<WorkloadView> => {
    const isJudged = ({ container, verdict, provenance }: WorkloadView): boolean =>
      container.id === id && verdict !== "unknown" && (!listed || provenance.status !== "unknown");
    const all = await eventually(`${id} is judged`, workloads, (seen) => seen.some(isJudged), JUDGED_WITHIN_MS);
    return all.find(({ container }) => container.id === id) as WorkloadView;
  };
  const noErrors = (): void => expect(tail(join(bed.directory, "agent-0.log"), 100_000).match(/^.*"level":(50|60).*$/gm) ?? []).toEqual([]);

  beforeAll(async () => {
    image = await pushImage(hostOf(), "acme/one", "1", acceptanceImage(programs));
    const key = await cosignKeyPair("v2", home, "release");
    const offline = ["--tlog-upload=false", "--allow-insecure-registry", "--allow-http-registry", "--yes"];
    await cosign("v2", home, ["sign", "--key", key.privateKey, ...offline, image.reference]);
    const policy = `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: cri }
spec:
  authorities:
    - name: release
      key: |
${readFileSync(key.publicKeyPath, "utf8").trim().replace(/^/gm, "        ")}
  rules:
    - { name: strict, select: { images: ["**/acme/one*"] }, require: { signatures: { authorities: [release] } } }
    - { name: all, allow: { env: ["**"], args: true } }
  intervals: { quote: 10s, heartbeat: 2s, rescan: 60s }
`;
    await socket.pull(image.tagged);
    stack = await startStack({ bed, policy });
  });
  afterAll(() => stack?.stop());

  test("by the configuration that runs and by the name that was asked for, whatever other names and manifests that configuration has", {
    timeout: 400_000,
  }, async () => {
    const definition = acceptanceImage(programs);
    const recompressed: ImageDefinition = {
      ...definition,
      index: false,
      steps: definition.steps.map(({ layer, ...step }) => (layer ? { ...step, layer: lightly(layer) } : step)),
    };
    const two = await pushImage(hostOf(), "acme/two", "1", recompressed);
    const edited = await pushImage(hostOf(), "acme/three", "1", { ...definition, config: { ...definition.config, User: "33" } });
    expect([two.configDigest, two.manifestDigest === image.manifestDigest]).toEqual([image.configDigest, false]);
    for (const each of [two, image, edited]) await socket.pull(each.tagged);
    // Another command than the image's, which would listen on the network that they share.
    const pods: { readonly sandbox: string; readonly id: string }[] = [];
    for (const [name, each] of [
      ["two", two],
      ["one", image],
      ["three", edited],
    ] as const)
      pods.push(await runPod(name, each, [ACCEPTANCE.tool, "wait"]));
    const [byTwo, byOne, byThree] = (await Promise.all(pods.map(({ id }) => judged(id)))) as [WorkloadView, WorkloadView, WorkloadView];
    expect([byTwo, byOne, byThree].map(({ image: { configDigest } }) => configDigest)).toEqual([two, image, edited].map(({ configDigest }) => configDigest));
    // The same configuration is the same files: a signature over one of its manifests is one over what runs.
    expect([byTwo, byOne, byThree].map(({ provenance }) => provenance.status)).toEqual(["signed", "signed", "unsigned"]);
    const kindsOf = async ({ container }: WorkloadView): Promise<readonly string[]> =>
      (await drifts(stack)).filter((drift) => drift.container.id === container.id && drift.state === "open").map(({ kind }) => kind);
    // containerd before 2 keeps no name beside the id: of several it tells the first, and that one's rule is taken, which allows no argument but the image's.
    const tellsName = major >= 2;
    expect([byTwo, byOne, byThree].map((each) => each.image.reference)).toEqual([tellsName ? two.tagged : image.tagged, image.tagged, edited.tagged]);
    expect([await kindsOf(byTwo), await kindsOf(byOne)].map((kinds) => kinds.includes("args"))).toEqual([!tellsName, true]);
    for (const { sandbox } of pods) await socket.removeSandbox(sandbox);
  });

  describe("attacks within a pod", () => {
    /** What the interface alone is asked for leaves much of a container's configuration as a kubelet would not have it: that is told of each. */
    const inFiles = async (id: string): Promise<readonly FoundDrift[]> =>
      (await stack.json<{ drifts: FoundDrift[] }>("drift", "ls", "--all")).drifts.filter(
        ({ container, state, origin }) => container.id === id && state === "open" && !["configuration", "bind"].includes(origin.place),
      );
    const finds = (id: string, expected: readonly ExpectedDrift[]) =>
      eventually(
        "each is found, to the last difference",
        () => inFiles(id),
        (found) =>
          expected.every((each) =>
            found.some(
              (drift) =>
                isExpected(drift, each) &&
                saysExpected(drift, each, programs) &&
                (each.layerIndex === undefined || drift.origin.layerIndex === each.layerIndex) &&
                (each.who === undefined || drift.actor?.executable.split("/").at(-1) === each.who),
            ),
          ),
        JUDGED_WITHIN_MS,
      );
    const attacked = async ({ attack, expected, restore }: Scenario, name: string): Promise<void> => {
      const { sandbox, id } = await runPod(name, image, [ACCEPTANCE.tool, "wait"]);
      const victim = new CriVictim(node, programs, `default/${name}/web`, id);
      await judged(id);
      await attack(victim);
      try {
        if (expected.length > 0) await finds(id, expected);
        else {
          await plantCanary(victim);
          await finds(id, [CANARY]);
          expect((await inFiles(id)).filter((drift) => !isExpected(drift, CANARY))).toEqual([]);
        }
      } finally {
        await restore?.(victim);
      }
      if (restore)
        await eventually(
          "it is resolved when undone",
          () => inFiles(id),
          (found) => found.length === 0,
          JUDGED_WITHIN_MS,
        );
      await socket.removeSandbox(sandbox);
    };
    const possible = [...SCENARIOS, ...HOST_SCENARIOS].filter(({ runOptions }) => !runOptions);
    const inLayer = ({ expected }: Scenario): boolean => expected.some(({ place }) => place === "layer");
    const attacks = (scenarios: readonly Scenario[]): void => {
      for (const scenario of scenarios) test(scenario.name, { timeout: 400_000 }, () => attacked(scenario, `victim-${possible.indexOf(scenario)}`));
    };
    describe.concurrent("alone", () => attacks(possible.filter((each) => !inLayer(each))));
    // Every pod of the image has them.
    describe("of a layer", () => attacks(possible.filter(inLayer)));
  });

  test(`${CHURN} pods made and taken away as fast as containerd does it: no error, and files, watches and memory are as before`, {
    timeout: 1_200_000,
  }, async () => {
    const pid = stack.agents[0]?.daemon().process.pid ?? 0;
    const burst = async (pods: number): Promise<void> => {
      let left = pods;
      const lane = async (): Promise<void> => {
        while (left-- > 0) await socket.removeSandbox((await runPod(`burst-${left}`, image, ["/bin/sleep", "3600"])).sandbox);
      };
      await Promise.all(Array.from({ length: AT_ONCE }, lane));
    };
    // What is allocated once, and kept, is there after these.
    await burst(AT_ONCE * 3);
    const fds = `/proc/${pid}/fd`;
    const [files, before] = [openFiles(fds, bed.directory).length, heldBy(pid)];
    const sinceMs = Date.now();
    await burst(CHURN);
    const seconds = (Date.now() - sinceMs) / 1000;
    await eventually("they are gone", workloads, (all) => all.every(({ container }) => !container.name.includes("/burst-")), WITHIN_MS);
    await eventually(
      "no file stays open, and no watch",
      async () => ({ files: openFiles(fds, bed.directory), ...heldBy(pid) }),
      (now) => now.files.length <= files + 8 && now.watches <= before.watches + 8,
      WITHIN_MS,
    );
    const after = heldBy(pid);
    console.info(
      `${CHURN} pods in ${seconds.toFixed(0)} s; agent ${before.mib} MiB before, ${after.mib} after; ${before.watches} watches, ${after.watches} after`,
    );
    // Less than a page of 4 KiB for each, beyond what a heap that was never full has grown by.
    expect(after.mib).toBeLessThan(before.mib + 64 + (CHURN * 4) / 1024);
    noErrors();
  });

  test("of a kubelet that has no API server: static pods, their init containers and sidecars; and an image that it collects while that is measured", {
    timeout: 600_000,
  }, async () => {
    const agentPid = stack.agents[0]?.daemon().process.pid ?? 0;
    const fds = `/proc/${agentPid}/fd`;
    // Its disk is fuller than it may be (0 % and 100 % say nothing): every image that nothing runs of goes. Static pods are none that it evicts.
    const full = { "nodefs.available": "99.9%", "nodefs.inodesFree": "0%", "imagefs.available": "99.9%", "imagefs.inodesFree": "0%" };
    const kubelet = await node.startKubelet({ imageMinimumGCAge: "10s", evictionHard: full });
    const put = (made: { metadata: { name: string } }): void => writeFileSync(join(node.manifests, `${made.metadata.name}.json`), JSON.stringify(made));
    const named = (name: string) => async (): Promise<readonly WorkloadView[]> =>
      (await workloads()).filter(({ container, verdict }) => verdict !== "unknown" && container.name.startsWith(`default/${name}-node-1/`));
    try {
      const waiting = { image: image.tagged, command: [ACCEPTANCE.tool, "wait"] };
      const initContainers = [
        { name: "sidecar", ...waiting, restartPolicy: "Always" },
        { name: "prepare", ...waiting },
      ];
      put(pod("starting", image.tagged, { spec: { initContainers } }));
      const all = await eventually("each is judged", named("starting"), (seen) => seen.length === 3, WITHIN_MS);
      expect(all.map(({ container }) => container.name.split("/").at(-1)).sort()).toEqual(["(sandbox)", "prepare", "sidecar"]);
      for (const { container } of all.filter(({ container: { name } }) => !name.endsWith(")"))) {
        await run(node.ctr("tasks", "exec", "--exec-id", "write", container.id, "/bin/sh", "-c", "echo x > /srv/written"));
        await eventually(
          `the write in ${container.name} is told`,
          () => drifts(stack),
          (found) => found.some(({ path, container: { id } }) => path === "/srv/written" && id === container.id),
          WITHIN_MS,
        );
      }
      const many = Array.from({ length: 12_000 }, (_, i) => file(`srv/bulk/${i}`, `${i} ${"x".repeat(2000)}\n`));
      const made = acceptanceImage(programs);
      const bulk = { createdBy: "COPY bulk", layer: layerOf(tar(directory("srv/bulk"), ...many)) };
      const bulky = await pushImage(hostOf(), "acme/bulky", "1", { ...made, steps: [...made.steps, bulk] });
      const before = openFiles(fds, bed.directory).length;
      put(pod("bulky", bulky.tagged));
      const layer = await caughtIn("/srv/bulk", agentPid);
      try {
        rmSync(join(node.manifests, "bulky.json"));
        await eventually(
          "the kubelet has collected it",
          async () => ({ there: existsSync(layer), names: await run(node.ctr("images", "list", "--quiet")) }),
          ({ there, names }) => !there && !names.includes("acme/bulky"),
          WITHIN_MS,
        );
      } finally {
        process.kill(agentPid, "SIGCONT");
      }
      await eventually("it is gone from the list", workloads, (seen) => seen.every(({ container }) => !container.name.startsWith("default/bulky-")), WITHIN_MS);
      await eventually(
        "no file stays open",
        async () => openFiles(fds, bed.directory),
        (now) => now.length <= before + 8,
        WITHIN_MS,
      );
      put(pod("bulky", bulky.tagged));
      const again = await eventually(
        "it is judged when it is back",
        named("bulky"),
        (seen) => seen.some(({ container }) => container.name.endsWith("/web")),
        WITHIN_MS,
      );
      expect(again.find(({ container }) => container.name.endsWith("/web"))?.content).toBe("affirming");
      noErrors();
    } finally {
      await kubelet.stop();
    }
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

  test("as drift, what runs in another of containerd's namespaces, by runc alone, and what nothing but its cgroup tells of; gone when they end", async () => {
    const [agent] = stack.agents;
    if (!agent) throw new Error("no agent");
    writeFileSync(agent.configPath, readFileSync(agent.configPath, "utf8").replace("otherContainers: ignore", "otherContainers: report"));
    await agent.stop();
    await agent.start();
    const elsewhere = (...args: string[]): Promise<string> => run(node.ctrOf("elsewhere", ...args));
    await elsewhere("images", "pull", "--plain-http", image.tagged);
    const [named, plain, bare] = [randomBytes(32).toString("hex"), "plain", "bare"];
    for (const id of [named, plain]) await elsewhere("run", "--detach", "--cgroup", `${group}/${id}`, image.tagged, id, ACCEPTANCE.tool, "wait");
    const runc = await bareContainer(bare);
    const alone = containerGroup();
    const started = await chrooted(join(home, bare, "rootfs"), alone.path);
    const tasks = await elsewhere("tasks", "list");
    const pidOf = (id: string): number => Number(new RegExp(`^${id}\\s+(\\d+)\\s`, "m").exec(tasks)?.[1]);
    const byNamespace = (pid: number): string => `mnt-${/\d+/.exec(readlinkSync(`/proc/${pid}/ns/mnt`))?.[0]}`;
    const ids = [named, byNamespace(pidOf(plain)), byNamespace(runc.pid), alone.id];
    try {
      for (const id of ids) {
        expect(await judged(id, false)).toMatchObject({ verdict: "contraindicated" });
        expect((await drifts(stack)).filter(({ container, state }) => container.id === id && state === "open").map(({ kind }) => kind)).toContain("unlisted");
      }
    } finally {
      for (const id of [named, plain]) await elsewhere("tasks", "kill", "--signal", "KILL", id);
      await runc.end();
      await started.end();
    }
    await eventually("none of them is told of", workloads, (all) => all.every(({ container }) => !ids.includes(container.id)), WITHIN_MS);
    noErrors();
  });

  /** In the container's cgroup, with the node's mounts and a root of its own: nothing else tells of it. */
  async function chrooted(rootfs: string, group: string): Promise<{ end(): Promise<unknown> }> {
    const [file = "", ...args] = bed.wrap(["chroot", rootfs, "/bin/busybox", "sh", "-c", "while :; do /bin/busybox sleep 1; done"]);
    const child = spawn(file, args, { stdio: "ignore" });
    await once(child, "spawn");
    move(child.pid ?? 0, group);
    return {
      async end() {
        child.kill("SIGKILL");
        await eventually(
          "the group is empty",
          async () => readFileSync(join(group, "cgroup.procs"), "utf8"),
          (left) => left === "",
        );
      },
    };
  }

  /** By runc, as whoever has root on the node may start one. */
  async function bareContainer(id: string): Promise<{ readonly pid: number; end(): Promise<unknown> }> {
    const bundle = join(home, id);
    mkdirSync(join(bundle, "rootfs/bin"), { recursive: true });
    mkdirSync(join(bundle, "rootfs/proc"));
    writeFileSync(join(bundle, "rootfs/bin/busybox"), programs.busybox, { mode: 0o755 });
    const config = {
      ociVersion: "1.0.2",
      process: { user: { uid: 0, gid: 0 }, args: ["/bin/busybox", "sleep", "3600"], cwd: "/" },
      root: { path: "rootfs" },
      mounts: [{ destination: "/proc", type: "proc", source: "proc" }],
      linux: { cgroupsPath: `${group}/${id}`, namespaces: ["pid", "mount", "ipc", "uts"].map((type) => ({ type })) },
    };
    writeFileSync(join(bundle, "config.json"), JSON.stringify(config));
    const runc = (...args: string[]): Promise<string> => run(node.namespace.wrap([program("runc"), "--root", join(home, "runc"), ...args]));
    // What it leaves running would hold this process's pipe.
    await run(
      node.namespace.wrap(["sh", "-c", `exec ${program("runc")} --root ${join(home, "runc")} run --detach --bundle ${bundle} ${id} <&- >${bundle}/log 2>&1`]),
    );
    const { pid } = JSON.parse(await runc("state", id)) as { pid: number };
    return { pid, end: () => runc("delete", "--force", id) };
  }
});

/** The same tar, compressed otherwise. */
function lightly(layer: LayerBlob): LayerBlob {
  if (!Buffer.isBuffer(layer.content)) throw new Error("a layer in a file");
  const content = gzipSync(gunzipSync(layer.content), { level: 1 });
  return { ...layer, content, digest: digestOf(content), size: content.length };
}
