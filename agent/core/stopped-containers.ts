/** Tells the verifier, where somebody asks, which containers of this node do not run: what has to go before a layer does. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { StoppedRequest, StoppedResponseSchema } from "@hullmark/proto/v1/attestation";
import type { ContainerRuntime } from "../ports/container-runtime.ts";

type StoppedAnswer = MessageInitShape<typeof StoppedResponseSchema>;

/** Shorter than the verifier waits. */
const PATIENCE_MS = 4_000;
const MAX_TOLD = 1000;
const MAX_CHARS = 512;

export class StoppedContainers {
  readonly #runtime: Pick<ContainerRuntime, "stopped">;
  #looking: Promise<StoppedAnswer> | undefined;

  constructor(runtime: Pick<ContainerRuntime, "stopped">) {
    this.#runtime = runtime;
  }

  /** However often it is asked, the runtime is asked once at a time. @returns what the runtime does not tell in time as a problem, never as none */
  async answer({ id }: StoppedRequest): Promise<StoppedAnswer> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    return { ...(await this.#looking), id };
  }

  async #look(): Promise<StoppedAnswer> {
    try {
      const all = await this.#runtime.stopped(AbortSignal.timeout(PATIENCE_MS));
      const told = all.slice(0, MAX_TOLD).map(({ id, name, imageId }) => ({ containerId: cut(id), name: cut(name), imageId: cut(imageId) }));
      return { containers: told, more: all.length - told.length };
    } catch (error) {
      return { problem: cut(error instanceof Error ? error.message : "") || "the runtime does not tell" };
    }
  }
}

function cut(text: string): string {
  return text.slice(0, MAX_CHARS);
}
