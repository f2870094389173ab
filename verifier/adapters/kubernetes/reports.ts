/** Reports of openreports.io (v1alpha1): written by server-side apply, so that a write is the same whether the object is there or not. */

import type { ApiAnswer, ApiServer } from "@hullmark/daemon/api-server";
import * as z from "zod";
import { MAX_ENTRIES, type Report } from "../../core/fleet/reports.ts";

const GROUP = "/apis/openreports.io/v1alpha1";
const API_VERSION = "openreports.io/v1alpha1";
const MANAGER = "hullmark";
const LABELS = { "app.kubernetes.io/managed-by": "hullmark" };
/** Of reports of at most {@link MAX_ENTRIES} entries: far below what an answer may have. */
const PAGE = 20;
const MAX_PAGES = 100;

export interface ReportTargets {
  /** Of every report that this verifier writes. */
  readonly name: string;
  /** ClusterRole that owns the reports, so that they go with the installation. */
  readonly owner: string;
}

const Role = z.object({ metadata: z.object({ uid: z.string() }) });
const List = z.object({
  metadata: z.object({ continue: z.string().optional() }),
  items: z.array(z.object({ metadata: z.object({ name: z.string(), namespace: z.string() }) })),
});

type Api = Pick<ApiServer, "get" | "patch" | "delete">;

/** @throws Error with the API server's status; the system's error where it is not reached */
export async function reportOwner(api: Api, { owner }: ReportTargets): Promise<string> {
  const { status, body } = await api.get(`/apis/rbac.authorization.k8s.io/v1/clusterroles/${encodeURIComponent(owner)}`);
  if (status !== 200) throw new Error(`the API server answers ${status} to get the ClusterRole ${owner}`);
  return Role.parse(body).metadata.uid;
}

/** Namespaces in which reports of this name stand, for example since an earlier start. @throws as {@link reportOwner} */
export async function reportedNamespaces(api: Api, { name }: ReportTargets): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  let token = "";
  for (let page = 0; page < MAX_PAGES; page++) {
    const selector = encodeURIComponent(`app.kubernetes.io/managed-by=${LABELS["app.kubernetes.io/managed-by"]}`);
    const answer = await api.get(`${GROUP}/reports?labelSelector=${selector}&limit=${PAGE}${token ? `&continue=${encodeURIComponent(token)}` : ""}`);
    if (answer.status !== 200) throw refused(answer, "list reports");
    const { items, metadata } = List.parse(answer.body);
    for (const { metadata: of } of items) if (of.name === name) found.add(of.namespace);
    if (!metadata.continue) return found;
    token = metadata.continue;
  }
  return found;
}

/** @param policy name of the policy in force @param ownerUid of {@link reportOwner} @throws as {@link reportOwner} */
export async function writeReport(api: Api, { name, owner }: ReportTargets, ownerUid: string, report: Report, policy: string): Promise<void> {
  const { namespace, summary, entries } = report;
  const body = {
    apiVersion: API_VERSION,
    kind: namespace === undefined ? "ClusterReport" : "Report",
    metadata: {
      name,
      ...(namespace !== undefined && { namespace }),
      labels: LABELS,
      ownerReferences: [{ apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRole", name: owner, uid: ownerUid }],
    },
    source: "hullmark",
    configuration: { limits: { maxResults: MAX_ENTRIES, statusFilter: ["fail", "error", "warn"] } },
    summary,
    results: entries.map(({ result, rule, message, subject, properties }) => ({
      ...{ source: "hullmark", policy, rule, category: "Runtime integrity", result, scored: true, message, properties },
      ...(result === "fail" ? { severity: "high" } : {}),
      resources: [subject],
    })),
  };
  const answer = await api.patch(`${path(namespace, name)}?fieldManager=${MANAGER}&force=true`, body, "application/apply-patch+yaml");
  // A namespace that goes takes its reports along.
  if (namespace !== undefined && (answer.status === 404 || isTerminating(answer)) && answer.body !== undefined && !isKindMissing(answer)) return;
  if (answer.status !== 200 && answer.status !== 201) throw refused(answer, "write a report");
}

/** @param namespace undefined: the one of the nodes @throws as {@link reportOwner} */
export async function deleteReport(api: Api, { name }: ReportTargets, namespace: string | undefined): Promise<void> {
  const answer = await api.delete(path(namespace, name));
  if (answer.status !== 200 && answer.status !== 202 && answer.status !== 404) throw refused(answer, "delete a report");
}

function path(namespace: string | undefined, name: string): string {
  return namespace === undefined
    ? `${GROUP}/clusterreports/${encodeURIComponent(name)}`
    : `${GROUP}/namespaces/${encodeURIComponent(namespace)}/reports/${encodeURIComponent(name)}`;
}

const Refusal = z.object({
  message: z.string().optional(),
  details: z.object({ causes: z.array(z.object({ reason: z.string().optional() })).optional() }).optional(),
});

function isTerminating({ body }: ApiAnswer): boolean {
  return Refusal.safeParse(body).data?.details?.causes?.some(({ reason }) => reason === "NamespaceTerminating") === true;
}

/** A path of a kind that the cluster does not have is answered in general terms. */
function isKindMissing({ body }: ApiAnswer): boolean {
  return Refusal.safeParse(body).data?.message === "the server could not find the requested resource" || !Refusal.safeParse(body).success;
}

function refused({ status }: ApiAnswer, what: string): Error {
  return new Error(`the API server answers ${status} to ${what}${status === 404 ? " (are the kinds of openreports.io installed?)" : ""}`);
}
