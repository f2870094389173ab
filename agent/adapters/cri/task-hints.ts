/**
 * When a runtime whose interface tells no events, or not to all, is to be asked for its list again. containerd before 2.0 is one, but tells of tasks in an interface of its own, on the same
 * socket. What it tells is a hint: what there is the list alone says. A runtime that has neither is asked each second.
 */
import { fromBinary } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import { type Events, TaskExitSchema } from "@hullmark/proto/containerd-events";
import { RpcError, type ServiceClient } from "@hullmark/proto/rpc";

const LIST_INTERVAL_MS = 1_000;
/** The stream tells nothing of its own until something happens: that it is not refused is seen by waiting. */
const LISTS_AT_FIRST = 10;
/** The interface tells of a state some time after the task has it. */
const LISTS_AFTER_HINT = 5;
/** Of the namespace that containerd's runtime interface has its containers in. */
const FILTER = 'namespace=="k8s.io",topic~="^/tasks/(start|exit|delete)$"';
const LOST = ["UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"];

export class TaskHints {
  #listsLeft = LISTS_AT_FIRST;
  #refused = false;
  #failure: RpcError | undefined;
  #wake: (() => void) | undefined;
  readonly #intervalMs: number;

  /** Follows the runtime until the signal aborts. @param intervalMs between two lists, other than in tests {@link LIST_INTERVAL_MS} */
  constructor(tasks: Pick<ServiceClient<typeof Events>, "subscribe">, signal: AbortSignal, intervalMs = LIST_INTERVAL_MS) {
    this.#intervalMs = intervalMs;
    void this.#follow(tasks, signal);
  }

  /** Resolves when it is time to ask, and when the signal aborts. @throws RpcError the connection was lost */
  async due(signal: AbortSignal): Promise<void> {
    if (this.#refused || this.#listsLeft > 0) {
      this.#listsLeft--;
      await pause(this.#intervalMs, signal);
    } else if (!this.#failure) {
      await pause(undefined, signal, (wake) => {
        this.#wake = wake;
      });
    }
    if (this.#failure) throw this.#failure;
  }

  async #follow(tasks: Pick<ServiceClient<typeof Events>, "subscribe">, signal: AbortSignal): Promise<void> {
    try {
      for await (const { topic, event } of tasks.subscribe({ filters: [FILTER] }, { signal })) if (!isEndOfExec(topic, event)) this.#hint();
      this.#failure = new RpcError("UNAVAILABLE", "the event stream ended");
    } catch (error) {
      const failure = RpcError.from(error);
      if (LOST.includes(failure.code)) this.#failure = failure;
      else this.#refused = true;
    }
    this.#hint();
  }

  #hint(): void {
    this.#listsLeft = LISTS_AFTER_HINT;
    this.#wake?.();
    this.#wake = undefined;
  }
}

/** Each probe of the kubelet's is an exec. */
function isEndOfExec(topic: string, event: Any | undefined): boolean {
  if (topic !== "/tasks/exit" || !event) return false;
  try {
    const { containerId, id } = fromBinary(TaskExitSchema, event.value, { readUnknownFields: false });
    return id !== "" && id !== containerId;
  } catch {
    return false;
  }
}

/** @param ms undefined: until it is woken */
export function pause(ms: number | undefined, signal: AbortSignal, wakeable: (wake: () => void) => void = () => {}): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = ms === undefined ? undefined : setTimeout(done, ms);
    signal.addEventListener("abort", done, { once: true });
    wakeable(done);
  });
}
