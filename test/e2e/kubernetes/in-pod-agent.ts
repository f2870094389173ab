/** The agent as the chart runs it, in a pod with named capabilities that sees folders of the node read-only: attacks on other pods, and its node's runtime, kubelet and API server going away and coming back. */
import { writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Programs } from "../images/programs.ts";
import { LONG } from "../long.ts";
import type { Scenario } from "../scenarios.ts";
import { attacked, type DriftView, HOSTS_LINE, POD_SCENARIOS, type Watched } from "./attacks.ts";
import { PodVictim } from "./pod-victim.ts";
import { idOf, onlyPod, type ReleaseBed } from "./release-bed.ts";
import { pod } from "./workloads.ts";

export interface InPodBed extends ReleaseBed {
  readonly programs: Programs;
  /** The acceptance image. */
  readonly image: string;
  /** Brings the port of the verifier that runs now. */
  openForward(): Promise<void>;
  json<T>(...args: string[]): Promise<T>;
}
interface WorkloadView {
  readonly container: { readonly name: string };
  readonly content: string;
}
interface NodeView {
  readonly verdict: string;
  readonly reasons?: readonly { readonly code: string }[];
}

const named = (wanted: string): Scenario => {
  const found = POD_SCENARIOS.find(({ name }) => name === wanted);
  if (!found) throw new Error(`no scenario ${wanted}`);
  return found;
};
/** One of each place that writes in a pod do not reach: code, a mapping, mounts, what the kubelet binds in. */
const ON_PODS = [named("memfd"), named("store through a shared mapping, never closed"), named("pivot_root"), HOSTS_LINE];
/** Every pod of the image has it. */
const ON_LAYER = named("lower layer edited on the host");
/** Long enough for the agent to notice, and to try again. */
const AWAY_MS = 5_000;
const [ATTACKED, STEADY] = ["in-pod-attacked", "in-pod-steady"];

/** Declares the tests. @param of the bed, once the release is there, with a forward that is open */
export function inPodAgent(of: () => InPodBed): void {
  const drifts = async (container: string): Promise<readonly DriftView[]> => {
    const { drifts: found } = await of().json<{ drifts: DriftView[] }>("drift", "ls", "--all", "--container", container);
    return found.filter(({ state }) => state === "open" || state === "acknowledged");
  };
  const settled = (name: string) =>
    of().eventually(
      () => of().json<WorkloadView[]>("workloads"),
      (all) => all.some(({ container, content }) => container.name === name && content === "affirming"),
    );
  const watched = (): Watched => ({ ...{ cluster: of().cluster, programs: of().programs, image: of().image }, drifts, settled });

  describe("the agent in its own pod finds", { timeout: 300_000 }, () => {
    let agent: string;
    let victim: PodVictim;

    beforeAll(async () => {
      const { apply, namespace, image, cluster, programs, json, eventually } = of();
      const allow = { env: ["**"], mounts: ["/**"], args: true, workingDirectory: true, users: ["**"] };
      const rights = { capabilities: ["SYS_ADMIN", "DAC_READ_SEARCH", "DAC_OVERRIDE", "SYS_PTRACE"], hostNamespaces: ["pid"] };
      const rules = [
        { name: "attacked", select: { workloads: ["default/in-pod-*"] }, allow: { env: ["**"], args: true } },
        { name: "hullmark-agent", select: { workloads: [`${namespace}/hullmark-agent`] }, allow: { ...allow, ...rights } },
        { name: "all", allow },
      ];
      const spec = { rules, intervals: { quote: "10s", heartbeat: "2s", rescan: "60s" } };
      await apply(
        { apiVersion: "hullmark.dev/v1", kind: "AttestationPolicy", metadata: { name: "hullmark", namespace }, spec },
        pod(ATTACKED, image),
        pod(STEADY, image),
      );
      await eventually(
        () => json<{ policy?: { name: string } }>("status"),
        ({ policy }) => policy?.name === "hullmark",
      );
      victim = new PodVictim(cluster, programs, ATTACKED);
      for (const name of [ATTACKED, STEADY]) await settled(`default/${name}/web`);
      agent = idOf(await onlyPod(of(), "agent"));
    });
    afterAll(async () => {
      const { cluster, eventually, json, namespace } = of();
      await cluster.kubectl(["--namespace", namespace, "delete", "attestationpolicy", "hullmark"]);
      await cluster.kubectl(["delete", "pod", ATTACKED, STEADY, "--wait=true"]);
      // Nothing of it is open where later tests look at everything that is.
      await eventually(
        () => json<{ drifts: DriftView[] }>("drift", "ls"),
        ({ drifts: open }) => open.length > 0 && open.every(({ container }) => !container.name.startsWith("default/in-pod-")),
      );
    });

    describe.concurrent("on pods", () => {
      for (const scenario of ON_PODS) test(scenario.name, () => attacked(watched(), scenario, `in-pod-${ON_PODS.indexOf(scenario)}`));
    });
    test(ON_LAYER.name, () => attacked(watched(), ON_LAYER, "in-pod-layer"));

    if (LONG)
      test.each(["containerd", "kubelet", "apiserver"] as const)("what was written while %s was away, and what is after that", async (name) => {
        const { cluster, eventually, openForward, json } = of();
        const [meanwhile, after] = [`/srv/without-${name}`, `/srv/after-${name}`];
        const pid = await victim.pid();
        await cluster.services[name].kill();
        try {
          // None of them is needed for a write where the container's process has its root.
          writeFileSync(`/proc/${pid}/root${meanwhile}`, "x");
          await sleep(AWAY_MS);
        } finally {
          await cluster.services[name].start();
        }
        const written = () => victim.sh(`echo x > ${after}`).then(() => "written", String);
        await eventually(written, (seen) => seen === "written");
        // It went by what was away.
        await openForward();
        await eventually(
          () => drifts(victim.container),
          (found) => [meanwhile, after].every((path) => found.some((each) => each.path === path)),
        );
        const [node] = await eventually(
          () => json<NodeView[]>("nodes"),
          ([seen]) => seen?.reasons?.every(({ code }) => code !== "runtime-unreachable") === true,
        );
        expect(node?.verdict).toMatch(/^(affirming|warning)$/);
        await settled(`default/${STEADY}/web`);
        expect(await drifts(`default/${STEADY}/web`)).toEqual([]);
      });

    test("all of it by the very process that was there before, which sees what the quiet pod does now", async () => {
      expect(idOf(await onlyPod(of(), "agent"))).toBe(agent);
      const steady = new PodVictim(of().cluster, of().programs, STEADY);
      await steady.sh("echo x > /srv/at-last");
      const found = await of().eventually(
        () => drifts(steady.container),
        (seen) => seen.length > 0,
      );
      expect(found.map(({ path }) => path)).toEqual(["/srv/at-last"]);
    });
  });
}
