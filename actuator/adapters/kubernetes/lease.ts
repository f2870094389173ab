/**
 * Which of several actuators of a cluster acts: the one that holds a Lease (coordination.k8s.io/v1), as Kubernetes' own controllers have it. No clock of another is
 * believed: a holder counts as gone when its Lease has not changed for {@link DURATION_MS} of this process's own time. For a moment two may still act: what they do is
 * fenced by itself (uid, resourceVersion, an annotation).
 */
import { setTimeout as delay } from "node:timers/promises";
import type { ApiAnswer, ApiServer } from "@hullmark/daemon/api-server";
import * as z from "zod";
import type { LEASE_FAILPOINTS } from "../../core/carry-out.ts";
import { problem } from "./api-answers.ts";

export const DURATION_MS = 15_000;
/** A holder that could not renew for so long acts no more: well before another takes its place. */
const DEADLINE_MS = 10_000;
const RENEW_MS = 5_000;
const RETRY_MS = 2_000;

const LeaseObject = z.object({
  metadata: z.object({ resourceVersion: z.string() }),
  spec: z
    .object({ holderIdentity: z.string().nullish(), leaseTransitions: z.int().nullish() })
    .nullish()
    .transform((spec) => spec ?? {}),
});

export interface LeaseOptions {
  readonly namespace: string;
  readonly name: string;
  /** Of this process, and of no other at any time. */
  readonly identity: string;
  /** Milliseconds that never go back. */
  readonly nowMs: () => number;
  readonly wallMs: () => number;
  readonly wait?: (ms: number, signal: AbortSignal) => Promise<void>;
  /** It cannot be asked for now; it is asked again. */
  readonly onProblem: (error: unknown) => void;
  readonly passing?: (point: (typeof LEASE_FAILPOINTS)[number]) => void;
}

/** Somebody else acts now, or may. */
export class LeaseLost extends Error {
  override readonly name = "LeaseLost";
}

export class Lease {
  readonly #api: Pick<ApiServer, "get" | "post" | "patch">;
  readonly #options: LeaseOptions;
  /** The newest version that was seen, and since when it stands. */
  #seen = { version: "", sinceMs: 0 };
  #renewedMs = 0;

  constructor(api: Pick<ApiServer, "get" | "post" | "patch">, options: LeaseOptions) {
    this.#api = api;
    this.#options = options;
  }

  /** @returns true once it is held; false where the signal came first */
  async acquire(signal: AbortSignal): Promise<boolean> {
    while (!signal.aborted) {
      const held = await this.#take(this.#options.identity).catch((error: unknown) => {
        this.#options.onProblem(error);
        return false;
      });
      if (held) return true;
      await this.#wait(RETRY_MS, signal);
    }
    return false;
  }

  /** Renews it until the signal. @throws LeaseLost */
  async hold(signal: AbortSignal): Promise<void> {
    for (let waitMs = RENEW_MS; ; ) {
      await this.#wait(waitMs, signal);
      if (signal.aborted) return;
      const left = DEADLINE_MS - (this.#options.nowMs() - this.#renewedMs);
      const over = new AbortController();
      const ends = AbortSignal.any([signal, over.signal]);
      const outcome = await Promise.race([
        this.#take(this.#options.identity).catch((error: unknown) => {
          this.#options.onProblem(error);
          return "failed" as const;
        }),
        this.#wait(Math.max(0, left), ends).then(() => "late" as const),
      ]);
      over.abort();
      if (signal.aborted) return;
      if (outcome === false) throw new LeaseLost("another actuator has taken the Lease");
      if (outcome === "late" || this.#options.nowMs() - this.#renewedMs >= DEADLINE_MS) throw new LeaseLost("the Lease could not be renewed in time");
      waitMs = outcome === true ? RENEW_MS : RETRY_MS;
    }
  }

  /** Whoever waits need not wait for its end. Never throws. */
  async release(): Promise<void> {
    await this.#take("").catch(this.#options.onProblem);
  }

  /** @param holder empty: nobody @returns false: it is another's, or was taken in between */
  async #take(holder: string): Promise<boolean> {
    const { identity, nowMs, wallMs } = this.#options;
    const askedMs = nowMs();
    const found = await this.#read();
    if (!found) return false;
    const { metadata, spec } = found;
    if (metadata.resourceVersion !== this.#seen.version) this.#seen = { version: metadata.resourceVersion, sinceMs: nowMs() };
    const present = spec.holderIdentity ?? "";
    const mine = present === identity;
    if (!mine && (holder === "" || (present !== "" && nowMs() - this.#seen.sinceMs < DURATION_MS))) return false;
    const now = new Date(wallMs()).toISOString().replace("Z", "000Z");
    const taken = mine ? {} : { acquireTime: now, leaseTransitions: (spec.leaseTransitions ?? 0) + 1 };
    const patch = {
      metadata: { resourceVersion: metadata.resourceVersion },
      spec: { holderIdentity: holder, leaseDurationSeconds: DURATION_MS / 1000, renewTime: now, ...taken },
    };
    const answer = await this.#api.patch(`${this.#collection()}/${this.#options.name}`, patch, "application/merge-patch+json");
    if (answer.status === 409) return false;
    if (answer.status !== 200) throw problem(answer, "patch leases");
    this.#renewedMs = askedMs;
    if (holder !== "") this.#options.passing?.(mine ? "lease-renewed" : "lease-taken");
    return true;
  }

  /** undefined: there was none, and it is there now or another is making it. */
  async #read(): Promise<z.output<typeof LeaseObject> | undefined> {
    const answer = await this.#api.get(`${this.#collection()}/${this.#options.name}`);
    if (answer.status === 200) return LeaseObject.parse(answer.body);
    if (answer.status !== 404) throw problem(answer, "get leases");
    const { namespace, name } = this.#options;
    const made: ApiAnswer = await this.#api.post(this.#collection(), {
      ...{ apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata: { namespace, name } },
    });
    if (made.status !== 201 && made.status !== 409) throw problem(made, "create leases");
    return undefined;
  }

  #collection(): string {
    return `/apis/coordination.k8s.io/v1/namespaces/${encodeURIComponent(this.#options.namespace)}/leases`;
  }

  async #wait(ms: number, signal: AbortSignal): Promise<void> {
    await (this.#options.wait ?? waited)(ms, signal);
  }
}

async function waited(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => undefined);
}
