/**
 * How pressing it is to look after an image that runs: a sum of terms, each with its figure and its reason (docs/risk.md). Pure: the same facts give the same
 * figures, whatever their order. One vulnerability more, or a graver one, never lowers it.
 */
import type { ProvenanceStatus } from "../provenance/status.ts";
import { type Exposure, type RiskFacts, type RiskFinding, type RiskPlace, type RiskTerm, weightOf } from "./facts.ts";
import { remedyFor } from "./remedy.ts";

export const MAX_RISK = 100;

export interface Risk {
  /** 0..{@link MAX_RISK}: the sum of the figures. */
  readonly score: number;
  readonly terms: readonly RiskTerm[];
  /** What lowers it most; empty where nothing would. */
  readonly remedy: string;
}

export function riskOf(unordered: RiskFacts): Risk {
  const facts = { ...unordered, findings: heaviestFirst(unordered.findings) };
  const terms = [vulnerabilityTerm(facts), scanTerm(facts), exposureTerm(facts), provenanceTerm(facts), driftTerm(facts), nodeTerm(facts)];
  const score = Math.min(
    MAX_RISK,
    terms.reduce((sum, { figure }) => sum + figure, 0),
  );
  return { score, terms, remedy: remedyFor(facts, terms) };
}

const MAX_VULNERABILITIES = 50;
/** So much weight makes half of the term. */
const HALF = 40_000;

function vulnerabilityTerm({ findings }: RiskFacts): RiskTerm {
  const open = findings.filter(({ suppressed }) => !suppressed);
  const weight = open.reduce((sum, finding) => sum + weightOf(finding), 0);
  const figure = Math.round((MAX_VULNERABILITIES * weight) / (weight + HALF));
  const exploited = open.filter(({ knownExploited }) => knownExploited).length;
  const [gravest] = open;
  const excused = findings.length - open.length;
  const parts = [
    gravest
      ? `${open.length} open, the heaviest ${gravest.id} in ${gravest.package.name} (${gravest.severity}, weight ${weightOf(gravest) / 1000})`
      : "none open",
    ...(exploited > 0 ? [`${exploited} known to be exploited`] : []),
    ...(excused > 0 ? [`${excused} excused by their maker`] : []),
    ...(open.length > 0 ? [`weight ${weight / 1000} in all`] : []),
  ];
  return { name: "vulnerabilities", figure, max: MAX_VULNERABILITIES, because: parts.join("; ") };
}

function heaviestFirst(findings: readonly RiskFinding[]): RiskFinding[] {
  const keyed = findings.map((finding) => ({ finding, weight: weightOf(finding), key: keyOf(finding) }));
  return keyed.sort((a, b) => b.weight - a.weight || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0)).map(({ finding }) => finding);
}

/** Of findings that show the same it is the same. */
function keyOf({ id, severity, package: { name, version }, layer, layerIndex, ofBase, fixedIn, suppressed }: RiskFinding): string {
  return JSON.stringify([id, severity, name, version, layer, layerIndex, ofBase, fixedIn, suppressed]);
}

const MAX_SCAN = 20;
const FRESH_DAYS = 7;
const UNDATED = 8;

function scanTerm({ scanned, scanAgeDays }: RiskFacts): RiskTerm {
  const term = (figure: number, because: string): RiskTerm => ({ name: "scan", figure, max: MAX_SCAN, because });
  if (!scanned) return term(MAX_SCAN, "no scan is known: nobody knows what is in it");
  if (scanAgeDays === undefined) return term(UNDATED, "the scan does not say when it was made");
  const weeksLate = Math.max(0, Math.ceil((scanAgeDays - FRESH_DAYS) / 7));
  return term(Math.min(MAX_SCAN - 1, 2 * weeksLate), `the newest scan is ${scanAgeDays} days old`);
}

const MAX_EXPOSURE = 20;

function exposureTerm({ places }: RiskFacts): RiskTerm {
  const term = (figure: number, because: string): RiskTerm => ({ name: "exposure", figure: Math.min(MAX_EXPOSURE, figure), max: MAX_EXPOSURE, because });
  if (places.length === 0) return term(0, "runs nowhere");
  const known = places.flatMap(({ exposure }) => exposure ?? []);
  const all = (pick: (exposure: Exposure) => readonly string[]): string[] => [...new Set(known.flatMap(pick))].sort();
  const [namespaces, capabilities, mounts] = [all((each) => each.hostNamespaces), all((each) => each.capabilities), all((each) => each.hostMounts)];
  const parts: readonly (readonly [number, string])[] = [
    [4, `runs ${places.length} ${places.length === 1 ? "time" : "times"}`],
    ...(known.some(({ privileged }) => privileged) ? [[10, "privileged"] as const] : []),
    ...(namespaces.length > 0 ? [[5, `shares ${few(namespaces)} with the host`] as const] : []),
    ...(capabilities.length > 0 ? [[3, `may ${few(capabilities)}`] as const] : []),
    ...(mounts.length > 0 ? [[4, `has ${few(mounts)} of the host`] as const] : []),
    // What nobody knows counts as if it were so, and not all at once.
    ...(known.length < places.length ? [[6, `what ${places.length - known.length} of them may is not known`] as const] : []),
  ];
  return term(
    parts.reduce((sum, [figure]) => sum + figure, 0),
    parts.map(([, words]) => words).join(", "),
  );
}

const few = (names: readonly string[]): string => `${names.slice(0, 3).join(", ")}${names.length > 3 ? ", …" : ""}`;

const MAX_PROVENANCE = 15;
const PROVENANCE: Readonly<Record<ProvenanceStatus, number>> = {
  signed: 0,
  unknown: 8,
  unsigned: 10,
  "attestation-only": 10,
  "attestation-missing": 10,
  "moved-tag": 10,
  malformed: 12,
  "wrong-key": 12,
  "other-digest": 12,
  revoked: MAX_PROVENANCE,
};

function provenanceTerm({ provenance }: RiskFacts): RiskTerm {
  return { name: "provenance", figure: PROVENANCE[provenance], max: MAX_PROVENANCE, because: provenance.replaceAll("-", " ") };
}

const MAX_DRIFT = 10;

function driftTerm({ places }: RiskFacts): RiskTerm {
  const drifted = places.filter(({ openDrifts }) => openDrifts > 0).length;
  const figure = drifted === 0 ? 0 : drifted === places.length ? MAX_DRIFT : 7;
  return { name: "drift", figure, max: MAX_DRIFT, because: drifted === 0 ? "none open" : `open in ${drifted} of ${places.length} containers` };
}

const NODES: Readonly<Record<RiskPlace["node"], number>> = { tpm: 0, tofu: 1, none: 4, unattested: 8 };
const NODE_WORDS: Readonly<Record<RiskPlace["node"], string>> = {
  tpm: "all on nodes that a TPM attests",
  tofu: "on a node whose TPM was pinned at first use",
  none: "on a node without TPM",
  unattested: "on a node that is not attested",
};

function nodeTerm({ places }: RiskFacts): RiskTerm {
  const worst = places.reduce<RiskPlace["node"]>((least, { node }) => (NODES[node] > NODES[least] ? node : least), "tpm");
  return { name: "node", figure: NODES[worst], max: NODES.unattested, because: places.length === 0 ? "runs nowhere" : NODE_WORDS[worst] };
}
