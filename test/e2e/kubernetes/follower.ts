/** Service accounts of the cluster for processes outside of it: exactly the rights that the chart gives. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import type { Kubernetes } from "../../../deploy/testbed/index.ts";

export interface ApiServerAccess {
  readonly apiServer: string;
  readonly caFile: string;
  readonly tokenFile: string;
}

/** That may follow pods. @param home where its files go @param more rights */
export function podFollower(cluster: Kubernetes, home: string, more: readonly object[] = []): Promise<ApiServerAccess> {
  return serviceAccount(cluster, home, "pod-follower", [
    { apiGroups: [""], resources: ["pods"], verbs: ["list", "watch"] },
    { apiGroups: ["apps"], resources: ["replicasets", "controllerrevisions"], verbs: ["get"] },
    { apiGroups: ["batch"], resources: ["jobs"], verbs: ["get"] },
    ...more,
  ]);
}

/** To compare variables that come from them. */
export const READING_CONFIG_MAPS = { apiGroups: [""], resources: ["configmaps"], verbs: ["get"] };

/** To tell of drift in pods. */
export const TELLING_PODS = { apiGroups: ["events.k8s.io"], resources: ["events"], verbs: ["create", "patch"] };

/** To ask whose a token is. */
export const REVIEWING = { apiGroups: ["authentication.k8s.io"], resources: ["tokenreviews"], verbs: ["create"] };

/** @param name of it, in namespace `default`, and of its ClusterRole @param home where its files go */
export async function serviceAccount(cluster: Kubernetes, home: string, name: string, rules: readonly object[]): Promise<ApiServerAccess> {
  const items = [
    { apiVersion: "v1", kind: "ServiceAccount", metadata: { name, namespace: "default" } },
    { apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRole", metadata: { name }, rules },
    {
      ...{ apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRoleBinding", metadata: { name } },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name },
      subjects: [{ kind: "ServiceAccount", name, namespace: "default" }],
    },
  ];
  await cluster.kubectl(["apply", "--filename=-"], JSON.stringify({ apiVersion: "v1", kind: "List", items }));
  const files = { caFile: join(home, "api-ca.crt"), tokenFile: join(home, `${name}-token`) };
  writeFileSync(files.tokenFile, await cluster.kubectl(["create", "token", name, "--duration=4h"]), { mode: 0o600 });
  const { clusters } = parse(readFileSync(cluster.kubeconfig, "utf8")) as {
    clusters: { cluster: { server: string; "certificate-authority-data": string } }[];
  };
  const [{ cluster: found } = { cluster: undefined }] = clusters;
  if (!found) throw new Error("no cluster in the kubeconfig");
  writeFileSync(files.caFile, Buffer.from(found["certificate-authority-data"], "base64"));
  return { apiServer: found.server, ...files };
}
