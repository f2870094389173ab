/**
 * What a pod's node is asked to keep of it before something is done by which it would be gone. The node is not trusted: it can give anything, or nothing; so it is waited for as long as policy
 * says, and no longer. Pure.
 */
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { type CaptureTaken, CaptureTeller } from "@hullmark/proto/v1/capture";
import { ActionKind, ActionState } from "@hullmark/proto/v1/response";
import type { ActionRow, CaptureRow, NodeRow } from "../../ports/rows.ts";
import type { Policy, ResponseRule } from "../policy/types.ts";
import { isWaitOver, MISSED, missed, UNCAPTURED } from "./capture-missed.ts";
import { settled } from "./steps.ts";

/** By these a pod's writable layers go. */
const TAKING_AWAY: ReadonlySet<ActionKind> = new Set([ActionKind.EVICT, ActionKind.ROLLBACK, ActionKind.HALT]);
const DIGEST = /^sha256:[0-9a-f]{64}$/;
const MAX_COUNT = 9_999_999;
/** The end of the year 9999. */
const MAX_TIME_MS = 253_402_300_799_999;

/** The rule that asked for an action, or where it is gone: nothing is known of captures then. */
function ruleOf(row: ActionRow, policy: Pick<Policy, "response">): ResponseRule["capture"] | undefined {
  return policy.response.rules.find(({ name }) => name === row.rule)?.capture;
}

/** @returns how long the node is waited for, in milliseconds; undefined: nothing is captured first */
export function patienceFor(row: ActionRow, node: Pick<NodeRow, "captures"> | undefined, policy: Pick<Policy, "response">): number | undefined {
  const capture = ruleOf(row, policy);
  if (!row.pod || !TAKING_AWAY.has(row.kind) || !capture || capture.patienceSeconds === 0) return undefined;
  return node?.captures || capture.missed === "leave" ? capture.patienceSeconds * 1000 : undefined;
}

/** @param id 16 random bytes */
export function capturing(row: ActionRow, id: Buffer, patienceMs: number, nowMs: number): ActionRow {
  return { ...row, state: ActionState.CAPTURING, capturing: { id, sinceMs: nowMs, untilMs: nowMs + patienceMs } };
}

/** Whether nothing is waited for any more. */
export function isCaptureOver(
  { capture, captureMissed, capturing: asked }: Pick<ActionRow, "capture" | "captureMissed" | "capturing">,
  nowMs: number,
): boolean {
  return capture !== undefined || captureMissed !== undefined || !asked || isWaitOver(asked, nowMs);
}

/** What the node told, on the row; undefined: it says nothing new. */
export function answered(row: ActionRow, { capture, problem }: CaptureTaken, nowMs: number): ActionRow | undefined {
  if (row.capture) return undefined;
  const { captureMissed, ...rest } = row;
  const taken = capture && captureRow(capture, nowMs);
  // After the time was over it counts still: what is kept there can be fetched.
  if (taken) return { ...rest, capture: taken };
  return captureMissed === undefined ? missed(row, MISSED.NOT_TAKEN, nowMs, problem) : undefined;
}

/** Where policy says that nothing is done without: the end of an action; undefined: it goes on. */
export function leftAsItIs(row: ActionRow, policy: Pick<Policy, "response">, nowMs: number): ActionRow | undefined {
  if (row.captureMissed === undefined || ruleOf(row, policy)?.missed !== "leave") return undefined;
  return settled(row, ActionState.FAILED, UNCAPTURED, nowMs);
}

/** Whoever holds the node chooses all of it. */
function captureRow({ digest, bytes, complete, expiresAt, files, processes }: NonNullable<CaptureTaken["capture"]>, nowMs: number): CaptureRow | undefined {
  const size = Number(bytes);
  if (!DIGEST.test(digest) || !Number.isSafeInteger(size) || files > MAX_COUNT || processes > MAX_COUNT) return undefined;
  const endMs = expiresAt && timestampMs(expiresAt);
  const end = endMs !== undefined && endMs >= 0 && endMs <= MAX_TIME_MS ? { expiresAtMs: endMs } : {};
  return { digest, bytes: size, complete, files, processes, ...end, teller: CaptureTeller.AGENT, toldAtMs: nowMs };
}
