/** Attacks of ../scenarios.ts on pods, and what must be told of them: whichever agent looks, one beside the node's pods or the chart's in its own. */
import { expect } from "vitest";
import type { Kubernetes } from "../../../deploy/testbed/index.ts";
import { type ExpectedDrift, isExpected, saysExpected } from "../expected-drift.ts";
import { restAfter } from "../fault-support.ts";
import type { Programs } from "../images/programs.ts";
import { CANARY, HOST_SCENARIOS, plantCanary, SCENARIOS, type Scenario } from "../scenarios.ts";
import { PodVictim } from "./pod-victim.ts";
import { pod, type podSpec } from "./workloads.ts";

/** What the command tells of a drift. */
export interface DriftView {
  readonly kind: string;
  readonly state: string;
  readonly path: string;
  readonly summary: string;
  readonly container: { readonly name: string };
  readonly workload: string;
  readonly origin: { readonly place: string; readonly layerIndex: number };
  readonly actor: { readonly executable: string; readonly entry: string; readonly containerName: string } | null;
  readonly differences: readonly Record<"field" | "expected" | "observed", string>[];
}

export interface Watched {
  readonly cluster: Kubernetes;
  readonly programs: Programs;
  /** The acceptance image, as a pod names it. */
  readonly image: string;
  /** Of a container, those that are open or acknowledged. */
  drifts(container: string): Promise<readonly DriftView[]>;
  /** Ends when the container is judged. */
  settled(container: string): Promise<unknown>;
}

const FOUND_WITHIN_MS = 60_000;
/** What is undone is seen at the next look at all files, if not at once. */
const RESTORED_WITHIN_MS = 120_000;
/** Options of `docker run` that no specification of a pod has (Unmasked wants a user namespace; a volume of its own is the kubelet's). */
const WITHOUT_COUNTERPART: readonly string[] = ["--security-opt", "--device-cgroup-rule", "/data"];

export const POD_SCENARIOS: readonly Scenario[] = [...SCENARIOS, ...HOST_SCENARIOS].filter(
  ({ runOptions = [] }) => !runOptions.some((option) => WITHOUT_COUNTERPART.includes(option)),
);

export const HOSTS_LINE: Scenario = {
  name: "a line in the hosts file that the kubelet wrote",
  attack: (v) => v.sh("echo 203.0.113.9 registry.example >> /etc/hosts"),
  expected: [{ path: "/etc/hosts", kinds: ["bind-file"], place: "bind" }],
};

export const inLayer = ({ expected }: Scenario): boolean => expected.some(({ place }) => place === "layer");

/** @returns what was seen last, whether or not it is what was waited for */
export async function eventually<T>(look: () => Promise<T>, done: (seen: T) => boolean, withinMs = FOUND_WITHIN_MS): Promise<T> {
  const untilMs = Date.now() + withinMs;
  for (;;) {
    const askedMs = performance.now();
    const seen = await look();
    if (done(seen) || Date.now() > untilMs) return seen;
    await restAfter(askedMs, 1_000);
  }
}

export const describeAll = (found: readonly DriftView[]): string =>
  found
    .map(({ kind, path, origin, summary, differences }) => `${origin.place} ${kind} ${path.slice(0, 80)}: ${summary} ${JSON.stringify(differences)}`)
    .join("\n");

/** @param name of a container */
export async function assertFound({ drifts, programs }: Pick<Watched, "drifts" | "programs">, name: string, expected: readonly ExpectedDrift[]): Promise<void> {
  const says = (drift: DriftView, each: ExpectedDrift): boolean => isExpected(drift, each) && saysExpected(drift, each, programs);
  const found = await eventually(
    () => drifts(name),
    (seen) => expected.every((each) => seen.some((drift) => says(drift, each))),
  );
  for (const each of expected) {
    const drift = found.find((candidate) => says(candidate, each));
    expect(drift, `${each.place} ${each.kinds} ${each.path} ${JSON.stringify(each.differences?.(programs))}; found:\n${describeAll(found)}`).toBeDefined();
    expect(drift).toMatchObject({ container: { name }, workload: name.split("/").slice(0, 2).join("/") });
    if (each.layerIndex !== undefined) expect(drift?.origin.layerIndex).toBe(each.layerIndex);
    if (each.who !== undefined) expect(drift?.actor?.executable.split("/").at(-1), drift?.path).toBe(each.who);
    // Every attack from within a pod comes by `kubectl exec`.
    if (each.who === "busybox" && each.place === "upper") expect(drift?.actor, drift?.path).toMatchObject({ entry: "exec", containerName: name });
  }
}

/** On a pod of its own, which is made for it and taken away. */
export async function attacked(watched: Watched, scenario: Scenario, name: string): Promise<void> {
  const { cluster, programs, image, drifts } = watched;
  await cluster.kubectl(["apply", "--filename=-"], JSON.stringify(pod(name, image, optionsOf(scenario))));
  try {
    const victim = new PodVictim(cluster, programs, name);
    await watched.settled(victim.container);
    await scenario.attack(victim);
    try {
      if (scenario.expected.length > 0) await assertFound(watched, victim.container, scenario.expected);
      else {
        await plantCanary(victim);
        await assertFound(watched, victim.container, [CANARY]);
        expect(describeAll((await drifts(victim.container)).filter((drift) => !isExpected(drift, CANARY)))).toBe("");
      }
    } finally {
      await scenario.restore?.(victim);
    }
    if (scenario.restore) {
      const left = await eventually(
        () => drifts(victim.container),
        (seen) => seen.length === 0,
        RESTORED_WITHIN_MS,
      );
      expect(describeAll(left), "resolved when undone").toBe("");
    }
  } finally {
    await cluster.kubectl(["delete", "pod", name, "--wait=false"]);
  }
}

/** `docker run` options of a scenario as a pod has them. */
function optionsOf({ runOptions = [] }: Scenario): Parameters<typeof podSpec>[1] {
  const env: { name: string; value: string }[] = [];
  const capabilities: Record<"add" | "drop", string[]> = { add: [], drop: [] };
  const volumes: ({ name: string } & Readonly<Record<string, unknown>>)[] = [];
  const volumeMounts: { name: string; mountPath: string }[] = [];
  let readOnlyRootFilesystem = false;
  const options = runOptions.values();
  for (const option of options) {
    if (option === "--read-only") {
      readOnlyRootFilesystem = true;
      continue;
    }
    const value = options.next().value ?? "";
    if (option === "--env") env.push({ name: value.split("=", 1)[0] ?? "", value: value.slice(value.indexOf("=") + 1) });
    else if (option === "--cap-add") capabilities.add.push(value);
    else if (option === "--cap-drop") capabilities.drop.push(value);
    else if (option === "--volume") {
      const [first = "", second] = value.split(":");
      const name = `volume-${volumes.length}`;
      volumes.push({ name, ...(second === undefined ? { emptyDir: {} } : { hostPath: { path: first } }) });
      volumeMounts.push({ name, mountPath: second ?? first });
    } else throw new Error(`${option} has no counterpart in a pod`);
  }
  return { env, container: { volumeMounts, securityContext: { capabilities, readOnlyRootFilesystem } }, spec: { volumes } };
}
