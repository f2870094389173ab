/** The one line that people read. */

import type { ScanRefusal } from "../vulnerabilities/require.ts";
import type { ArtefactVerdict } from "./judge.ts";
import type { OtherBase } from "./layers.ts";
import type { TagState } from "./resolve.ts";
import type { ProvenanceStatus } from "./status.ts";

/** Of an index, whose images each have their own. */
export const NO_LAYERS = "its layers are not known";

export interface Explained {
  readonly status: ProvenanceStatus;
  readonly artefacts: readonly ArtefactVerdict[];
  readonly signedBy: readonly string[];
  readonly counted: readonly string[];
  readonly accepted: readonly string[];
  readonly threshold: number;
  readonly enough: boolean;
  readonly missing: readonly { readonly name: string; readonly close: readonly string[] }[];
  /** Where it was found, and should not be; undefined: it may be there. */
  readonly elsewhere: { readonly repository: string; readonly registries: readonly string[] } | undefined;
  readonly base: OtherBase | undefined;
  /** What is asked of vulnerabilities, or of risk, and not so; undefined: it is so, or not asked for. */
  readonly scan: ScanRefusal | undefined;
  /** Why the image is barred whoever signed it. */
  readonly barred: string | undefined;
  readonly incomplete: readonly string[];
  readonly tag: TagState;
  readonly rule: string | undefined;
}

export function explain(facts: Explained): string {
  const moved = facts.tag.status === "moved" ? `; the tag ${facts.tag.reference} now names ${facts.tag.names}` : "";
  const missing =
    facts.missing.length > 0
      ? `; attestation missing: ${facts.missing.map(({ name, close: [near] }) => (near === undefined ? name : `${name} (${near})`)).join(", ")}`
      : "";
  const rule = facts.status !== "signed" && facts.rule !== undefined ? ` (rule ${facts.rule})` : "";
  const elsewhere = facts.elsewhere && facts.barred === undefined ? `; found in ${facts.elsewhere.repository}, which no registry allowed here matches` : "";
  const base = facts.base?.chains && facts.barred === undefined ? "; built on none of the bases that are allowed" : "";
  const scan = facts.scan && facts.barred === undefined ? `; ${facts.scan.name}: ${facts.scan.found}` : "";
  return `${headline(facts)}${missing}${elsewhere}${base}${scan}${facts.status === "moved-tag" ? "" : moved}${rule}`;
}

function headline(facts: Explained): string {
  const { artefacts, signedBy, accepted, threshold } = facts;
  const first = (...codes: readonly ArtefactVerdict["code"][]) => artefacts.find(({ code }) => codes.includes(code));
  switch (facts.status) {
    case "signed":
    case "attestation-missing":
      return `signed by ${facts.counted.join(", ")}`;
    case "unknown":
      if (facts.enough && facts.incomplete.length === 0) return `signed by ${facts.counted.join(", ")}, but cannot tell what it is built on: ${NO_LAYERS}`;
      if (facts.enough) return `signed by ${facts.counted.join(", ")}, but cannot tell whether it is attested: ${facts.incomplete.slice(0, 3).join("; ")}`;
      if (facts.incomplete.length === 0 && first("revocation-unknown")) return `cannot tell whether it is signed: it ${first("revocation-unknown")?.text}`;
      if (facts.incomplete.length > 0) return `cannot tell whether it is signed: ${facts.incomplete.slice(0, 3).join("; ")}`;
      return `carries ${artefacts.length} signatures or attestations, but no trusted key is configured to check them with`;
    case "revoked":
      return facts.barred ?? `not signed by anybody who still counts: ${first("revoked")?.text ?? ""}`;
    case "wrong-key":
      if (signedBy.length > 0) return `signed by ${signedBy.join(", ")}, but ${threshold} of ${accepted.join(", ")} must have signed`;
      return `carries a signature, but not by ${accepted.length === 1 ? accepted[0] : "any trusted authority"}: it ${first("expired", "outside-validity", "wrong-identity", "untrusted", "wrong-key")?.text ?? ""}`;
    case "other-digest":
      return `the signature attached to it is of another image: ${first("other-digest")?.text ?? ""}`;
    case "malformed":
      return `the signature attached to it is damaged: it ${first("altered", "malformed")?.text ?? ""}`;
    case "attestation-only":
      return `not signed: ${first("attestation")?.text ?? "only an attestation"}, but no signature`;
    case "moved-tag":
      return facts.tag.status === "moved" ? `not signed, and the tag ${facts.tag.reference} now names another image: ${facts.tag.names}` : "not signed";
    case "unsigned":
      return "not signed: nothing is attached to it";
  }
}
