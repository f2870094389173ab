/** A service account of the cluster that may follow its pods, for a verifier outside of it: exactly the rights that the chart gives. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import type { Kubernetes } from "../../../deploy/testbed/index.ts";

export interface ApiServerAccess {
  readonly apiServer: string;
  readonly caFile: string;
  readonly tokenFile: string;
}

/** @param home where its files go */
export async function podFollower(cluster: Kubernetes, home: string): Promise<ApiServerAccess> {
  const named = (name: string) => ({ metadata: { name } });
  const items = [
    { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "pod-follower", namespace: "default" } },
    {
      ...{ apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRole", ...named("pod-follower") },
      rules: [{ apiGroups: [""], resources: ["pods"], verbs: ["list", "watch"] }],
    },
    {
      ...{ apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRoleBinding", ...named("pod-follower") },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "pod-follower" },
      subjects: [{ kind: "ServiceAccount", name: "pod-follower", namespace: "default" }],
    },
  ];
  await cluster.kubectl(["apply", "--filename=-"], JSON.stringify({ apiVersion: "v1", kind: "List", items }));
  const files = { caFile: join(home, "api-ca.crt"), tokenFile: join(home, "pod-follower-token") };
  writeFileSync(files.tokenFile, await cluster.kubectl(["create", "token", "pod-follower", "--duration=4h"]), { mode: 0o600 });
  const { clusters } = parse(readFileSync(cluster.kubeconfig, "utf8")) as {
    clusters: { cluster: { server: string; "certificate-authority-data": string } }[];
  };
  const [{ cluster: found } = { cluster: undefined }] = clusters;
  if (!found) throw new Error("no cluster in the kubeconfig");
  writeFileSync(files.caFile, Buffer.from(found["certificate-authority-data"], "base64"));
  return { apiServer: found.server, ...files };
}
