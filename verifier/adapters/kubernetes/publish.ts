/** Hands what the verifier made for itself to its cluster: the CA's certificate to agents and to the API server, a credential of each role to whoever may read its Secret. */
import type { ApiServer } from "@hullmark/daemon/api-server";

export interface PublishTargets {
  readonly namespace: string;
  /** There already, as the Secrets are (the chart makes them): the verifier has the right to change these and no other. */
  readonly caConfigMap: string;
}

export interface PublishedFiles {
  /** PEM; for the key `ca.crt` of the ConfigMap. */
  readonly rootPem: string;
  /** Name of a Secret → file name → content. */
  readonly secrets: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

const MERGE_PATCH = "application/merge-patch+json";

/**
 * Idempotent: each is tried, whatever becomes of the others.
 * @throws Error of the first that failed: with the API server's status and the object's name, never its content; the system's error where it is not reached
 */
export async function publish(api: Pick<ApiServer, "patch">, targets: PublishTargets, { rootPem, secrets }: PublishedFiles): Promise<void> {
  const put = async (kind: string, name: string, change: object): Promise<void> => {
    const { status } = await api.patch(`/api/v1/namespaces/${encodeURIComponent(targets.namespace)}/${kind}/${encodeURIComponent(name)}`, change, MERGE_PATCH);
    if (status !== 200) throw new Error(`the API server answers ${status} to patch ${kind} ${targets.namespace}/${name}`);
  };
  const puts = [
    put("configmaps", targets.caConfigMap, { data: { "ca.crt": rootPem } }),
    ...Object.entries(secrets).map(([name, files]) => put("secrets", name, { stringData: files })),
  ];
  for (const each of await Promise.allSettled(puts)) if (each.status === "rejected") throw each.reason;
}

const STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json";
/** As the chart names them. */
const WEBHOOKS = ["fail.admission.hullmark.dev", "ignore.admission.hullmark.dev"] as const;

/** Tells the API server by which CA it knows the webhook. Idempotent. @param name of the ValidatingWebhookConfiguration @throws as {@link publish} */
export async function publishWebhookCa(api: Pick<ApiServer, "patch">, name: string, rootPem: string): Promise<void> {
  const caBundle = Buffer.from(rootPem).toString("base64");
  const change = { webhooks: WEBHOOKS.map((webhook) => ({ name: webhook, clientConfig: { caBundle } })) };
  const path = `/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/${encodeURIComponent(name)}`;
  const { status } = await api.patch(path, change, STRATEGIC_MERGE_PATCH);
  if (status !== 200) throw new Error(`the API server answers ${status} to patch validatingwebhookconfigurations ${name}`);
}
