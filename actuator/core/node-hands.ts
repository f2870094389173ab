/** Marks on nodes: whether this actuator may put them on, within limits that no verifier raises, and takes away none but its own. */
import { compileNames } from "@hullmark/proto/codec";
import { ActionKind, type NodeMark, Outcome } from "@hullmark/proto/v1/response";
import type { LedgerEntry, Settled } from "../ports/ledger.ts";
import type { NodeHook } from "../ports/node-hook.ts";
import type { CheckedIntent } from "./check-intent.ts";
import type { Hands, Looked } from "./hands.ts";
import { standingOn } from "./standing-on.ts";

export interface NodeLimits {
  /** Globs over names of the nodes that may be marked. */
  readonly allow: readonly string[];
  /** Nodes that are marked in an hour, and at once. */
  readonly hourly: number;
  readonly atOnce: number;
  /** Between two marks of one node, in milliseconds. */
  readonly pauseMs: number;
}

/** Codes of docs/response.md. */
type NodeRefusal = "unknown-kind" | "protected" | "not-ours" | "cooling-down" | "breaker";

const HOUR_MS = 3_600_000;
const MAX_DETAIL_CHARS = 500;
const NO_RESTART = { name: "", maximumRetryCount: 0 };

export class NodeHands implements Hands {
  readonly #hook: NodeHook;
  readonly #limits: NodeLimits;

  constructor(hook: NodeHook, limits: NodeLimits) {
    this.#hook = hook;
    this.#limits = limits;
  }

  async look(intent: CheckedIntent, ledger: readonly LedgerEntry[], nowMs: number): Promise<Looked> {
    return { refusal: refuseNode(intent, ledger, this.#limits, nowMs), before: { name: intent.node?.name ?? "", restartPolicy: NO_RESTART } };
  }

  /** Mark by mark; where one fails the others before it stay, and are told. */
  async carryOut({ node, kind, actionId }: LedgerEntry): Promise<Settled> {
    const marks: NodeMark[] = [];
    for (const mark of node?.marks ?? []) {
      const { nodeId = "", name = "", reason = "" } = node ?? {};
      const result = await this.#hook.call({ verb: kind === ActionKind.MARK_NODE ? "mark" : "lift", mark, nodeId, name, actionId, reason });
      if (result.outcome === "failed")
        return { outcome: Outcome.FAILED, reason: "hook", detail: result.detail.slice(0, MAX_DETAIL_CHARS), newContainerId: "", marks };
      if (result.outcome === "done") marks.push(mark);
    }
    return { outcome: Outcome.DONE, reason: "", detail: "", newContainerId: "", marks };
  }
}

/** @returns why not; undefined: it may be done. Pure. */
export function refuseNode(
  { node, kind }: Pick<CheckedIntent, "node" | "kind">,
  ledger: readonly LedgerEntry[],
  limits: NodeLimits,
  nowMs: number,
): NodeRefusal | undefined {
  if (!node) return "unknown-kind";
  if (!compileNames(limits.allow)(node.name)) return "protected";
  const standing = standingOn(ledger);
  const own = standing.get(node.nodeId);
  if (kind === ActionKind.LIFT_NODE) return own?.name === node.name && node.marks.every((mark) => own.marks.includes(mark)) ? undefined : "not-ours";
  // What was begun counts, however it ended; times to come count too, since the clock was set back.
  const begun = ledger.filter((each) => each.kind === ActionKind.MARK_NODE && each.settled?.outcome !== Outcome.REFUSED);
  if (begun.some((each) => each.node?.nodeId === node.nodeId && nowMs - each.receivedAtMs < limits.pauseMs)) return "cooling-down";
  if (begun.filter(({ receivedAtMs }) => nowMs - receivedAtMs < HOUR_MS).length >= limits.hourly) return "breaker";
  return [...standing.keys()].filter((nodeId) => nodeId !== node.nodeId).length >= limits.atOnce ? "breaker" : undefined;
}
