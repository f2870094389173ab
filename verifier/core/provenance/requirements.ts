/** What policy asks of attestations and of builds, held against one verified attestation. Pure. */

import { compileNames } from "@hullmark/proto/codec";
import { compileCondition } from "../policy/condition.ts";
import type { AttestationRequirement, BuildRequirement, TrustedBuilder } from "../policy/types.ts";
import { ProvenanceError } from "./errors.ts";
import { asObject, type JsonObject, objectField, textField } from "./json.ts";
import { type BuildDetails, type BuildSource, isImageUri, plainRepository, readBuildDetails, readSummary } from "./slsa.ts";

/** A verified attestation, as requirements see it. */
export interface AttestedFacts {
  readonly predicateType: string;
  readonly predicate: JsonObject | undefined;
  readonly source: BuildSource | undefined;
  /** Proven time of signing, Unix milliseconds. */
  readonly signedAtMs: number | undefined;
}

/** @returns why it does not meet the requirement; undefined: it does */
export type Test = (facts: AttestedFacts, nowMs: number) => string | undefined;

/** @throws Error where the condition is no CEL, which `policy lint` tells before */
export function attestationTest({ predicateType, maxAgeSeconds, where }: AttestationRequirement): Test {
  const condition = where === undefined ? undefined : compileCondition(where);
  return (facts, nowMs) => {
    if (facts.predicateType !== predicateType) return `is of the type ${facts.predicateType}`;
    const old = ageProblem(facts, maxAgeSeconds, nowMs);
    if (old !== undefined || !condition) return old;
    const met = condition({ predicate: facts.predicate ?? {} }, nowMs);
    return met === true ? undefined : met === "too-long" ? `holds lists too long for ${where}` : `does not meet ${where}`;
  };
}

/** @param builders whom policy trusts, and how far */
export function buildTest(wanted: BuildRequirement, builders: readonly TrustedBuilder[]): Test {
  const open = (globs: readonly string[]) => (globs.length === 0 ? () => true : compileNames(globs));
  const [byBuilder, ofSource, ofRef, ofType] = [open(wanted.builders), open(wanted.sources), open(wanted.refs), open(wanted.buildTypes)];
  const levels = builders.map(({ id, level }) => ({ matches: compileNames([id]), level }));
  const details = detailsTest(wanted);
  const byVerifier = compileNames(wanted.summaries);
  return (facts, nowMs) => {
    const { source } = facts;
    const summary = wanted.summaries.length > 0 ? summaryOf(facts) : undefined;
    if (summary) {
      if (!byVerifier(summary.verifier)) return `is a summary by ${summary.verifier || "nobody named"}`;
      if (!summary.passed) return "is a summary that says that it did not pass";
      if (summary.level < wanted.level) return `is a summary of SLSA level ${summary.level}`;
      return ageProblem(facts, wanted.maxAgeSeconds, nowMs);
    }
    if (!source) return "is no SLSA provenance v1 or v0.2";
    const repository = plainRepository(source.repository);
    if (!byBuilder(source.builder)) return `was built by ${source.builder || "nobody named"}`;
    if (!ofSource(repository)) return `was built from ${repository || "a source that is not named"}`;
    if (!ofRef(source.ref)) return `was built from the ref ${source.ref || "(none named)"}`;
    if (wanted.commit && source.commit === "") return "names no commit that it was built from";
    if (!ofType(source.buildType)) return `was built as ${source.buildType || "(no build type)"}`;
    const level = Math.max(0, ...levels.filter(({ matches }) => matches(source.builder)).map((each) => each.level));
    if (level < wanted.level) return `was built at SLSA level ${level}: ${source.builder || "nobody named"} is trusted for no more`;
    const lacking = details(facts);
    if (lacking !== undefined) return lacking;
    return ageProblem(facts, wanted.maxAgeSeconds, nowMs);
  };
}

/** Tools, bases, dependencies and privileges. @returns why they are not as wanted */
function detailsTest({ tools, bases, dependencies, privileges }: BuildRequirement): (facts: AttestedFacts) => string | undefined {
  const versions = Object.entries(tools).map(([name, glob]) => ({ name, glob, matches: compileNames([glob]) }));
  if (versions.length === 0 && bases.length === 0 && !dependencies && !privileges) return () => undefined;
  const allowed = new Set(bases.map((digest) => digest.slice(digest.indexOf(":") + 1)));
  return ({ predicateType, predicate }) => {
    const found = tolerant(() => readBuildDetails(predicateType, predicate));
    if (!found) return "lists materials that cannot be read";
    for (const { name, glob, matches } of versions) {
      const version = found.tools.get(name);
      if (version === undefined) return `does not say which ${name} it was built with`;
      if (!matches(version)) return `was built with ${name} ${version}, not ${glob}`;
    }
    if (dependencies) {
      if (found.materials.length === 0) return "lists no dependencies";
      const open = found.materials.find(({ pinned }) => !pinned);
      if (open) return `lists the dependency ${open.uri || "(no name)"} without a digest`;
    }
    const privileged = privileges && privilegeProblem(found, privileges);
    if (privileged !== undefined) return privileged;
    return bases.length > 0 ? baseProblem(found, allowed) : undefined;
  };
}

function privilegeProblem({ privileges }: BuildDetails, { root, capabilities }: NonNullable<BuildRequirement["privileges"]>): string | undefined {
  if (!privileges) return "does not say with which privileges it was built";
  if (privileges.user === 0 && !root) return "was built as root";
  const beyond = capabilities.includes("ALL") ? [] : privileges.capabilities.filter((name) => !capabilities.includes(name));
  return beyond.length > 0 ? `was built with ${beyond.slice(0, 4).join(", ")}${beyond.length > 4 ? ", …" : ""}` : undefined;
}

function baseProblem({ materials }: BuildDetails, allowed: ReadonlySet<string>): string | undefined {
  const images = materials.filter(({ uri }) => isImageUri(uri));
  if (images.length === 0) return "names no base image among its materials";
  const other = images.find(({ sha256 }) => !allowed.has(sha256));
  return other && `was built on ${other.uri}${other.sha256 ? ` (sha256:${other.sha256})` : ", which has no digest"}`;
}

function summaryOf({ predicateType, predicate }: AttestedFacts): ReturnType<typeof readSummary> {
  return tolerant(() => readSummary(predicateType, predicate));
}

/** What the signer wrote need not have the form of its type. */
function tolerant<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof ProvenanceError) return undefined;
    throw error;
  }
}

/** Of clocks that are not ours. What is dated later would stay fresh for as long as its signer likes. */
const MAX_AHEAD_MS = 5 * 60_000;

function ageProblem(facts: AttestedFacts, maxAgeSeconds: number | undefined, nowMs: number): string | undefined {
  if (maxAgeSeconds === undefined) return undefined;
  const atMs = madeAtMs(facts);
  if (atMs === undefined) return "does not say when it was made";
  if (atMs - nowMs > MAX_AHEAD_MS) return `says that it will be made on ${new Date(atMs).toISOString()}`;
  return nowMs - atMs > maxAgeSeconds * 1000 ? `was made on ${new Date(atMs).toISOString()}, too long ago` : undefined;
}

/** The earliest of the proven time of signing and what the predicate itself says: neither makes old things new. */
function madeAtMs({ predicate, signedAtMs }: AttestedFacts): number | undefined {
  const metadata = objectField(predicate, "metadata");
  const run = objectField(objectField(predicate, "runDetails"), "metadata");
  const said = [
    // SLSA v1; SLSA v0.2; cosign's vuln predicate; in-toto's test-result and release say nothing; SPDX; CycloneDX; VSA.
    [run, "finishedOn"],
    [metadata, "buildFinishedOn"],
    [metadata, "scanFinishedOn"],
    [objectField(predicate, "creationInfo"), "created"],
    [metadata, "timestamp"],
    [asObject(predicate), "timeVerified"],
  ] as const;
  const times = said.flatMap(([object, name]) => {
    const ms = Date.parse(textField(object, name, 64) ?? "");
    return Number.isNaN(ms) ? [] : [ms];
  });
  const all = signedAtMs === undefined ? times : [...times, signedAtMs];
  return all.length > 0 ? Math.min(...all) : undefined;
}
