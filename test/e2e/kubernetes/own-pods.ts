/** Hullmark's own pods, judged by Hullmark: affirming against its own signature, found where somebody on the node writes over the agent's program; what is seen and said while the verifier is away or cannot store. */
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { RUNTIME_MOUNT } from "../../../deploy/testbed/mount-points.ts";
import { REPOSITORY } from "../../../deploy/testbed/paths.ts";
import { run } from "../../../deploy/testbed/run.ts";
import { Scrape } from "../../fakes/scrape.ts";
import type { DriftView } from "./on-call.ts";
import type { ReleaseBed } from "./release-bed.ts";

const COMPONENT = "app.kubernetes.io/component";
const PROGRAM = "/usr/lib/hullmark/agent.js";

/** Agent and verifier of the release are signed. */
export interface OwnPodsBed extends ReleaseBed {
  /** PEM of the key that signed them. */
  readonly releaseKey: string;
  /** The verifier's volume, as the host sees it. */
  readonly volume: string;
  /** Brings the port of the verifier that runs now. */
  openForward(): Promise<void>;
  json<T>(...args: string[]): Promise<T>;
}
interface PodMonitor {
  readonly kind: string;
  readonly spec: {
    readonly jobLabel?: string;
    readonly selector: { readonly matchLabels: Readonly<Record<string, string>> };
    readonly podMetricsEndpoints: readonly { readonly port: string; readonly path: string }[];
  };
}
interface WorkloadView {
  readonly container: { readonly id: string; readonly name: string };
  readonly verdict: string;
  readonly content: string;
  readonly provenance: { readonly status: string };
}
interface Pod {
  readonly metadata: { readonly name: string; readonly labels: Readonly<Record<string, string>> };
  readonly spec: { readonly containers: readonly { readonly ports?: readonly { readonly name: string; readonly containerPort: number }[] }[] };
  readonly status: {
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    readonly containerStatuses?: readonly { readonly containerID: string; readonly restartCount: number }[];
  };
}

/** Declares the tests. @param of the bed, once the release is there, with a pod `web` of the acceptance image in namespace `default` */
export function ownPods(of: () => OwnPodsBed): void {
  const here = (...args: string[]): Promise<string> => of().cluster.kubectl(["--namespace", of().namespace, ...args]);
  async function podsOf(selector: string): Promise<readonly Pod[]> {
    const { items } = JSON.parse(await here("get", "pods", `--selector=${selector}`, "--output=json")) as { items: Pod[] };
    return items;
  }
  const podOf = async (component: string): Promise<Pod> => {
    const [pod] = await podsOf(`${COMPONENT}=${component}`);
    if (!pod) throw new Error(`no pod of the ${component}`);
    return pod;
  };
  const own = async (): Promise<readonly WorkloadView[]> =>
    (await of().json<WorkloadView[]>("workloads")).filter(({ container }) =>
      new RegExp(`^${of().namespace}/hullmark-(agent|verifier)-[^/]+/(agent|verifier)$`).test(container.name),
    );
  const believed = ({ verdict, content, provenance }: WorkloadView): boolean =>
    verdict === "affirming" && content === "affirming" && provenance.status === "signed";
  const bothBelieved = () => of().eventually(own, (all) => all.length === 2 && all.every(believed), 180_000);
  const ready = async (): Promise<boolean> =>
    (await podsOf(`${COMPONENT}=verifier`)).some(({ status }) => status.conditions?.some(({ type, status: is }) => type === "Ready" && is === "True"));
  const drifts = async (): Promise<readonly DriftView[]> => (await of().json<{ drifts: DriftView[] }>("drift", "ls")).drifts;

  describe("its own pods", { timeout: 400_000 }, () => {
    test("are affirming against its own signature, where policy asks for it", async () => {
      const { apply, namespace, releaseKey } = of();
      const allow = { env: ["**"], mounts: ["/**"], args: true, workingDirectory: true, users: ["**"] };
      const rights = { capabilities: ["SYS_ADMIN", "DAC_READ_SEARCH", "DAC_OVERRIDE", "SYS_PTRACE"], hostNamespaces: ["pid"] };
      const signed = { signatures: { authorities: ["hullmark"] } };
      const rules = [
        { name: "hullmark-agent", select: { workloads: [`${namespace}/hullmark-agent`] }, require: signed, allow: { ...allow, ...rights } },
        { name: "hullmark", select: { workloads: [`${namespace}/*`] }, require: signed, allow },
        { name: "all", allow },
      ];
      const spec = { authorities: [{ name: "hullmark", key: releaseKey }], rules };
      await apply({ apiVersion: "hullmark.dev/v1", kind: "AttestationPolicy", metadata: { name: "hullmark", namespace }, spec });
      await bothBelieved();
    });

    test("are found where somebody on the node writes over the agent's program, by that very agent; the pod after it is believed", async () => {
      const { cluster, eventually } = of();
      const { metadata, status } = await podOf("agent");
      const id = status.containerStatuses?.[0]?.containerID.replace("containerd://", "") ?? "";
      // Read-only in the pod; not so for the node, where the runtime mounted it.
      const root = `${RUNTIME_MOUNT}/state/io.containerd.runtime.v2.task/k8s.io/${id}/rootfs`;
      await run(cluster.namespace.wrap(["/bin/sh", "-c", `echo '// not signed' >> ${root}${PROGRAM}`]));
      const name = `${of().namespace}/${metadata.name}/agent`;
      await eventually(drifts, (all) => all.some(({ container, path }) => container.name === name && path === PROGRAM));
      await eventually(own, (all) => all.some(({ container, verdict }) => container.name === name && verdict === "contraindicated"));
      await here("delete", "pod", metadata.name, "--wait=true");
      const after = await bothBelieved();
      expect(after.map(({ container }) => container.name)).not.toContain(name);
    });
  });

  describe("the verifier's state", { timeout: 400_000 }, () => {
    /** Of the chart: what Prometheus' operator is to scrape. */
    async function podMonitor(): Promise<PodMonitor> {
      const chart = join(REPOSITORY, "deploy/helm/hullmark");
      const chosen = ["--kube-version=1.33.0", "--show-only", "templates/availability.yaml", "--set", "podMonitor.enabled=true"];
      const objects = parseAllDocuments(await of().helm("template", "hullmark", chart, ...chosen)).map((each) => each.toJS() as PodMonitor | null);
      const found = objects.find((each) => each?.kind === "PodMonitor");
      if (!found) throw new Error("no PodMonitor in the chart");
      return found;
    }

    /** Of the verifier's pod, by the port that the chart's PodMonitor names. */
    async function scrape(): Promise<Scrape> {
      const { spec } = await podMonitor();
      const [endpoint] = spec.podMetricsEndpoints;
      const selector = Object.entries(spec.selector.matchLabels).map(([label, value]) => `${label}=${value}`);
      const pods = await podsOf(selector.join(","));
      expect(pods.map(({ metadata }) => metadata.name)).toEqual([(await podOf("verifier")).metadata.name]);
      // The Prometheus Operator names the job by it; rules.yaml asks for that name.
      expect(pods[0]?.metadata.labels[spec.jobLabel ?? ""]).toBe("hullmark");
      const port = pods[0]?.spec.containers.flatMap(({ ports }) => ports ?? []).find(({ name }) => name === endpoint?.port)?.containerPort;
      return Scrape.of(
        await of().cluster.kubectl(["get", "--raw", `/api/v1/namespaces/${of().namespace}/pods/${pods[0]?.metadata.name}:${port}/proxy${endpoint?.path}`]),
      );
    }

    test("is scraped where the PodMonitor says: nodes, workloads, coverage, latency and pulls of a cluster at work", async () => {
      // Counted every few seconds.
      const [seen] = await of().eventually(
        async () => [await scrape(), (await of().json<WorkloadView[]>("workloads")).length] as const,
        ([now, listed]) => now.value("hullmark_workloads") === listed && now.value("hullmark_nodes_connected") === 1,
      );
      expect(seen.value("hullmark_nodes")).toBe(1);
      expect(seen.value("hullmark_nodes_connected")).toBe(1);
      expect(seen.value("hullmark_component_ready", { component: "store" })).toBe(1);
      expect(seen.value("hullmark_drift_detection_seconds_count")).toBeGreaterThan(0);
      expect(seen.value("hullmark_registry_requests_total", { result: "ok" })).toBeGreaterThan(0);
      expect(seen.value("hullmark_commit_queue_drafts")).toBeGreaterThanOrEqual(0);
    });

    test("that cannot be written takes it out of its Service, and not for longer; it is not restarted", async () => {
      const { eventually, volume } = of();
      const before = await podOf("verifier");
      // What a full or failing disk does: no write of the verifier comes to an end. Others may still read.
      const other = new Database(join(volume, "verifier/verifier.db"), { fileMustExist: true });
      try {
        other.exec("BEGIN EXCLUSIVE");
        await eventually(ready, (is) => !is);
        const endpoints = () =>
          here(
            "get",
            "endpointslices",
            "--selector=kubernetes.io/service-name=hullmark-verifier",
            "--output=jsonpath={.items[*].endpoints[*].conditions.ready}",
          );
        await eventually(endpoints, (seen) => seen.trim() === "false");
        expect((await scrape()).value("hullmark_component_ready", { component: "store" })).toBe(0);
      } finally {
        other.close();
      }
      await eventually(ready, (is) => is);
      const after = await podOf("verifier");
      expect([after.metadata.name, after.status.containerStatuses?.[0]?.restartCount]).toEqual([
        before.metadata.name,
        before.status.containerStatuses?.[0]?.restartCount,
      ]);
    });

    test("a file that is written in a pod while the verifier is replaced is drift once it is back", async () => {
      const { cluster, eventually, openForward } = of();
      const path = `/srv/while-rolled-${Date.now()}`;
      await here("rollout", "restart", "deployment/hullmark-verifier");
      await eventually(ready, (is) => !is);
      await cluster.kubectl(["exec", "web", "--", "/bin/sh", "-c", `echo x > ${path}`]);
      await here("rollout", "status", "deployment/hullmark-verifier", "--timeout=180s");
      await openForward();
      const found = await eventually(drifts, (all) => all.some((each) => each.path === path), 300_000);
      expect(found.find((each) => each.path === path)?.container.name).toBe("default/web/web");
      // And what was believed before is again.
      await bothBelieved();
      await here("delete", "attestationpolicy", "hullmark");
    });
  });
}
