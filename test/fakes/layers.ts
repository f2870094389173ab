/** What stands on layers of a {@link FakeEngine}, in memory. */
import type { Layers, PurgeTarget, Standing, StandingImage } from "@hullmark/actuator/ports/layers";
import type { FakeEngine } from "./engine.ts";

const DIRECTORY = "/layer";

export class FakeLayers implements Layers {
  readonly #engine: FakeEngine;
  /** Of the one layer that there is; none is left of it with none of them, but where something else keeps its directory. */
  readonly images = new Map<string, StandingImage>();
  kept = false;

  constructor(engine: FakeEngine) {
    this.#engine = engine;
  }

  add(id: string, name: string): void {
    this.images.set(id, { id, name });
  }

  async standing({ imageDigests }: PurgeTarget): Promise<Standing> {
    const ids = new Set([...imageDigests, ...this.images.keys()]);
    const containers = [...this.#engine.containers.values()].filter(({ imageId }) => ids.has(imageId));
    return { images: [...this.images.values()], containers, directory: DIRECTORY };
  }

  async removeImage(id: string): Promise<void> {
    this.images.delete(id);
  }

  async hasDirectory(): Promise<boolean> {
    return this.kept || this.images.size > 0;
  }
}
