/** Images as stored: what people list, and what a restarted verifier goes on from. */
import { ProvenanceStatus } from "@hullmark/proto/v1/query";
import type { ImageRow, ProvenanceRow } from "../../ports/rows.ts";
import { entry, text, wireName } from "../fleet/log-facts.ts";
import type { ResolvedImage } from "../provenance/index.ts";
import type { LogEntry } from "../transparency/entry.ts";
import type { ImageKnowledge } from "./image-entry.ts";
import type { ImageQuestion } from "./types.ts";

const FORMAT = 1;
const MAX_REFERENCES = 32;

/** @param before the row of the same image, whose references stay listed */
export function imageRow(
  { image, resolved, files }: ImageKnowledge,
  question: ImageQuestion,
  provenance: ProvenanceRow,
  before: ImageRow | undefined,
): ImageRow | undefined {
  if (!resolved) return undefined;
  const missing = "missing" in image ? image : undefined;
  return {
    configDigest: resolved.configDigest,
    references: [...new Set([question.imageReference, ...(before?.references ?? [])])].slice(0, MAX_REFERENCES),
    manifestDigests: resolved.subjects.filter(({ kind }) => kind === "manifest").map(({ digest }) => digest),
    platform: [resolved.config.platform.os, resolved.config.platform.architecture, resolved.config.platform.variant].filter((part) => part !== "").join("/"),
    state: missing?.missing ?? "ready",
    detail: missing?.detail ?? (files ? `files by a manifest of ${files.by.join(", ")}` : ""),
    layers: resolved.layers.length,
    entries: "missing" in image ? 0 : image.entries,
    provenance,
    identity: JSON.stringify({ format: FORMAT, resolved }),
  };
}

/** What was resolved before; everything in it is named by digests that were checked then. */
export function storedResolution(row: ImageRow | undefined): ResolvedImage | undefined {
  if (!row || row.identity === "") return undefined;
  const { format, resolved } = JSON.parse(row.identity) as { format: number; resolved: ResolvedImage };
  return format === FORMAT ? resolved : undefined;
}

/** An image's reference values or signatures became known, or known differently. */
export function referenceFact({ configDigest, manifestDigests, state, detail, layers, provenance }: ImageRow, nowMs: number): LogEntry {
  return entry("reference", nowMs, {
    config: configDigest,
    manifests: manifestDigests.slice(0, 8),
    state,
    detail: text(detail),
    layers,
    provenance: wireName(ProvenanceStatus, provenance?.status ?? 0),
    authorities: provenance?.authorities.slice(0, 16).map(text) ?? [],
  });
}
