/** What an engine keeps below its containers: which images and containers stand on a layer, and taking them away. */
import type { EngineContainer } from "./engine.ts";

export interface PurgeTarget {
  /** `sha256:<hex>` of the layer on those below it. */
  readonly chainId: string;
  /** `sha256:<hex>`: what the engine may call the images that may go. */
  readonly imageDigests: readonly string[];
}

export interface StandingImage {
  /** As the engine names it. */
  readonly id: string;
  /** A tag, or the id. */
  readonly name: string;
}

export interface Standing {
  /** Those of more layers first: an image is removed after those that are made from it. */
  readonly images: readonly StandingImage[];
  /** Stopped ones too. */
  readonly containers: readonly EngineContainer[];
  /** Of the layer, on this host; undefined: the engine does not tell. */
  readonly directory: string | undefined;
}

/** Methods reject with EngineError, and may be called again after they were done. */
export interface Layers {
  /**
   * By the engine's own word alone. A container whose image the engine has no more stands on it where it was made of one of `imageDigests`, or where its file system is
   * made of `directory`. @param directory as it was told before; undefined: not yet
   */
  standing(target: PurgeTarget, directory: string | undefined): Promise<Standing>;
  /** With all its names; no container is of it. */
  removeImage(id: string): Promise<void>;
  /** Whether there is anything of that path. */
  hasDirectory(path: string): Promise<boolean>;
}
