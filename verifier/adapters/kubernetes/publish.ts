/** Hands what the verifier made for itself to its cluster: the CA's certificate to agents, the first admin's credential to whoever may read the Secret. */
import type { ApiServer } from "./api-server.ts";

export interface PublishTargets {
  readonly namespace: string;
  /** Both are there already (the chart makes them): the verifier has the right to change these two and no other. */
  readonly caConfigMap: string;
  readonly adminSecret: string;
}

export interface PublishedFiles {
  /** PEM; for the key `ca.crt` of the ConfigMap. */
  readonly rootPem: string;
  /** File name → content, for the Secret. */
  readonly admin: Readonly<Record<string, string>>;
}

const MERGE_PATCH = "application/merge-patch+json";

/** Idempotent. @throws Error with the API server's status and the object's name, never its content; the system's error where it is not reached */
export async function publish(api: Pick<ApiServer, "patch">, targets: PublishTargets, { rootPem, admin }: PublishedFiles): Promise<void> {
  const put = async (kind: string, name: string, change: object): Promise<void> => {
    const { status } = await api.patch(`/api/v1/namespaces/${encodeURIComponent(targets.namespace)}/${kind}/${encodeURIComponent(name)}`, change, MERGE_PATCH);
    if (status !== 200) throw new Error(`the API server answers ${status} to patch ${kind} ${targets.namespace}/${name}`);
  };
  await put("configmaps", targets.caConfigMap, { data: { "ca.crt": rootPem } });
  await put("secrets", targets.adminSecret, { stringData: admin });
}
