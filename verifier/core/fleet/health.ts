/** Whether the verifier can do its work: what `/readyz` says. A component that was not seen to work for a while does not count as working. */

const COMPONENTS = ["store", "log", "listeners"] as const;
type Component = (typeof COMPONENTS)[number];

/** Beyond this a component's last success is too old: several rounds of its duty were missed. */
const STALE_MS: Readonly<Record<Component, number>> = { store: 60_000, log: 180_000, listeners: 60_000 };

/** `ok`; `failing`: its last trial failed; `stale`: none has ended for too long; `invalid`: no policy that was given could ever be used. The log says why. */
export type ComponentState = "ok" | "failing" | "stale" | "invalid";

export interface Readiness {
  readonly ready: boolean;
  readonly components: Readonly<Record<Component | "policy", ComponentState>>;
}

export class Health {
  readonly #trials = new Map<Component, { readonly ok: boolean; readonly atMs: number }>();

  /** @param startedMs when all components had been seen to work: the verifier does not start otherwise */
  constructor(startedMs: number) {
    for (const component of COMPONENTS) this.#trials.set(component, { ok: true, atMs: startedMs });
  }

  /** Tries a component. @throws what `work` throws */
  async trial(component: Component, nowMs: () => number, work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.#trials.set(component, { ok: true, atMs: nowMs() });
    } catch (error) {
      this.#trials.set(component, { ok: false, atMs: nowMs() });
      throw error;
    }
  }

  /** @param policyUsable false where a policy is configured and none of it was ever good */
  readiness(policyUsable: boolean, nowMs: number): Readiness {
    const state = (component: Component): ComponentState => {
      const trial = this.#trials.get(component);
      if (!trial?.ok) return "failing";
      return nowMs - trial.atMs > STALE_MS[component] ? "stale" : "ok";
    };
    const components = { store: state("store"), log: state("log"), listeners: state("listeners"), policy: policyUsable ? "ok" : "invalid" } as const;
    return { ready: Object.values(components).every((each) => each === "ok"), components };
  }
}
