/** One container: everything known of it in, one result out. The order is DESIGN's: layers, delta, code, configuration, provenance, policy. */
import { create } from "@bufbuild/protobuf";
import { FilesystemKind } from "@hullmark/proto/v1/attestation";
import { type Claim, ClaimSchema, Severity, TrustVectorSchema, Verdict } from "@hullmark/proto/v1/common";
import { appraiseBindFiles, NETWORK_OWNER_GONE } from "./appraise-binds.ts";
import { appraiseCode, type CodeAppraisal } from "./appraise-code.ts";
import { appraiseConfiguration } from "./appraise-configuration.ts";
import { appraiseLayers } from "./appraise-layers.ts";
import { appraiseMerged } from "./appraise-merged.ts";
import { appraisePod } from "./appraise-pod.ts";
import { appraiseProcessPrivileges } from "./appraise-privileges.ts";
import { appraiseSpecification } from "./appraise-specification.ts";
import { UpperAppraisal } from "./appraise-upper.ts";
import { finding } from "./findings.ts";
import { contradicts } from "./severity.ts";
import type { Tally } from "./tally.ts";
import type { ContainerAppraisal, ContainerInput, Finding, FindingKind, FindingPlace, ProvenanceInput, ReferenceImage } from "./types.ts";

/** Findings of one container that are kept one by one; the rest is a number. */
export const MAX_FINDINGS = 500;

/** Claims of the agent that bar any judgement of the content. */
export const BLOCKING_CLAIMS: ReadonlySet<string> = new Set([
  "unmeasurable",
  "over-budget",
  "measuring",
  "overlay-redirect",
  "overlay-metacopy",
  "overlay-userxattr",
  "vanished",
  "no-filesystem",
  "root-unproven",
  "container-unanswered",
  "processes-truncated",
  NETWORK_OWNER_GONE,
]);

/** The root has no layer directories that could be held against the image's. */
export const NO_LAYERS = "no-layers";

/** What an appraisal leaves to the next of the same container, so that it need not look again at what stayed. Results never depend on it. */
export interface AppraisalMemo {
  readonly upper: UpperAppraisal | undefined;
  readonly code: CodeAppraisal | undefined;
}

export interface RememberedAppraisal extends ContainerAppraisal {
  readonly memo: AppraisalMemo;
}

/**
 * Pure. Never throws on a bad container; throws CodecError only where the state was not built by applyEvidence.
 * @param before of the same container's last appraisal; used up by the call, also where it throws
 */
export function appraiseContainer(input: ContainerInput, before?: AppraisalMemo): RememberedAppraisal {
  const unknown: Claim[] = blockingClaims(input);
  const warnings: Claim[] = [];
  const content = "missing" in input.reference ? NO_CONTENT : appraiseContent(input, input.reference, unknown, before);
  if ("missing" in input.reference) unknown.push(claim(input.reference.missing, input.reference.detail));
  const others = [...content.findings];
  if (input.state.identity.runtime === NO_RUNTIME) others.push(unlisted(input));
  const pod = appraisePod(input);
  others.push(...pod.findings);
  unknown.push(...pod.unknown);
  appraiseProvenance(input.provenance, "provenance", input, others, warnings, unknown);
  if (input.teamProvenance) appraiseProvenance(input.teamProvenance, "team-provenance", input, others, warnings, unknown);
  if (!input.rules.hasPolicy) warnings.push(claim("no-policy", "no policy is loaded: nothing says who may sign this image"));
  const { upper, code } = content.memo;
  return { ...conclude(others, upper?.tally, unknown, warnings), memo: { upper, code } };
}

interface Content {
  /** All but what the delta's own appraisal holds. */
  readonly findings: readonly Finding[];
  readonly memo: AppraisalMemo;
}

const NO_CONTENT: Content = { findings: [], memo: { upper: undefined, code: undefined } };

/** What the agent says where a container runs that no runtime tells of (ContainerIdentity.runtime). */
const NO_RUNTIME = "none";

function unlisted({ rules }: ContainerInput): Finding {
  const differences = [{ field: "runtime", expected: "a container that the node's runtime tells of", observed: "none does" }];
  const summary = "runs in no runtime that the node has: started past the cluster, in another engine or by hand";
  return finding({ place: "configuration", kind: "unlisted", path: Buffer.alloc(0), differences, summary, discriminator: "unlisted" }, rules);
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

function appraiseContent(input: ContainerInput, reference: ReferenceImage, unknown: Claim[], before: AppraisalMemo | undefined): Content {
  const { state, rules } = input;
  const findings: Finding[] = [];
  const claimed = state.identity.configDigest;
  if (claimed !== "" && claimed !== reference.configDigest) {
    const differences = [{ field: "config", expected: reference.configDigest, observed: claimed }];
    const summary = "the image's config in the content store was altered";
    findings.push(finding({ place: "image", kind: "replaced", path: Buffer.alloc(0), differences, summary, discriminator: "config" }, rules));
  }
  const merged = state.filesystem.kind === FilesystemKind.MERGED;
  const layers = layersOf(input, reference, merged);
  findings.push(...layers.findings);
  unknown.push(...layers.unknown);
  const upper = merged ? undefined : UpperAppraisal.next(before?.upper, state, reference, rules);
  const code = appraiseCode(state, reference, rules, before?.code);
  findings.push(...code.findings, ...appraiseBindFiles(input), ...configurationFindings(input, reference), ...appraiseProcessPrivileges(input));
  return { findings, memo: { upper, code } };
}

/** Under Docker's drivers without overlay (vfs, btrfs, zfs, …) the engine's own first layer is part of the one tree, and cannot be told from changes. */
function layersOf(input: ContainerInput, reference: ReferenceImage, merged: boolean): Pick<ReturnType<typeof appraiseLayers>, "findings" | "unknown"> {
  if (!merged) return appraiseLayers(input, reference);
  if (input.state.filesystem.dialect !== "docker") return appraiseMerged(input, reference);
  return {
    findings: [],
    unknown: [claim(NO_LAYERS, "its root is no overlay: of Docker's storage drivers only overlay2 (and containerd's overlayfs) is judged")],
  };
}

/** What differs from image and specification both is told once, with the specification. */
function configurationFindings(input: ContainerInput, reference: ReferenceImage): Finding[] {
  const specified = appraiseSpecification(input, reference.config);
  const told = new Set(specified.map(({ key }) => key));
  return [...appraiseConfiguration(input, reference).filter(({ key }) => !told.has(key)), ...specified];
}

/** A changed file that a process runs or maps says so. */
function withMappings(findings: readonly Finding[], processes: readonly Finding[]): readonly Finding[] {
  const mapped = new Map<string, readonly string[]>();
  for (const { place, path, mappedBy } of processes) if (place === "process" && path.length > 0) mapped.set(path.toString("latin1"), mappedBy);
  if (mapped.size === 0) return findings;
  return findings.map((each) => {
    const by = each.place === "upper" || each.place === "layer" ? mapped.get(each.path.toString("latin1")) : undefined;
    return by ? { ...each, mappedBy: by } : each;
  });
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

function appraiseProvenance(
  provenance: ProvenanceInput,
  discriminator: string,
  { rules }: ContainerInput,
  findings: Finding[],
  warnings: Claim[],
  unknown: Claim[],
): void {
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
  findings.push(finding({ place: "image", kind, path: Buffer.alloc(0), differences, summary: provenance.text, discriminator }, rules));
}

const CONTENT_PLACES: ReadonlySet<string> = new Set(["upper", "layer", "runtime-layer", "bind", "process"]);

/** The gravest drift of each place; absent: none there. */
type Gravest = ReadonlyMap<FindingPlace, Severity>;

function gravestOf(others: readonly Finding[], upper: Tally | undefined): Gravest {
  const gravest = new Map<FindingPlace, Severity>(upper?.gravest === undefined ? [] : [["upper", upper.gravest]]);
  for (const { place, severity, notice } of others) if (!notice) gravest.set(place, Math.max(severity, gravest.get(place) ?? severity));
  return gravest;
}

function conclude(others: readonly Finding[], upper: Tally | undefined, unknown: readonly Claim[], warnings: readonly Claim[]): ContainerAppraisal {
  const gravest = gravestOf(others, upper);
  const tier = (severities: readonly Severity[]): Verdict => {
    if (severities.some(contradicts)) return Verdict.CONTRAINDICATED;
    if (unknown.length > 0) return Verdict.UNKNOWN;
    return severities.length > 0 ? Verdict.WARNING : Verdict.AFFIRMING;
  };
  const findings = withMappings(listed(others, upper), others);
  const excused = findings.filter(({ exception }) => exception !== undefined);
  const warned = (verdict: Verdict, by: boolean): Verdict => (verdict === Verdict.AFFIRMING && by ? Verdict.WARNING : verdict);
  // What is excused is not as in the image all the same.
  const content = warned(
    tier([...gravest].filter(([place]) => CONTENT_PLACES.has(place)).map(([, severity]) => severity)),
    excused.some(({ place }) => CONTENT_PLACES.has(place)),
  );
  const verdict = warned(tier([...gravest.values()]), warnings.length + excused.length > 0);
  const reasons = [...unknown, ...warnings, ...exceptionClaims(excused)];
  const total = others.length + (upper?.size ?? 0);
  if (total > MAX_FINDINGS) reasons.push(claim("many-findings", `${total} differences; the gravest ${MAX_FINDINGS} are listed`));
  return { verdict, content, reasons, findings, vector: vectorOf(gravest, new Set(excused.map(({ place }) => place)), unknown, warnings) };
}

const MAX_TOLD_EXCEPTIONS = 16;

function exceptionClaims(excused: readonly Finding[]): readonly Claim[] {
  const ids = [...new Set(excused.map(({ exception }) => exception))];
  if (ids.length === 0) return [];
  const more = ids.length > MAX_TOLD_EXCEPTIONS ? ` and ${ids.length - MAX_TOLD_EXCEPTIONS} more` : "";
  return [claim("exception", `${excused.length} differences are excused by ${ids.slice(0, MAX_TOLD_EXCEPTIONS).join(", ")}${more}: hullmark exception show`)];
}

/** The gravest {@link MAX_FINDINGS}; of equal gravity those that have been there longest. What is no drift comes last: it crowds nothing out, however grave it would be. */
function listed(others: readonly Finding[], upper: Tally | undefined): readonly Finding[] {
  if ((!upper || upper.size === 0) && others.length <= MAX_FINDINGS) return others;
  const list: Finding[] = [];
  for (const notice of [false, true])
    for (let severity: Severity = Severity.CRITICAL; severity >= Severity.UNSPECIFIED; severity--) {
      const alike = others.filter((each) => each.severity === severity && each.notice === notice);
      for (const all of [alike, upper?.of(severity, notice) ?? []])
        for (const each of all) {
          if (list.length >= MAX_FINDINGS) return list;
          list.push(each);
        }
    }
  return list;
}

function vectorOf(
  gravest: Gravest,
  excused: ReadonlySet<FindingPlace>,
  unknown: readonly Claim[],
  warnings: readonly Claim[],
): ReturnType<typeof create<typeof TrustVectorSchema>> {
  // AR4SI: 2 affirming, 32 warning, 96 contraindicated, 0 no claim.
  const value = (places: readonly FindingPlace[]): number => {
    const concerned = places.flatMap((place) => gravest.get(place) ?? []);
    if (concerned.some(contradicts)) return 96;
    if (concerned.length > 0 || places.some((place) => excused.has(place))) return 32;
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
