/**
 * Attestation Results in the standard form: the claims of an EAR (draft-ietf-rats-ear, JSON serialisation) with the trustworthiness vector of AR4SI. Pure.
 * A result is stated as it is shown: what cannot be judged is `none`, and no status is better than the worst claim of its vector.
 */
import { Verdict } from "@hullmark/proto/v1/common";
import type { ClaimRow, NodeRow, VectorRow, WorkloadRow } from "../../ports/rows.ts";

export const EAR_PROFILE = "tag:ietf.org,2026:rats/ear#05";
/** A relying party that holds a result for longer asks again: verdicts change. */
export const EAR_LIFETIME_SECONDS = 300;
/** Bytes of a caller's nonce (section 3 of the draft), both inclusive. */
export const EAR_NONCE_BYTES = { min: 8, max: 64 } as const;

export type EarStatus = "none" | "affirming" | "warning" | "contraindicated";

export interface EarInput {
  readonly node: NodeRow;
  /** A container of that node; undefined: the node alone. */
  readonly workload: WorkloadRow | undefined;
  /** Hex digest of the policy in force. */
  readonly policySha256: string;
  readonly verifierId: string;
  readonly region: string;
  readonly version: string;
  /** The caller's; empty: none. */
  readonly nonce: Uint8Array;
  readonly nowMs: number;
}

/** Claims of the JWT, without `iss`'s signature. Times are whole seconds since 1970. */
export function earClaims({ node, workload, policySha256, verifierId, region, version, nonce, nowMs }: EarInput): Record<string, unknown> {
  const iat = Math.floor(nowMs / 1000);
  const policy = [`urn:hullmark:policy:sha256:${policySha256}`];
  const submods: Record<string, EarAppraisal> = { node: nodeAppraisal(node, policy) };
  if (workload) submods["container"] = workloadAppraisal(workload, policy);
  return {
    eat_profile: EAR_PROFILE,
    iss: `hullmark/${region}/${verifierId}`,
    iat,
    exp: iat + EAR_LIFETIME_SECONDS,
    ear_verifier_id: { developer: "https://hullmark.dev", build: `hullmark verifier ${version}` },
    ear_status: Object.values(submods).reduce<EarStatus>((worst, { ear_status }) => worse(worst, ear_status), "affirming"),
    submods,
    ...(nonce.length > 0 && { eat_nonce: Buffer.from(nonce).toString("base64url") }),
  };
}

interface EarAppraisal {
  readonly ear_status: EarStatus;
  readonly ear_trustworthiness_vector: Readonly<Record<string, number>>;
  readonly ear_appraisal_policy_ids: readonly string[];
  readonly ear_verifier_claims: Readonly<Record<string, unknown>>;
}

function nodeAppraisal({ id, name, verdict, vector, reasons, lastQuoteMs, lastSeenMs, bootId }: NodeRow, policy: readonly string[]): EarAppraisal {
  const claims = { id, name, boot_id: bootId, last_quote: seconds(lastQuoteMs), last_seen: seconds(lastSeenMs), reasons: codes(reasons) };
  return appraisal(verdict, vector, policy, claims);
}

function workloadAppraisal(row: WorkloadRow, policy: readonly string[]): EarAppraisal {
  const { containerId, containerName, workload, imageReference, configDigest, manifestDigest, verdict, vector, reasons, appraisedAtMs, openDrifts } = row;
  return appraisal(verdict, vector, policy, {
    ...{ id: containerId, name: containerName, workload, image: imageReference, config_digest: configDigest, manifest_digest: manifestDigest },
    ...{ appraised_at: seconds(appraisedAtMs), open_drifts: openDrifts, reasons: codes(reasons) },
  });
}

function appraisal(verdict: Verdict, vector: VectorRow | undefined, policy: readonly string[], claims: Readonly<Record<string, unknown>>): EarAppraisal {
  const named = vectorOf(vector);
  return {
    ear_status: Object.values(named).reduce<EarStatus>((worst, value) => worse(worst, tierOf(value)), STATUS[verdict]),
    ear_trustworthiness_vector: named,
    ear_appraisal_policy_ids: policy,
    ear_verifier_claims: claims,
  };
}

const STATUS: Readonly<Record<Verdict, EarStatus>> = {
  [Verdict.UNSPECIFIED]: "none",
  [Verdict.AFFIRMING]: "affirming",
  [Verdict.WARNING]: "warning",
  [Verdict.CONTRAINDICATED]: "contraindicated",
  [Verdict.UNKNOWN]: "none",
};

/** What a relying party must not take for better. `none` is below `warning`: it says nothing at all. */
const ORDER: readonly EarStatus[] = ["affirming", "warning", "none", "contraindicated"];

function worse(a: EarStatus, b: EarStatus): EarStatus {
  return ORDER.indexOf(a) >= ORDER.indexOf(b) ? a : b;
}

/** AR4SI section 2.3.2. A category without a claim says nothing, also nothing bad. */
function tierOf(value: number): EarStatus {
  const size = Math.abs(value);
  if (size >= 96) return "contraindicated";
  return size >= 32 ? "warning" : "affirming";
}

function vectorOf(vector: VectorRow | undefined): Record<string, number> {
  const named = {
    "instance-identity": vector?.instanceIdentity ?? 0,
    configuration: vector?.configuration ?? 0,
    executables: vector?.executables ?? 0,
    "file-system": vector?.fileSystem ?? 0,
    hardware: vector?.hardware ?? 0,
    "runtime-opaque": vector?.runtimeOpaque ?? 0,
    "storage-opaque": vector?.storageOpaque ?? 0,
    "sourced-data": vector?.sourcedData ?? 0,
  };
  const told = Object.fromEntries(Object.entries(named).filter(([, value]) => value !== 0));
  // The vector must not be empty.
  return Object.keys(told).length > 0 ? told : { "instance-identity": 0 };
}

function seconds(ms: number | undefined): number | null {
  return ms === undefined ? null : Math.floor(ms / 1000);
}

function codes(reasons: readonly ClaimRow[]): string[] {
  return reasons.map(({ code }) => code);
}
