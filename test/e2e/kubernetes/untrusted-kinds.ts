/** Every kind of controller with an image that nobody signed, and one that somebody else did: told as what it is, whatever made the pod. */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Stack } from "../../../deploy/stack/stack.ts";
import type { Kubernetes, Testbed } from "../../../deploy/testbed/index.ts";
import { eventually } from "../fault-support.ts";
import { acceptanceImage } from "../images/acceptance.ts";
import type { Programs } from "../images/programs.ts";
import { pushImage } from "../images/push.ts";
import { podSpec } from "./workloads.ts";

/** A CronJob has up to a minute until its first pod. */
const WITHIN_MS = 150_000;

export interface UntrustedBed {
  readonly bed: Testbed;
  readonly cluster: Kubernetes;
  readonly stack: Stack;
  readonly programs: Programs;
  /** Signs by a key that no authority of the policy has. */
  signByStranger(reference: string): Promise<unknown>;
}
interface Workload {
  readonly container: { readonly name: string };
  readonly workload: string;
  readonly verdict: string;
  readonly content: string;
  readonly provenance: { readonly status: string };
}

/** Declares the tests. @param of the bed, once it is up; its policy asks for signatures of `acme/*` */
export function untrustedKinds(of: () => UntrustedBed): void {
  const KINDS = ["deployment", "statefulset", "daemonset", "cronjob"] as const;
  const nameOf = (kind: string, status: string): string => `${status}-${kind}`;

  beforeAll(async () => {
    const { bed, cluster, programs, signByStranger } = of();
    const push = (name: string) => pushImage(bed.registry?.host ?? "", `acme/${name}`, "1", acceptanceImage(programs, name));
    const [unsigned, strangers] = [await push("unsigned"), await push("strangers")];
    await signByStranger(strangers.reference);
    const items = [
      ...KINDS.map((kind) => controller(kind, nameOf(kind, "unsigned"), unsigned.tagged)),
      ...KINDS.map((kind) => controller(kind, nameOf(kind, "wrong-key"), strangers.tagged)),
    ];
    await cluster.kubectl(["apply", "--filename=-"], JSON.stringify({ apiVersion: "v1", kind: "List", items }));
  });
  afterAll(async () => {
    for (const kind of KINDS)
      await of().cluster.kubectl(["delete", kind, nameOf(kind, "unsigned"), nameOf(kind, "wrong-key"), "--ignore-not-found", "--wait=false"]);
  });

  for (const status of ["unsigned", "wrong-key"])
    for (const kind of KINDS)
      test(`a ${kind} whose image is ${status}`, { timeout: WITHIN_MS + 30_000 }, async () => {
        const { stack } = of();
        const name = nameOf(kind, status);
        const own = async () =>
          (await stack.json<Workload[]>("workloads")).filter(
            ({ container }) => container.name.startsWith(`default/${name}-`) && container.name.endsWith("/web"),
          );
        const [seen] = await eventually(`${name} is judged`, own, (all) => all.some(({ verdict }) => verdict === "contraindicated"), WITHIN_MS);
        // Its files are the image's: it is who signed that is wrong.
        expect(seen).toMatchObject({ workload: `default/${name}`, verdict: "contraindicated", provenance: { status: status.replace("-", " ") } });
        const { drifts } = await stack.json<{ drifts: { kind: string; state: string; workload: string }[] }>(
          "drift",
          "ls",
          "--all",
          "--container",
          seen?.container.name ?? "",
        );
        expect(drifts.map(({ kind: found, state, workload }) => `${found} ${state} ${workload}`)).toEqual([`${status} open default/${name}`]);
      });
}

function controller(kind: string, name: string, image: string): object {
  const metadata = { name };
  const template = { metadata: { labels: { app: name } }, spec: podSpec(image) };
  const selector = { matchLabels: { app: name } };
  switch (kind) {
    case "deployment":
      return { apiVersion: "apps/v1", kind: "Deployment", metadata, spec: { replicas: 1, selector, template } };
    case "statefulset":
      return { apiVersion: "apps/v1", kind: "StatefulSet", metadata, spec: { serviceName: name, replicas: 1, selector, template } };
    case "daemonset":
      return { apiVersion: "apps/v1", kind: "DaemonSet", metadata, spec: { selector, template } };
    default: {
      const once = { metadata: template.metadata, spec: podSpec(image, { spec: { restartPolicy: "Never" } }) };
      const spec = { schedule: "* * * * *", concurrencyPolicy: "Forbid", jobTemplate: { spec: { template: once } } };
      return { apiVersion: "batch/v1", kind: "CronJob", metadata, spec };
    }
  }
}
