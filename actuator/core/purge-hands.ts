/**
 * {@link Hands} for a layer of this host: every container and image that stands on it is taken away, so that its directory is. Each step looks first how things stand,
 * and what has come to stand on it since is held to the same limits.
 */
import { createHash } from "node:crypto";
import { CaptureError, type Captures } from "@hullmark/capture/capture";
import { Outcome } from "@hullmark/proto/v1/response";
import { type Engine, type EngineContainer, EngineError } from "../ports/engine.ts";
import type { Layers, Standing } from "../ports/layers.ts";
import type { LedgerEntry, Settled } from "../ports/ledger.ts";
import { type ActuatorFailpoint, halt, type Taken, takenBefore } from "./carry-out.ts";
import type { CheckedIntent } from "./check-intent.ts";
import { nameOf, type PurgeLimits, type PurgeRefusal, refusePurge } from "./check-purge.ts";
import type { Hands, Looked } from "./hands.ts";
import { listed } from "./listed.ts";
import { overLocalLimit } from "./local-limits.ts";

export interface PurgeServices {
  readonly engine: Engine;
  readonly layers: Layers;
  /** undefined: nothing is captured. */
  readonly captures?: Captures | undefined;
  readonly limits: PurgeLimits;
}

type Passing = (point: ActuatorFailpoint) => void;

const NO_RESTART = { name: "", maximumRetryCount: 0 };
/** An image from which others were made goes after them; what something else makes meanwhile is not fought for ever. */
const MAX_PASSES = 4;
const MAX_DETAIL_CHARS = 500;
const MAX_NAMES_CHARS = 450;
const STILL_RUNNING = "the intent ended before it could be carried out: the engine, or the actuator, was away; what runs on the layer was left";

export class PurgeHands implements Hands {
  readonly #services: PurgeServices;

  constructor(services: PurgeServices) {
    this.#services = services;
  }

  async look({ purge, owners }: CheckedIntent, ledger: readonly LedgerEntry[], nowMs: number): Promise<Looked> {
    const { engine, layers, limits } = this.#services;
    const nothing = { name: "", restartPolicy: NO_RESTART };
    if (!purge) return { refusal: "unknown-kind", before: nothing };
    const standing = await layers.standing(purge, undefined);
    if (standing.images.length === 0 && standing.containers.length === 0) return { refusal: "gone", before: nothing };
    const refused = await this.#refuse({ purge, owners }, standing);
    if (refused) return { refusal: refused.reason, detail: refused.detail, before: nothing };
    const name = `layer ${purge.chainId}`;
    const notRunning = standing.containers.filter(({ running }) => !running).map((each) => each.name);
    const weight = Math.max(1, standing.containers.length - notRunning.length);
    const refusal = overLocalLimit(name, ledger, await engine.countRunning(), nowMs, limits, weight);
    return { refusal, before: { name, restartPolicy: NO_RESTART, weight, layerDirectory: standing.directory, ...(notRunning.length > 0 && { notRunning }) } };
  }

  /** @throws EngineError ENGINE_UNREACHABLE */
  async carryOut(entry: LedgerEntry, nowMs: number, passing: Passing): Promise<Settled> {
    const taken = takenBefore(entry, this.#services.captures);
    try {
      // People may have purged it themselves by now, or want something else; what is half done is ended.
      if (nowMs >= entry.expiresAtMs && (await this.#runsStill(entry))) return failed("expired", STILL_RUNNING, taken);
      return await this.#purge(entry, taken, passing);
    } catch (error) {
      if (!(error instanceof EngineError) || error.code === "ENGINE_UNREACHABLE") throw error;
      return failed("engine", error.message, taken);
    }
  }

  /** The first step is to stop a container: as many run on the layer as when it was taken. Where none did, there is nothing that serves to be taken away. */
  async #runsStill({ purge, layerDirectory, weight = 1 }: LedgerEntry): Promise<boolean> {
    if (!purge) return false;
    const { containers } = await this.#services.layers.standing(purge, layerDirectory);
    return containers.filter(({ running }) => running).length >= weight;
  }

  async #purge(entry: LedgerEntry, taken: Taken, passing: Passing): Promise<Settled> {
    const { layers, captures } = this.#services;
    const { purge, owners = [], layerDirectory, notRunning = [] } = entry;
    if (!purge) return failed("engine", "the ledger names no layer", taken);
    for (let pass = 0; pass < MAX_PASSES; pass++) {
      const standing = await layers.standing(purge, layerDirectory);
      if (standing.images.length === 0 && standing.containers.length === 0) break;
      const refused = await this.#refuse({ purge, owners }, standing);
      if (refused) return failed(refused.reason, `not all of it is gone: ${refused.detail}`, taken);
      for (const container of standing.containers) {
        const told = await this.#capture(entry, container);
        taken.capture ??= told?.capture;
        taken.captureProblem ??= told?.captureProblem;
        if (told?.captureProblem !== undefined && captures?.required) return failed("capture", `nothing was captured of ${told.captureProblem}`, taken);
      }
      passing("captured");
      await this.#remove(standing, passing);
    }
    const left = await layers.standing(purge, layerDirectory);
    const names = [...left.containers.map(nameOf), ...left.images.map(({ name }) => name)];
    if (names.length > 0) return failed("containment-failed", `still there: ${listed(names, MAX_NAMES_CHARS)}`, taken);
    if (layerDirectory !== undefined && (await layers.hasDirectory(layerDirectory)))
      return failed("containment-failed", "nothing that the engine tells of stands on the layer, and its directory is still there", taken);
    // What ran is known to whoever asked for it.
    const detail = notRunning.length > 0 ? `did not run, and is gone as well: ${listed(notRunning, MAX_NAMES_CHARS)}` : "";
    return { outcome: Outcome.DONE, reason: "", detail, newContainerId: "", ...taken };
  }

  async #remove({ containers, images }: Standing, passing: Passing): Promise<void> {
    const { engine, layers } = this.#services;
    for (const container of containers) {
      await halt(container, engine, passing);
      await engine.remove(container.id);
      passing("removed");
    }
    for (const { id } of images) {
      // An image that another is made from, or that something was started of: the next pass sees.
      await layers.removeImage(id).catch((error: unknown) => {
        if (!(error instanceof EngineError) || error.code === "ENGINE_UNREACHABLE") throw error;
      });
      passing("unimaged");
    }
  }

  /** @returns undefined: nothing is captured here */
  async #capture({ intentId, actionId }: LedgerEntry, { id, name }: EngineContainer): Promise<Taken | undefined> {
    const { captures } = this.#services;
    if (!captures) return undefined;
    // Several are taken for one intent.
    const own = createHash("sha256").update(`${intentId} ${id}`).digest("hex").slice(0, 32);
    try {
      return { capture: await captures.take({ intentId: own, actionId, containerId: id, name }) };
    } catch (error) {
      if (!(error instanceof CaptureError)) throw error;
      return { captureProblem: `${name}: ${error.message}`.slice(0, MAX_DETAIL_CHARS) };
    }
  }

  async #refuse(
    intent: { readonly purge: NonNullable<CheckedIntent["purge"]>; readonly owners: readonly string[] },
    standing: Standing,
  ): Promise<PurgeRefusal | undefined> {
    const { engine, limits } = this.#services;
    const sharers = new Map<string, readonly string[]>();
    for (const each of standing.containers) sharers.set(each.id, await engine.sharers(each));
    return refusePurge(intent, standing, ({ id }) => sharers.get(id) ?? [], limits);
  }
}

function failed(reason: string, detail: string, taken: Taken): Settled {
  return { outcome: Outcome.FAILED, reason, detail: detail.slice(0, MAX_DETAIL_CHARS), newContainerId: "", ...taken };
}
