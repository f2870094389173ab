/** Why an image is not accepted, so that whoever reads it knows what to do: what was asked, what was found, what would do. */
import type { AttestationRequirement, BuildRequirement } from "../policy/types.ts";
import type { ArtefactVerdict } from "./judge.ts";
import type { ReadyAuthority } from "./signers.ts";
import { type Explained, NO_LAYERS } from "./text.ts";

export interface Refusal {
  /** For example `signatures: 2 of release, security`. */
  readonly requirement: string;
  /** What there is instead, with the manifest that holds it. */
  readonly found: string;
  /** What would satisfy it. */
  readonly remedy: string;
}

/** A requirement on attestations that is not met. */
export interface Unmet {
  /** Predicate type, or `build`. */
  readonly name: string;
  readonly wanted: AttestationRequirement | BuildRequirement;
  /** Authorities that do meet it; not enough. */
  readonly by: readonly string[];
  /** What comes near, with why it does not do. */
  readonly close: readonly string[];
}

export interface RefusalFacts extends Explained {
  readonly missing: readonly Unmet[];
  readonly authorities: readonly ReadyAuthority[];
  readonly subjects: readonly string[];
}

const MAX_EVIDENCE = 4;
const NO_EVIDENCE: ReadonlySet<ArtefactVerdict["code"]> = new Set(["signature", "attestation"]);

export function refusalsOf(facts: RefusalFacts): Refusal[] {
  const { status, barred, enough, missing, elsewhere, base, scan, incomplete } = facts;
  if (barred !== undefined)
    return [{ requirement: "not revoked", found: barred, remedy: "build anew from what is trusted, sign that, and deploy it; or withdraw the revocation" }];
  const refusals: Refusal[] = [];
  if (!enough) refusals.push(signatureRefusal(facts));
  for (const wanted of missing) refusals.push(attestationRefusal(wanted, facts));
  if (elsewhere) refusals.push(registryRefusal(elsewhere));
  if (base) refusals.push(baseRefusal(base));
  if (scan) refusals.push({ requirement: scan.requirement, found: scan.found, remedy: scan.remedy });
  if (refusals.length === 0) refusals.push({ requirement: "not built by a builder or from a commit that is revoked", found: "", remedy: "" });
  if (status === "unknown" && incomplete.length > 0)
    return refusals.map((refusal) => ({
      ...refusal,
      found: `cannot tell: ${incomplete.slice(0, MAX_EVIDENCE).join("; ")}`,
      remedy: "make the registry answer",
    }));
  const unsure = facts.artefacts.find(({ code }) => code === "revocation-unknown");
  if (status === "unknown" && unsure)
    return refusals.map((refusal) => ({
      ...refusal,
      found: `${unsure.manifestDigest.slice(0, 19)}… ${unsure.text}`,
      remedy: "make the authority's address answer, or give its list in the trust store (revocationListFiles); without either: revocation: log",
    }));
  return refusals;
}

function signatureRefusal(facts: RefusalFacts): Refusal {
  const { accepted, threshold, counted, subjects } = facts;
  const lacking = accepted.filter((name) => !counted.includes(name));
  return {
    requirement: `signatures: ${threshold} of ${accepted.join(", ") || "no authority"}`,
    found: evidence(facts, ({ code }) => !NO_EVIDENCE.has(code), counted),
    remedy: `sign ${subjects[0] ?? "it"} ${waysOf(lacking, facts.authorities) || "by an authority, once the policy names one"}`,
  };
}

function registryRefusal({ repository, registries }: NonNullable<RefusalFacts["elsewhere"]>): Refusal {
  const allowed = `${registries.slice(0, MAX_EVIDENCE).join(" or ")}${registries.length > MAX_EVIDENCE ? " or …" : ""}`;
  return {
    requirement: `registries: ${allowed}`,
    found: `in ${repository}`,
    remedy: `copy it with what signs it to ${allowed} (hullmark promote), and start it from there`,
  };
}

function baseRefusal({ allowed, chains }: NonNullable<RefusalFacts["base"]>): Refusal {
  const named = `${allowed.slice(0, MAX_EVIDENCE).join(" or ")}${allowed.length > MAX_EVIDENCE ? " or …" : ""}`;
  const requirement = `baseLayers: ${named}`;
  if (!chains) return { requirement, found: `cannot tell: ${NO_LAYERS}`, remedy: "name the image of one platform" };
  // The lowest alone are a base's; all above are the build's own.
  const found = `layers ${chains.slice(0, MAX_EVIDENCE).join(", ")}${chains.length > MAX_EVIDENCE ? ", …" : ""}`;
  return { requirement, found: chains.length === 0 ? "no layers" : found, remedy: "build it anew on a base that is allowed, or allow the base in the policy" };
}

function attestationRefusal({ name, wanted, by, close }: Unmet, facts: RefusalFacts): Refusal {
  const lacking = wanted.authorities.filter((authority) => !by.includes(authority));
  const others = facts.artefacts
    .filter(({ code, predicateType }) => code !== "attestation" && predicateType === name)
    .map(({ manifestDigest, text }) => `${manifestDigest.slice(0, 19)}… ${text}`);
  const found = [...(by.length > 0 ? [`by ${by.join(", ")}`] : []), ...[...close, ...others].slice(0, MAX_EVIDENCE)];
  const summaries = "summaries" in wanted && wanted.summaries.length > 0 ? `, or a summary by ${wanted.summaries.join(" or ")},` : "";
  const what = name === "build" ? `SLSA provenance of such a build${summaries}` : name;
  return {
    requirement: `${describeUnmet(name, wanted)}: ${wanted.threshold} of ${wanted.authorities.join(", ")}`,
    found: found.join("; ") || "nothing",
    remedy: `attest ${facts.subjects[0] ?? "it"} with ${what} ${waysOf(lacking, facts.authorities)}`,
  };
}

function describeUnmet(name: string, wanted: Unmet["wanted"]): string {
  if (!("builders" in wanted)) {
    const age = wanted.maxAgeSeconds === undefined ? "" : ` not older than ${wanted.maxAgeSeconds} s`;
    return `attestation ${name}${age}${wanted.where === undefined ? "" : ` where ${wanted.where}`}`;
  }
  const parts = [
    ["builder", wanted.builders],
    ["source", wanted.sources],
    ["ref", wanted.refs],
    ["build type", wanted.buildTypes],
  ] as const;
  const asked = parts.flatMap(([word, globs]) => (globs.length > 0 ? [`${word} ${globs.join(" or ")}`] : []));
  if (wanted.level > 0) asked.push(`SLSA level ${wanted.level}`);
  for (const [tool, version] of Object.entries(wanted.tools)) asked.push(`${tool} ${version}`);
  if (wanted.bases.length > 0) asked.push(`on ${wanted.bases.slice(0, 4).join(" or ")}${wanted.bases.length > 4 ? " or …" : ""}`);
  if (wanted.commit) asked.push("commit named");
  if (wanted.privileges) {
    const { root, capabilities } = wanted.privileges;
    asked.push(`privileges at most ${[...(root ? ["root"] : []), ...capabilities].join(", ") || "none"}`);
  }
  if (wanted.dependencies) asked.push("dependencies listed by digest");
  if (wanted.maxAgeSeconds !== undefined) asked.push(`not older than ${wanted.maxAgeSeconds} s`);
  return `build (${asked.join(", ") || "any"})`;
}

function evidence({ artefacts }: RefusalFacts, concerns: (artefact: ArtefactVerdict) => boolean, by: readonly string[]): string {
  const others = artefacts.filter(concerns).map(({ manifestDigest, text }) => `${manifestDigest.slice(0, 19)}… ${text}`);
  const more = others.length > MAX_EVIDENCE ? [`${others.length - MAX_EVIDENCE} more`] : [];
  const found = [...(by.length > 0 ? [`by ${by.join(", ")}`] : []), ...others.slice(0, MAX_EVIDENCE), ...more];
  return found.join("; ") || "nothing";
}

function waysOf(names: readonly string[], authorities: readonly ReadyAuthority[]): string {
  const ways = authorities
    .filter(({ name }) => names.includes(name))
    .map(({ name, signers }) => `by ${name} ${signers.map(({ description }) => description).join(" or ")}`);
  return ways.join(", or ");
}
