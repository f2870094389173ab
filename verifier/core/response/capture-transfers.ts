/**
 * Sealed captures on their way from the actuator or agent that keeps one to a person who fetches it: asked for by action and digest, handed over part by part, kept nowhere.
 * The verifier cannot open them.
 */
import { createHash } from "node:crypto";
import { CaptureRefusal, CaptureTeller } from "@hullmark/proto/v1/capture";
import type { Clock } from "../../ports/clock.ts";
import type { ActionRow, CaptureRow } from "../../ports/rows.ts";
import { type ActuatorName, actuatorName } from "./actuator-name.ts";

/** Who keeps a capture: whoever told of it, and nobody else. */
export type CaptureKeeper = ActuatorName | `agent ${string}`;

export function agentName(nodeId: string): CaptureKeeper {
  return `agent ${nodeId}`;
}

export function keeperOf(row: Pick<ActionRow, "nodeId" | "pod" | "node" | "capture">): CaptureKeeper {
  return row.capture?.teller === CaptureTeller.AGENT ? agentName(row.nodeId) : actuatorName.ofAction(row);
}

/**
 * NOT_LISTENING: the keeper is not connected. SILENT: it does not answer, or stopped. NOT_KEPT: it has no such capture (any more). NOT_HANDED_OUT: its configuration forbids it.
 * TOO_MANY: others fetch now. TOO_SLOW: the person does not take what came. CHANGED: what came is not what was captured. NO_TRANSFER: nobody waits for such a part.
 */
export type CaptureTransferCode = "NOT_LISTENING" | "SILENT" | "NOT_KEPT" | "NOT_HANDED_OUT" | "TOO_MANY" | "TOO_SLOW" | "CHANGED" | "NO_TRANSFER";

export class CaptureTransferError extends Error {
  readonly code: CaptureTransferCode;

  constructor(code: CaptureTransferCode, message: string) {
    super(message);
    this.name = "CaptureTransferError";
    this.code = code;
  }
}

export interface CaptureWanted {
  readonly requestId: Buffer;
  readonly actionId: string;
  readonly digest: string;
}

export interface CapturePart {
  readonly requestId: Uint8Array;
  readonly offset: number;
  readonly bytes: Buffer;
  readonly last: boolean;
  readonly refusal: CaptureRefusal;
}

interface Transfer {
  readonly keeper: CaptureKeeper;
  readonly size: number;
  /** What has arrived. */
  offset: number;
  /** A part waits to be taken. */
  release: (() => void) | undefined;
  arrive: (part: Pick<CapturePart, "bytes" | "last">) => void;
  fail: (error: CaptureTransferError) => void;
}

const MAX_TRANSFERS = 4;
const MAX_PART_BYTES = 262_144;
/** From one part to the next: hashing the largest capture comes before the first. A person has as long to take each. */
const PATIENCE_MS = 60_000;
const REQUEST_ID_BYTES = 16;

const REFUSALS: Readonly<Partial<Record<CaptureRefusal, readonly [CaptureTransferCode, string]>>> = {
  [CaptureRefusal.NOT_KEPT]: ["NOT_KEPT", "the host does not keep it any more: it was removed after its time, or by hand"],
  [CaptureRefusal.NOT_HANDED_OUT]: ["NOT_HANDED_OUT", "the host's own configuration hands no captures out (capture.handOut): fetch it there"],
  [CaptureRefusal.BUSY]: ["TOO_MANY", "the host hands out another capture now, or as many as it may in an hour: try again"],
};

export class CaptureTransfers {
  readonly #clock: Clock;
  readonly #random: (bytes: number) => Buffer;
  readonly #listening = new Map<CaptureKeeper, Set<(wanted: CaptureWanted) => void>>();
  readonly #open = new Map<string, Transfer>();

  constructor({ clock, random }: { readonly clock: Clock; readonly random: (bytes: number) => Buffer }) {
    this.#clock = clock;
    this.#random = random;
  }

  /** Whoever keeps captures listens. @returns ends it */
  listen(keeper: CaptureKeeper, send: (wanted: CaptureWanted) => void): () => void {
    const senders = this.#listening.get(keeper) ?? new Set();
    this.#listening.set(keeper, senders.add(send));
    return () => {
      senders.delete(send);
      if (senders.size === 0) this.#listening.delete(keeper);
    };
  }

  /**
   * The sealed file, part by part. All of it is there, and what the host told of when it was taken, only where the iteration comes to its end.
   * @throws CaptureTransferError; the signal's reason
   */
  async *fetch(keeper: CaptureKeeper, actionId: string, { digest, bytes: size }: CaptureRow, signal: AbortSignal): AsyncGenerator<Buffer> {
    const send = [...(this.#listening.get(keeper) ?? [])].at(-1);
    if (!send) throw new CaptureTransferError("NOT_LISTENING", "the actuator or agent that keeps it is not connected");
    if (this.#open.size >= MAX_TRANSFERS) throw new CaptureTransferError("TOO_MANY", "others fetch captures now: try again");
    const requestId = this.#random(REQUEST_ID_BYTES);
    let next = awaited();
    const transfer: Transfer = {
      ...{ keeper, size, offset: 0, release: undefined },
      arrive: (part) => next.resolve(part),
      fail: (error) => next.reject(error),
    };
    const key = requestId.toString("hex");
    this.#open.set(key, transfer);
    // A person whose connection stalls keeps neither the host nor one of the few places.
    const giveUp = (): void => {
      this.#open.delete(key);
      transfer.release?.();
      transfer.fail(new CaptureTransferError("TOO_SLOW", "what came was not taken in time: fetch it again"));
    };
    let stalled: (() => void) | undefined;
    const aborted = (): void => next.reject(signal.reason);
    signal.addEventListener("abort", aborted, { once: true });
    const hash = createHash("sha256");
    try {
      send({ requestId, actionId, digest });
      for (;;) {
        const cancel = this.#clock.after(PATIENCE_MS, () =>
          transfer.fail(new CaptureTransferError("SILENT", "the actuator or agent that keeps it does not answer")),
        );
        const { bytes, last } = await next.promise.finally(cancel);
        signal.throwIfAborted();
        next = awaited();
        hash.update(bytes);
        if (bytes.length > 0) {
          stalled = this.#clock.after(PATIENCE_MS, giveUp);
          yield bytes;
          stalled();
        }
        transfer.release?.();
        if (last) break;
      }
      if (transfer.offset !== size || `sha256:${hash.digest("hex")}` !== digest)
        throw new CaptureTransferError("CHANGED", "what the host handed out is not what it captured");
    } finally {
      stalled?.();
      signal.removeEventListener("abort", aborted);
      this.#open.delete(key);
      transfer.release?.();
    }
  }

  /** Resolves when the part was taken: the actuator then sends the next. @throws CaptureTransferError NO_TRANSFER, CHANGED */
  async take(keeper: CaptureKeeper, { requestId, offset, bytes, last, refusal }: CapturePart): Promise<void> {
    const transfer = this.#open.get(Buffer.from(requestId).toString("hex"));
    if (!transfer || transfer.keeper !== keeper || transfer.release) throw new CaptureTransferError("NO_TRANSFER", "nobody waits for such a part");
    const [code, message] = REFUSALS[refusal] ?? ["SILENT", "whoever keeps it does not hand it out"];
    if (refusal !== CaptureRefusal.UNSPECIFIED) return transfer.fail(new CaptureTransferError(code, message));
    if (offset !== transfer.offset || bytes.length > MAX_PART_BYTES || offset + bytes.length > transfer.size || (bytes.length === 0 && !last)) {
      const error = new CaptureTransferError("CHANGED", "a part that does not follow the one before");
      transfer.fail(error);
      throw error;
    }
    transfer.offset += bytes.length;
    await new Promise<void>((resolve) => {
      transfer.release = () => {
        transfer.release = undefined;
        resolve();
      };
      transfer.arrive({ bytes, last });
    });
  }
}

/** Nobody waits for it while the part before is taken: its failing then, because the person has gone, is no error of the verifier's. */
function awaited(): PromiseWithResolvers<Pick<CapturePart, "bytes" | "last">> {
  const next = Promise.withResolvers<Pick<CapturePart, "bytes" | "last">>();
  next.promise.catch(() => undefined);
  return next;
}
