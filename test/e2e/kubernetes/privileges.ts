/** What pods ask for beyond their image, and what policy asks of them: namespaces of the node, privilege, another user, protections that are not there. */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Stack } from "../../../deploy/stack/stack.ts";
import type { Kubernetes } from "../../../deploy/testbed/index.ts";
import { eventually } from "../fault-support.ts";
import { type PodOptions, pod } from "./workloads.ts";

/** Two rules of the policy: what they ask of a pod's protections. */
export const hardened = (authority: string): string => `
    - name: hardened
      select: { images: ["**/acme/**"], workloads: ["default/hardened-*"] }
      require: { signatures: { authorities: [${authority}] }, noNewPrivileges: true, readOnlyRoot: true }`;

const WITHIN_MS = 90_000;

export interface PrivilegesBed {
  readonly cluster: Kubernetes;
  readonly stack: Stack;
  /** A signed image whose command does not listen. */
  readonly image: string;
}

const PROTECTED = { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true };
const PODS: Readonly<Record<string, PodOptions>> = {
  "of-the-node": { spec: { hostNetwork: true, hostPID: true, hostIPC: true } },
  privileged: { container: { securityContext: { privileged: true } } },
  "as-another": { container: { securityContext: { runAsUser: 1000, runAsGroup: 1000 } } },
  "hardened-not": {},
  "hardened-well": { container: { securityContext: PROTECTED } },
};

/** Declares the tests. @param of the bed, once it is up; its policy allows none of this */
export function privileges(of: () => PrivilegesBed): void {
  beforeAll(async () => {
    const items = Object.entries(PODS).map(([name, options]) => pod(name, of().image, options));
    await of().cluster.kubectl(["apply", "--filename=-"], JSON.stringify({ apiVersion: "v1", kind: "List", items }));
  });
  afterAll(() => of().cluster.kubectl(["delete", "pod", ...Object.keys(PODS), "--ignore-not-found", "--wait=false"]));

  /** What is open of the pod's container once it is judged. */
  async function told(name: string): Promise<readonly string[]> {
    const { stack } = of();
    const container = `default/${name}/web`;
    const judged = async () =>
      (await stack.json<{ container: { name: string }; verdict: string }[]>("workloads")).find((each) => each.container.name === container)?.verdict;
    await eventually(`${name} is judged`, judged, (verdict) => verdict !== undefined && verdict !== "unknown", WITHIN_MS);
    const { drifts } = await stack.json<{ drifts: { kind: string; state: string; summary: string }[] }>("drift", "ls", "--all", "--container", container);
    return drifts.filter(({ state }) => state === "open").map(({ kind, summary }) => `${kind}: ${summary}`);
  }

  test("a pod in the node's namespaces: each of them is told", async () => {
    const found = await told("of-the-node");
    expect(found.filter((each) => each.startsWith("host-namespace:")).sort()).toEqual(
      ["ipc", "net", "pid", "uts"].map((name) => `host-namespace: shares the host's ${name} namespace`),
    );
  });

  test("a privileged pod: one finding says so", async () => {
    expect((await told("privileged")).filter((each) => /^(privileged|capabilities|device-node):/.test(each))).toEqual(["privileged: runs privileged"]);
  });

  test("a pod as another user than its image's", async () => {
    expect((await told("as-another")).map((each) => each.slice(0, each.indexOf(":")))).toEqual(["user"]);
  });

  test("a pod without the protections that policy requires; one that has them is believed", async () => {
    expect([...(await told("hardened-not"))].sort()).toEqual([
      "no-new-privileges: started so that it may gain privileges, which the policy forbids",
      "read-only-root: started with a root that can be written, which the policy forbids",
    ]);
    expect(await told("hardened-well")).toEqual([]);
  });
}
