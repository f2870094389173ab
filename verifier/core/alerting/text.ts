/** The words of an alert: read at 03:00 by someone who has never seen it. What, where, who, which layer, since when, what to type next. */

import { ADMISSION_KINDS, CODE_KINDS, CONFIGURATION_KINDS, FILE_KINDS, NODE_KINDS, PROVENANCE_KINDS, SILENCE_KINDS, UNPROVEN_KINDS } from "../policy/kinds.ts";
import { counted } from "../text/counted.ts";
import { printable } from "../text/printable.ts";
import type { AlertSubject } from "./subject.ts";

const MAX_SUMMARY = 512;
const MAX_DESCRIPTION = 4096;
/** Nodes named in the description. */
const MAX_NODES = 8;

/** What is the matter, after the path: "/usr/bin/curl altered in an image layer". */
const WHAT: Readonly<Record<AlertSubject["kind"], string>> = {
  content: "altered",
  added: "added",
  removed: "deleted",
  replaced: "replaced",
  mode: "has other permissions",
  setuid: "is setuid or setgid",
  owner: "has another owner",
  xattr: "has other extended attributes",
  capability: "has file capabilities",
  type: "is of another type",
  target: "points elsewhere",
  device: "is a device",
  opaque: "hides what is below it",
  "code-upper": "runs, and is not in the image",
  "code-volume": "runs from a volume",
  "code-tmpfs": "runs from memory (tmpfs)",
  "code-memfd": "runs from memory (memfd)",
  "code-deleted": "runs, and its file is gone",
  "code-unknown": "runs, and cannot be traced to a file",
  args: "was started with other arguments",
  env: "has other environment variables",
  user: "runs as another user",
  "working-directory": "runs in another directory",
  capabilities: "has added capabilities",
  privileged: "runs privileged",
  "host-namespace": "shares a namespace of the host",
  seccomp: "runs under another seccomp profile",
  apparmor: "runs under another AppArmor profile",
  "no-new-privileges": "may gain privileges, though told not to",
  "read-only-root": "may write to its root, though told not to",
  "device-node": "has an added device",
  mount: "has an added mount",
  "undeclared-mount": "has a mount that the runtime did not make",
  unmounted: "is not mounted any more",
  "bind-file": "differs from what the engine wrote",
  unlisted: "runs in no runtime that the node has",
  "no-pod": "runs for no pod that the API server has",
  "injected-container": "runs in a pod that does not ask for it",
  "static-pod": "comes from the node's own manifests",
  "added-container": "was added to its pod",
  unsigned: "runs an unsigned image",
  "wrong-key": "runs an image signed by an unknown key",
  "other-digest": "runs an image whose signature is for another digest",
  "moved-tag": "runs an image whose tag has moved since it was signed",
  "attestation-missing": "runs an image without a required attestation",
  "signature-malformed": "runs an image whose signature cannot be read",
  revoked: "runs an image that is trusted no more",
  "break-glass": "was let in by break-glass",
  "quote-refused": "sent a TPM quote that does not hold",
  pcr: "booted something else than allowed",
  "event-log": "has an event log that its TPM contradicts",
  "secure-boot": "booted without proven Secure Boot",
  ima: "ran what nothing vouches for",
  boot: "booted something that policy does not list",
  "chain-broken": "broke its chain of evidence",
  cloned: "is spoken for by two machines",
  agent: "runs another agent than expected",
  silent: "fell silent: its agent is not heard, or vouches for nothing",
  "boot-unproven": "does not prove its boot, which policy asks for",
  alias: "has a second name",
  "debug-container": "was added to a running pod",
  breaker: "holds actions back",
  "ak-replaced": "enrolled with another attestation key",
  "exception-ending": "is excused for a short time only",
  "baseline-review": "is to be looked at again",
  "drill-failed": "did not find what a drill did",
  refused: "was kept out",
  vulnerable: "has new vulnerabilities",
};

const PLACE: Readonly<Partial<Record<AlertSubject["place"], string>>> = {
  layer: " in an image layer",
  "runtime-layer": " in the runtime's own layer",
  bind: " in a bind mount",
};

/** What is the matter with a thing of this kind, as it follows its name: `altered`. What is not known is said as it is. */
export function phraseOf(kind: string): string {
  return (WHAT as Readonly<Record<string, string>>)[kind] ?? kind;
}

/** Where an alert holds now. Names are printable; lists are in the order in which they joined. */
export interface Scene {
  readonly nodes: readonly string[];
  readonly workloads: readonly string[];
  /** At most 16; `containerCount` is the whole number. So are the drift ids. */
  readonly containers: readonly string[];
  readonly containerCount: number;
  readonly driftIds: readonly string[];
  readonly driftCount: number;
  /** The drift whose text it is still stands. */
  readonly showsStanding: boolean;
  /** It stands for many that have no alert of their own. */
  readonly storm: boolean;
  readonly reopened: number;
  readonly overSinceMs: number | undefined;
  /** Whom its incident was given to; empty: nobody. */
  readonly owner: string;
}

/** One line, for example `CRITICAL shop/cart: /usr/bin/curl altered in an image layer on w-07 and 299 more nodes`. */
export function alertSummary(subject: AlertSubject, { nodes, workloads, storm, driftCount }: Scene): string {
  const severity = subject.severity.toUpperCase();
  const [node = "", ...otherNodes] = nodes;
  const where = `${cut(node, 64)}${otherNodes.length > 0 ? ` and ${more(otherNodes, "node")}` : ""}`;
  const [workload = "", ...otherWorkloads] = workloads;
  const who = `${cut(workload, 96)}${otherWorkloads.length > 0 ? ` and ${more(otherWorkloads, "workload")}` : ""}`;
  if (storm && subject.kind === "vulnerable") return cut(`${severity} ${driftCount} more images have new vulnerabilities`, MAX_SUMMARY);
  if (storm) return cut(`${severity} ${who || "nodes"}: ${driftCount} more differences on ${where}`, MAX_SUMMARY);
  const what = `${WHAT[subject.kind]}${PLACE[subject.place] ?? ""}`;
  if (subject.kind === "baseline-review") return cut(`${severity} baseline ${baselineOf(subject)} ${what}`, MAX_SUMMARY);
  // A layer that is poisoned still after it was purged.
  if (subject.kind === "breaker" && subject.place === "layer") return cut(`${severity} ${printable(subject.summary, 256)}`, MAX_SUMMARY);
  if (subject.kind === "breaker") return cut(`${severity} the breaker of ${where} ${what}`, MAX_SUMMARY);
  if (subject.kind === "drill-failed") return cut(`${severity} ${printable(subject.driftId, 64)} did not pass at ${where}`, MAX_SUMMARY);
  if (subject.kind === "vulnerable") return cut(`${severity} image ${printable(subject.imageReference, 256)} ${what}`, MAX_SUMMARY);
  if (subject.workload === "") return cut(`${severity} node ${where}${otherNodes.length > 0 ? ":" : ""} ${what}`, MAX_SUMMARY);
  const path = subject.path.length > 0 ? `${printable(subject.path, 256)} ` : "";
  return cut(`${severity} ${who}: ${path}${what}${where === "" ? "" : ` on ${where}`}`, MAX_SUMMARY);
}

/** What nobody does: there is no actor to name. */
const OF_NOBODY: ReadonlySet<AlertSubject["kind"]> = new Set([
  "breaker",
  "silent",
  "boot-unproven",
  "exception-ending",
  "baseline-review",
  "drill-failed",
  "refused",
  "vulnerable",
]);

/** Labelled lines. */
export function alertDescription(subject: AlertSubject, scene: Scene): string {
  const lines: string[] = [];
  if (scene.storm) lines.push(`Too many ${subject.kind === "vulnerable" ? "images" : "differences"} for an alert each. The newest:`);
  if (subject.summary) lines.push(`What   ${printable(subject.summary, 512)}`);
  if (subject.kind !== "baseline-review" && subject.nodeName !== "") lines.push(`Where  ${whereLine(subject, scene)}`);
  if (subject.imageReference)
    lines.push(`Image  ${printable(subject.imageReference, 256)}${subject.provenance ? ` · ${printable(subject.provenance, 128)}` : ""}`);
  if (subject.layerIndex >= 0) lines.push(`Layer  ${subject.layerIndex}${subject.layerHistory ? ` "${printable(subject.layerHistory, 160)}"` : ""}`);
  if (!OF_NOBODY.has(subject.kind)) lines.push(`Who    ${who(subject)}`);
  lines.push(`Since  ${new Date(subject.sinceMs).toISOString()}`);
  if (scene.reopened > 0 && scene.overSinceMs !== undefined)
    lines.push(`Again  it had been over since ${new Date(scene.overSinceMs).toISOString()}; returned ${counted(scene.reopened, "time")}`);
  if (subject.acknowledgedBefore) lines.push(`Acked  ${acknowledgedBefore(subject.acknowledgedBefore)}`);
  if (scene.owner) lines.push(`Owner  ${printable(scene.owner, 64)}`);
  if (subject.logIndex >= 0) lines.push(`Proof  log #${subject.logIndex}`);
  const you = scene.storm ? undefined : youOf(subject);
  if (you) lines.push(`You    ${you}`);
  const { incident } = subject;
  const others = incident && !scene.storm ? [`hullmark incident ack ${incident} -m REASON`, `hullmark playbook show ${incident}`] : [];
  lines.push(`Next   ${[nextCommand(subject, scene), ...others].join(" · ")}`);
  return cut(lines.join("\n"), MAX_DESCRIPTION);
}

function whereLine({ kind }: AlertSubject, { nodes, containers, containerCount }: Scene): string {
  const named = containers.map((name) => cut(name, 64)).join(", ");
  const others = containerCount > containers.length ? ` and ${containerCount - containers.length} more` : "";
  const [node = ""] = nodes;
  const shown = nodes.slice(0, MAX_NODES).map((name) => cut(name, 64));
  const place =
    kind === "breaker" || kind === "drill-failed"
      ? `verifier ${cut(node, 64)}`
      : nodes.length === 1
        ? `node ${cut(node, 64)}`
        : `${nodes.length} nodes: ${shown.join(", ")}${nodes.length > shown.length ? ` and ${nodes.length - shown.length} more` : ""}`;
  return `${named ? `${named}${others} · ` : ""}${place}`;
}

/** What to type next. */
export function nextCommand(
  subject: Pick<AlertSubject, "driftId" | "workload" | "nodeName" | "kind" | "incident" | "image">,
  { storm, nodes, driftCount, showsStanding }: Pick<Scene, "storm" | "nodes" | "driftCount" | "showsStanding">,
): string {
  if (storm) return subject.kind === "vulnerable" ? "hullmark vulnerabilities ls" : "hullmark drift ls";
  if (subject.kind === "breaker") return "hullmark action ls";
  if (subject.kind === "baseline-review") return "hullmark baseline report";
  if (subject.kind === "drill-failed") return "hullmark drill report";
  // Neither has a record among the drifts.
  if (subject.kind === "break-glass") return "hullmark drift ls";
  if (subject.kind === "refused") return "hullmark policy explain POLICY IMAGE";
  if (subject.kind === "vulnerable") return `hullmark vulnerabilities show ${shellWord(subject.image)}`;
  if (subject.incident && (nodes.length > 1 || (driftCount > 0 && !showsStanding))) return `hullmark incident show ${subject.incident}`;
  if (subject.kind === "exception-ending" && subject.nodeName === "") return kubectlOf(subject.driftId);
  if (subject.kind === "exception-ending") return `hullmark exception show ${shellWord(subject.driftId.replace(/^exception-/, ""))}`;
  return subject.workload === "" ? `hullmark nodes ${shellWord(subject.nodeName)}` : `hullmark drift show ${shellWord(subject.driftId)}`;
}

/** Section of the documentation for a kind, `many` included. */
export function playbookOf(kind: string): string {
  return `docs/playbooks.md#${sectionOf(kind)}`;
}

function sectionOf(kind: string): string {
  const [section = "many"] = PLAYBOOK_SECTIONS.find(([, kinds]) => kinds.includes(kind)) ?? [];
  return section;
}

/** What only a person can do, in one line; the playbook has the rest. undefined: the command says it. */
function youOf({ kind, place }: Pick<AlertSubject, "kind" | "place">): string | undefined {
  if (place === "layer" || place === "runtime-layer")
    return "treat the node as compromised: bring nothing back to it, do not uncordon it; whatever shares the layer runs the same";
  if (kind === "refused") return "have it signed, or deploy what is; whoever asked for it was told why";
  return YOU[sectionOf(kind)];
}

const YOU: Readonly<Record<string, string>> = {
  files: "find out who did it; where nothing is done yet, save what you need, then recreate it from its image",
  "running-code": "look at the live process before it is stopped: what runs from memory leaves no file",
  configuration: "find out who started it so; start it again as it is signed, or have policy allow it",
  provenance: "find out who rolled it out; nobody vouches for it, whatever its files are",
  admission: "ask who let it in and why; have it signed, or take it out",
  vulnerabilities: "have it built anew with what is fixed, or have its maker say why it is not affected (VEX)",
  "unproven-boots": "find out who started it so, or what keeps the proof away: until it is proven, nothing that runs there is vouched for",
  "silent-nodes": "find out whether the node, its network or its agent is gone; what happened there since is not known",
  node: "believe nothing that this node says of itself or its containers until it is explained",
};

const PLAYBOOK_SECTIONS: readonly (readonly [string, readonly string[]])[] = [
  ["files", [...FILE_KINDS, "alias"]],
  ["running-code", CODE_KINDS],
  ["configuration", [...CONFIGURATION_KINDS, "debug-container"]],
  ["provenance", PROVENANCE_KINDS],
  ["admission", [...ADMISSION_KINDS, "refused"]],
  ["node", [...NODE_KINDS, "ak-replaced"]],
  ["silent-nodes", SILENCE_KINDS],
  ["unproven-boots", UNPROVEN_KINDS],
  ["breaker", ["breaker"]],
  ["exceptions", ["exception-ending"]],
  ["baselines", ["baseline-review"]],
  ["drills", ["drill-failed"]],
  ["vulnerabilities", ["vulnerable"]],
];

function baselineOf({ driftId }: Pick<AlertSubject, "driftId">): string {
  return cut(printable(driftId.replace(/^baseline-/, "")), 128);
}

function who({ actor }: AlertSubject): string {
  if (!actor) return "not known: no kernel event told of it";
  if (!actor.located) return `pid ${actor.pid} ${printable(actor.executable, 128)}`;
  const entry = actor.entry === "" ? "" : `, ${actor.entry}`;
  return `${actor.inContainer ? "in the container" : "on the host"}, pid ${actor.pid} ${printable(actor.executable, 128)}, uid ${actor.uid}${entry}`;
}

function acknowledgedBefore({ by, atMs }: NonNullable<AlertSubject["acknowledgedBefore"]>): string {
  return `an earlier state, by ${printable(by, 128)}${atMs === undefined ? "" : ` at ${new Date(atMs).toISOString()}`}: it has changed since`;
}

/** Names come from nodes: what is to be pasted into a shell must be one word. */
function shellWord(text: string): string {
  return /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/.test(text) ? text : "ID";
}

/** A team's object: `driftexception-NAMESPACE/NAME`. */
function kubectlOf(driftId: string): string {
  const [namespace = "", name = ""] = driftId.replace(/^driftexception-/, "").split("/");
  return `kubectl --namespace ${shellWord(namespace)} describe driftexception ${shellWord(name)}`;
}

function more(names: readonly string[], what: string): string {
  return `${names.length} more ${what}${names.length > 1 ? "s" : ""}`;
}

function cut(text: string, max: number): string {
  return text.length <= max ? text : `${text.slice(0, max - 1).toWellFormed()}…`;
}
