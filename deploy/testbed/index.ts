import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Alertmanager, type AlertmanagerOptions, startAlertmanager } from "./alertmanager.ts";
import { chooseBridge, createBridge } from "./bridge.ts";
import { type Containerd, startContainerd } from "./containerd.ts";
import { type Engine, type EngineOptions, startEngine } from "./engine.ts";
import { TestbedError } from "./error.ts";
import {
  type Kubernetes,
  type KubernetesOptions,
  NODE_PROGRAMS,
  type Node,
  type NodeRuntime,
  openNode,
  startKubernetes,
  startNodeRuntime,
} from "./kubernetes/index.ts";
import { type MountNamespace, openNamespace } from "./namespace.ts";
import { testbedDirectory } from "./paths.ts";
import { bootId, identify } from "./process-identity.ts";
import { type Registry, startRegistry } from "./registry.ts";
import { isOwned, readState, type TestbedState, writeState } from "./state.ts";
import { markerOf, sweep, sweepDead } from "./sweep.ts";
import { startTpm, type Tpm } from "./tpm.ts";
import { startWatchdog, type Watchdog } from "./watchdog.ts";

export { type ExternalCluster, externalCluster } from "./kubernetes/external.ts";
export type { Alertmanager, Containerd, Engine, Kubernetes, NodeRuntime, Registry, Tpm };
export { TestbedError };

/** Which parts are wanted. An absent one is not started; `containerd` alone is a containerd without Docker. */
export interface TestbedParts {
  readonly engine?: true | EngineOptions;
  readonly containerd?: true;
  /** A Kubernetes of one node, with a containerd of its own; it can pull from `registry`, which is then at the host's address there. */
  readonly kubernetes?: true | KubernetesOptions;
  /** Of such a node its containerd alone (CRI), without a kubelet or a control plane. */
  readonly nodeRuntime?: true;
  readonly registry?: true;
  /** How many TPMs. */
  readonly tpms?: number;
  readonly alertmanager?: true | AlertmanagerOptions;
}

/** What to start. */
export interface TestbedOptions {
  /** Folder name below the state root and what `down` takes: letters, digits, `-`, at most 24. */
  readonly name: string;
  readonly parts: TestbedParts;
}

/** Real parts, running, and gone with the process that started them, even on SIGKILL. Everything is below `directory`, in its own mount namespace, on free ports and an own bridge. */
export interface Testbed {
  readonly name: string;
  readonly directory: string;
  readonly engine: Engine | undefined;
  readonly containerd: Containerd | undefined;
  readonly kubernetes: Kubernetes | undefined;
  /** Where it is the part; of a cluster {@link Testbed.kubernetes} has it. */
  readonly nodeRuntime: NodeRuntime | undefined;
  readonly registry: Registry | undefined;
  readonly tpms: readonly Tpm[];
  readonly alertmanager: Alertmanager | undefined;
  /** The same command, run inside the engine's mount namespace, or the Kubernetes node's where there is no engine (agents and whatever mounts), and ended with it. */
  wrap(argv: readonly string[]): string[];
  /** Environment that marks a process started outside `wrap` as the test bed's, so that it is ended with it. */
  readonly env: Readonly<Record<string, string>>;
  /** From now on it outlives this process, until someone takes it down by its name. */
  keep(): Promise<void>;
  /** Ends and removes everything. Idempotent. */
  down(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Starts the parts after removing what dead test beds left. Needs root for engine and containerd.
 * @throws TestbedError `in_use` when a live process owns the name, or why a part did not start (nothing is left then)
 */
export async function startTestbed(options: TestbedOptions): Promise<Testbed> {
  if (!/^[A-Za-z0-9-]{1,24}$/.test(options.name)) throw new TestbedError("start_failed", `bad test bed name ${JSON.stringify(options.name)}`);
  await sweepDead();
  const directory = testbedDirectory(options.name);
  const previous = readState(directory);
  if (previous && isOwned(previous)) {
    throw new TestbedError("in_use", `test bed ${options.name} is in use; remove it with: node deploy/testbed/main.ts down ${options.name}`);
  }
  await sweep(directory);
  const state = newState(options);
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  writeState(directory, state);
  const watchdog = startWatchdog(options.name, markerOf(state.id));
  try {
    return await startParts(options, directory, state, watchdog);
  } catch (error) {
    await sweep(directory);
    throw error;
  }
}

function newState(options: TestbedOptions): TestbedState {
  const owner = identify(process.pid);
  if (!owner) throw new TestbedError("start_failed", "/proc is not mounted");
  return { version: 1, name: options.name, id: randomBytes(8).toString("hex"), bootId: bootId(), owner, keep: false, bridges: [], links: [], parts: {} };
}

async function startParts(options: TestbedOptions, directory: string, state: TestbedState, watchdog: Watchdog): Promise<Testbed> {
  const marker = markerOf(state.id);
  const env = { HULLMARK_TESTBED: state.id };
  const { parts } = options;
  const node = parts.kubernetes || parts.nodeRuntime ? openOwnNode(parts, directory, state) : Promise.resolve(undefined);
  const registryStart = parts.registry ? node.then((opened) => startRegistry(directory, env, opened?.place.network.hostAddress ?? "127.0.0.1")) : undefined;
  const [tpms, registry, alertmanager, runtime, kubernetes, nodeRuntime] = await allOrFirstFailure([
    Promise.all(Array.from({ length: parts.tpms ?? 0 }, (_, i) => startTpm(join(directory, `tpm${i}`), env))),
    registryStart,
    parts.alertmanager ? startAlertmanager(directory, env, parts.alertmanager === true ? {} : parts.alertmanager) : undefined,
    parts.engine || parts.containerd ? startRuntime(parts, directory, state, marker) : undefined,
    Promise.all([node, registryStart]).then(([opened, pullable]) => (opened && parts.kubernetes ? startKubernetes(opened, pullable?.host) : undefined)),
    Promise.all([node, registryStart]).then(([opened, pullable]) => (opened && parts.nodeRuntime ? startNodeRuntime(opened, pullable?.host) : undefined)),
  ]);
  const down = async (): Promise<void> => {
    // In order, so that databases and containers end cleanly; the sweep would end them anyway.
    await runtime?.engine?.stop();
    await sweep(directory);
  };
  state.parts = {
    dockerHost: runtime?.engine?.dockerHost,
    containerd: runtime?.containerd.address,
    kubeconfig: kubernetes?.kubeconfig,
    criSocket: (kubernetes ?? nodeRuntime)?.criSocket,
    registry: registry?.host,
    tctis: tpms.map((tpm) => tpm.tcti),
    endorsementRoots: tpms.map((tpm) => tpm.endorsementRoots),
    alertmanager: alertmanager?.url,
    holder: (runtime ?? kubernetes ?? nodeRuntime)?.namespace.holder,
  };
  writeState(directory, state);
  return {
    name: options.name,
    directory,
    engine: runtime?.engine,
    containerd: runtime?.containerd,
    kubernetes,
    nodeRuntime,
    registry,
    tpms,
    alertmanager,
    wrap: (runtime ?? kubernetes ?? nodeRuntime)?.namespace.wrapMounts ?? ((argv) => ["/usr/bin/env", marker, ...argv]),
    env,
    async keep() {
      state.keep = true;
      writeState(directory, state);
      await watchdog.dismiss();
    },
    down,
    [Symbol.asyncDispose]: down,
  };
}

async function openOwnNode({ kubernetes }: TestbedParts, directory: string, state: TestbedState): Promise<Node> {
  if (process.getuid?.() !== 0) throw new TestbedError("needs_root", "a Kubernetes node needs root: run this with sudo");
  const options = kubernetes === undefined || kubernetes === true ? {} : kubernetes;
  return await openNode(directory, state.id, options, kubernetes ? NODE_PROGRAMS.kubernetes : NODE_PROGRAMS.runtime, (link) => {
    state.links.push(link);
    writeState(directory, state);
  });
}

/** Like Promise.all, but fails only when all have settled, so that none starts a process after the sweep that follows. */
async function allOrFirstFailure<T extends readonly unknown[]>(starts: readonly [...T]): Promise<{ -readonly [K in keyof T]: Awaited<T[K]> }> {
  await Promise.allSettled(starts);
  return (await Promise.all(starts)) as { -readonly [K in keyof T]: Awaited<T[K]> };
}

interface Runtime {
  readonly namespace: MountNamespace;
  readonly containerd: Containerd;
  readonly engine: Engine | undefined;
}

async function startRuntime(parts: TestbedParts, directory: string, state: TestbedState, marker: string): Promise<Runtime> {
  if (process.getuid?.() !== 0) throw new TestbedError("needs_root", "a container engine needs root: run this with sudo");
  const runtimeDirectory = join(directory, "run");
  const namespace = await openNamespace(runtimeDirectory, marker);
  const containerd = await startContainerd(directory, runtimeDirectory, namespace);
  if (!parts.engine) return { namespace, containerd, engine: undefined };
  const bridge = await chooseBridge(state.id);
  state.bridges.push(bridge.name);
  writeState(directory, state);
  await createBridge(bridge);
  const place = { directory, runtimeDirectory, id: state.id };
  const engine = await startEngine(place, { namespace, bridge, containerd }, parts.engine === true ? {} : parts.engine);
  return { namespace, containerd, engine };
}
