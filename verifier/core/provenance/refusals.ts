/** Why an image is not accepted, so that whoever reads it knows what to do: what was asked, what was found, what would do. */
import type { AttestationRequirement } from "../policy/types.ts";
import type { ArtefactVerdict } from "./judge.ts";
import type { ReadyAuthority } from "./signers.ts";
import type { Explained } from "./text.ts";

export interface Refusal {
  /** For example `signatures: 2 of release, security`. */
  readonly requirement: string;
  /** What there is instead, with the manifest that holds it. */
  readonly found: string;
  /** What would satisfy it. */
  readonly remedy: string;
}

export interface RefusalFacts extends Explained {
  readonly missing: readonly AttestationRequirement[];
  readonly authorities: readonly ReadyAuthority[];
  readonly subjects: readonly string[];
}

const MAX_EVIDENCE = 4;
const NO_EVIDENCE: ReadonlySet<ArtefactVerdict["code"]> = new Set(["signature", "attestation"]);

export function refusalsOf(facts: RefusalFacts): Refusal[] {
  const { status, barred, enough, missing, incomplete } = facts;
  if (barred !== undefined)
    return [{ requirement: "not revoked", found: barred, remedy: "build anew from what is trusted, sign that, and deploy it; or withdraw the revocation" }];
  const refusals: Refusal[] = [];
  if (!enough) refusals.push(signatureRefusal(facts));
  for (const wanted of missing) refusals.push(attestationRefusal(wanted, facts));
  if (status === "unknown" && incomplete.length > 0)
    return refusals.map((refusal) => ({
      ...refusal,
      found: `cannot tell: ${incomplete.slice(0, MAX_EVIDENCE).join("; ")}`,
      remedy: "make the registry answer",
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

function attestationRefusal({ predicateType, authorities, threshold }: AttestationRequirement, facts: RefusalFacts): Refusal {
  const by = facts.artefacts.filter((each) => each.code === "attestation" && each.predicateType === predicateType).flatMap((each) => each.authorities);
  return {
    requirement: `attestation ${predicateType}: ${threshold} of ${authorities.join(", ")}`,
    found: evidence(facts, (each) => each.predicateType === predicateType && each.code !== "attestation", [...new Set(by)]),
    remedy: `attest ${facts.subjects[0] ?? "it"} with ${predicateType} ${waysOf(
      authorities.filter((name) => !by.includes(name)),
      facts.authorities,
    )}`,
  };
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
