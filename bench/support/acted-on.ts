/** Containers that are acted on, and what their runtime says of it: for figures of acting. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { stringify } from "yaml";
import { REPOSITORY } from "../../deploy/testbed/paths.ts";
import { run, startDaemon } from "../../deploy/testbed/run.ts";
import { eventually } from "../../test/e2e/fault-support.ts";
import { loadPrograms } from "../../test/e2e/images/programs.ts";
import { Acting, unscheduled } from "../../test/e2e/kubernetes/acting.ts";
import { podSpec } from "../../test/e2e/kubernetes/workloads.ts";
import type { ContainerHost } from "./container-host.ts";

/** What was seen so far, milliseconds since 1970. */
export type Watched = () => { readonly acceptedMs: number | undefined; readonly recoveredMs: number | undefined };

export interface ActedOn {
  /** Services, each of one container. */
  readonly victims: readonly string[];
  /** From now on. @returns what the host calls the container that is there now */
  follow(victim: string): Promise<{ readonly container: string; readonly watched: Watched }>;
  /** What the runtime takes for the same by itself, in milliseconds. */
  baseline(index: number, seen: (watched: Watched) => Promise<{ readonly acceptedMs: number; readonly recoveredMs: number }>): Promise<number>;
  end(): Promise<void>;
}

const SETTLE_MS = 600_000;
/** Of two processors. */
const TOGETHER = 4;
/** A kubelet takes 110 pods, with those that make room, and Kubernetes' own. */
const MAX_PODS = 78;
/** The pods that make room have so many containers that the limits, which allow as many actions in an hour as containers run, are no hindrance. */
const ROOM_PODS = 25;

/** kubectl asks five times a second, once it has asked ten times. */
const CROWD_EACH = 20;
const CROWD_TOGETHER = 12;

async function inParallel<T>(all: readonly T[], work: (each: T) => Promise<unknown>, together = TOGETHER): Promise<void> {
  const left = [...all];
  const worker = async (): Promise<void> => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) await work(next);
  };
  await Promise.all(Array.from({ length: together }, worker));
}

function lines(argv: readonly string[], env: Readonly<Record<string, string>>, take: (line: string) => void): ChildProcess {
  const [file = "", ...args] = argv;
  const child = spawn(file, args, { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "inherit"] });
  createInterface(child.stdout).on("line", take);
  return child;
}

/** Containers that a test bed's network has addresses for, and some. */
const MAX_ADDRESSES = 100;

/** One container a victim: `docker events` says when the engine began to make another, and when that was started. */
export async function actedOnDocker(host: ContainerHost, actions: number, baselines: number): Promise<ActedOn> {
  const env = { DOCKER_HOST: host.bed.engine?.dockerHost ?? "" };
  const names = (what: string, length: number): string[] => Array.from({ length }, (_, i) => `${what}-${i}`);
  const victims = names("victim", Math.min(actions, MAX_ADDRESSES));
  const others = names("other", baselines);
  // As many actions are within the limits of an hour as there are containers.
  const rest = names("rest", actions - victims.length);
  const docker = (...args: string[]): Promise<string> => run(["docker", ...args], env);
  const start = (name: string, ...args: string[]) => docker("run", "-d", "--name", name, ...args, "--stop-signal", "SIGKILL", host.image.reference);
  await inParallel([...victims, ...others], (name) => start(name));
  await inParallel(rest, (name) => start(name, "--network", "none"));
  await host.settled(victims.length + others.length + rest.length, SETTLE_MS);
  const actuator = await startHostActuator(host);
  /** By `ACTION NAME`: when it was last seen. */
  const events = new Map<string, number>();
  const watch = lines(["docker", "events", "--filter", "type=container", "--format", "{{.TimeNano}} {{.Action}} {{.Actor.Attributes.name}}"], env, (line) => {
    const [nanos, action, name] = line.split(" ");
    events.set(`${action} ${name}`, Number(nanos) / 1e6);
  });
  return {
    victims,
    async follow(victim) {
      for (const event of [`create ${victim}.hullmark-new`, `start ${victim}`]) events.delete(event);
      return {
        container: victim,
        watched: () => ({ acceptedMs: events.get(`create ${victim}.hullmark-new`), recoveredMs: events.get(`start ${victim}`) }),
      };
    },
    async baseline(index, seen) {
      const name = others[index] ?? "";
      const askedMs = Date.now();
      await docker("restart", "-t", "0", name);
      const { recoveredMs } = await seen(() => ({ acceptedMs: askedMs, recoveredMs: events.get(`start ${name}`) }));
      return recoveredMs - askedMs;
    },
    async end() {
      watch.kill();
      await actuator.stop();
    },
  };
}

async function startHostActuator({ bed, stack }: ContainerHost) {
  const directory = join(stack.directory, "actuator");
  mkdirSync(directory, { mode: 0o700 });
  const credentialDirectory = join(directory, "credentials");
  await eventually(
    "the node is known",
    () => stack.hullmark("node", "actuator", "node-0", "--dir", credentialDirectory),
    ({ code }) => code === 0,
    SETTLE_MS,
  );
  const config = join(directory, "actuator.yaml");
  const address = /localhost:\d+/.exec(readFileSync(stack.cliConfig, "utf8"))?.[0];
  const own = { stateDirectory: join(directory, "state"), credentialDirectory, verifier: { address } };
  writeFileSync(config, stringify({ ...own, docker: { socket: bed.engine?.socketPath }, limits: { hourlyPercent: 100, pauseSeconds: 60 } }));
  const argv = bed.wrap([process.execPath, join(REPOSITORY, "dist/actuator.js"), "--config", config]);
  // What is found before it listens waits for it.
  const ready = async (): Promise<boolean> => (await stack.json<{ actuators: number }>("status")).actuators > 0;
  return await startDaemon({ name: "actuator", argv, env: { ...bed.env }, logPath: join(bed.directory, "actuator.log"), ready });
}

/** @param crowd pods that the cluster has besides, and that run by its API server's word alone. One Deployment of one pod a victim: a watch of pods says when one is to end, and when the next is ready. */
export async function actedOnPods(host: ContainerHost, actions: number, crowd: number): Promise<ActedOn> {
  const { bed, stack, image } = host;
  const cluster = bed.kubernetes;
  if (!cluster) throw new Error("no cluster");
  const victims = Array.from({ length: Math.min(actions, MAX_PODS) }, (_, i) => `victim-${i}`);
  const deployment = (app: string) => {
    const template = { metadata: { labels: { app } }, spec: podSpec(image.reference) };
    return { apiVersion: "apps/v1", kind: "Deployment", metadata: { name: app }, spec: { replicas: 1, selector: { matchLabels: { app } }, template } };
  };
  const apply = (...items: object[]) => cluster.kubectl(["apply", "--filename=-"], JSON.stringify({ apiVersion: "v1", kind: "List", items }));
  const containers = Math.max(1, Math.ceil((actions - victims.length) / ROOM_PODS));
  const acting = await Acting.start({ bed, cluster, stack, programs: await loadPrograms(), image: image.reference }, {}, containers);
  // The actuator's own limit is of the pods that the API server knows to run, wherever that is.
  const crowded = Array.from({ length: Math.max(crowd, actions) }, (_, i) => unscheduled(`more-${i}`, image.reference));
  const few = Array.from({ length: Math.ceil(crowded.length / CROWD_EACH) }, (_, i) => crowded.slice(i * CROWD_EACH, (i + 1) * CROWD_EACH));
  const create = async (items: typeof crowded): Promise<void> => {
    await cluster.kubectl(["create", "--validate=false", "--filename=-"], JSON.stringify({ apiVersion: "v1", kind: "List", items }));
    await acting.tellRunning(items.map(({ metadata }) => metadata.name));
  };
  await inParallel(few, create, CROWD_TOGETHER);
  for (let at = 0; at < victims.length; at += 20) {
    await apply(...victims.slice(at, at + 20).map(deployment));
    for (const app of victims.slice(at, at + 20)) await cluster.kubectl(["rollout", "status", `deployment/${app}`, "--timeout=300s"]);
  }
  await host.settled(2 * victims.length, SETTLE_MS);
  /** By name, when each was first seen so. */
  const [ending, ready] = [new Map<string, number>(), new Map<string, number>()];
  const columns = 'N:.metadata.name,D:.metadata.deletionTimestamp,R:.status.conditions[?(@.type=="Ready")].status';
  const argv = [cluster.kubectlPath, "get", "pods", "--watch", "--no-headers", `--output=custom-columns=${columns}`];
  const watch = lines(argv, { KUBECONFIG: cluster.kubeconfig }, (line) => {
    const [name = "", deletion, isReady] = line.split(/\s+/);
    if (deletion !== "<none>" && !ending.has(name)) ending.set(name, Date.now());
    if (deletion === "<none>" && isReady === "True" && !ready.has(name)) ready.set(name, Date.now());
  });
  const follow = async (app: string) => {
    const names = await cluster.kubectl([
      "get",
      "pods",
      `--selector=app=${app}`,
      "--field-selector=status.phase=Running",
      "--output=jsonpath={.items[*].metadata.name}",
    ]);
    const [container = ""] = names.split(" ").filter((name) => !ending.has(name));
    const before = new Set(ready.keys());
    const next = () => [...ready].find(([name]) => name.startsWith(`${app}-`) && !before.has(name))?.[1];
    return { container, watched: () => ({ acceptedMs: ending.get(container), recoveredMs: next() }) };
  };
  return {
    victims,
    follow,
    async baseline(index, seen) {
      const { container, watched } = await follow(victims[index % victims.length] ?? "");
      await cluster.kubectl(["delete", "pod", container, "--wait=false"]);
      const { acceptedMs, recoveredMs } = await seen(watched);
      return recoveredMs - acceptedMs;
    },
    async end() {
      watch.kill();
      await acting.stop();
    },
  };
}
