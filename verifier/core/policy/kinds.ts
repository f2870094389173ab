/** The closed vocabulary of what can differ: names that policy, drift records, alerts and documentation share (docs/policy.md lists them). */

export const SEVERITIES = ["info", "low", "medium", "high", "critical"] as const;
export type Severity = (typeof SEVERITIES)[number];

/** @returns 0 for `info` to 4 for `critical`: higher is graver */
export function severityRank(severity: Severity): number {
  return SEVERITIES.indexOf(severity);
}

/** Where a differing thing lies. */
export const DRIFT_PLACES = ["upper", "layer", "runtime-layer", "bind", "process", "configuration", "mount", "image", "node"] as const;
export type DriftPlace = (typeof DRIFT_PLACES)[number];

/** Differences of one filesystem entry. */
export const FILE_KINDS = [
  "content",
  "added",
  "removed",
  "replaced",
  "mode",
  "setuid",
  "owner",
  "xattr",
  "capability",
  "type",
  "target",
  "device",
  "opaque",
] as const;

/** Code in a process that no signed image holds. */
export const CODE_KINDS = ["code-upper", "code-volume", "code-tmpfs", "code-memfd", "code-deleted", "code-unknown"] as const;

/** The container as it is run, against its image and the allowances. */
export const CONFIGURATION_KINDS = [
  "args",
  "env",
  "user",
  "working-directory",
  "capabilities",
  "privileged",
  "host-namespace",
  "seccomp",
  "apparmor",
  "no-new-privileges",
  "read-only-root",
  "device-node",
  "mount",
  "undeclared-mount",
  "unmounted",
  "bind-file",
  "unlisted",
  "no-pod",
  "injected-container",
  "static-pod",
  "added-container",
] as const;

/** What a required signature or attestation lacks. */
export const PROVENANCE_KINDS = ["unsigned", "wrong-key", "other-digest", "moved-tag", "attestation-missing", "signature-malformed", "revoked"] as const;

/** Let into the cluster although policy refuses it, by somebody who may. */
export const ADMISSION_KINDS = ["break-glass"] as const;

/** Contradictions of the node itself. */
export const NODE_KINDS = ["quote-refused", "pcr", "event-log", "secure-boot", "boot", "ima", "chain-broken", "cloned", "agent"] as const;

/** What a node does not say, and what of its boot it does not prove: it contradicts nothing, and nothing is acted on because of it. */
export const SILENCE_KINDS = ["silent"] as const;
export const UNPROVEN_KINDS = ["boot-unproven"] as const;
const LACK_KINDS = [...SILENCE_KINDS, ...UNPROVEN_KINDS] as const;
export type LackKind = (typeof LACK_KINDS)[number];

export function isSilence(kind: string): boolean {
  return (SILENCE_KINDS as readonly string[]).includes(kind);
}

export function isUnprovenBoot(kind: string): boolean {
  return (UNPROVEN_KINDS as readonly string[]).includes(kind);
}

export function isLack(kind: string): kind is LackKind {
  return (LACK_KINDS as readonly string[]).includes(kind);
}

/**
 * Seen and explained: shown, never counted as drift. `alias`: another name of a signed file's identical content. `debug-container`: added to the running
 * pod through the API server.
 */
export const NOTICE_KINDS = ["alias", "debug-container"] as const;

export const DRIFT_KINDS = [
  ...FILE_KINDS,
  ...CODE_KINDS,
  ...CONFIGURATION_KINDS,
  ...PROVENANCE_KINDS,
  ...ADMISSION_KINDS,
  ...NODE_KINDS,
  ...LACK_KINDS,
] as const;
export const ALL_KINDS = [...DRIFT_KINDS, ...NOTICE_KINDS] as const;

export type DriftKind = (typeof DRIFT_KINDS)[number];
export type NoticeKind = (typeof NOTICE_KINDS)[number];
export type Kind = (typeof ALL_KINDS)[number];

/** A key of the severity table: a kind, or a kind in one place (`layer/content`), which goes before the kind alone. */
export type SeverityKey = Kind | `${DriftPlace}/${Kind}`;
