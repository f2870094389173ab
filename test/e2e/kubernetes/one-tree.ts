/** Pods whose roots have no layer directories (containerd's snapshotter `native` copies each layer): believed untouched, and attacks in them found. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseMountInfo } from "../../../agent/core/mountinfo.ts";
import { type Stack, startStack } from "../../../deploy/stack/stack.ts";
import type { Kubernetes, Testbed } from "../../../deploy/testbed/index.ts";
import { type ExpectedDrift, isExpected, saysExpected } from "../expected-drift.ts";
import { ACCEPTANCE, CONTENT } from "../images/acceptance.ts";
import type { Programs } from "../images/programs.ts";
import type { PushedImage } from "../images/push.ts";
import { SCENARIOS } from "../scenarios.ts";
import { PodVictim } from "./pod-victim.ts";
import { pod } from "./workloads.ts";

export interface OneTreeBed {
  readonly bed: Testbed;
  readonly cluster: Kubernetes;
  readonly programs: Programs;
  readonly image: PushedImage;
}

interface DriftView {
  readonly kind: string;
  readonly state: string;
  readonly path: string;
  readonly summary: string;
  readonly origin: { readonly place: string; readonly layerIndex: number };
  readonly actor: { readonly executable: string } | null;
  readonly differences: readonly Record<"field" | "expected" | "observed", string>[];
}

interface WorkloadView {
  readonly container: { readonly name: string };
  readonly verdict: string;
  readonly reasons: readonly { readonly code: string; readonly detail: string }[];
}

const WITHIN_MS = 90_000;
/** What they do stays apart, in one container. */
const ATTACKS: ReadonlySet<string> = new Set([
  ...["edit in place", "rename-replace", "memfd", "run from /dev", "chmod u+s", "setcap", "chown", "delete"],
  ...["a name with newline and control bytes", "a path 12 kB deep"],
]);

const policy = `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: one-tree }
spec:
  rules: [{ name: all, allow: { env: ["**"], args: true } }]
  intervals: { quote: 10s, heartbeat: 1s, rescan: 10m }
`;

export function oneTree(of: () => OneTreeBed): void {
  describe("roots without layer directories", { timeout: 180_000 }, () => {
    let stack: Stack;
    const victim = (name: string): PodVictim => new PodVictim(of().cluster, of().programs, name);
    const start = async (name: string, container = {}, spec = {}): Promise<PodVictim> => {
      await of().cluster.kubectl(["apply", "--filename=-"], JSON.stringify(pod(name, of().image.tagged, { container, spec })));
      return victim(name);
    };
    const workload = async (name: string) => (await stack.json<WorkloadView[]>("workloads")).find(({ container }) => container.name === name);
    const drifts = async (container: string) =>
      (await stack.json<{ drifts: DriftView[] }>("drift", "ls", "--all", "--container", container)).drifts.filter(({ state }) => state === "open");
    const believed = async (container: string): Promise<void> => {
      await expect
        .poll(async () => ({ ...(await workload(container)), found: await drifts(container) }), { timeout: WITHIN_MS, interval: 500 })
        .toMatchObject({ verdict: "warning", found: [], reasons: [{ code: "provenance-unsigned" }] });
    };
    const found = async (container: string, expected: ExpectedDrift): Promise<DriftView> => {
      const look = async () => (await drifts(container)).find((each) => isExpected(each, expected));
      await expect.poll(look, { timeout: WITHIN_MS, interval: 500, message: `${expected.kinds} ${expected.path}` }).toBeDefined();
      return (await look()) as DriftView;
    };

    beforeAll(async () => {
      stack = await startStack({ bed: of().bed, policy });
    });
    afterAll(() => stack?.stop());

    test("are believed where nobody touched them, with every mount that the runtime made a place for", async () => {
      await of().cluster.kubectl(["create", "configmap", "settings", "--from-literal=one.conf=one"]);
      const volumes = [
        { name: "scratch", emptyDir: {} },
        { name: "settings", configMap: { name: "settings" } },
      ];
      const volumeMounts = [
        { name: "scratch", mountPath: "/mnt/not/in/the/image" },
        { name: "settings", mountPath: "/app/one.conf", subPath: "one.conf" },
      ];
      const { container } = await start("untouched", { volumeMounts }, { volumes });
      await believed(container);
      await victim("untouched").sh("touch /usr/bin/passwd; echo x > /tmp/data");
      await new Promise((resolve) => setTimeout(resolve, 3_000));
      await believed(container);
    });

    test("show what is done in them, by whom, within moments", async () => {
      const target = await start("attacked");
      await believed(target.container);
      const scenarios = SCENARIOS.filter(({ name }) => ATTACKS.has(name));
      expect(scenarios).toHaveLength(ATTACKS.size);
      for (const { attack } of scenarios) await attack(target);
      for (const expected of scenarios.flatMap((each) => each.expected)) {
        const drift = await found(target.container, expected);
        expect(saysExpected(drift, expected, of().programs), `${drift.path}: ${JSON.stringify(drift.differences)}`).toBe(true);
        if (expected.layerIndex !== undefined) expect(drift.origin.layerIndex, drift.path).toBe(expected.layerIndex);
        if (expected.who !== undefined) expect(drift.actor?.executable.split("/").at(-1), drift.path).toBe(expected.who);
      }
      expect((await workload(target.container))?.verdict).toBe("contraindicated");
    });

    test("show what runs and is not of the image: a new file of theirs, one of a volume at a name of the image", async () => {
      const volumes = [{ name: "bin", emptyDir: {} }];
      const target = await start("running", { volumeMounts: [{ name: "bin", mountPath: "/srv" }] }, { volumes });
      await believed(target.container);
      await target.sh(`cp ${ACCEPTANCE.tool} /usr/local/bin/miner && cp ${ACCEPTANCE.tool} /srv/index.html && chmod 755 /usr/local/bin/miner /srv/index.html`);
      await target.background("/usr/local/bin/miner", "wait");
      await target.background("/srv/index.html", "wait");
      await found(target.container, { path: "/usr/local/bin/miner", kinds: ["added"], place: "upper" });
      await found(target.container, { path: "/usr/local/bin/miner", kinds: ["code-unknown"], place: "process" });
      await found(target.container, { path: "/srv/index.html", kinds: ["code-volume"], place: "process" });
    });

    test("show what is written to them on the node", async () => {
      const target = await start("written");
      await believed(target.container);
      const root = parseMountInfo(await target.onHost("cat", `/proc/${await target.pid()}/mountinfo`)).find(({ destination }) => destination === "/");
      const own = parseMountInfo(await target.onHost("cat", "/proc/self/mountinfo")).find(({ device, root: at }) => device === root?.device && at === "/");
      await target.onHost("sh", "-c", `echo poison >> "${own?.destination.replace(/\/$/, "")}${root?.root}${ACCEPTANCE.curl}"`);
      const poisoned = await found(target.container, { path: ACCEPTANCE.curl, kinds: ["content"], place: "upper" });
      expect(poisoned.differences).toContainEqual(expect.objectContaining({ field: "size", expected: String(CONTENT.curl.length) }));
    });
  });
}
