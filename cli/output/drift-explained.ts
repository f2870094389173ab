/** One drift in plain words, for whoever runs or builds the image: what happened, why it is not allowed, what is done about it, how it is mended or excused. Pure. */

import { type Drift, DriftState, ProvenanceStatus } from "@hullmark/proto/v1/query";
import type { Action } from "@hullmark/proto/v1/response";
import { phraseOf, playbookOf } from "@hullmark/verifier/core/alerting/text";
import {
  ADMISSION_KINDS,
  CODE_KINDS,
  CONFIGURATION_KINDS,
  isLack,
  isSilence,
  NODE_KINDS,
  PROVENANCE_KINDS,
  SILENCE_KINDS,
  UNPROVEN_KINDS,
} from "@hullmark/verifier/core/policy/kinds";
import { isInPod } from "@hullmark/verifier/core/response/eviction";
import { printable } from "@hullmark/verifier/core/text/printable";
import type { Called } from "../kubectl/invocation.ts";
import { allowedBy } from "./allowed-by.ts";
import { mended } from "./drift-mended.ts";
import { whyNoException } from "./exception-page.ts";
import { actionKindWord, actionStateWord, actorLine, age, severityTitle, toMs } from "./words.ts";

/** Where it lies, as a heading. */
export const PLACES: Readonly<Record<string, string>> = {
  upper: "changed inside the container",
  layer: "image layer altered on the node",
  "runtime-layer": "the runtime's own layer altered",
  bind: "engine-made file altered",
  process: "code outside the image",
  configuration: "configuration differs from the image",
  mount: "mount that the image does not know",
  image: "image not vouched for",
};

const ADVICE: Readonly<Record<string, string>> = {
  upper: "Recreating the container from its image removes it. If the change is legitimate, bring it into the image, or declare the path mutable in the policy.",
  layer:
    "Every container on this node that shares the layer is affected, and recreating one on the same node runs the altered bytes again. Treat the node as compromised.",
  "runtime-layer": "The runtime's own files were changed on the node: only root there can do that. Treat the node as compromised.",
  bind: "Only root on the node, or a container with write access to the file, can change it. Compare with what the engine was told, then recreate the container.",
  process: "This code is not in the image, so nobody has vouched for it. Find out how it came there before you stop the process: stopping loses it.",
  configuration:
    "The container was started otherwise than its image says, and no rule of the policy allows it. Correct the start command, or allow it in the policy.",
  mount: "Files under this mount are not in the image and are not appraised. Remove the mount, or allow its destination in the policy.",
  image: "Sign the image, or correct the policy's rule for it.",
};

/** Sentences; every name in them is printable. `-o json` has them as they stand. */
export interface Explanation {
  readonly happened: readonly string[];
  readonly notAllowed: readonly string[];
  readonly done: readonly string[];
  readonly mend: readonly string[];
  readonly exception: {
    /** What asks for one, as narrow as can be; null: none can be had. */
    readonly request: string | null;
    readonly text: string;
  };
  /** The policy's field that decides, with what would allow it; null: none does. */
  readonly policy: string | null;
  readonly playbook: string;
  /** The rule that decides now; empty: none selects it; null: it cannot be told. */
  readonly rule: string | null;
}

const MAX_SHOWN = 8;

/** @param actions those about this drift, newest first @param rule GetDriftResponse.rule */
export function explain(drift: Drift, actions: readonly Action[], nowMs: number, rule: string | undefined, command: Called): Explanation {
  return {
    happened: happened(drift, nowMs, command),
    notAllowed: notAllowed(drift, rule),
    done: done(drift, actions, command),
    mend: mended(drift, command),
    exception: exceptionOf(drift, command),
    policy: allowedBy(drift) ?? null,
    playbook: playbookOf(drift.kind),
    rule: rule ?? null,
  };
}

export function explanationPage({ id }: Drift, { happened, notAllowed, done, mend, exception }: Explanation, command: Called): string {
  const parts = [
    ["What happened", happened],
    ["Why it is not allowed", notAllowed],
    ["What is done about it", done],
    ["How it is mended", mend],
    ["An exception", [exception.text, ...(exception.request === null ? [] : [`  ${exception.request}`])]],
    ["More", [`${command} drift show ${id}`]],
  ] as const;
  return `${id}\n${parts.map(([title, lines]) => `\n${title}\n${lines.map((line) => `  ${line}\n`).join("")}`).join("")}`;
}

/** @returns undefined: none can be had */
export function requestCommandOf(drift: Drift, command: Called): string | undefined {
  return whyNoException(drift) === undefined ? `${command} exception request ${drift.id} --seen ${drift.seen} -m REASON --until 7d` : undefined;
}

function happened(drift: Drift, nowMs: number, command: Called): string[] {
  const { origin, differences } = drift;
  const place = PLACES[origin?.place ?? ""];
  const of = drift.containerName
    ? `${printable(drift.workload || drift.containerName, 80)} (container ${printable(drift.containerName, 80)} on ${printable(drift.nodeName, 80)})`
    : `node ${printable(drift.nodeName, 80)}`;
  const path = drift.path.length > 0 ? `${printable(drift.path, 4096)} ` : "";
  const lines = [`${of}: ${path}${phraseOf(drift.kind)}${place ? ` (${place})` : ""}.`];
  if (drift.summary) lines.push(printable(drift.summary, 500));
  for (const { field, expected, observed } of differences.slice(0, MAX_SHOWN))
    lines.push(`${printable(field, 200)}: expected ${printable(expected, 400)}, found ${printable(observed, 400)}.`);
  if (differences.length > MAX_SHOWN) lines.push(`${differences.length - MAX_SHOWN} more differences: ${command} drift show ${drift.id}`);
  if (origin && origin.layerIndex >= 0) {
    const step = origin.history ? `, by the build step "${printable(origin.history, 300)}"` : "";
    lines.push(`The ${imageWord(drift)} brings it in layer ${origin.layerIndex}${step}.`);
  }
  if (!isLack(drift.kind)) lines.push(drift.actor?.executable ? `It was done by ${actorLine(drift.actor)}.` : "Who did it is not known.");
  const atMs = toMs(drift.changedAt) ?? toMs(drift.measuredAt);
  if (atMs !== undefined)
    lines.push(
      `${drift.changedAt ? (isSilence(drift.kind) ? "It was heard last" : "It was done") : "It was first seen"} at ${new Date(atMs).toISOString()}, ${age(drift.changedAt ?? drift.measuredAt, nowMs)} ago.`,
    );
  return lines;
}

/** Of an image that nobody signed, or of which that is not known, nothing may say that it is. */
const imageWord = ({ provenance }: Drift): string => (provenance?.status === ProvenanceStatus.SIGNED ? "signed image" : "image");

const isOf = (kinds: readonly string[], kind: string): boolean => kinds.includes(kind);
/** IMAGE stands for what the image may be called. */
const GROUND: readonly (readonly [kinds: readonly string[], text: string])[] = [
  [PROVENANCE_KINDS, "Policy asks for a signature or an attestation that this image does not have, or revokes what it has."],
  [NODE_KINDS, "What the node proves of itself is not what policy asks for, or contradicts itself."],
  [SILENCE_KINDS, "Of a node that is not heard nobody can tell what runs there: nothing is known to be wrong, and nothing to be right. It leads to no action."],
  [
    UNPROVEN_KINDS,
    "Policy asks the node to prove what it booted, and it does not: nothing is known to be wrong, and nothing that runs there is vouched for. It leads to no action.",
  ],
  [ADMISSION_KINDS, "Policy refuses it, and somebody who may let it in all the same."],
  [CODE_KINDS, "Only what the IMAGE holds may run."],
  [CONFIGURATION_KINDS, "A container is to run as its IMAGE, and what declares it, say."],
];

function notAllowed(drift: Drift, rule: string | undefined): string[] {
  const { kind } = drift;
  const [, ground = "What runs is no longer what the IMAGE holds."] = GROUND.find(([kinds]) => isOf(kinds, kind)) ?? [];
  const section = playbookOf(kind).replace(/^.*#/, "");
  const allowed = allowedBy(drift);
  const asked = isOf(PROVENANCE_KINDS, kind) || isOf(NODE_KINDS, kind) || isOf(UNPROVEN_KINDS, kind);
  return [
    ground.replace("IMAGE", imageWord(drift)),
    `It is of kind ${printable(drift.origin?.place ?? "", 40)}/${printable(kind, 60)}, severity ${severityTitle(drift.severity).toLowerCase()} (docs/drift-kinds.md, ${section}).`,
    ruleLine(drift, rule),
    allowed === undefined
      ? "No field of the policy allows it."
      : asked
        ? `The policy's field that asks for it: ${allowed}`
        : `No rule of the policy that selects it allows it. The policy's field that would: ${allowed}`,
  ];
}

function ruleLine({ containerId, containerName }: Drift, rule: string | undefined): string {
  if (rule === undefined) return "Which rule of the policy decides on it cannot be told: its node is away, and rules go by labels.";
  const inPod = isInPod(containerName);
  const list = containerId === "" ? "spec.nodes" : "spec.rules";
  return rule === ""
    ? `No rule of the policy (${list}) selects it.`
    : `The rule of the policy that decides on it: ${printable(rule, 100)} (${list})${inPod ? "; a policy of its namespace, where there is one, may take away more" : ""}.`;
}

function done(drift: Drift, actions: readonly Action[], command: Called): string[] {
  const { state, exception, acknowledgedBy, acknowledgedReason } = drift;
  const lines: string[] = [];
  const resolvedMs = toMs(drift.resolvedAt);
  if (state === DriftState.RESOLVED) lines.push(`It is over${resolvedMs === undefined ? "" : ` since ${new Date(resolvedMs).toISOString()}`}.`);
  if (exception) lines.push(`It is excused by ${printable(exception, 64)}: ${command} exception show ${printable(exception, 64)}`);
  else if (state === DriftState.NOTICE) lines.push("It is a notice: told, and no drift.");
  const alertedMs = toMs(drift.alertedAt);
  lines.push(alertedMs === undefined ? "No alert has been sent." : `An alert was sent at ${new Date(alertedMs).toISOString()}.`);
  if (acknowledgedBy) {
    const earlier = state === DriftState.OPEN ? " an earlier state (it has changed since)" : "";
    lines.push(`${printable(acknowledgedBy, 100)} acknowledged${earlier}: ${printable(acknowledgedReason, 500)}`);
  }
  for (const action of actions.slice(0, MAX_SHOWN))
    lines.push(
      `${actionKindWord(action.kind)} (${actionStateWord(action.state)}), by the rule ${printable(action.rule, 100)}: ${command} action show ${printable(action.id, 64)}`,
    );
  if (actions.length > MAX_SHOWN) lines.push(`${actions.length - MAX_SHOWN} older actions: ${command} action ls`);
  if (actions.length === 0) lines.push("No action has been asked for (spec.response).");
  if (state === DriftState.OPEN) lines.push(`Whoever takes it on: ${command} drift ack ${drift.id} --seen ${drift.seen} -m REASON`);
  lines.push(`${ADVICE[drift.origin?.place ?? ""] ?? "See the playbook."} (${playbookOf(drift.kind)})`);
  return lines;
}

function exceptionOf(drift: Drift, command: Called): Explanation["exception"] {
  const none = (text: string) => ({ request: null, text });
  if (drift.exception) return none(`It has one: ${printable(drift.exception, 64)}.`);
  const why = whyNoException(drift);
  if (why !== undefined) return none(`None can be had for it as it is: ${printable(why, 500)}.`);
  if (drift.state !== DriftState.OPEN && drift.state !== DriftState.ACKNOWLEDGED) return none("None is needed: it is no drift now.");
  const request = requestCommandOf(drift, command) ?? null;
  return { request, text: "This path, content, workload and image alone, until a day, if somebody else agrees:" };
}
