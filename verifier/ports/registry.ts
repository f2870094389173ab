/** Where images and what is attached to them come from. Everything a registry answers is untrusted: the callers check digests. */

/** An OCI content descriptor (image-spec v1.1, descriptor.md). */
export interface Descriptor {
  readonly mediaType: string;
  /** `sha256:` and 64 hex digits. */
  readonly digest: string;
  /** Bytes: 0..2^53-1. */
  readonly size: number;
  readonly artifactType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** A manifest or index, as served. */
export interface FetchedManifest {
  readonly mediaType: string;
  /** SHA-256 of `bytes`, computed by the adapter, never taken from a header. */
  readonly digest: string;
  readonly bytes: Buffer;
}

/** Failures are a RegistryError of the adapter: the object is absent, or the registry could not be asked. */
export interface Registry {
  /**
   * A manifest by digest or tag; by digest the adapter checks it. At most `maxBytes` are read.
   * @param repository `host[:port]/name`
   */
  manifest(repository: string, reference: string, maxBytes: number, signal: AbortSignal): Promise<FetchedManifest>;
  /** Streams a blob by digest. Bytes are not verified: the consumer hashes as it reads. Breaking off the iteration closes the connection. */
  blob(repository: string, digest: string, signal: AbortSignal): AsyncIterable<Buffer>;
  /** Manifests that name this one as their subject: the referrers API, else the fallback tag scheme. Empty where there are none. */
  referrers(repository: string, digest: string, signal: AbortSignal): Promise<readonly Descriptor[]>;
}
