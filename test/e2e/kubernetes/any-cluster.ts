/** The chart on a cluster of which nothing is known but its kubeconfig and a registry: installed as an earlier commit had it, upgraded, and gone again. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { EARLIER_COMMIT, earlierRelease } from "../../../deploy/images/earlier.ts";
import type { ExternalCluster } from "../../../deploy/testbed/kubernetes/external.ts";
import { tool } from "../../../deploy/testbed/kubernetes/tools.ts";
import { REPOSITORY, STATE_ROOT } from "../../../deploy/testbed/paths.ts";
import { eventually } from "../fault-support.ts";

const execute = promisify(execFile);
const CHART = join(REPOSITORY, "deploy/helm/hullmark");
const NAMESPACE = "hullmark-given";
const CONFIG_FILE = "/etc/nginx/nginx.conf";
/** Images are pulled within it too. */
const WITHIN_MS = 180_000;

export interface AnyCluster {
  readonly cluster: ExternalCluster;
  /** HOST[:PORT]/PATH of this commit's images there, tag 0.1.0. */
  readonly shipped: string;
  /** An image there that has a shell and {@link CONFIG_FILE}. */
  readonly workload: string;
  /** For files; removed with what is in it. */
  readonly home: string;
  /** The kubectl plugin, by the cluster's kubeconfig. */
  hullmark(...args: readonly string[]): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }>;
}
interface DriftView {
  readonly id: string;
  readonly state: string;
  readonly path: string;
  readonly container: { readonly name: string };
}
interface NodeView {
  readonly name: string;
  readonly verdict: string;
}

/** Declares the tests. @param of the cluster, once it is there, without any release of the chart */
export function anyCluster(of: () => AnyCluster): void {
  const kubectl = (...args: string[]): Promise<string> => of().cluster.kubectl(args);
  const here = (...args: string[]): Promise<string> => kubectl("--namespace", NAMESPACE, ...args);
  const hullmark = (...args: string[]) => of().hullmark(...args, `--release=${NAMESPACE}/hullmark`);
  async function helm(...args: string[]): Promise<void> {
    const { cluster, home } = of();
    const env = { ...process.env, KUBECONFIG: cluster.kubeconfig, HELM_CACHE_HOME: home, HELM_CONFIG_HOME: home, HELM_DATA_HOME: home };
    await execute(tool("helm"), [...args, "--namespace", NAMESPACE], { env, maxBuffer: 16 << 20 });
  }
  const release = (verb: "install" | "upgrade", chart: string, registry: string): Promise<void> => {
    const { values } = of().cluster;
    return helm(
      verb,
      "hullmark",
      chart,
      ...(values === undefined ? [] : ["--values", values]),
      "--set",
      `image.registry=${registry},image.tag=0.1.0`,
      "--wait",
      "--timeout",
      "300s",
    );
  };
  /** What the command tells as JSON; `none` while the verifier is on its way. */
  async function told<T>(none: T, ...args: string[]): Promise<T> {
    const { stdout } = await hullmark(...args, "--output=json");
    return stdout === "" ? none : (JSON.parse(stdout) as T);
  }
  const drifts = async (): Promise<readonly DriftView[]> =>
    (await told<{ drifts: DriftView[] }>({ drifts: [] }, "drift", "ls", "--all", "-n", NAMESPACE)).drifts;
  const drift = (path: string) =>
    eventually(
      `${path} is drift`,
      async () => (await drifts()).find((each) => each.container.name === `${NAMESPACE}/web/web` && each.path === path),
      (found) => found !== undefined,
      WITHIN_MS,
    );
  /** Every node that runs an agent is judged. */
  const judged = async () => {
    const agents = Number(await here("get", "daemonset", "hullmark-agent", "--output=jsonpath={.status.desiredNumberScheduled}"));
    const nodes = await eventually(
      "every node is judged",
      () => told<NodeView[]>([], "nodes"),
      (seen) => seen.length === agents && seen.every(({ verdict }) => verdict !== "unknown"),
      WITHIN_MS,
    );
    return nodes.map(({ name }) => name).sort();
  };
  const write = (path: string): Promise<string> => here("exec", "web", "--", "/bin/sh", "-c", `echo x >> ${path}`);
  const log = async () => {
    const verified = await hullmark("log", "verify", "--output=json");
    const { verdict, checkpoint } = JSON.parse(verified.stdout) as { verdict: string; checkpoint: { size: number } };
    expect(verdict, verified.stderr).toBe("ok");
    return checkpoint.size;
  };

  describe("a cluster that is given by its kubeconfig", { timeout: 600_000 }, () => {
    let before: { readonly ca: string; readonly acknowledged: string; readonly entries: number; readonly nodes: readonly string[] } | undefined;
    const authority = (): Promise<string> => here("get", "configmap", "hullmark-ca", "--output=jsonpath={.data}");

    beforeAll(async () => {
      const { cluster, workload } = of();
      await kubectl("create", "namespace", NAMESPACE);
      const web = {
        apiVersion: "v1",
        kind: "Pod",
        metadata: { name: "web", namespace: NAMESPACE },
        spec: { terminationGracePeriodSeconds: 1, containers: [{ name: "web", image: workload }] },
      };
      await cluster.kubectl(["apply", "--filename=-"], JSON.stringify(web));
      for (const name of ["hullmark-agent", "hullmark-verifier"]) {
        const target = `docker://${cluster.registry}/earlier/${name}:0.1.0`;
        await execute("skopeo", [
          "copy",
          "--quiet",
          "--preserve-digests",
          "--dest-tls-verify=false",
          `oci:${earlierRelease(STATE_ROOT).layout}:${name}`,
          target,
        ]);
      }
    });
    afterAll(async () => {
      await helm("uninstall", "hullmark", "--ignore-not-found", "--wait", "--timeout", "180s");
      await kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=true");
    });

    test(`is observed by chart and images of ${EARLIER_COMMIT.slice(0, 8)}`, async () => {
      await release("install", earlierRelease(STATE_ROOT).chart, `${of().cluster.registry}/earlier`);
      const nodes = await judged();
      await here("wait", "--for=condition=Ready", "pod/web", "--timeout=120s");
      await write(CONFIG_FILE);
      const id = (await drift(CONFIG_FILE))?.id ?? "";
      expect(await hullmark("drift", "ack", id, "-m", "INC-1")).toMatchObject({ code: 0 });
      before = { ca: await authority(), acknowledged: id, entries: await log(), nodes };
    });

    test("is observed by this chart and these images: what stood before an upgrade stands after it, and what comes is found", async () => {
      if (!before) throw new Error("nothing to upgrade from");
      await release("upgrade", CHART, of().shipped);
      const images = async () =>
        (await here("get", "pods", "--selector=app.kubernetes.io/name=hullmark", "--output=jsonpath={.items[*].spec.containers[*].image}")).trim().split(" ");
      // The agents' old pods go one by one.
      await eventually("only this commit's images run", images, (all) => all.every((image) => image.startsWith(`${of().shipped}/`)), WITHIN_MS);
      expect(await judged()).toEqual(before.nodes);
      expect(await authority()).toBe(before.ca);
      expect((await drifts()).find(({ id }) => id === before?.acknowledged)).toMatchObject({ path: CONFIG_FILE, state: "acknowledged" });
      expect(await log()).toBeGreaterThan(before.entries);
      await write("/srv/after");
      await drift("/srv/after");
    });

    test("is left as it was", async () => {
      await helm("uninstall", "hullmark", "--wait", "--timeout", "180s");
      const ofCluster = "clusterroles,clusterrolebindings,validatingwebhookconfigurations,customresourcedefinitions";
      const inNamespace = "deployments,daemonsets,services,secrets,configmaps,roles,rolebindings,persistentvolumeclaims,pods";
      const left = async (): Promise<readonly string[]> => [
        ...(await kubectl("get", ofCluster, "--output=name")).split("\n").filter((name) => /hullmark/.test(name)),
        ...(await here("get", inNamespace, "--selector=app.kubernetes.io/name=hullmark", "--output=name")).split("\n").filter(Boolean),
      ];
      await eventually("nothing is left", left, (found) => found.length === 0, WITHIN_MS);
    });
  });
}
