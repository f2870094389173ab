/** Which field of the policy would allow a drift: what a person writes who finds it right as it is. */
import type { Drift } from "@hullmark/proto/v1/query";
import type { Kind } from "@hullmark/verifier/core/policy/kinds";
import { printable } from "@hullmark/verifier/core/text/printable";

/** A field of a rule (`allow`, `require`) or of `spec`, with its value in YAML; undefined: policy allows no such thing. */
type Field = (drift: Drift) => string | undefined;

const nothing: Field = () => undefined;
const fixed =
  (text: string): Field =>
  () =>
    text;
const first = ({ differences: [difference] }: Drift) => ({ field: "", expected: "", observed: "", ...difference });
const observed =
  (name: string): Field =>
  (drift) =>
    field(name, first(drift).observed.split(" "));
const path =
  (name: string): Field =>
  (drift) =>
    field(name, [printable(drift.path, 4096)]);

/** In what a container may write; in what the node's containers share nothing is. */
const mutable: Field = (drift) => {
  const paths = drift.origin?.place === "upper" || drift.origin?.place === "bind" ? path("paths")(drift) : undefined;
  return paths && `mutable: [{ name: …, class: data, ${paths} }]${drift.origin?.place === "bind" ? "" : " (class any where it can be executed)"}`;
};
const executable: Field = (drift) => {
  const paths = drift.origin?.place === "upper" ? path("paths")(drift) : undefined;
  return paths && `mutable: [{ name: …, class: any, ${paths} }]`;
};
/** Asked for by policy alone; what the engine was asked for and does not hold is no matter of policy. */
const required =
  (field: string): Field =>
  (drift) =>
    first(drift).expected === "required" ? `${field}: false` : undefined;

const engineInit: Field = ({ differences }) => {
  const found = differences.find((each) => each.field === "sha256");
  return found && field("require.engineInits", [found.observed]);
};
const signatures = fixed("require.signatures");
const FIELDS: Readonly<Record<Kind, Field>> = {
  content: mutable,
  added: mutable,
  removed: mutable,
  replaced: mutable,
  mode: mutable,
  owner: mutable,
  xattr: mutable,
  type: mutable,
  target: mutable,
  opaque: mutable,
  setuid: executable,
  capability: executable,
  device: executable,
  "bind-file": mutable,
  "code-upper": fixed("allow.code: [upper]"),
  "code-volume": (drift) => (first(drift).expected === "listed in require.engineInits" ? engineInit(drift) : "allow.code: [volume]"),
  "code-tmpfs": fixed("allow.code: [tmpfs]"),
  "code-memfd": fixed("allow.code: [memfd]"),
  "code-deleted": fixed("allow.code: [deleted]"),
  "code-unknown": nothing,
  args: fixed("allow.args: true"),
  env: (drift) => field("allow.env", [first(drift).field.replace(/^env /, "")]),
  user: observed("allow.users"),
  "working-directory": fixed("allow.workingDirectory: true"),
  capabilities: observed("allow.capabilities"),
  privileged: fixed("allow.privileged: true"),
  "host-namespace": (drift) => field("allow.hostNamespaces", [first(drift).observed.replace(/^host /, "")]),
  seccomp: observed("allow.seccomp"),
  apparmor: observed("allow.apparmor"),
  "no-new-privileges": required("require.noNewPrivileges"),
  "read-only-root": required("require.readOnlyRoot"),
  "device-node": observed("allow.devices"),
  mount: path("allow.mounts"),
  "undeclared-mount": (drift) => (drift.path.length > 1 ? path("allow.mounts")(drift) : undefined),
  unmounted: nothing,
  unlisted: nothing,
  "no-pod": nothing,
  "injected-container": nothing,
  "static-pod": fixed("allow.staticPods: true"),
  "added-container": fixed("allow.injected: true (beside require.signatures)"),
  unsigned: signatures,
  "wrong-key": signatures,
  "other-digest": signatures,
  "moved-tag": signatures,
  "signature-malformed": signatures,
  "attestation-missing": fixed("require.attestations, require.build or require.approvals"),
  revoked: fixed("spec.revocations"),
  "break-glass": nothing,
  "quote-refused": nothing,
  "chain-broken": nothing,
  cloned: nothing,
  pcr: fixed("spec.nodes[].pcrs"),
  "event-log": fixed("spec.nodes[].boot.eventLog"),
  "secure-boot": fixed("spec.nodes[].boot.secureBoot"),
  boot: fixed("spec.nodes[].boot"),
  ima: fixed("spec.nodes[].ima"),
  silent: nothing,
  "boot-unproven": fixed("spec.nodes[]"),
  agent: fixed("spec.nodes[].agent"),
  alias: nothing,
  "debug-container": nothing,
};

/** @param drift its strings may be a workload's or a node's; what is returned is printable */
export function allowedBy(drift: Drift): string | undefined {
  // What a pod's specification does not ask for is not excused by policy, and what differs from it in kind neither.
  if (first(drift).field.startsWith("spec.")) return undefined;
  return Object.hasOwn(FIELDS, drift.kind) ? FIELDS[drift.kind as Kind](drift) : undefined;
}

/** With a YAML list on one line. Names are globs there: they stand for themselves alone. undefined: one has bytes that no policy can write. */
function field(name: string, printableNames: readonly string[]): string | undefined {
  const names = printableNames.map((each) => each.replaceAll("\\\\", "\0"));
  if (names.some((each) => each.includes("\\"))) return undefined;
  const globs = names.map((each) => each.replace(/[\0*?]/g, (special) => (special === "\0" ? "\\\\" : `\\${special}`)));
  return `${name}: [${globs.map((glob) => (/^(?!(?:true|false|null)$)[A-Za-z_/][\w./-]*$/i.test(glob) ? glob : JSON.stringify(glob))).join(", ")}]`;
}
