/**
 * Captures that the verifier asks for before something is done to a container by which what it wrote is gone. It is not trusted with more than the asking: whom they are sealed to is this
 * node's own configuration, each is taken once, one after the other, so many an hour; and they wait for nothing else that the verifier asks, nor does that for them.
 */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { CAPTURE_FAILPOINTS, CaptureError, type Captures, captureMessage } from "@hullmark/capture/capture";
import type { CaptureRequest, CaptureTakenSchema } from "@hullmark/proto/v1/capture";
import type { Clock } from "../ports/clock.ts";

export type CaptureAnswer = MessageInitShape<typeof CaptureTakenSchema>;

export interface CaptureDeskOptions {
  readonly captures: Pick<Captures, "take">;
  /** Of a container that is measured here; undefined: there is none. */
  readonly nameOf: (containerId: string) => string | undefined;
  /** Resolves when what is to be known of the container is; within seconds in any case. */
  readonly settled: (containerId: string) => Promise<void>;
  readonly clock: Pick<Clock, "nowMs">;
  /** The node's own record, which no verifier can take back. */
  readonly log: (message: string, fields: object) => void;
  readonly passing?: (point: NodeCaptureFailpoint) => void;
}

/** Where the process of a node that captures can be killed in the tests; each must be survived. */
export const NODE_CAPTURE_FAILPOINTS = [...CAPTURE_FAILPOINTS, "capture-told"] as const;
export type NodeCaptureFailpoint = (typeof NODE_CAPTURE_FAILPOINTS)[number];

const HOUR_MS = 3_600_000;
const MAX_HOURLY = 60;
const MAX_WAITING = 16;
const MAX_PROBLEM_CHARS = 500;
const ID_BYTES = 16;
const ACTION_ID = /^A-[0-9A-Z]{4,16}$/;
/** As engines name containers. */
const CONTAINER_ID = /^[0-9a-f]{64}$/;

export class CaptureDesk {
  readonly #options: CaptureDeskOptions;
  /** By id, as they are taken: who asks again meanwhile gets the same answer. */
  readonly #running = new Map<string, Promise<CaptureAnswer>>();
  #last: Promise<unknown> = Promise.resolve();
  #hour = { sinceMs: 0, asked: 0 };

  constructor(options: CaptureDeskOptions) {
    this.#options = options;
  }

  /** Never throws for what is asked, nor for what a container is like. */
  answer(request: CaptureRequest): Promise<CaptureAnswer> {
    const key = Buffer.from(request.id).toString("hex");
    const running = this.#running.get(key);
    if (running) return running;
    const refused = this.#refuse(request);
    if (refused !== undefined) return Promise.resolve({ id: request.id, problem: refused });
    // At once: where several are asked for after a start, each is waited for at the same time.
    const settled = this.#options.settled(request.containerId);
    settled.catch(() => undefined);
    const answer = this.#last.then(() => this.#take(key, request, settled)).finally(() => this.#running.delete(key));
    this.#last = answer;
    this.#running.set(key, answer);
    return answer;
  }

  #refuse({ id, actionId, containerId }: CaptureRequest): string | undefined {
    if (id.length !== ID_BYTES || !ACTION_ID.test(actionId) || !CONTAINER_ID.test(containerId)) return "that names no action and container";
    if (this.#running.size >= MAX_WAITING) return "too many captures wait";
    const nowMs = this.#options.clock.nowMs();
    if (Math.abs(nowMs - this.#hour.sinceMs) >= HOUR_MS) this.#hour = { sinceMs: nowMs, asked: 0 };
    return ++this.#hour.asked > MAX_HOURLY ? "too many captures were asked for in this hour" : undefined;
  }

  async #take(key: string, { id, actionId, containerId }: CaptureRequest, settled: Promise<void>): Promise<CaptureAnswer> {
    const { captures, nameOf, log, passing = () => {} } = this.#options;
    const asked = { actionId, container: containerId };
    try {
      await settled;
      const capture = await captures.take({ intentId: key, actionId, containerId, name: nameOf(containerId) ?? "" });
      log("a capture was taken", { ...asked, digest: capture.digest, bytes: capture.bytes, complete: capture.complete });
      passing("capture-told");
      return { id, capture: captureMessage(capture) };
    } catch (error) {
      const problem = error instanceof CaptureError ? error.message : "it failed";
      log("nothing was captured", { ...asked, err: error });
      return { id, problem: problem.slice(0, MAX_PROBLEM_CHARS) };
    }
  }
}
