/** Keeps replayed layers: each is computed once for a chain id and dialect, whatever images share it. */
import type { Dialect, Unextractable } from "../core/reference-value/dialect.ts";
import type { LayerTree } from "../core/reference-value/layer-tree.ts";

/** What a layer's expected tree depends on: the ordered layers up to it, and who extracts. */
export interface ReferenceKey {
  /** OCI chain id of the layer: `sha256:` and 64 hex digits. */
  readonly chainId: string;
  readonly dialect: Dialect;
  /** `DIALECT_VERSION` at the time of replay. */
  readonly dialectVersion: number;
}

export type Reference = LayerTree | Unextractable;

export interface ReferenceStore {
  /** The stored reference, or undefined where the layer has not been replayed. */
  get(key: ReferenceKey, signal: AbortSignal): Promise<Reference | undefined>;
  /** Durable on return. Idempotent: a second put of one key replaces. */
  put(key: ReferenceKey, reference: Reference, signal: AbortSignal): Promise<void>;
  /** Keys whose tree has this root, at most `limit`: an observed layer names its chain. */
  findByRoot(root: Uint8Array, limit: number, signal: AbortSignal): Promise<readonly ReferenceKey[]>;
}
