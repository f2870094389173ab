/** {@link Hands} of a host: its container engine, and what is captured before it is used. */

import type { Captures } from "@hullmark/capture/capture";
import { ActionKind } from "@hullmark/proto/v1/response";
import { type Engine, type EngineContainer, type EngineNetwork, NO_NETWORK } from "../ports/engine.ts";
import type { LedgerEntry, Settled } from "../ports/ledger.ts";
import { type ActuatorFailpoint, carryOut } from "./carry-out.ts";
import type { CheckedIntent } from "./check-intent.ts";
import { isTakenAway, refuseTarget } from "./check-target.ts";
import type { Hands, LocalLimits, Looked } from "./hands.ts";
import { standingIsolations } from "./standing-isolations.ts";

/** Whoever shares its namespaces is no hindrance. */
const APART: ReadonlySet<ActionKind> = new Set([ActionKind.STOP, ActionKind.RELEASE]);
const NOTHING = { name: "", restartPolicy: { name: "", maximumRetryCount: 0 } };

export interface HostServices {
  readonly engine: Engine;
  /** undefined: nothing is captured. */
  readonly captures?: Captures | undefined;
  readonly limits: LocalLimits;
}

export class HostHands implements Hands {
  readonly #services: HostServices;

  constructor(services: HostServices) {
    this.#services = services;
  }

  async look(intent: CheckedIntent, ledger: readonly LedgerEntry[], nowMs: number): Promise<Looked> {
    const { engine, captures, limits } = this.#services;
    const [container, running, targetThere] = await Promise.all([
      engine.find(intent.containerId),
      engine.countRunning(),
      intent.target !== undefined && engine.hasImage(intent.target.imageId),
    ]);
    // Each other container is asked for: one that the engine gives no answer about is to keep none from being stopped.
    const sharers = container && !APART.has(intent.kind) ? await engine.sharers(container) : [];
    const isolation = standingIsolations(ledger).get(intent.containerId);
    const refusal = refuseTarget(
      intent,
      { ...{ container, sharers, targetThere, captures: captures !== undefined }, isolated: isolation !== undefined, running, ledger, nowMs },
      limits,
    );
    if (!container) return { refusal, before: NOTHING };
    const networks = networksToKeep(intent.kind, container, isolation?.networks);
    const vanishesWith = container.autoRemove && intent.kind === ActionKind.STOP ? container.unnamedVolumes : undefined;
    const takenAway = isTakenAway(intent.kind, container);
    const before = {
      name: container.name,
      restartPolicy: container.restartPolicy,
      ...(networks && { networks }),
      ...(vanishesWith && { vanishesWith }),
      ...(takenAway && { takenAway }),
    };
    const detail =
      refusal === "not-captured" || (refusal === "auto-remove" && intent.kind === ActionKind.STOP) ? { detail: "nothing is captured on this host" } : {};
    return { refusal, ...detail, before };
  }

  carryOut(entry: LedgerEntry, nowMs: number, passing: (point: ActuatorFailpoint) => void): Promise<Settled> {
    const { engine, captures } = this.#services;
    return carryOut(entry, engine, captures, nowMs, passing);
  }
}

/** What an isolated container was on before is nowhere but in the ledger. @param before by the isolation that holds; undefined: none does */
function networksToKeep(kind: ActionKind, { networks }: EngineContainer, before: readonly EngineNetwork[] | undefined): readonly EngineNetwork[] | undefined {
  if (kind !== ActionKind.ISOLATE) return before;
  const now = networks.filter(({ name }) => name !== NO_NETWORK);
  // One that failed may have put it back on some of them alone.
  const lost = before?.filter(({ name }) => !now.some((each) => each.name === name)) ?? [];
  return [...now, ...lost];
}
