/** Where the files of an image are known from: its own layers, or a file manifest by whom policy trusts for that. */
import type { Reference } from "../../ports/reference-store.ts";
import { type CollectedArtefacts, ProvenanceError, type ResolvedImage, type TrustedFiles, trustedFiles } from "../provenance/index.ts";
import type { Dialect } from "../reference-value/index.ts";
import type { ImageKnowledge } from "./image-entry.ts";
import type { ImageServices } from "./image-service.ts";
import { loadedImage } from "./reference-image.ts";
import type { ImageQuestion, MissingImage } from "./types.ts";

/** By what is attached now, or was when it counted: a signature stays what it is until policy says otherwise. */
export function filesOf(
  { policy, verifiers, clock }: Pick<ImageServices, "policy" | "verifiers" | "clock">,
  before: TrustedFiles | undefined,
  resolved: ResolvedImage,
  collected: CollectedArtefacts | undefined,
): TrustedFiles | undefined {
  const { fileManifests: requirement, authorities, trustRoots, trustStores, revocations } = policy();
  if (!requirement) return undefined;
  try {
    return trustedFiles(
      {
        ...{ requirement, authorities, trustRoots, trustStores, revocations, configDigest: resolved.configDigest, diffIds: resolved.config.diffIds },
        subjects: resolved.subjects.map(({ digest }) => digest),
        artefacts: [...(before?.artefacts ?? []), ...(collected?.artefacts ?? [])],
        atMs: clock.nowMs(),
      },
      verifiers,
    );
  } catch (error) {
    if (error instanceof ProvenanceError) return undefined;
    throw error;
  }
}

/** @returns undefined where nothing may be fetched (`onlyKept`) and not all is kept */
export async function filesLoaded(
  { layers, onProblem }: Pick<ImageServices, "layers" | "onProblem">,
  { dialect, runtime }: Pick<ImageQuestion, "dialect" | "runtime">,
  resolved: ResolvedImage,
  { files, onlyKept }: { readonly files: TrustedFiles | undefined; readonly onlyKept: boolean },
  signal: AbortSignal,
): Promise<Pick<ImageKnowledge, "image" | "files"> | undefined> {
  if (!isDialect(dialect))
    return { image: { missing: "unextractable", detail: `no rules are known for the extractor ${JSON.stringify(dialect.slice(0, 64))}` } };
  let found = await layers.trees(resolved, dialect, { files: files?.manifest, onlyKept }, signal);
  if (found.kind === "contradicted") {
    onProblem(new Error(`${resolved.configDigest}: a file manifest of ${files?.by.join(", ")} says otherwise of layer ${found.index} than the layer itself`));
    found = await layers.trees(resolved, dialect, { files: undefined, onlyKept }, signal);
  }
  if (found.kind === "trees") return { image: loadedImage(resolved, found.trees, dialect, runtime === "docker"), files: found.byFiles ? files : undefined };
  return found.kind === "refused" ? { image: refusedImage(found.index, found.refused) } : undefined;
}

function refusedImage(index: number, refused: Reference): MissingImage {
  const why = "unextractable" in refused ? refused.unextractable : { code: "BAD_TAR", reason: "" };
  const detail = `layer ${index}: ${why.reason}`;
  return why.code === "BLOB_MISMATCH" ? { missing: "registry-unreachable", detail } : { missing: "unextractable", detail };
}

function isDialect(text: string): text is Dialect {
  return text === "docker" || text === "containerd";
}
