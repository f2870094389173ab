/**
 * The verdicts as reports for a cluster (openreports.io): one a namespace, one for the nodes. They hold what is not clean and count the rest, so that how much is written
 * does not grow with how much runs. What is in them comes from nodes, bounded and printable.
 */
import { Verdict } from "@hullmark/proto/v1/common";
import type { ClaimRow, NodeRow, WorkloadRow } from "../../ports/rows.ts";
import { printable } from "../text/printable.ts";

/** Words of the format. `error`: could not be judged. */
export type ReportedResult = "pass" | "fail" | "warn" | "error";

export interface ReportEntry {
  readonly result: ReportedResult;
  /** Code of the first reason, or of the verdict. */
  readonly rule: string;
  readonly message: string;
  readonly subject: { readonly apiVersion: "v1"; readonly kind: "Pod" | "Node"; readonly name: string; readonly namespace?: string };
  readonly properties: Readonly<Record<string, string>>;
}

export interface Report {
  /** Undefined: of the nodes, and of no namespace. */
  readonly namespace: string | undefined;
  readonly summary: Readonly<Record<ReportedResult | "skip", number>>;
  /** What did not pass, gravest first. */
  readonly entries: readonly ReportEntry[];
}

/** Entries in one report; beyond them the summary alone counts. */
export const MAX_ENTRIES = 100;
/** Namespaces that are reported; of the rest nothing is. */
export const MAX_REPORTS = 1_000;
const NAMESPACE = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const GRAVITY: readonly ReportedResult[] = ["fail", "error", "warn", "pass"];

const RESULTS: Readonly<Record<Verdict, ReportedResult>> = {
  [Verdict.UNSPECIFIED]: "error",
  [Verdict.AFFIRMING]: "pass",
  [Verdict.WARNING]: "warn",
  [Verdict.CONTRAINDICATED]: "fail",
  [Verdict.UNKNOWN]: "error",
};

/** @returns reports by namespace, that of the nodes under the empty name */
export function reportsOf(workloads: Iterable<WorkloadRow>, nodes: readonly NodeRow[]): ReadonlyMap<string, Report> {
  const entries = new Map<string, ReportEntry[]>();
  for (const row of workloads) {
    const [namespace = "", pod, container] = row.containerName.split("/");
    // What is in no pod has no namespace to be reported in: the node's own view tells of it.
    if (pod === undefined || container === undefined || !NAMESPACE.test(namespace)) continue;
    const own = entries.get(namespace) ?? [];
    if (own.length === 0 && entries.size >= MAX_REPORTS) continue;
    own.push(workloadEntry(row, namespace, pod, container));
    entries.set(namespace, own);
  }
  const reports = new Map([...entries].map(([namespace, own]) => [namespace, reportOf(namespace, own)]));
  const ofNodes = nodes.filter(({ revokedAtMs }) => revokedAtMs === undefined).map(nodeEntry);
  if (ofNodes.length > 0) reports.set("", reportOf(undefined, ofNodes));
  return reports;
}

function workloadEntry(row: WorkloadRow, namespace: string, pod: string, container: string): ReportEntry {
  const result = RESULTS[row.verdict];
  return {
    result,
    rule: rule(row.reasons, result),
    message: message(row.reasons),
    subject: { apiVersion: "v1", kind: "Pod", namespace, name: printable(pod, 253) },
    properties: {
      container: printable(container, 253),
      workload: printable(row.workload, 253),
      image: printable(row.imageReference, 253),
      node: printable(row.nodeId, 64),
      openDrifts: String(row.openDrifts),
    },
  };
}

function nodeEntry(row: NodeRow): ReportEntry {
  const result = RESULTS[row.verdict];
  const subject = { apiVersion: "v1", kind: "Node", name: printable(row.name, 253) } as const;
  return { result, rule: rule(row.reasons, result), message: message(row.reasons), subject, properties: { node: printable(row.id, 64) } };
}

function rule(reasons: readonly ClaimRow[], result: ReportedResult): string {
  return printable(reasons[0]?.code ?? result, 100);
}

function message(reasons: readonly ClaimRow[]): string {
  return reasons
    .slice(0, 4)
    .map(({ code, detail }) => printable(detail ? `${code}: ${detail}` : code, 200))
    .join("; ");
}

function reportOf(namespace: string | undefined, entries: readonly ReportEntry[]): Report {
  const count = (result: ReportedResult): number => entries.filter((each) => each.result === result).length;
  const shown = entries
    .filter(({ result }) => result !== "pass")
    .toSorted((a, b) => GRAVITY.indexOf(a.result) - GRAVITY.indexOf(b.result) || order(a, b))
    .slice(0, MAX_ENTRIES);
  return { namespace, summary: { pass: count("pass"), fail: count("fail"), warn: count("warn"), error: count("error"), skip: 0 }, entries: shown };
}

/** The same set of verdicts is the same report, whatever order they were read in. */
function order(a: ReportEntry, b: ReportEntry): number {
  const [one, other] = [a, b].map(({ subject, properties }) => `${subject.name}/${properties["container"]}/${properties["node"]}`) as [string, string];
  return one < other ? -1 : one > other ? 1 : 0;
}
