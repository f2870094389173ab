/**
 * Findings as SARIF 2.1.0 (OASIS, errata 01), for code scanning and whatever else reads the findings of scanners. Pure.
 * Names are chosen by whoever runs the workload: they are made printable, and what SARIF takes for a link or a placeholder is escaped.
 */
import { createHash } from "node:crypto";
import { VERSION } from "@hullmark/daemon/version";
import { printable } from "@hullmark/verifier/core/text/printable";

export interface SarifFinding {
  /** A kind of drift, or a status of provenance. */
  readonly rule: string;
  /** What the rule finds, and what to read about it. */
  readonly ruleText: string;
  readonly help: string;
  /** `none`: it holds, or is told and is no finding. */
  readonly level: "error" | "warning" | "note" | "none";
  /** Why the level is none: `pass`, or told alone. */
  readonly kind?: "pass" | "informational" | undefined;
  readonly text: string;
  /** Raw bytes with the leading slash; empty: no file is meant. */
  readonly path: Uint8Array;
  /** Where it runs and of what it is: kind and name. */
  readonly places: readonly (readonly [kind: string, name: string])[];
  /** What it is the same by in another run. */
  readonly identity: readonly string[];
  /** Why it stands and is no finding that anybody waits for. */
  readonly suppressed?: string | undefined;
  readonly gone?: boolean;
  readonly properties: Readonly<Record<string, string>>;
  /** What the provenance says that the image was built of; empty: nothing. */
  readonly source: { readonly repository: string; readonly commit: string };
}

const MAX_TEXT = 4096;
const MAX_NAME = 1024;
const SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
const ROOT = "IMAGE_ROOT";

/**
 * The whole document. One run for each source: that is where SARIF says what was built of which commit.
 * @param category what was looked at: tools put a later run in the place of the one of before that has the same category and source
 */
export function sarifLog(category: string, findings: readonly SarifFinding[]): string {
  const bySource = new Map<string, SarifFinding[]>();
  for (const finding of findings) {
    const key = JSON.stringify([repositoryUri(finding.source.repository) ?? "", finding.source.commit]);
    bySource.set(key, [...(bySource.get(key) ?? []), finding]);
  }
  const runs = bySource.size > 0 ? [...bySource.values()].map((each) => run(category, each)) : [run(category, [])];
  return `${JSON.stringify({ $schema: SCHEMA, version: "2.1.0", runs }, null, 2)}\n`;
}

function run(category: string, findings: readonly SarifFinding[]): object {
  const ofRule = new Map(findings.map((finding) => [finding.rule, finding]));
  const rules = [...ofRule.keys()].toSorted();
  const source = findings[0]?.source;
  const uri = repositoryUri(source?.repository ?? "");
  return {
    tool: { driver: { name: "hullmark", semanticVersion: VERSION, rules: rules.map((rule) => ruleOf(ofRule.get(rule) as SarifFinding)) } },
    automationDetails: { id: `hullmark/${printable(category, MAX_NAME)}/${hash([uri ?? "", source?.commit ?? ""]).slice(0, 16)}/` },
    originalUriBaseIds: { [ROOT]: { description: { text: "The root of the container's files: no folder of the repository." } } },
    ...(uri !== undefined && {
      versionControlProvenance: [{ repositoryUri: uri, ...(source?.commit && { revisionId: printable(source.commit, MAX_NAME) }) }],
    }),
    results: findings.map((finding) => result(finding, rules)),
  };
}

function ruleOf({ rule, ruleText, help }: SarifFinding): object {
  return { id: printable(rule, MAX_NAME), shortDescription: { text: messageText(ruleText) }, help: { text: messageText(help) } };
}

function result(finding: SarifFinding, rules: readonly string[]): object {
  const { rule, level, kind, text, path, places, identity, suppressed, gone, properties } = finding;
  return {
    ruleId: printable(rule, MAX_NAME),
    ruleIndex: rules.indexOf(rule),
    level,
    kind: level === "none" ? (kind ?? "informational") : "fail",
    message: { text: messageText(text) },
    locations: [
      {
        ...(path.length > 0 && { physicalLocation: { artifactLocation: { uri: relativeUri(path), uriBaseId: ROOT } } }),
        logicalLocations: places
          .filter(([, name]) => name !== "")
          .map(([of, name]) => ({ kind: of, name: printable(name, MAX_NAME), fullyQualifiedName: `${of}:${printable(name, MAX_NAME)}` })),
      },
    ],
    partialFingerprints: { "hullmarkIdentity/v1": hash(identity) },
    ...(gone && { baselineState: "absent" }),
    ...(suppressed !== undefined && { suppressions: [{ kind: "external", status: "accepted", justification: printable(suppressed, MAX_TEXT) }] }),
    properties: Object.fromEntries(Object.entries(properties).map(([name, value]) => [name, printable(value, MAX_NAME)])),
  };
}

/** Brackets make links and braces placeholders there (3.11.5, 3.11.6). */
function messageText(text: string): string {
  return printable(text, MAX_TEXT)
    .replaceAll(/[[\]]/g, (sign) => `\\${sign}`)
    .replaceAll(/[{}]/g, (sign) => sign + sign);
}

/** Bytes as they are: those that are no letter, digit or harmless sign as `%XX`. Of dots alone no browser and no tool makes another folder. */
function relativeUri(path: Uint8Array): string {
  const names = Buffer.from(path).toString("latin1").replace(/^\/+/, "").split("/");
  return names.map((name) => (/^\.+$/.test(name) ? name.replaceAll(".", "%2E") : name.replaceAll(/[^\w.~-]/g, percent))).join("/") || "%2E";
}

function percent(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;
}

/** As SPDX and SLSA write it, `git+https://…`, without what would be a secret or another scheme; undefined: it is no address. */
function repositoryUri(repository: string): string | undefined {
  const text = repository.replace(/^git\+/, "");
  if (text.length > MAX_NAME || !URL.canParse(text)) return undefined;
  const url = new URL(text);
  if (!["https:", "http:", "ssh:", "git:"].includes(url.protocol) || url.hostname === "") return undefined;
  url.username = "";
  url.password = "";
  return url.href;
}

function hash(parts: readonly string[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}
