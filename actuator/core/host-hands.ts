/** {@link Hands} of a host: its container engine, and what is captured before it is used. */
import type { Captures } from "../ports/capture.ts";
import type { Engine } from "../ports/engine.ts";
import type { LedgerEntry, Settled } from "../ports/ledger.ts";
import { type ActuatorFailpoint, carryOut } from "./carry-out.ts";
import type { CheckedIntent } from "./check-intent.ts";
import { refuseTarget } from "./check-target.ts";
import type { Hands, LocalLimits, Looked } from "./hands.ts";

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
    const { engine, limits } = this.#services;
    const container = await engine.find(intent.containerId);
    const sharers = container ? await engine.sharers(container) : [];
    const targetThere = intent.target !== undefined && (await engine.hasImage(intent.target.imageId));
    const refusal = refuseTarget(intent, { container, sharers, targetThere, running: await engine.countRunning(), ledger, nowMs }, limits);
    return { refusal, before: container ? { name: container.name, restartPolicy: container.restartPolicy } : NOTHING };
  }

  carryOut(entry: LedgerEntry, _nowMs: number, passing: (point: ActuatorFailpoint) => void): Promise<Settled> {
    const { engine, captures } = this.#services;
    return carryOut(entry, engine, captures, passing);
  }
}
