/**
 * A {@link Registry} that asks another one as little as it can: equal questions asked at once are one request, answers are kept for a time, absence too.
 * What is named by a digest cannot change and is kept until room is needed; tags and lists of referrers change, so that a revoked or added signature shows within their TTL.
 */
import { hash } from "node:crypto";
import { type Descriptor, type FetchedManifest, type Registry, RegistryError } from "../../ports/registry.ts";
import { Coalescer } from "./coalescer.ts";

export interface CachingOptions {
  /** Life of what a tag named and of lists of referrers. Default 30,000. */
  readonly mutableTtlMs?: number;
  /** Life of "not found". Default 15,000. */
  readonly absentTtlMs?: number;
  /** How long a registry that answered 429 is left alone where it did not say. Default 30,000; never more than 15 minutes. */
  readonly rateLimitedTtlMs?: number;
  /** Sum of the cached bytes. Default 64 MiB. */
  readonly maxBytes?: number;
  /** Blobs beyond it pass through. Default 256 KiB. */
  readonly maxBlobBytes?: number;
  /** Milliseconds, monotonic. Default `performance.now`. */
  readonly now?: () => number;
}

type Answer = { readonly value: FetchedManifest | readonly Descriptor[] | Buffer } | { readonly error: RegistryError };
interface Entry {
  readonly answer: Answer;
  readonly bytes: number;
  readonly expiresAtMs: number;
  /** Which of all questions it answers, counted from 1. */
  readonly asked: number;
}

const DIGEST = /^sha256:[0-9a-f]{64}$/;
const MAX_RATE_LIMITED_MS = 15 * 60_000;
/** Booked for each entry besides its content. */
const ENTRY_BYTES = 512;

export class CachingRegistry implements Registry {
  readonly #inner: Registry;
  readonly #options: Required<CachingOptions>;
  readonly #entries = new Map<string, Entry>();
  readonly #limitedUntilMs = new Map<string, number>();
  readonly #inFlight = new Coalescer();
  #bytes = 0;
  #asked = 0;

  constructor(inner: Registry, options: CachingOptions = {}) {
    this.#inner = inner;
    this.#options = {
      mutableTtlMs: 30_000,
      absentTtlMs: 15_000,
      rateLimitedTtlMs: 30_000,
      maxBytes: 64 * 1024 * 1024,
      maxBlobBytes: 256 * 1024,
      now: () => performance.now(),
      ...options,
    };
  }

  manifest(repository: string, reference: string, maxBytes: number, signal: AbortSignal): Promise<FetchedManifest> {
    return this.#manifest(0, repository, reference, maxBytes, signal);
  }

  referrers(repository: string, digest: string, signal: AbortSignal): Promise<readonly Descriptor[]> {
    return this.#referrers(0, repository, digest, signal);
  }

  blob(repository: string, digest: string, signal: AbortSignal): AsyncGenerator<Buffer, void, void> {
    return this.#blob(0, repository, digest, signal);
  }

  anew(): Registry {
    const after = this.#asked;
    return {
      manifest: (repository, reference, maxBytes, signal) => this.#manifest(after, repository, reference, maxBytes, signal),
      referrers: (repository, digest, signal) => this.#referrers(after, repository, digest, signal),
      blob: (repository, digest, signal) => this.#blob(after, repository, digest, signal),
      anew: () => this.anew(),
    };
  }

  /** @param after what may change must answer a later question than this one */
  #manifest(after: number, repository: string, reference: string, maxBytes: number, signal: AbortSignal): Promise<FetchedManifest> {
    const ttlMs = DIGEST.test(reference) ? Number.POSITIVE_INFINITY : this.#options.mutableTtlMs;
    const ask = (inner: AbortSignal) => this.#inner.manifest(repository, reference, maxBytes, inner);
    return this.#through(`m ${repository} ${reference} ${maxBytes}`, after, repository, ttlMs, (value) => value.bytes.length, ask, signal);
  }

  #referrers(after: number, repository: string, digest: string, signal: AbortSignal): Promise<readonly Descriptor[]> {
    const ask = (inner: AbortSignal) => this.#inner.referrers(repository, digest, inner);
    return this.#through(`r ${repository} ${digest}`, after, repository, this.#options.mutableTtlMs, (value) => JSON.stringify(value).length, ask, signal);
  }

  async *#blob(after: number, repository: string, digest: string, signal: AbortSignal): AsyncGenerator<Buffer, void, void> {
    const key = `b ${repository} ${digest}`;
    const kept = this.#kept(key, after);
    if (kept && "value" in kept) {
      yield kept.value as Buffer;
      return;
    }
    if (kept) throw kept.error;
    this.#checkLimited(repository);
    const asked = ++this.#asked;
    let chunks: Buffer[] | undefined = [];
    let total = 0;
    try {
      for await (const chunk of this.#inner.blob(repository, digest, signal)) {
        total += chunk.length;
        if (total > this.#options.maxBlobBytes) chunks = undefined;
        chunks?.push(chunk);
        yield chunk;
      }
    } catch (error) {
      this.#keepError(key, asked, repository, error);
      throw error;
    }
    const whole = chunks && Buffer.concat(chunks);
    // Only what is what it claims to be is worth keeping.
    if (whole && `sha256:${hash("sha256", whole)}` === digest) this.#keep(key, asked, { value: whole }, whole.length, Number.POSITIVE_INFINITY);
  }

  async #through<T extends FetchedManifest | readonly Descriptor[]>(
    key: string,
    after: number,
    repository: string,
    ttlMs: number,
    size: (value: T) => number,
    ask: (signal: AbortSignal) => Promise<T>,
    signal: AbortSignal,
  ): Promise<T> {
    signal.throwIfAborted();
    const kept = this.#kept(key, after);
    if (kept && "value" in kept) return kept.value as T;
    if (kept) throw kept.error;
    this.#checkLimited(repository);
    return this.#inFlight.share(
      `${after} ${key}`,
      async (shared) => {
        const asked = ++this.#asked;
        try {
          const value = await ask(shared);
          this.#keep(key, asked, { value }, size(value), ttlMs);
          return value;
        } catch (error) {
          this.#keepError(key, asked, repository, error);
          throw error;
        }
      },
      signal,
    );
  }

  #kept(key: string, after: number): Answer | undefined {
    const entry = this.#entries.get(key);
    if (!entry || (entry.asked <= after && entry.expiresAtMs < Number.POSITIVE_INFINITY)) return undefined;
    this.#drop(key, entry);
    if (entry.expiresAtMs <= this.#options.now()) return undefined;
    this.#insert(key, entry);
    return entry.answer;
  }

  #keepError(key: string, asked: number, repository: string, error: unknown): void {
    if (!(error instanceof RegistryError)) return;
    if (error.code === "NOT_FOUND") this.#keep(key, asked, { error }, 0, this.#options.absentTtlMs);
    if (error.code === "RATE_LIMITED") {
      const waitMs = Math.min(error.retryAfterMs ?? this.#options.rateLimitedTtlMs, MAX_RATE_LIMITED_MS);
      this.#limitedUntilMs.set(hostOf(repository), this.#options.now() + waitMs);
    }
  }

  #checkLimited(repository: string): void {
    const host = hostOf(repository);
    const untilMs = this.#limitedUntilMs.get(host);
    if (untilMs === undefined) return;
    const retryAfterMs = Math.ceil(untilMs - this.#options.now());
    if (retryAfterMs > 0) throw new RegistryError("RATE_LIMITED", `${host} asked to be left alone for a while`, { retryAfterMs });
    this.#limitedUntilMs.delete(host);
  }

  #keep(key: string, asked: number, answer: Answer, contentBytes: number, ttlMs: number): void {
    const bytes = contentBytes + ENTRY_BYTES;
    if (bytes > this.#options.maxBytes || ttlMs <= 0) return;
    const before = this.#entries.get(key);
    // A slow answer to an earlier question is no news.
    if (before && before.asked > asked) return;
    if (before) this.#drop(key, before);
    this.#insert(key, { answer, bytes, expiresAtMs: this.#options.now() + ttlMs, asked });
    for (const [oldest, entry] of this.#entries) {
      if (this.#bytes <= this.#options.maxBytes) break;
      this.#drop(oldest, entry);
    }
  }

  #insert(key: string, entry: Entry): void {
    this.#entries.set(key, entry);
    this.#bytes += entry.bytes;
  }

  #drop(key: string, entry: Entry): void {
    this.#entries.delete(key);
    this.#bytes -= entry.bytes;
  }
}

function hostOf(repository: string): string {
  return repository.slice(0, Math.max(repository.indexOf("/"), 0));
}
