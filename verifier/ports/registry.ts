/** Where images and what is attached to them come from. Everything a registry answers is untrusted: digests decide. */

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

/** Most bytes of a manifest or index that any caller should accept (distribution-spec v1.1, "pushing manifests": 4 MiB). */
export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;

/**
 * NOT_FOUND: the registry answered that it does not hold it. UNAUTHORIZED, DENIED: credentials are missing or do not suffice.
 * RATE_LIMITED, UNAVAILABLE, TIMEOUT: may pass by itself. TOO_LARGE, DIGEST_MISMATCH, MALFORMED: what was served cannot be used.
 * BAD_REFERENCE: the name is not an OCI reference. INSECURE: would need plain http where that is not configured. CONFLICT: others kept writing the same tag.
 * NOT_ALLOWED: configuration lets nobody ask there.
 */
export type RegistryErrorCode =
  | "NOT_FOUND"
  | "UNAUTHORIZED"
  | "DENIED"
  | "RATE_LIMITED"
  | "UNAVAILABLE"
  | "TIMEOUT"
  | "TOO_LARGE"
  | "DIGEST_MISMATCH"
  | "MALFORMED"
  | "BAD_REFERENCE"
  | "INSECURE"
  | "CONFLICT"
  | "NOT_ALLOWED";

const RETRYABLE: ReadonlySet<RegistryErrorCode> = new Set(["RATE_LIMITED", "UNAVAILABLE", "TIMEOUT", "CONFLICT"]);

/** The object is absent, or the registry could not be asked: never a verdict. An aborted call rejects with the signal's reason instead. */
export class RegistryError extends Error {
  readonly code: RegistryErrorCode;
  readonly retryable: boolean;
  /** The registry's own Retry-After, milliseconds; undefined where it gave none. */
  readonly retryAfterMs: number | undefined;

  constructor(code: RegistryErrorCode, message: string, options?: ErrorOptions & { readonly retryAfterMs?: number | undefined }) {
    super(message, options);
    this.name = "RegistryError";
    this.code = code;
    this.retryable = RETRYABLE.has(code);
    this.retryAfterMs = options?.retryAfterMs;
  }
}

/** Failures are {@link RegistryError}. */
export interface Registry {
  /**
   * A manifest by digest or tag; by digest the adapter checks it. At most `maxBytes` are read.
   * @param repository `host[:port]/name`
   */
  manifest(repository: string, reference: string, maxBytes: number, signal: AbortSignal): Promise<FetchedManifest>;
  /** Streams a blob by digest. Bytes are not verified: the consumer hashes as it reads. Breaking off the iteration closes the connection. */
  blob(repository: string, digest: string, signal: AbortSignal): AsyncIterable<Buffer>;
  /**
   * Manifests that name this one as their subject: the referrers API, else the fallback tag scheme (distribution-spec v1.1). Empty where there are none.
   * Not filtered by artifactType: some tools leave it out of the index and state it in the manifest only.
   */
  referrers(repository: string, digest: string, signal: AbortSignal): Promise<readonly Descriptor[]>;
  /**
   * The same registry, by questions that it is asked after this call: nothing that may change (tags, lists of referrers, absence) is answered by what was kept from before.
   * Equal questions of one such view are still one for a while.
   */
  anew(): Registry;
}

/** What signing needs on top. Pushing the same bytes twice is harmless. */
export interface RegistryWriter {
  /** Stored when it returns. */
  pushBlob(repository: string, bytes: Uint8Array, signal: AbortSignal): Promise<{ readonly digest: string; readonly size: number }>;
  /**
   * Stores a blob as it streams in, in parts of a few megabytes; one that is there already is not read, one of the same host's `mountFrom` need not be.
   * The registry checks the digest. @throws RegistryError MALFORMED where there are other than `size` bytes; what reading them throws
   */
  pushStream(
    repository: string,
    blob: Pick<Descriptor, "digest" | "size">,
    read: () => AsyncIterable<Buffer>,
    mountFrom: string | undefined,
    signal: AbortSignal,
  ): Promise<void>;
  /** @param reference a tag, or the digest of `bytes` @returns the digest */
  pushManifest(repository: string, reference: string, mediaType: string, bytes: Uint8Array, signal: AbortSignal): Promise<string>;
  /**
   * Pushes a manifest whose `subject` is `subjectDigest` and makes {@link Registry.referrers} list it, keeping what is listed already:
   * where the registry has no referrers API, its descriptor is appended to the index at the fallback tag.
   * @throws RegistryError CONFLICT where the fallback tag kept being overwritten by others
   */
  attach(repository: string, subjectDigest: string, manifest: AttachedManifest, signal: AbortSignal): Promise<Descriptor>;
}

export interface AttachedManifest {
  readonly mediaType: string;
  readonly artifactType: string;
  readonly annotations: Readonly<Record<string, string>>;
  readonly bytes: Uint8Array;
}
