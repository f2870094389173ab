/** What the rest of the verifier asks of images. */
import type { ProvenanceRow } from "../../ports/rows.ts";
import type { ExpectedTree } from "../appraisal/descent.ts";
import type { ProvenanceInput, ReferenceImage } from "../appraisal/types.ts";

/** An image whose reference values, in one dialect, are at hand. */
export interface LoadedImage {
  readonly reference: ReferenceImage;
  /** Of all layers together. */
  readonly entries: number;
  /** The expected tree of one layer, 0 lowest. */
  layerTree(index: number): ExpectedTree | undefined;
  /** Of the layer that the runtime itself puts on top. */
  runtimeTree(): ExpectedTree;
  /** Of everything that a container sees, for runtimes that show no layers. */
  mergedTree(): ExpectedTree;
}

export interface MissingImage {
  readonly missing: "no-reference" | "resolving" | "unextractable" | "registry-unreachable";
  readonly detail: string;
}

/** What is known of an image now. Asking begins to find out what is not. */
export interface ImageView {
  /** Names the question: changes are told by it. */
  readonly key: string;
  readonly image: LoadedImage | MissingImage;
  /** Where provenance is unknown: it may be known soon. It has not been looked up wholly yet, or the registry has been away for minutes only. */
  readonly lookingUp: boolean;
  /** As the signed objects say; empty before the image is resolved. */
  readonly configDigest: string;
  readonly manifestDigest: string;
  /** `repository@digest` of what signatures may be of: the index that it was found by, else its manifest; empty before it is resolved. */
  readonly pinnedReference: string;
  readonly provenance: ProvenanceInput;
  /** What the policy of the container's namespace makes of it; undefined: it asks for nothing. */
  readonly teamProvenance: ProvenanceInput | undefined;
  readonly provenanceRow: ProvenanceRow;
}

/** What a container says of its image, and what policy selects by. The node chooses every byte. */
export interface ImageQuestion {
  readonly imageReference: string;
  readonly imageId: string;
  readonly repoDigests: readonly string[];
  readonly configDigest: string;
  readonly containerName: string;
  readonly workload: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly nodeName: string;
  /** As the node's kernel names it, for example `x86_64`. */
  readonly architecture: string;
  /** Extractor by whose rules the node's layers were made. */
  readonly dialect: string;
  /** What runs the container: `docker` has a layer of its own over the image's. */
  readonly runtime: string;
}

/** What images are under another policy. */
export interface ImagesUnder {
  view(question: ImageQuestion): ImageView;
  /** Keys of images of which it is not known whether an index that the policy revokes is theirs. */
  readonly untold: ReadonlySet<string>;
  /** Of images whose file manifest would count no more, so that their layers would be read: key → who signed it. */
  readonly forsaken: ReadonlyMap<string, readonly string[]>;
}

export interface Images {
  /** Never waits. */
  view(question: ImageQuestion): ImageView;
  /** Whether an image that counts as signed shows exactly this content at this path (no leading slash). Of images that are at hand. */
  vouches(path: Buffer, sha256: Buffer): boolean;
  /** Tells keys whose view has changed. @returns a function that ends the subscription */
  onChange(listener: (keys: ReadonlySet<string>) => void): () => void;
}
