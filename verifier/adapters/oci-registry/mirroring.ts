/** Registries that stand in for others. What is named by a digest may come from anywhere, since it is checked: here, or of large blobs by whoever reads them. */
import { hash } from "node:crypto";
import type { Descriptor, FetchedManifest, Registry } from "../../ports/registry.ts";
import { RegistryError } from "../../ports/registry.ts";

export interface Mirror {
  /** `host[:port]` that it stands in for; `docker.io` for Docker Hub. */
  readonly of: string;
  /** `host[:port]` that has the same repositories under the same names. */
  readonly host: string;
  /**
   * true: asked instead, for everything; what it does not have is not there. false: asked first for what a digest names, and left for the registry itself where it fails;
   * tags and lists of referrers always come from the registry itself, so that a cache that lags hides no signature.
   */
  readonly authoritative: boolean;
}

/** Blobs up to here are checked before they are handed out: signatures, attestations and configs, so that a cache can hide none by damaging it. */
const MAX_HELD_BYTES = 8 * 1024 * 1024;

export class MirroringRegistry implements Registry {
  readonly #inner: Registry;
  readonly #mirrors: readonly Mirror[];

  constructor(inner: Registry, mirrors: readonly Mirror[]) {
    this.#inner = inner;
    this.#mirrors = mirrors;
  }

  async manifest(repository: string, reference: string, maxBytes: number, signal: AbortSignal): Promise<FetchedManifest> {
    if (reference.startsWith("sha256:")) {
      for (const cache of this.#caches(repository)) {
        try {
          return await this.#inner.manifest(cache, reference, maxBytes, signal);
        } catch (error) {
          if (!(error instanceof RegistryError)) throw error;
        }
      }
    }
    return await this.#inner.manifest(this.#source(repository), reference, maxBytes, signal);
  }

  async *blob(repository: string, digest: string, signal: AbortSignal): AsyncIterable<Buffer> {
    for (const cache of this.#caches(repository)) {
      let held: Buffer[] | undefined = [];
      let size = 0;
      try {
        for await (const chunk of this.#inner.blob(cache, digest, signal)) {
          size += chunk.length;
          if (!held) yield chunk;
          else {
            held.push(chunk);
            if (size <= MAX_HELD_BYTES) continue;
            yield* held;
            held = undefined;
          }
        }
        if (!held) return;
        if (`sha256:${hash("sha256", Buffer.concat(held))}` === digest) {
          yield* held;
          return;
        }
      } catch (error) {
        // What was handed out cannot be taken back: who reads it starts again.
        if (!held || !(error instanceof RegistryError)) throw error;
      }
    }
    yield* this.#inner.blob(this.#source(repository), digest, signal);
  }

  async referrers(repository: string, digest: string, signal: AbortSignal): Promise<readonly Descriptor[]> {
    return await this.#inner.referrers(this.#source(repository), digest, signal);
  }

  anew(): Registry {
    return new MirroringRegistry(this.#inner.anew(), this.#mirrors);
  }

  #caches(repository: string): readonly string[] {
    const mine = this.#of(repository);
    return mine.some(({ authoritative }) => authoritative) ? [] : mine.map(({ host }) => rehosted(repository, host));
  }

  #source(repository: string): string {
    const instead = this.#of(repository).find(({ authoritative }) => authoritative);
    return instead ? rehosted(repository, instead.host) : repository;
  }

  #of(repository: string): readonly Mirror[] {
    return this.#mirrors.filter(({ of }) => repository.startsWith(`${of}/`));
  }
}

function rehosted(repository: string, host: string): string {
  return `${host}${repository.slice(repository.indexOf("/"))}`;
}
