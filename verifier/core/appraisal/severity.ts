/** Built-in severities: what policy does not say. A file that can be run weighs more than data; an altered layer weighs more than either. */
import { Severity } from "@hullmark/proto/v1/common";
import type { FindingKind, FindingPlace } from "./types.ts";

const BY_KIND: Partial<Record<FindingKind, Severity>> = {
  setuid: Severity.CRITICAL,
  capability: Severity.CRITICAL,
  device: Severity.CRITICAL,
  "code-memfd": Severity.CRITICAL,
  "code-deleted": Severity.HIGH,
  "code-upper": Severity.HIGH,
  "code-tmpfs": Severity.CRITICAL,
  "code-volume": Severity.MEDIUM,
  "code-unknown": Severity.MEDIUM,
  privileged: Severity.CRITICAL,
  capabilities: Severity.HIGH,
  "host-namespace": Severity.HIGH,
  "device-node": Severity.HIGH,
  "undeclared-mount": Severity.HIGH,
  unmounted: Severity.HIGH,
  mount: Severity.MEDIUM,
  seccomp: Severity.MEDIUM,
  apparmor: Severity.MEDIUM,
  "no-new-privileges": Severity.HIGH,
  "read-only-root": Severity.HIGH,
  args: Severity.MEDIUM,
  env: Severity.MEDIUM,
  user: Severity.HIGH,
  "working-directory": Severity.LOW,
  "bind-file": Severity.HIGH,
  unlisted: Severity.HIGH,
  "no-pod": Severity.HIGH,
  "injected-container": Severity.HIGH,
  "static-pod": Severity.HIGH,
  "added-container": Severity.HIGH,
  unsigned: Severity.HIGH,
  "wrong-key": Severity.CRITICAL,
  "other-digest": Severity.CRITICAL,
  "moved-tag": Severity.HIGH,
  "attestation-missing": Severity.HIGH,
  revoked: Severity.CRITICAL,
  "signature-malformed": Severity.HIGH,
  alias: Severity.INFO,
  "debug-container": Severity.INFO,
};

/** Whether drift of this severity contradicts what holds it; what is less is a warning. */
export function contradicts(severity: Severity): boolean {
  return severity >= Severity.MEDIUM;
}

export function defaultSeverity(place: FindingPlace, kind: FindingKind, executable: boolean): Severity {
  if (place === "layer" || place === "runtime-layer") return Severity.CRITICAL;
  return BY_KIND[kind] ?? (executable ? Severity.HIGH : Severity.MEDIUM);
}
