/** Marks on nodes: whether this actuator may put them on, within limits that no verifier raises, and takes away none but its own. */
import { compileNames } from "@hullmark/proto/codec";
import { ActionKind, NodeMark, Outcome } from "@hullmark/proto/v1/response";
import { EngineError } from "../ports/engine.ts";
import type { Ledger, LedgerEntry, Settled } from "../ports/ledger.ts";
import type { NodeCallResult, NodeHook } from "../ports/node-hook.ts";
import type { ActuatorFailpoint } from "./carry-out.ts";
import type { CheckedIntent } from "./check-intent.ts";
import type { Hands, Looked } from "./hands.ts";
import { type OwnMark, standingOn } from "./standing-on.ts";

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
/** So long a mark that may have been put on takes its place among those at once. */
const UNSURE_MS = 86_400_000;
const MAX_DETAIL_CHARS = 500;
/** Attempts that came to nothing after which a verifier waits for people. */
const TOLD_AN_HOUR = 3;
/** This actuator's own limits, which pass. */
const UNTOLD: ReadonlySet<string> = new Set<NodeRefusal>(["breaker", "cooling-down"]);
const NO_RESTART = { name: "", maximumRetryCount: 0 };

export class NodeHands implements Hands {
  readonly #hook: NodeHook;
  readonly #limits: NodeLimits;
  readonly #ledger: Pick<Ledger, "all" | "noteTry">;

  constructor(hook: NodeHook, limits: NodeLimits, ledger: Pick<Ledger, "all" | "noteTry">) {
    this.#hook = hook;
    this.#limits = limits;
    this.#ledger = ledger;
  }

  async look(intent: CheckedIntent, ledger: readonly LedgerEntry[], nowMs: number): Promise<Looked> {
    const refusal = refuseNode(intent, ledger, this.#limits, nowMs);
    if (refusal !== undefined && !UNTOLD.has(refusal)) await this.#tell(intent, Outcome.REFUSED, refusal, ledger, nowMs);
    return { refusal, before: { name: intent.node?.name ?? "", restartPolicy: NO_RESTART } };
  }

  /** Whoever runs the cluster should know why a node is as it was: of one node no more often than a verifier that means well tries, however much is asked for. */
  async #tell(
    { node, kind, actionId, logIndex }: Pick<LedgerEntry, "node" | "kind" | "actionId" | "logIndex">,
    outcome: Outcome,
    why: string,
    ledger: readonly LedgerEntry[],
    nowMs: number,
  ): Promise<void> {
    if (!node) return;
    const told = ledger.filter((each) => each.node?.name === node.name && each.kind === kind && each.settled?.outcome === outcome);
    if (told.filter(({ receivedAtMs, settled }) => !UNTOLD.has(settled?.reason ?? "") && nowMs - receivedAtMs < HOUR_MS).length >= TOLD_AN_HOUR) return;
    const verb = kind === ActionKind.MARK_NODE ? "mark" : "lift";
    await this.#hook.tell?.({ verb, name: node.name, actionId, ...(logIndex !== undefined && { logIndex }), reason: node.reason, why });
  }

  /** Mark by mark; where one fails the others before it stay, and are told. @throws EngineError ENGINE_UNREACHABLE, until the intent ends */
  async carryOut(entry: LedgerEntry, nowMs: number, passing: (point: ActuatorFailpoint) => void): Promise<Settled> {
    const marks: NodeMark[] = [];
    const own = standingOn(this.#ledger.all()).get(entry.node?.nodeId ?? "");
    for (const mark of entry.node?.marks ?? []) {
      passing("marking");
      const asked = entry.kind === ActionKind.MARK_NODE ? this.#mark(entry, mark, own?.get(mark)) : this.#lift(entry, mark, own?.get(mark)?.name);
      const result = await asked.catch((error: unknown): NodeCallResult => {
        if (!(error instanceof EngineError) || nowMs < entry.expiresAtMs) throw error;
        return { outcome: "cut-off", detail: error.message };
      });
      passing("marked");
      if (result.outcome === "done") marks.push(mark);
      if (!("detail" in result)) continue;
      const detail = result.detail.slice(0, MAX_DETAIL_CHARS);
      await this.#tell(entry, Outcome.FAILED, `${NodeMark[mark].toLowerCase()}: ${detail}`, this.#ledger.all(), nowMs);
      return { outcome: Outcome.FAILED, reason: "hook", detail, newContainerId: "", marks };
    }
    return { outcome: Outcome.DONE, reason: "", detail: "", newContainerId: "", marks };
  }

  /** What is there since a try that was cut off is this actuator's own. */
  async #mark(entry: LedgerEntry, mark: NodeMark, before: OwnMark | undefined): Promise<NodeCallResult> {
    this.#ledger.noteTry(entry.intentId, mark, true);
    const result = await this.#call(entry, mark);
    if (result.outcome === "done" || result.outcome === "cut-off") return result;
    if (before === undefined || before.name !== entry.node?.name) this.#ledger.noteTry(entry.intentId, mark, false);
    else if (result.outcome === "there") return { outcome: "done" };
    return result;
  }

  /** What is gone since a try that was cut off was taken away by that. */
  async #lift(entry: LedgerEntry, mark: NodeMark, knownAs: string | undefined): Promise<NodeCallResult> {
    const again = entry.tried?.includes(mark) ?? false;
    this.#ledger.noteTry(entry.intentId, mark, true);
    const result = await this.#call(entry, mark, knownAs, again);
    if (result.outcome === "done" || result.outcome === "cut-off") return result;
    if (again && result.outcome === "there") return { outcome: "done" };
    if (!again) this.#ledger.noteTry(entry.intentId, mark, false);
    return result;
  }

  #call({ node, kind, actionId, logIndex }: LedgerEntry, mark: NodeMark, knownAs = node?.name, again = false): Promise<NodeCallResult> {
    const { nodeId = "", reason = "" } = node ?? {};
    const verb = kind === ActionKind.MARK_NODE ? "mark" : "lift";
    return this.#hook.call({ verb, mark, nodeId, name: knownAs ?? "", actionId, ...(logIndex !== undefined && { logIndex }), reason, ...(again && { again }) });
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
  const isAllowed = compileNames(limits.allow);
  const standing = standingOn(ledger);
  if (kind === ActionKind.LIFT_NODE) {
    // By the name that they were put on under, whatever the node is called now.
    const own = node.marks.map((mark) => standing.get(node.nodeId)?.get(mark));
    if (!own.every((each) => each?.sure)) return "not-ours";
    return own.every((each) => each && isAllowed(each.name)) ? undefined : "protected";
  }
  if (!isAllowed(node.name)) return "protected";
  // What was begun counts, however it ended; times to come count too, since the clock was set back.
  const begun = ledger.filter((each) => each.kind === ActionKind.MARK_NODE && each.settled?.outcome !== Outcome.REFUSED);
  if (begun.some((each) => each.node?.nodeId === node.nodeId && nowMs - each.receivedAtMs < limits.pauseMs)) return "cooling-down";
  if (begun.filter(({ receivedAtMs }) => nowMs - receivedAtMs < HOUR_MS).length >= limits.hourly) return "breaker";
  const elsewhere = [...standing].filter(([nodeId]) => nodeId !== node.nodeId);
  const marked = elsewhere.filter(([, marks]) => [...marks.values()].some(({ sure, atMs }) => sure || nowMs - atMs < UNSURE_MS));
  return marked.length >= limits.atOnce ? "breaker" : undefined;
}
