/** {@link ContainerRuntime} of an agent that is to look after no containers: none is asked for, and none is there. */
import type { ContainerRuntime, RuntimeEvent, RuntimeFacts } from "../../ports/container-runtime.ts";

export class NoRuntime implements ContainerRuntime {
  async facts(): Promise<RuntimeFacts> {
    return { name: "none", version: "", storageDriver: "", dialect: "docker", ownLayer: false };
  }

  async list(): Promise<readonly string[]> {
    return [];
  }

  async stopped(): Promise<readonly []> {
    return [];
  }

  async inspect(): Promise<undefined> {
    return undefined;
  }

  async *events(signal: AbortSignal): AsyncGenerator<RuntimeEvent> {
    yield { kind: "connected", containerId: "" };
    if (!signal.aborted) await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
  }
}
