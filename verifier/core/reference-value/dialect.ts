/** How an engine turns layer tars into directories. The same bytes give different trees under different extractors. */

/**
 * `docker`: the overlay2 graph driver with native diff. `containerd`: the overlayfs snapshotter's applier, which the
 * containerd image store of Docker uses as well.
 */
export type Dialect = "docker" | "containerd";

/** Raised when replay under a dialect changes, so that stored reference values of an older reading are not used. */
export const DIALECT_VERSION: Readonly<Record<Dialect, number>> = { docker: 1, containerd: 1 };

/** Why a layer has no reference tree. A closed set. */
export type UnextractableCode =
  /** The tar cannot be read as the engine's reader would read it. */
  | "BAD_TAR"
  /** Compressed stream damaged, cut short, of an unsupported kind or followed by garbage. */
  | "BAD_COMPRESSION"
  /** The blob is not the one that the manifest names: the registry's fault, nothing is known of the layer. Never stored. */
  | "BLOB_MISMATCH"
  /** The uncompressed tar is not the one that the config names: engines refuse the image. */
  | "DIFF_ID_MISMATCH"
  /** The dialect's extractor stops with an error on an entry. */
  | "REFUSED"
  /** What the extractor does depends on files of the host, not of the image. */
  | "HOST_DEPENDENT"
  /** Over one of our own limits. */
  | "LIMIT";

/** A layer that the dialect's extractor does not extract: data, not an error. */
export interface Unextractable {
  readonly unextractable: { readonly code: UnextractableCode; readonly reason: string };
}
