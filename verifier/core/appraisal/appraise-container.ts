/** One container: everything known of it in, one result out. The order is DESIGN's: layers, delta, code, configuration, provenance, policy. */
import { create } from "@bufbuild/protobuf";
import { FilesystemKind } from "@hullmark/proto/v1/attestation";
import { type Claim, ClaimSchema, Severity, TrustVectorSchema, Verdict } from "@hullmark/proto/v1/common";
import { appraiseBindFiles } from "./appraise-binds.ts";
import { appraiseCode } from "./appraise-code.ts";
import { appraiseConfiguration } from "./appraise-configuration.ts";
import { appraiseLayers } from "./appraise-layers.ts";
import { appraiseMerged } from "./appraise-merged.ts";
import { appraiseUpper } from "./appraise-upper.ts";
import { finding } from "./findings.ts";
import type { ContainerAppraisal, ContainerInput, Finding, FindingKind, ProvenanceInput, ReferenceImage } from "./types.ts";

/** Findings of one container that are kept one by one; the rest is a number. */
export const MAX_FINDINGS = 500;

/** Claims of the agent that bar any judgement of the content. */
export const BLOCKING_CLAIMS: ReadonlySet<string> = new Set([
  "unmeasurable",
  "measuring",
  "overlay-redirect",
  "overlay-metacopy",
  "overlay-userxattr",
  "vanished",
  "no-filesystem",
  "processes-truncated",
]);

/** Pure. Never throws on a bad container; throws CodecError only where the state was not built by applyEvidence. */
export function appraiseContainer(input: ContainerInput): ContainerAppraisal {
  const unknown: Claim[] = blockingClaims(input);
  const warnings: Claim[] = [];
  const findings: Finding[] = [];
  if ("missing" in input.reference) unknown.push(claim(input.reference.missing, input.reference.detail));
  else findings.push(...appraiseContent(input, input.reference, unknown));
  appraiseProvenance(input, findings, warnings, unknown);
  if (!input.rules.hasPolicy) warnings.push(claim("no-policy", "no policy is loaded: nothing says who may sign this image"));
  return conclude(findings, unknown, warnings);
}

function claim(code: string, detail: string): Claim {
  return create(ClaimSchema, { code, detail });
}

function blockingClaims({ state, measurementDigest }: ContainerInput): Claim[] {
  const claims = [...state.filesystem.claims, ...state.code.claims].filter(({ code }) => BLOCKING_CLAIMS.has(code));
  if (state.code.truncated) claims.push(claim("code-truncated", "more running code than is told"));
  if (!measurementDigest.equals(Buffer.from(state.filesystem.exclusionDigest)))
    claims.push(claim("policy-pending", "measured under another policy; measuring again"));
  return claims;
}

function appraiseContent(input: ContainerInput, reference: ReferenceImage, unknown: Claim[]): Finding[] {
  const { state, rules } = input;
  const findings: Finding[] = [];
  const claimed = state.identity.configDigest;
  if (claimed !== "" && claimed !== reference.configDigest) {
    const differences = [{ field: "config", expected: reference.configDigest, observed: claimed }];
    findings.push(
      finding(
        {
          place: "image",
          kind: "replaced",
          path: Buffer.alloc(0),
          differences,
          summary: "the image's config in the content store was altered",
          discriminator: "config",
        },
        rules,
      ),
    );
  }
  if (state.filesystem.kind === FilesystemKind.MERGED) {
    const merged = appraiseMerged(input);
    findings.push(...merged.findings);
    unknown.push(...merged.unknown);
  } else {
    const layers = appraiseLayers(input, reference);
    findings.push(...layers.findings);
    unknown.push(...layers.unknown);
    findings.push(...appraiseUpper(state, reference, rules));
  }
  findings.push(...appraiseCode(state, reference, rules), ...appraiseBindFiles(state, rules), ...appraiseConfiguration(input, reference));
  return withMappings(findings);
}

/** A changed file that a process runs or maps says so. */
function withMappings(findings: Finding[]): Finding[] {
  const mapped = new Map<string, readonly string[]>();
  for (const { place, path, mappedBy } of findings) if (place === "process" && path.length > 0) mapped.set(path.toString("latin1"), mappedBy);
  return findings.map((each) =>
    each.place === "upper" || each.place === "layer" ? { ...each, mappedBy: mapped.get(each.path.toString("latin1")) ?? each.mappedBy } : each,
  );
}

const PROVENANCE_KINDS: Partial<Record<ProvenanceInput["status"], FindingKind>> = {
  unsigned: "unsigned",
  "wrong-key": "wrong-key",
  "other-digest": "other-digest",
  "moved-tag": "moved-tag",
  "attestation-only": "unsigned",
  "attestation-missing": "attestation-missing",
  revoked: "revoked",
  malformed: "signature-malformed",
};

function appraiseProvenance({ provenance, rules }: ContainerInput, findings: Finding[], warnings: Claim[], unknown: Claim[]): void {
  if (provenance.status === "signed") return;
  const kind = PROVENANCE_KINDS[provenance.status];
  if (!kind) {
    (provenance.required ? unknown : warnings).push(claim("provenance-unknown", provenance.text));
    return;
  }
  // A revocation stands by itself: nobody need ask for a signature to be told.
  if (!provenance.required && provenance.status !== "revoked") {
    warnings.push(claim(`provenance-${provenance.status}`, provenance.text));
    return;
  }
  const differences = [{ field: "signature", expected: "by an authority of the policy", observed: provenance.status }];
  findings.push(finding({ place: "image", kind, path: Buffer.alloc(0), differences, summary: provenance.text, discriminator: "provenance" }, rules));
}

const CONTENT_PLACES: ReadonlySet<string> = new Set(["upper", "layer", "runtime-layer", "bind", "process"]);

function conclude(all: readonly Finding[], unknown: readonly Claim[], warnings: readonly Claim[]): ContainerAppraisal {
  const drifts = all.filter(({ notice }) => !notice);
  const tier = (findings: readonly Finding[]): Verdict => {
    if (findings.some(({ severity }) => severity >= Severity.MEDIUM)) return Verdict.CONTRAINDICATED;
    if (unknown.length > 0) return Verdict.UNKNOWN;
    return findings.length > 0 ? Verdict.WARNING : Verdict.AFFIRMING;
  };
  const content = tier(drifts.filter(({ place }) => CONTENT_PLACES.has(place)));
  const overall = tier(drifts);
  const verdict = overall === Verdict.AFFIRMING && warnings.length > 0 ? Verdict.WARNING : overall;
  const reasons = [...unknown, ...warnings];
  if (all.length > MAX_FINDINGS) reasons.push(claim("many-findings", `${all.length} differences; the gravest ${MAX_FINDINGS} are listed`));
  const findings = all.length > MAX_FINDINGS ? [...all].sort((a, b) => b.severity - a.severity).slice(0, MAX_FINDINGS) : all;
  return { verdict, content, reasons, findings, vector: vectorOf(drifts, unknown, warnings) };
}

/** EAR trustworthiness vector (AR4SI section 2.3.4): 2 affirming, 32 warning, 96 contraindicated, 0 no claim. */
function vectorOf(drifts: readonly Finding[], unknown: readonly Claim[], warnings: readonly Claim[]): ContainerAppraisal["vector"] {
  const value = (places: readonly string[]): number => {
    const concerned = drifts.filter(({ place }) => places.includes(place));
    if (concerned.some(({ severity }) => severity >= Severity.MEDIUM)) return 96;
    if (concerned.length > 0) return 32;
    return unknown.length > 0 ? 0 : 2;
  };
  const provenance = warnings.some(({ code }) => code.startsWith("provenance-")) ? 32 : value(["image"]);
  return create(TrustVectorSchema, {
    configuration: value(["configuration", "mount"]),
    executables: value(["process"]),
    fileSystem: value(["upper", "layer", "runtime-layer", "bind"]),
    sourcedData: provenance,
  });
}
