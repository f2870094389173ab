/** What policy asks of an image's vulnerabilities (`require.vulnerabilities`), held against the reports that count. Pure. Without a scan nothing is met. */
import type { VulnerabilityRequirement } from "../policy/types.ts";
import type { AttestedReport } from "./attested.ts";
import { type ImageFinding, imageFindings, type Vouched } from "./image-findings.ts";
import { type FindingSeverity, rankOf } from "./types.ts";

/** An image that is judged, with the reports that people imported for it. */
export interface ScannedImage {
  /** `sha256:` digests that it has. */
  readonly digests: readonly string[];
  readonly imported: readonly Vouched[];
}

export interface ScanRefusal {
  /** What of the policy's rule asks: `require.vulnerabilities` or `require.risk`. */
  readonly name: "vulnerabilities" | "risk";
  readonly requirement: string;
  readonly found: string;
  readonly remedy: string;
}

/** Of clocks that are not ours: what is dated later would stay fresh. */
const MAX_AHEAD_MS = 5 * 60_000;
const SHOWN = 3;

/** @param images each must please @param attested of all of them @returns undefined: it is met */
export function scanRefusal(
  wanted: VulnerabilityRequirement,
  images: readonly ScannedImage[],
  attested: readonly AttestedReport[],
  nowMs: number,
): ScanRefusal | undefined {
  const requirement = `vulnerabilities: ${inWords(wanted)}`;
  const name = "vulnerabilities";
  if (images.length === 0) return { name, requirement, found: "cannot tell: its images are not known", remedy: "name the image of one platform" };
  for (const image of images) {
    const problem = problemOf(wanted, image, reportsFor(image, attested, images.length === 1), nowMs);
    if (problem) return { name, requirement, ...problem };
  }
  return undefined;
}

/** A signed report that names an image is that image's; one that names none is of the only one there is. */
export function reportsFor({ digests }: ScannedImage, attested: readonly AttestedReport[], only: boolean): AttestedReport[] {
  return attested.filter(({ subject: { configDigest, manifestDigests } }) => {
    if (configDigest !== undefined) return digests.includes(configDigest);
    return manifestDigests.length > 0 ? manifestDigests.some((digest) => digests.includes(digest)) : only;
  });
}

function problemOf(
  wanted: VulnerabilityRequirement,
  image: ScannedImage,
  attested: readonly Vouched[],
  nowMs: number,
): Omit<ScanRefusal, "requirement" | "name"> | undefined {
  const reports = [...attested, ...(wanted.imported ? image.imported : [])];
  const scans = reports.filter(({ isScan }) => isScan);
  const scan = scanRemedy(image, wanted.imported);
  if (scans.length === 0) return { found: "no scan", remedy: scan };
  const fresh = scans.filter(({ createdAtMs }) => isFresh(createdAtMs, wanted.maxAgeSeconds, nowMs));
  if (fresh.length === 0) {
    const dated = scans.flatMap(({ createdAtMs }) => createdAtMs ?? []);
    const found = dated.length > 0 ? `the newest scan is of ${new Date(Math.max(...dated)).toISOString()}` : "no scan says when it was made";
    return { found, remedy: scan };
  }
  const findings = imageFindings(reports, { digests: new Set(image.digests), diffIds: [], baseLayers: 0 });
  const refused = findings.filter((finding) => !finding.suppressed && isRefused(finding, wanted));
  const [first] = refused;
  if (!first) return undefined;
  const shown = refused.slice(0, SHOWN).map(nameOf).join("; ");
  const fixed = refused.find(({ fixedIn }) => fixedIn.length > 0) ?? first;
  const [version] = fixed.fixedIn;
  const remedy =
    version === undefined ? `take ${fixed.package.name} out, or attest or hand in its maker's statement (VEX)` : `update ${fixed.package.name} to ${version}`;
  return { found: `${shown}${refused.length > SHOWN ? `; ${refused.length - SHOWN} more` : ""}`, remedy };
}

/** @param imported whether reports that an admin hands in count */
export function scanRemedy({ digests: [digest = "it"] }: ScannedImage, imported: boolean): string {
  return `scan ${digest} and attest the result (type vuln)${imported ? ", or hand it in: hullmark vulnerabilities import" : ""}`;
}

/** Dated later than clocks differ. */
export function isAhead(createdAtMs: number, nowMs: number): boolean {
  return createdAtMs - nowMs > MAX_AHEAD_MS;
}

function isFresh(createdAtMs: number | undefined, maxAgeSeconds: number | undefined, nowMs: number): boolean {
  if (maxAgeSeconds === undefined) return true;
  return createdAtMs !== undefined && !isAhead(createdAtMs, nowMs) && nowMs - createdAtMs <= maxAgeSeconds * 1000;
}

function isRefused(
  { severity, fixedIn, knownExploited }: ImageFinding,
  { maxSeverity, ignoreUnfixed, allowKnownExploited }: VulnerabilityRequirement,
): boolean {
  if (knownExploited && !allowKnownExploited) return true;
  const most = maxSeverity === "none" ? 0 : rankOf(maxSeverity satisfies FindingSeverity);
  return rankOf(severity) > most && !(ignoreUnfixed && fixedIn.length === 0);
}

function nameOf({ id, severity, knownExploited, package: { name, version } }: ImageFinding): string {
  return `${id} in ${name} ${version} (${severity}${knownExploited ? ", known to be exploited" : ""})`;
}

function inWords({ maxSeverity, ignoreUnfixed, allowKnownExploited, maxAgeSeconds, imported }: VulnerabilityRequirement): string {
  const parts = [maxSeverity === "none" ? "none" : `none graver than ${maxSeverity}`];
  if (ignoreUnfixed) parts.push("without those that have no fix");
  if (!allowKnownExploited) parts.push("none known to be exploited");
  if (maxAgeSeconds !== undefined) parts.push(`by a scan not older than ${maxAgeSeconds} s`);
  if (!imported) parts.push("by signed reports alone");
  return parts.join(", ");
}
