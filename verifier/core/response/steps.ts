/** The steps of an action, each a new row, and what of them enters the log. Pure. */

import { hash } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { MAX_INTENT_BYTES } from "@hullmark/proto/codec";
import { CaptureTeller } from "@hullmark/proto/v1/capture";
import { ActionKind, ActionState, IntentSchema, NodeMark, Outcome } from "@hullmark/proto/v1/response";
import type { ActionRow, CaptureRow, RolloutTarget } from "../../ports/rows.ts";
import { driftId } from "../fleet/drift-id.ts";
import { entry, text, wireName } from "../fleet/log-facts.ts";
import type { LogEntry } from "../transparency/entry.ts";
import { MISSED, missed } from "./capture-missed.ts";
import type { Decision } from "./decide.ts";
import type { NodeAct } from "./decide-node.ts";
import { HIGHER_RISK } from "./rollback.ts";
import { approvalsOf } from "./rungs.ts";

/** An intent is begun within this time of its issue, or not at all. */
export const INTENT_LIFETIME_MS = 300_000;
/** A report may still be under way when the intent ends. */
export const REPORT_GRACE_MS = 60_000;
/** A pod may take long to end, and a rollout to be done, and their actuator tells of it in any case: one from which nothing comes for so long after the issue is not waited for. */
export const TERMINATING_MS = 86_400_000;
const MAX_DETAIL_CHARS = 500;
/** What an actuator takes. */
const MAX_REVISIONS = 8;
/** As Docker names images; the node chooses it. */
const IMAGE_ID = /^sha256:[0-9a-f]{64}$/;

type Act = Extract<Decision, { act: true }>;

/** `A-7K2Q`: as drifts are named. */
export function actionId(number: number): string {
  return driftId(number).replace(/^D/, "A");
}

export function newAction(
  number: number,
  { kind, drift, rule, workload, target, rollout, pod }: Act,
  nodeName: string,
  state: ActionState,
  nowMs: number,
): ActionRow {
  const { nodeId, containerId, containerName, service, imageReference, imageId, configDigest } = workload;
  return {
    ...{
      id: actionId(number),
      number,
      kind,
      state,
      nodeId,
      nodeName,
      containerId,
      containerName,
      workload: workload.workload,
      service,
      imageReference,
      imageId,
      configDigest,
    },
    ...{ driftId: drift?.id ?? "", driftLogIndex: drift?.logIndex ?? -1, rule: rule.name, owners: rule.owners, createdAtMs: nowMs },
    ...{ issuedAtMs: undefined, expiresAtMs: undefined, intent: undefined, settledAtMs: state === ActionState.DRY_RUN ? nowMs : undefined },
    ...{
      approvalsNeeded: approvalsOf(rule, kind),
      approvals: [],
      deniedBy: "",
      reason: "",
      detail: drift ? "" : overBudgetDetail(workload),
      newContainerId: "",
      target,
      rollout,
      pod,
      logIndex: -1,
    },
  };
}

/** A rollback that the verifier itself refuses, as {@link Decision} has it: on record, and never issued. @param number of {@link newAction} */
export function refusedAction(number: number, decision: Act, nodeName: string, nowMs: number): ActionRow {
  const row = settled(newAction(number, decision, nodeName, ActionState.AWAITING, nowMs), ActionState.REFUSED, HIGHER_RISK, nowMs);
  return { ...row, approvalsNeeded: 0, detail: text(decision.refusal ?? "").slice(0, MAX_DETAIL_CHARS) };
}

/** What is said of a container that is acted on for no drift. */
function overBudgetDetail({ appraised }: Act["workload"]): string {
  const found = appraised.reasons.find(({ code }) => code === "over-budget");
  return text(`unmeasurable: ${found?.detail ?? ""}`).slice(0, MAX_DETAIL_CHARS);
}

export function newNodeAction(
  number: number,
  { kind, node, marks, reason, drift, rule, approvals, actuator }: NodeAct,
  state: ActionState,
  nowMs: number,
): ActionRow {
  return {
    ...{ id: actionId(number), number, kind, state, nodeId: node.id, nodeName: node.name },
    ...{ containerId: "", containerName: "", workload: "", imageReference: "", configDigest: "", owners: [], newContainerId: "", logIndex: -1 },
    ...{ driftId: drift?.id ?? "", driftLogIndex: drift?.logIndex ?? -1, rule, createdAtMs: nowMs, node: { marks, done: [], reason, actuator } },
    ...{ issuedAtMs: undefined, expiresAtMs: undefined, intent: undefined, settledAtMs: state === ActionState.DRY_RUN ? nowMs : undefined },
    ...{ approvalsNeeded: approvals, approvals: [], deniedBy: "", reason: "", detail: "" },
  };
}

/** The node whose actuator carries it out. */
export function addresseeOf({ node, nodeId }: Pick<ActionRow, "node" | "nodeId">): string | undefined {
  return node ? node.actuator?.nodeId : nodeId;
}

/** The serialised Intent of an action. @param id 16 random bytes */
export function intentBody(
  row: ActionRow,
  id: Buffer,
  verifier: { readonly verifierId: string; readonly region: string },
  nowMs: number,
  lifetimeMs = INTENT_LIFETIME_MS,
): Buffer {
  const imageId = row.imageId !== undefined && IMAGE_ID.test(row.imageId) && row.imageId !== row.configDigest ? row.imageId : "";
  const intent = create(IntentSchema, {
    ...{ id, actionId: row.id, ...verifier, nodeId: row.pod ? "" : (addresseeOf(row) ?? ""), kind: row.kind },
    ...{ containerId: row.containerId, configDigest: row.configDigest, imageId },
    ...{ driftId: row.driftId, driftLogIndex: BigInt(Math.max(0, row.driftLogIndex)), owners: [...row.owners] },
    ...(row.target && {
      ...{ targetConfigDigest: row.target.configDigest, targetReference: row.target.reference },
      targetImageId: row.target.imageId === row.target.configDigest ? "" : row.target.imageId,
    }),
    ...(row.node?.actuator?.cluster !== undefined && { cluster: row.node.actuator.cluster }),
    ...(row.node && { node: { nodeId: row.nodeId, name: row.nodeName, marks: [...row.node.marks], reason: row.node.reason } }),
    ...(row.pod && {
      ...{ cluster: row.pod.cluster, podNamespace: row.pod.namespace, podName: row.pod.name, podUid: row.pod.uid, podContainer: row.pod.container },
      ...{ podNode: row.nodeName, podImageDigests: [...row.pod.imageDigests] },
    }),
    ...(row.purge && { purge: { chainId: row.purge.chainId, imageDigests: [...row.purge.imageDigests] } }),
    ...(row.rollout && { podOwner: row.rollout.owner, revisions: row.rollout.revisions.map(toRevision) }),
    ...{ issuedAt: timestampFromMs(nowMs), expiresAt: timestampFromMs(nowMs + lifetimeMs) },
  });
  // Those that were affirming longest ago are left out where there is no room for all.
  while (intent.revisions.length > MAX_REVISIONS || (intent.revisions.length > 1 && toBinary(IntentSchema, intent).length > MAX_INTENT_BYTES))
    intent.revisions.pop();
  return Buffer.from(toBinary(IntentSchema, intent));
}

/** As the wire has it. */
export function toRevision({ name, images }: RolloutTarget["revisions"][number]) {
  return { name, images: images.map(({ container, reference }) => ({ container, digest: reference.slice(reference.lastIndexOf("@") + 1) })) };
}

export function issued(row: ActionRow, intent: NonNullable<ActionRow["intent"]>, nowMs: number, lifetimeMs = INTENT_LIFETIME_MS): ActionRow {
  return { ...row, state: ActionState.ISSUED, intent, issuedAtMs: nowMs, expiresAtMs: nowMs + lifetimeMs };
}

/** What an actuator says became of it: an attacker who holds one chooses the words. */
export interface Report {
  readonly outcome: Outcome;
  readonly reason: string;
  readonly detail: string;
  readonly newContainerId: string;
  readonly capture?: CaptureRow | undefined;
  /** Why something was not captured; empty, or absent: all was that should be. */
  readonly captureProblem?: string | undefined;
  /** Of an action on a node. */
  readonly marks?: readonly NodeMark[];
}

const STATE_OF: Readonly<Partial<Record<Outcome, ActionState>>> = {
  [Outcome.DONE]: ActionState.DONE,
  [Outcome.FAILED]: ActionState.FAILED,
  [Outcome.REFUSED]: ActionState.REFUSED,
};

/** What an actuator may wait for, in this order. */
const WAITS: readonly string[] = ["pdb", "terminating", "rolling-out"];

/** It is not done yet. @returns undefined: that says nothing new */
export function waiting(row: ActionRow, { reason, detail }: Report): ActionRow | undefined {
  if (row.state !== ActionState.ISSUED || WAITS.indexOf(reason) <= WAITS.indexOf(row.reason)) return undefined;
  return { ...row, reason, detail: text(detail).slice(0, MAX_DETAIL_CHARS) };
}

/** Issued, and no report is expected any more. */
export function isOverdue(
  { state, reason, issuedAtMs = 0, expiresAtMs = 0, purge }: Pick<ActionRow, "state" | "reason" | "issuedAtMs" | "expiresAtMs" | "purge">,
  nowMs: number,
): boolean {
  // Its report has come: what is waited for is a measurement.
  if (purge?.purgedAtMs !== undefined) return false;
  const untilMs = reason === "terminating" || reason === "rolling-out" ? issuedAtMs + TERMINATING_MS : expiresAtMs + REPORT_GRACE_MS;
  return state === ActionState.ISSUED && untilMs <= nowMs;
}

/** undefined: the report says no outcome that is known here. */
export function reported(given: ActionRow, report: Report, nowMs: number): ActionRow | undefined {
  const { outcome, reason, detail, newContainerId, capture, captureProblem = "", marks = [] } = report;

  const state = STATE_OF[outcome];
  if (state === undefined) return undefined;
  const code = /^[a-z][a-z-]{0,63}$/.test(reason) ? reason : "";
  const replaced = /^[0-9a-f]{64}$/.test(newContainerId) ? newContainerId : "";
  // Of a pod its node tells, whose layers these are; no actuator of a cluster has any.
  const row = given.pod || captureProblem === "" ? given : missed(given, MISSED.NOT_TAKEN, nowMs, captureProblem);
  const own = !row.pod && capture && /^sha256:[0-9a-f]{64}$/.test(capture.digest) && Number.isSafeInteger(capture.bytes);
  const captured = own ? { capture: { ...capture, teller: CaptureTeller.ACTUATOR, toldAtMs: nowMs } } : {};
  const done = state === ActionState.REFUSED ? [] : (row.node?.marks.filter((mark) => marks.includes(mark)) ?? []);
  const marked = row.node && { node: { ...row.node, done } };
  return { ...row, state, reason: code, detail: text(detail).slice(0, MAX_DETAIL_CHARS), newContainerId: replaced, ...captured, ...marked, settledAtMs: nowMs };
}

export function settled(row: ActionRow, state: ActionState, reason: string, nowMs: number): ActionRow {
  return { ...row, state, reason, settledAtMs: nowMs };
}

/** @param by who, where a person did it */
export function actionFact(row: ActionRow, nowMs: number, by = ""): LogEntry {
  return entry("action", nowMs, {
    ...{ id: row.id, kind: wireName(ActionKind, row.kind), state: wireName(ActionState, row.state), node: row.nodeId, container: text(row.containerId) },
    ...{ name: text(row.containerName), workload: text(row.workload), image: text(row.imageReference), config: text(row.configDigest) },
    ...{ drift: row.driftId, driftIndex: row.driftLogIndex, rule: row.rule, approvals: row.approvals.map((each) => text(each.by)) },
    ...{ intent: row.intent ? `sha256:${hash("sha256", row.intent.body)}` : null, expires: row.expiresAtMs === undefined ? null : Math.floor(row.expiresAtMs) },
    ...{
      reason: text(row.reason),
      detail: text(row.detail),
      newContainer: row.newContainerId || null,
      ...(row.target && { target: text(row.target.reference), targetConfig: text(row.target.configDigest) }),
      ...(row.rollout && {
        owner: text(`${row.rollout.owner.kind}/${row.rollout.owner.name}`),
        ownerUid: text(row.rollout.owner.uid),
        revisions: row.rollout.revisions.map(({ name }) => text(name)),
      }),
      ...(row.node && {
        ...{ marks: row.node.marks.map(markName), marksDone: row.node.done.map(markName), cause: row.node.reason || null },
        actuator: row.node.actuator ? (row.node.actuator.cluster ?? row.node.actuator.nodeId) : null,
      }),
      ...(row.pod && { pod: `${row.pod.namespace}/${row.pod.name}`, podUid: text(row.pod.uid) }),
      ...(row.purge && {
        layer: row.purge.chainId,
        images: [...row.purge.imageDigests],
        ...(row.purge.byHand && { byHand: true }),
        ...(row.purge.wellAtMs !== undefined && { wellAt: Math.floor(row.purge.wellAtMs) }),
      }),
      ...(row.undoes !== undefined && { undoes: row.undoes }),
      ...(row.capture && { capture: row.capture.digest, captureComplete: row.capture.complete }),
      ...(row.capture?.teller !== undefined && { captureTeller: wireName(CaptureTeller, row.capture.teller) }),
      ...(row.captureMissed !== undefined && { captureMissed: row.captureMissed.code, captureProblem: row.captureMissed.problem }),
      by: by === "" ? null : text(by),
    },
  });
}

function markName(mark: NodeMark): string {
  return wireName(NodeMark, mark);
}
