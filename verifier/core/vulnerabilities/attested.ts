/** Reports that somebody signed: attestations of an image, once their signature holds. What the signer wrote need not have the form of its type. */
import type { Artefact } from "../provenance/artefact.ts";
import type { JsonObject } from "../provenance/json.ts";
import { objectField, textField } from "../provenance/json.ts";
import { ReportError } from "./errors.ts";
import type { Vouched } from "./image-findings.ts";
import { readReport } from "./parse.ts";
import type { ParsedReport } from "./types.ts";

const COSIGN_VULN = "https://cosign.sigstore.dev/attestation/vuln/v1";
const OTHERS: ReadonlySet<string> = new Set([
  "https://cyclonedx.org/bom",
  "https://openvex.dev/ns",
  "https://openvex.dev/ns/v0.2.0",
  "https://spdx.dev/Document",
]);

/** A report, and the digests that its own metadata names. */
export interface AttestedReport extends Vouched {
  readonly subject: ParsedReport["subject"];
}

/** A verified attestation. */
export interface Attestation {
  /** As it was fetched: what was read of it is remembered. */
  readonly artefact: Artefact;
  readonly manifestDigest: string;
  readonly predicateType: string;
  readonly predicate: JsonObject | undefined;
  readonly authorities: readonly string[];
  /** Proven time of signing. */
  readonly signedAtMs: number | undefined;
}

const READ = new WeakMap<Artefact, ParsedReport | "none">();

/** undefined: no report, or none that can be read, which is the same. */
export function attestedReport(attestation: Attestation): AttestedReport | undefined {
  const { artefact, manifestDigest, authorities, signedAtMs } = attestation;
  const known = READ.get(artefact);
  const parsed = known ?? readAttestation(attestation) ?? "none";
  if (!known) READ.set(artefact, parsed);
  if (parsed === "none") return undefined;
  const times = [parsed.createdAtMs, signedAtMs].filter((ms) => ms !== undefined);
  // Neither signing nor writing makes an old scan new.
  const createdAtMs = times.length > 0 ? Math.min(...times) : undefined;
  return { ...parsed, digest: manifestDigest, createdAtMs, recordedAtMs: signedAtMs ?? createdAtMs ?? 0, importedBy: "", authorities };
}

function readAttestation({ predicateType, predicate }: Attestation): ParsedReport | undefined {
  const scan = predicateType === COSIGN_VULN;
  const report = scan ? objectField(objectField(predicate, "scanner"), "result") : OTHERS.has(predicateType) ? predicate : undefined;
  if (!report) return undefined;
  try {
    const parsed = readReport(report);
    const finishedMs = scan ? Date.parse(textField(objectField(predicate, "metadata"), "scanFinishedOn", 64) ?? "") : Number.NaN;
    const times = [parsed.createdAtMs, finishedMs].filter((ms): ms is number => ms !== undefined && !Number.isNaN(ms));
    return { ...parsed, createdAtMs: times.length > 0 ? Math.min(...times) : undefined };
  } catch (error) {
    if (error instanceof ReportError) return undefined;
    throw error;
  }
}
