/** The facts of an image's risk, out of what the verifier knows of it and of the containers that run it. */
import type { ContainerConfiguration } from "@hullmark/proto/v1/attestation";
import { TrustLevel } from "@hullmark/proto/v1/common";
import { ProvenanceStatus } from "@hullmark/proto/v1/query";
import type { NodeRow, WorkloadRow } from "../../ports/rows.ts";
import { hasRuntimeConfiguration, runtimeDefaults } from "../appraisal/runtime-defaults.ts";
import { isAttested } from "../fleet/census.ts";
import { wireName } from "../fleet/log-facts.ts";
import type { ProvenanceStatus as StatusName } from "../provenance/status.ts";
import { printable } from "../text/printable.ts";
import type { ImageOverview } from "../vulnerabilities/index.ts";
import type { Exposure, RiskPlace } from "./facts.ts";
import { type Risk, riskOf } from "./risk.ts";

const DAY_MS = 86_400_000;

export interface Surroundings {
  /** The newest row of a node. */
  readonly node: (nodeId: string) => NodeRow | undefined;
  /** What a container of a connected node runs with, and whether it is a pod's; undefined: not known now. */
  readonly configuration: (nodeId: string, containerId: string) => { readonly of: ContainerConfiguration; readonly inPod: boolean } | undefined;
  readonly nowMs: () => number;
}

/** @param rows containers that run it */
export function imageRisk({ image, findings, reports, base }: ImageOverview, rows: readonly WorkloadRow[], around: Surroundings): Risk {
  const scans = reports.filter(({ isScan }) => isScan);
  const dated = scans.flatMap(({ createdAtMs }) => createdAtMs ?? []);
  const { provenance } = image.row;
  return riskOf({
    findings,
    scanned: scans.length > 0,
    scanAgeDays: dated.length === 0 ? undefined : Math.max(0, Math.floor((around.nowMs() - Math.max(...dated)) / DAY_MS)),
    provenance: statusName(provenance?.status),
    places: rows.map((row) => placeOf(row, around)),
    ...{ base: printable(base?.name ?? "", 200), source: printable(provenance?.sourceRepository ?? "", 200) },
  });
}

function statusName(status: ProvenanceStatus | undefined): StatusName {
  return status === undefined || status === ProvenanceStatus.UNSPECIFIED ? "unknown" : (wireName(ProvenanceStatus, status) as StatusName);
}

function placeOf({ nodeId, containerId, openDrifts }: WorkloadRow, { node, configuration }: Surroundings): RiskPlace {
  const row = node(nodeId);
  const known = configuration(nodeId, containerId);
  return { exposure: known && exposureOf(known.of, known.inPod), node: row && isAttested(row.verdict) ? trustOf(row.trustLevel) : "unattested", openDrifts };
}

function trustOf(level: TrustLevel): RiskPlace["node"] {
  return level === TrustLevel.TPM ? "tpm" : level === TrustLevel.TPM_TOFU ? "tofu" : "none";
}

/** Files that an engine puts into every container. */
const ENGINE_FILES: ReadonlySet<string> = new Set(["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"]);

export function exposureOf(configuration: ContainerConfiguration, inPod: boolean): Exposure {
  const given = runtimeDefaults(inPod).capabilities;
  const mounts = configuration.mounts.filter(({ type, declared, destination }) => type === "bind" && declared && !ENGINE_FILES.has(destination));
  return {
    privileged: configuration.privileged,
    hostNamespaces: configuration.hostNamespaces.map((name) => printable(name, 20)),
    capabilities: hasRuntimeConfiguration(configuration)
      ? configuration.capabilities.filter((name) => !given.has(name)).map((name) => printable(name, 40))
      : [],
    hostMounts: mounts.map(({ source }) => printable(source, 100)),
  };
}
