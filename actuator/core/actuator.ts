/** Takes intents, one at a time: checks, remembers, carries out, tells. What is remembered and not done is done first after a restart. */
import { Outcome } from "@hullmark/proto/v1/response";
import { type Ledger, type LedgerEntry, LedgerError, type Settled } from "../ports/ledger.ts";
import type { ActuatorFailpoint } from "./carry-out.ts";
import { type ActuatorIdentity, type CheckedIntent, checkIntent, type IntentRefusal, type SignedIntent } from "./check-intent.ts";
import type { Hands, Waiting } from "./hands.ts";

export interface ActuatorServices {
  readonly identity: ActuatorIdentity;
  readonly hands: Hands;
  /** What nodes are marked with; undefined: none are. */
  readonly nodes?: Hands | undefined;
  /** What layers are taken away with; undefined: none are. */
  readonly purges?: Hands | undefined;
  readonly ledger: Ledger;
  readonly verify: (message: Uint8Array, signature: Uint8Array) => boolean;
  /** Resolves when the verifier has answered; rejects where it must be told again. With outcome WAITING it is told how things stand. */
  readonly report: (intentId: string, settled: Settled) => Promise<void>;
  readonly nowMs: () => number;
  readonly passing: (point: ActuatorFailpoint) => void;
  /** For the log. */
  readonly told: (what: string, facts: Readonly<Record<string, string>>) => void;
}

/** A clock that was put right by less says nothing. */
const AHEAD_MS = 60_000;
const NOTHING = { name: "", restartPolicy: { name: "", maximumRetryCount: 0 } };
/** Whoever is meant answers. */
const NOT_OURS: ReadonlySet<IntentRefusal> = new Set(["other-node", "other-cluster", "other-region"]);

export class Actuator {
  readonly #services: ActuatorServices;
  /** Intent → what it waits for, as the verifier was told. */
  readonly #waits = new Map<string, string>();
  #turn: Promise<unknown> = Promise.resolve();

  constructor(services: ActuatorServices) {
    this.#services = services;
  }

  /** Anything that comes on the stream. An intent that is known is not taken again. @throws EngineError ENGINE_UNREACHABLE; the ledger's error */
  offer(signed: SignedIntent): Promise<void> {
    return this.#inTurn(async () => {
      const { identity, ledger, verify, told } = this.#services;
      const check = checkIntent(signed, verify, identity, this.#nowMs());
      const id = check.ok ? check.intent.id : check.id;
      if (id !== undefined && ledger.get(id)) return await this.#settle(id);
      if (check.ok) return await this.#take(check.intent);
      told("intent refused", { intentId: id ?? "", reason: check.reason });
      if (id === undefined || NOT_OURS.has(check.reason)) return;
      await this.#services.report(id, refused(check.reason, check.reason === "expired" ? this.#whereClockWas() : ""));
    });
  }

  /** Everything that is begun and not done, or done and not told. @throws EngineError ENGINE_UNREACHABLE; what `report` rejects with */
  resume(): Promise<void> {
    return this.#inTurn(async () => {
      const failures: unknown[] = [];
      for (const { intentId, reported } of this.#services.ledger.all())
        if (!reported) await this.#settle(intentId).catch((error: unknown) => failures.push(error));
      // One that cannot be ended holds up no other.
      if (failures.length > 0) throw failures[0];
    });
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const run = this.#turn.then(work);
    this.#turn = run.catch(() => undefined);
    return run;
  }

  /** The clock, and never before what was acted at: a clock that is set back brings no intent to life again. */
  #nowMs(): number {
    return this.#services.ledger.all().reduce((latest, { receivedAtMs }) => Math.max(latest, receivedAtMs), this.#services.nowMs());
  }

  /** Why what has not ended by the clock has ended here; empty: it has. */
  #whereClockWas(): string {
    const latestMs = this.#nowMs();
    if (latestMs - this.#services.nowMs() < AHEAD_MS) return "";
    return `the clock here was ahead: by it something was done at ${new Date(latestMs).toISOString()}, and nothing is taken that ends before`;
  }

  /** undefined: of nodes, and this actuator marks none, or of layers, and it takes none away. */
  #handsFor({ node, purge }: Pick<CheckedIntent, "node" | "purge"> | Pick<LedgerEntry, "node" | "purge">): Hands | undefined {
    if (purge) return this.#services.purges;
    return node ? this.#services.nodes : this.#services.hands;
  }

  async #take(intent: CheckedIntent): Promise<void> {
    const { ledger, passing, told } = this.#services;
    const hands = this.#handsFor(intent);
    if (!hands) return await this.#services.report(intent.id, refused(intent.purge ? "purge-not-allowed" : "unknown-kind"));
    const nowMs = this.#nowMs();
    const { refusal, detail, before } = await hands.look(intent, ledger.all(), nowMs);
    passing("checked");
    const entry: LedgerEntry = {
      ...{ intentId: intent.id, actionId: intent.actionId, kind: intent.kind, containerId: intent.containerId, expiresAtMs: intent.expiresAtMs },
      ...(refusal ? NOTHING : before),
      ...{
        receivedAtMs: nowMs,
        ...(intent.logIndex !== undefined && { logIndex: intent.logIndex }),
        target: intent.target,
        ...(intent.pod && { pod: intent.pod, owners: intent.owners }),
        ...(intent.rollout && { rollout: intent.rollout }),
        ...(intent.purge && { purge: intent.purge, owners: intent.owners }),
        node: intent.node,
        settled: refusal === undefined ? undefined : refused(refusal, detail),
        reported: false,
      },
    };
    try {
      ledger.add(entry);
    } catch (error) {
      if (!(error instanceof LedgerError) || error.code !== "LEDGER_FULL") throw error;
      told("intent refused", { intentId: intent.id, reason: "ledger-full" });
      return await this.#services.report(intent.id, refused("ledger-full"));
    }
    told(refusal ? "intent refused" : "intent begun", { intentId: intent.id, actionId: intent.actionId, container: intent.containerId, reason: refusal ?? "" });
    passing("remembered");
    await this.#settle(intent.id);
  }

  async #settle(id: string): Promise<void> {
    const { ledger, passing, told } = this.#services;
    const entry = ledger.get(id);
    if (!entry) return;
    const hands = this.#handsFor(entry);
    let { settled } = entry;
    if (!settled) {
      // The configuration was changed since it was taken: it waits until that is as it was.
      if (!hands) throw new Error(`the configuration allows it no more: intent ${id} cannot be ended`);
      const result = await hands.carryOut(entry, this.#nowMs(), passing);
      if ("waitsFor" in result) return await this.#wait(id, result);
      settled = result;
      this.#waits.delete(id);
      ledger.settle(id, settled);
      told("intent settled", { intentId: id, actionId: entry.actionId, outcome: settled.outcome === Outcome.DONE ? "done" : "failed", detail: settled.detail });
      passing("settled");
    }
    await this.#services.report(id, settled);
    passing("told");
    if (!entry.reported) ledger.markReported(id);
  }

  /** Said once; {@link resume} goes on with it. */
  async #wait(id: string, result: Waiting): Promise<void> {
    if (this.#waits.get(id) === result.waitsFor) return;
    this.#services.told("intent waits", { intentId: id, for: result.waitsFor, detail: result.detail });
    await this.#services.report(id, { outcome: Outcome.WAITING, reason: result.waitsFor, detail: result.detail, newContainerId: "" });
    this.#waits.set(id, result.waitsFor);
  }
}

function refused(reason: string, detail = ""): Settled {
  return { outcome: Outcome.REFUSED, reason, detail, newContainerId: "" };
}
