/** A Docker host, or a Kubernetes node, as detection and idle figures need it: a test bed, verifier and agent as shipped, and containers of one large image. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import type { RpcChannel } from "@hullmark/proto/rpc";
import { loadContext, openChannel } from "hullmark/connection/context";
import { type Stack, startStack } from "../../deploy/stack/stack.ts";
import { type Kubernetes, startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { run } from "../../deploy/testbed/run.ts";
import { loadPrograms, type Programs } from "../../test/e2e/images/programs.ts";
import { layerOf, type PushedImage, pushImage } from "../../test/e2e/images/push.ts";
import { podFollower } from "../../test/e2e/kubernetes/follower.ts";
import { pod } from "../../test/e2e/kubernetes/workloads.ts";
import { directory, type Entry, file, symlink, tar } from "../../test/fakes/tar-writer.ts";
import { descendant } from "./process-usage.ts";
import { startSimulatedPods } from "./simulated-pods.ts";

export const FILES = 13_000;
const FILE_BYTES = 4096;
const PER_DIRECTORY = 100;
const TOOL = "/usr/local/bin/hullmark-tool";

/** Path in the image of its file `i`, 0 to {@link FILES} - 1. */
export function pathOf(i: number): string {
  return `/srv/data/d${Math.floor(i / PER_DIRECTORY)}/f${i % PER_DIRECTORY}`;
}

/** What can be measured of a host while nothing happens on it. */
export interface RestingHost {
  readonly agentPid: number;
  readonly verifierPid: number;
  /** Starts containers (or pods of one) that do what `command` says; without one, what their image does: nothing. */
  start(names: readonly string[], command: readonly string[]): Promise<void>;
  /** Waits until that many containers have their verdict and none is unknown. @throws Error after `timeoutMs` */
  settled(containers: number, timeoutMs: number): Promise<void>;
  down(): Promise<void>;
}

export interface ContainerHost extends RestingHost {
  readonly bed: Testbed;
  readonly stack: Stack;
  readonly image: PushedImage;
  readonly channel: RpcChannel;
  /** A command that runs another in a container, with its standard input. */
  exec(name: string, argv: readonly string[]): { readonly argv: readonly string[]; readonly env: Readonly<Record<string, string>> };
  /** What Hullmark calls a container that was started by `name`. */
  told(name: string): string;
}

/** What containers are started with. */
type Hands = Pick<ContainerHost, "start" | "exec" | "told">;

/** @param policy text of the policy file @param followed whether the verifier follows the cluster's pods */
export async function startContainerHost(name: string, policy: string, kind: "docker" | "kubernetes" = "docker", followed = false): Promise<ContainerHost> {
  const programs = await loadPrograms();
  const bed = await startTestbed({ name, parts: { ...(kind === "docker" ? { engine: true } : { kubernetes: true }), registry: true, tpms: 1 } });
  try {
    const steps = [
      { createdBy: "ADD rootfs.tar /", layer: layerOf(tar(...baseTree(programs))) },
      { createdBy: "COPY data /srv/data", layer: layerOf(tar(...largeTree())) },
      { createdBy: `CMD ["${TOOL}", "wait"]` },
    ];
    const image = await pushImage(bed.registry?.host ?? "", "bench/large", "1", { steps, config: { Cmd: [TOOL, "wait"] } });
    const kubernetes = followed && bed.kubernetes && { ...(await podFollower(bed.kubernetes, bed.directory)), pods: { graceSeconds: 5 } };
    const stack = await startStack({ bed, policy, ...(kubernetes && { kubernetes }) });
    const channel = openChannel(loadContext(stack.cliConfig, undefined));
    return hostOf(bed, stack, image, channel, bed.kubernetes ? podHands(bed.kubernetes, image) : dockerHands(bed, image));
  } catch (error) {
    await bed.down();
    throw error;
  }
}

function baseTree(programs: Programs): Entry[] {
  return [
    ...["bin", "etc", "tmp", "usr", "usr/local", "usr/local/bin", "srv", "srv/data", "var", "var/out"].map((each) => directory(each)),
    file("bin/busybox", programs.busybox, { mode: 0o755 }),
    ...["sh", "sleep"].map((each) => symlink(`bin/${each}`, "busybox")),
    file("usr/local/bin/hullmark-tool", programs.tool, { mode: 0o755 }),
    file("var/out/log", "00000000 the neighbour's own file\n"),
  ];
}

function largeTree(): Entry[] {
  const random = randomBytes(FILE_BYTES);
  const directories = Array.from({ length: FILES / PER_DIRECTORY }, (_, i) => directory(`srv/data/d${i}`));
  const files = Array.from({ length: FILES }, (_, i) => {
    random.writeUInt32BE(i);
    return file(pathOf(i).slice(1), Buffer.from(random));
  });
  return [...directories, ...files];
}

function dockerHands(bed: Testbed, image: PushedImage): Hands {
  const env = { DOCKER_HOST: bed.engine?.dockerHost ?? "" };
  return {
    async start(names, command) {
      for (const name of names) await run(["docker", "run", "-d", "--name", name, image.reference, ...command], env);
    },
    exec: (name, argv) => ({ argv: ["docker", "exec", "-i", name, ...argv], env }),
    told: (name) => name,
  };
}

function podHands(cluster: Kubernetes, image: PushedImage): Hands {
  return {
    async start(names, command) {
      const items = names.map((name) => pod(name, image.reference, command.length > 0 ? { container: { command } } : {}));
      await cluster.kubectl(["apply", "--filename=-"], JSON.stringify({ apiVersion: "v1", kind: "List", items }));
      await cluster.kubectl(["wait", "--for=condition=Ready", "--timeout=120s", ...names.map((name) => `pod/${name}`)]);
    },
    exec: (name, argv) => ({ argv: [cluster.kubectlPath, "exec", "-i", name, "--", ...argv], env: { KUBECONFIG: cluster.kubeconfig } }),
    told: (name) => `default/${name}/web`,
  };
}

/** A node of simulated pods: what is measured at rest needs no more of a host. */
export async function startSimulatedHost(name: string, policy: string, events: boolean): Promise<RestingHost> {
  const programs = await loadPrograms();
  const bed = await startTestbed({ name, parts: { registry: true, tpms: 1 } });
  try {
    const layer = tar(...baseTree(programs));
    const steps = [{ createdBy: "ADD rootfs.tar /", layer: layerOf(layer) }, { createdBy: `CMD ["${TOOL}", "wait"]` }];
    const image = await pushImage(bed.registry?.host ?? "", "bench/small", "1", { steps, config: { Cmd: [TOOL, "wait"] } });
    const pods = await startSimulatedPods({ directory: bed.directory, image, layers: [layer], command: [TOOL, "wait"], events });
    const { socketPath: socket, kubeletDirectory } = pods;
    const stack = await startStack({ bed, policy, runtime: { cri: { socket, kubeletDirectory, otherContainers: "ignore" } } });
    const [agent] = stack.agents;
    if (!agent) throw new Error("no agent");
    return {
      // No mount namespace is entered on the way: what is started becomes the program.
      agentPid: agent.daemon().process.pid,
      verifierPid: stack.verifier.daemon().process.pid,
      start: (names) => pods.start(names.length),
      settled: (containers, timeoutMs) => settled(stack, containers, timeoutMs),
      async down() {
        await stack.stop();
        await pods.stop();
        await bed.down();
      },
    };
  } catch (error) {
    await bed.down();
    throw error;
  }
}

function hostOf(bed: Testbed, stack: Stack, image: PushedImage, channel: RpcChannel, hands: Hands): ContainerHost {
  return {
    bed,
    stack,
    image,
    channel,
    ...processesOf(stack),
    ...hands,
    settled: (containers, timeoutMs) => settled(stack, containers, timeoutMs),
    async down() {
      channel.close();
      await stack.stop();
      await bed.down();
    },
  };
}

function processesOf(stack: Stack): Pick<RestingHost, "agentPid" | "verifierPid"> {
  const pidOf = (config: string, daemon: number): number =>
    readFileSync(`/proc/${daemon}/cmdline`, "latin1").startsWith(process.execPath) ? daemon : descendant(daemon, config);
  const [agent] = stack.agents;
  if (!agent) throw new Error("no agent");
  return {
    agentPid: pidOf(agent.configPath, agent.daemon().process.pid),
    verifierPid: pidOf(stack.verifier.configPath, stack.verifier.daemon().process.pid),
  };
}

async function settled(stack: Stack, containers: number, timeoutMs: number): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (let text = ""; ; ) {
    const workloads = await stack.json<{ verdict: string; reasons?: unknown }[]>("workloads");
    text = JSON.stringify(workloads.map(({ verdict, reasons }) => ({ verdict, reasons }))).slice(0, 600);
    if (workloads.length >= containers && workloads.every(({ verdict }) => verdict !== "unknown")) return;
    if (Date.now() > deadline) throw new Error(`after ${timeoutMs / 1000} s ${workloads.length} of ${containers} containers have a verdict: ${text}`);
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}
