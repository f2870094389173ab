/** What the tests of acting in a cluster share: an actuator of its own process with the rights that the chart gives, and how to look at what it did. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { ResponseFailpoint } from "@hullmark/verifier/core/response/services";
import { expect, onTestFailed } from "vitest";
import { parse, stringify } from "yaml";
import { type Stack, tail } from "../../../deploy/stack/stack.ts";
import type { Kubernetes, Testbed } from "../../../deploy/testbed/index.ts";
import { REPOSITORY } from "../../../deploy/testbed/paths.ts";
import { type Daemon, run, startDaemon } from "../../../deploy/testbed/run.ts";
import { eventually, killedAt, logEntries } from "../fault-support.ts";
import type { Programs } from "../images/programs.ts";
import type { PushedImage } from "../images/push.ts";
import { type ApiServerAccess, serviceAccount } from "./follower.ts";
import { PodVictim } from "./pod-victim.ts";
import { pod, podSpec } from "./workloads.ts";

export interface ActingBed {
  readonly bed: Testbed;
  readonly cluster: Kubernetes;
  readonly stack: Stack;
  readonly programs: Programs;
  /** Reference of a signed image. */
  readonly image: string;
}

export interface ToldAction {
  readonly id: string;
  readonly kind: string;
  readonly state: string;
  readonly reason: string;
  readonly detail: string;
  readonly workload: string;
  readonly container: { readonly id: string; readonly name: string };
  readonly logIndex: number;
  /** RFC 3339. */
  readonly createdAt: string;
}

export interface KubernetesPod {
  readonly metadata: { readonly name: string; readonly uid: string; readonly deletionTimestamp?: string };
  readonly spec: { readonly nodeName: string };
  readonly status: { readonly phase: string; readonly containerStatuses: readonly { readonly containerID: string; readonly imageID: string }[] };
}

export interface KubernetesEvent {
  readonly reason: string;
  readonly type: string;
  readonly message: string;
  readonly metadata: { readonly annotations?: Readonly<Record<string, string>> };
}

export interface KubernetesNode {
  readonly metadata: { readonly uid: string; readonly labels: Readonly<Record<string, string>>; readonly annotations: Readonly<Record<string, string>> };
  readonly spec: { readonly unschedulable?: boolean; readonly taints?: readonly { readonly key: string; readonly value?: string; readonly effect: string }[] };
}

export const WITHIN_MS = 240_000;
/** Label and taint of a node that is marked. */
export const UNTRUSTED = "hullmark.dev/untrusted";
/** Pods that nothing is done to, and containers of each: as many actions are within policy's limits of an hour as containers run, at most. */
const ROOM = { pods: 25, containers: 4 };
/** Pods that nobody schedules, and of which the API server was told that they run: they count for the actuator's own limit alone, which is of pods. */
const CROWD = 60;

/** Rules of the chart's ClusterRoles, with all that is optional: the templates have nothing to be filled in there. Not of its Role, for a Lease. */
export function rights(): readonly object[] {
  return ["actuator", "actuator-rollback", "actuator-gitops", "actuator-isolation", "actuator-nodes"].flatMap((name) => {
    const template = readFileSync(join(REPOSITORY, `deploy/helm/hullmark/templates/${name}.yaml`), "utf8");
    const all = [...template.matchAll(/^rules:\n(?: +.*\n)+/gm)].map(([rules]) => rules).filter((rules) => !rules.includes("{{"));
    return all.flatMap((rules) => (parse(rules) as { rules: readonly object[] }).rules);
  });
}

export const untrustedTaints = ({ spec }: KubernetesNode) => (spec.taints ?? []).filter(({ key }) => key === UNTRUSTED);
export const isUnmarked = (node: KubernetesNode): boolean => node.spec.unschedulable !== true && untrustedTaints(node).length === 0;

/** What is said of nodes, to be put into the policy in force: every mark for these reasons, and no limits. */
export const marking = (reason: string): readonly [from: string, to: string] => [
  "  response:\n",
  `  response:
    nodes:
      hourlyPercent: 100
      atOncePercent: 100
      rules: [{ name: workers, reasons: [${reason}], marks: [label, taint, cordon], cluster: true, lift: automatic }]
`,
];

/** A pod that stays where it was made. */
export function unscheduled(name: string, image: string): ReturnType<typeof pod> {
  return pod(name, image, { spec: { schedulerName: "nobody" } });
}

/** Containers of pods, without the pods' sandboxes: what policy's limits are shares of. */
export async function countedContainers(stack: Stack): Promise<number> {
  const all = await stack.json<{ container: { name: string } }[]>("workloads");
  return all.filter(({ container }) => !container.name.endsWith("/(sandbox)")).length;
}

export class Acting {
  readonly #bed: ActingBed;
  readonly #kubernetes: object;
  readonly #home = mkdtempSync(join(tmpdir(), "hullmark-acting-"));
  readonly access: ApiServerAccess;
  #actuator: Daemon | undefined;

  private constructor(bed: ActingBed, access: ApiServerAccess, kubernetes: object) {
    this.#bed = bed;
    this.#kubernetes = kubernetes;
    this.access = access;
  }

  /** With the actuator running. @param kubernetes settings of it besides those that it always has here @param containers of each pod that makes room */
  static async start(bed: ActingBed, kubernetes: object = {}, containers = ROOM.containers): Promise<Acting> {
    const files = mkdtempSync(join(tmpdir(), "hullmark-acting-access-"));
    const acting = new Acting(bed, await serviceAccount(bed.cluster, files, "actuator", rights()), kubernetes);
    await Promise.all([acting.#startActuator(), acting.#makeRoom(containers)]);
    return acting;
  }

  async #makeRoom(containers: number): Promise<void> {
    const [app, { image }] = ["room", this.#bed];
    const template = { metadata: { labels: { app } }, spec: podSpec(image, { beside: containers - 1 }) };
    await this.apply(
      { apiVersion: "apps/v1", kind: "Deployment", metadata: { name: app }, spec: { replicas: ROOM.pods, selector: { matchLabels: { app } }, template } },
      ...Array.from({ length: CROWD }, (_, i) => unscheduled(`crowd-${i}`, image)),
    );
    await this.tellRunning(Array.from({ length: CROWD }, (_, i) => `crowd-${i}`));
    await this.kubectl("rollout", "status", "deployment/room", "--timeout=240s");
  }

  /** No kubelet says of these what they do. */
  async tellRunning(pods: readonly string[]): Promise<void> {
    await this.kubectl("patch", "pods", ...pods, "--subresource=status", "--type=merge", `--patch=${JSON.stringify({ status: { phase: "Running" } })}`);
  }

  /** @param hourlyPercent of its own limits, of all pods */
  async #startActuator(hourlyPercent = 100): Promise<void> {
    const { bed, stack } = this.#bed;
    const credentialDirectory = join(this.#home, "credentials");
    await eventually(
      "its credentials",
      () => stack.hullmark("node", "actuator", "--cluster", "--dir", credentialDirectory),
      ({ code }) => code === 0,
      WITHIN_MS,
    );
    mkdirSync(join(this.#home, "state"), { mode: 0o700, recursive: true });
    const config = join(this.#home, "actuator.yaml");
    const address = /localhost:\d+/.exec(readFileSync(stack.cliConfig, "utf8"))?.[0];
    writeFileSync(
      config,
      stringify({
        ...{ stateDirectory: join(this.#home, "state"), credentialDirectory, verifier: { address } },
        ...{
          kubernetes: { namespace: "hullmark", halt: true, ...this.access, ...this.#kubernetes },
          nodes: { allow: ["node-*"], hourly: 3 },
          limits: { pauseSeconds: 5, hourlyPercent },
        },
      }),
    );
    const argv = bed.wrap([process.execPath, join(REPOSITORY, "dist/actuator.js"), "--config", config]);
    this.#actuator = await startDaemon({ name: "actuator", argv, env: { ...bed.env }, logPath: join(bed.directory, "actuator.log"), ready: async () => true });
  }

  /** The actuator, on the same state, allows no more than one action an hour meanwhile. */
  async tightened(work: () => Promise<void>): Promise<void> {
    await this.#actuator?.stop();
    await this.#startActuator(0);
    try {
      await work();
    } finally {
      await this.#actuator?.stop();
      await this.#startActuator();
    }
  }

  /** @param name of the policy that this makes of the one in force @param changed what stands there, and what takes its place */
  async underPolicy(name: string, changed: readonly (readonly [from: string, to: string])[], work: () => Promise<void>): Promise<void> {
    const { stack } = this.#bed;
    const before = readFileSync(stack.policyPath, "utf8");
    const inForce = (wanted: string) =>
      eventually(
        `policy ${wanted} is in force`,
        () => stack.json<{ policy: { name: string } }>("status"),
        ({ policy }) => policy.name === wanted,
        WITHIN_MS,
      );
    const [, replaced = ""] = /^metadata: { name: (\S+) }$/m.exec(before) ?? [];
    const text = [[`{ name: ${replaced} }`, `{ name: ${name} }`] as const, ...changed].reduce((all, [from, to]) => {
      if (!all.includes(from)) throw new Error(`the policy has no ${from}`);
      return all.replace(from, to);
    }, before);
    writeFileSync(stack.policyPath, text);
    try {
      await inForce(name);
      await work();
    } finally {
      writeFileSync(stack.policyPath, before);
    }
    await inForce(replaced);
  }

  async stop(): Promise<void> {
    await this.kubectl("delete", "deployment/room", ...Array.from({ length: CROWD }, (_, i) => `pod/crowd-${i}`), "--ignore-not-found", "--wait=false");
    await this.#actuator?.stop();
    rmSync(this.#home, { recursive: true, force: true });
    rmSync(join(this.access.tokenFile, ".."), { recursive: true, force: true });
  }

  kubectl(...args: string[]): Promise<string> {
    return this.#bed.cluster.kubectl(args);
  }

  apply(...items: object[]): Promise<string> {
    return this.#bed.cluster.kubectl(["apply", "--filename=-"], JSON.stringify({ apiVersion: "v1", kind: "List", items }));
  }

  async podsOf(app: string): Promise<readonly KubernetesPod[]> {
    return JSON.parse(await this.kubectl("get", "pods", `--selector=app=${app}`, "--output=json")).items;
  }

  /** Actions on containers `web` whose pod's name begins so. */
  async told(pod: string): Promise<readonly ToldAction[]> {
    const { actions } = await this.#bed.stack.json<{ actions: ToldAction[] }>("action", "ls");
    return actions.filter(({ container }) => container.name.startsWith(`default/${pod}`) && container.name.endsWith("/web"));
  }

  /** @returns them once one is so */
  actionIs(pod: string, what: string, is: (action: ToldAction) => boolean): Promise<readonly ToldAction[]> {
    return eventually(
      `the action on ${pod} is ${what}`,
      () => this.told(pod),
      (all) => all.some(is),
      WITHIN_MS,
    );
  }

  /** As {@link killedAt} of the cluster's stack. */
  async killedAt(steps: readonly (ResponseFailpoint | (() => Promise<unknown>))[], begin: () => Promise<unknown>): Promise<void> {
    await killedAt(this.#bed.stack, steps, begin, WITHIN_MS);
  }

  events(uid: string): Promise<readonly KubernetesEvent[]> {
    return this.#eventsOn("uid", uid);
  }

  async #eventsOn(field: "uid" | "name", value: string): Promise<readonly KubernetesEvent[]> {
    return JSON.parse(await this.kubectl("get", "events", `--field-selector=involvedObject.${field}=${value}`, "--output=json")).items;
  }

  /**
   * Waits until Events of these reasons are there, each of which names an action, and the entry of the log that tells of it.
   * @param name of the pod or Node @returns the actions that they name, in the order of the reasons
   */
  async toldWithEntry(name: string, ...reasons: string[]): Promise<readonly string[]> {
    const written = await eventually(
      `Events ${reasons.join(", ")}`,
      () => this.#eventsOn("name", name),
      (all) => reasons.every((each) => all.some(({ reason }) => reason === each)),
      WITHIN_MS,
    );
    const named = reasons.map((each) => written.findLast(({ reason }) => reason === each)?.metadata.annotations ?? {});
    const indexes = named.map((each) => Number(each["hullmark.dev/log-index"] ?? Number.NaN));
    const entries = await eventually(
      "the log's checkpoint covers them",
      () => logEntries(this.#bed.stack),
      ({ length }) => indexes.every((each) => !(each >= length)),
      WITHIN_MS,
    );
    const actions = named.map((each) => each["hullmark.dev/action"] ?? "");
    expect(indexes.map((each) => entries[each])).toMatchObject(actions.map((id) => ({ type: "action", id, state: "issued" })));
    return actions;
  }

  /** The cluster's only one. */
  async node(): Promise<KubernetesNode> {
    return JSON.parse(await this.kubectl("get", "node", this.#bed.cluster.nodeName, "--output=json"));
  }

  /** Whatever became of a test that had the node marked. */
  async unmark(): Promise<void> {
    const { nodeName } = this.#bed.cluster;
    await this.kubectl("uncordon", nodeName);
    await this.kubectl("taint", "node", nodeName, `${UNTRUSTED}:NoSchedule-`).catch(() => undefined);
  }

  /** Waits until so many pods of it run, each judged clean. */
  async clean(app: string, count: number, kind = "deployment"): Promise<readonly KubernetesPod[]> {
    await this.kubectl("rollout", "status", `${kind}/${app}`, "--timeout=240s");
    const running = await eventually(
      `${app} has ${count} pods`,
      () => this.podsOf(app),
      (pods) => pods.length === count && pods.every(({ status, metadata }) => status.phase === "Running" && !metadata.deletionTimestamp),
      WITHIN_MS,
    );
    const names = running.map(({ metadata }) => `default/${metadata.name}/web`).sort();
    // A StatefulSet's pod has the name of the one before it.
    const ids = running.flatMap(({ status }) => status.containerStatuses.map(({ containerID }) => containerID.replace("containerd://", "")));
    await eventually(
      `${app} is clean`,
      async () =>
        (await this.#bed.stack.json<{ container: { id: string; name: string }; verdict: string }[]>("workloads"))
          .filter(({ container, verdict }) => names.includes(container.name) && ids.includes(container.id) && verdict === "affirming")
          .map(({ container }) => container.name)
          .sort(),
      (affirmed) => JSON.stringify(affirmed) === JSON.stringify(names),
      WITHIN_MS,
    );
    return running;
  }

  /** Changes a file in a pod's container `web`. */
  write(pod: string): Promise<string> {
    return this.victim(pod).sh("echo x >> /etc/nginx/nginx.conf");
  }

  victim(pod: string): PodVictim {
    return new PodVictim(this.#bed.cluster, this.#bed.programs, pod);
  }

  /** Takes images off the node, and waits for what goes with them: containerd keeps what another one needs. */
  async takeOff(images: readonly PushedImage[], isGone: () => boolean | Promise<boolean> = () => true): Promise<void> {
    const { ctr } = this.#bed.cluster;
    const names = images.flatMap(({ tagged, reference, configDigest }) => [tagged, reference, configDigest]);
    await eventually(
      "the images are gone",
      async () => {
        const refs = (await run(ctr("images", "list", "--quiet"))).split("\n").filter((ref) => names.includes(ref));
        if (refs.length > 0) await run(ctr("images", "rm", "--sync", ...refs));
        return await isGone();
      },
      (gone) => gone,
      WITHIN_MS,
    );
  }

  /** Says that a layer was taken off the node. @returns the action's id */
  async purged(layerIndex: number): Promise<string> {
    const { stack, cluster } = this.#bed;
    const { code, stdout, stderr } = await stack.hullmark("node", "purge", cluster.nodeName, "--layer", String(layerIndex), "--by-hand", "-m", "INC-1");
    expect([code, stderr]).toEqual([0, ""]);
    return /^A-[0-9A-Z]+/.exec(stdout)?.[0] ?? "";
  }

  /** What stands on what the node serves otherwise than signed. */
  async affected(): Promise<unknown> {
    const { stack, cluster } = this.#bed;
    return (await stack.json<{ affected: unknown }>("node", "show", cluster.nodeName)).affected;
  }

  logsOnFailure(): void {
    onTestFailed(() => {
      for (const name of ["actuator", "verifier"]) console.error(`--- ${name}\n${tail(join(this.#bed.bed.directory, `${name}.log`), 40)}`);
    });
  }
}

/** How a steady client fared: requests, over how long from the first answer, and the longest that one took. */
export interface Fared {
  readonly sent: number;
  readonly seconds: number;
  readonly slowestMs: number;
  readonly failures: readonly string[];
}

/** It held its rate, whatever else the machine had to do: 50 a second, but for the last moment. */
export function heldRate({ sent, seconds }: Fared): boolean {
  return seconds > 10 && sent >= 49 * seconds;
}

/** @param inside the namespaces that it runs in; by default the node's, where Services are reached */
export function steadyClient(
  { cluster }: ActingBed,
  url: string,
  inside: (argv: readonly string[]) => readonly string[] = cluster.namespace.wrap,
): { readonly process: ChildProcess; readonly told: Promise<Fared> } {
  const [program = "", ...args] = inside([process.execPath, join(REPOSITORY, "test/e2e/kubernetes/steady-client.ts"), url]);
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  return { process: child, told: text(child.stdout).then((json) => JSON.parse(json)) };
}
