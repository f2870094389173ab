/** `hullmark policy init --notation`: the policy that says what notation's trust policy document and trust stores say. What has no counterpart is refused, or named: nothing becomes weaker in silence. */
import { printable } from "@hullmark/verifier/core/text/printable";
import { stringify } from "yaml";
import { parseDocument, type Statement, type Verification } from "../notation/document.ts";
import { readDocument, readStore } from "../notation/folder.ts";
import { imageGlobs } from "./policy-from-image.ts";

export interface NotationPolicy {
  /** YAML that lints clean; the notes stand in it as comments. */
  readonly text: string;
  /** What is not the same as in the document: stricter here, or weaker. */
  readonly notes: readonly string[];
}

interface Store {
  readonly name: string;
  readonly scheme: "ca" | "signingAuthority";
  readonly certificates: readonly string[];
}
type Authority = { readonly name: string; readonly notary: object };

const ALLOW = { env: ["**"], mounts: ["/**"], args: true, users: ["**"] };
/** A name under which no registry can be (RFC 6761). */
const NOWHERE = "no-statement.invalid/*";

/** @param folder notation's configuration @throws SigningError FILE, USAGE */
export function policyFromNotation(folder: string, name: string): NotationPolicy {
  const { text, file, passedOver } = readDocument(folder);
  const notes: string[] = passedOver === undefined ? [] : [`${passedOver} is not read, as notation does not read it: ${file} is there`];
  const statements = parseDocument(text, file);
  const labels = new Set<string>();
  const converted = statements.map((statement) => {
    const label = labelOf(statement.name, labels);
    notes.push(...notesOf(statement).map((note) => `statement ${JSON.stringify(statement.name)}: ${note}`));
    return convert(folder, statement, label);
  });
  const authorities = converted.flatMap((each) => each.authorities);
  // Whatever the order of the document, what names a repository decides before what is for all.
  const rules = converted.toSorted((a, b) => Number(a.everywhere) - Number(b.everywhere)).map(({ rule }) => rule);
  if (!converted.some(({ everywhere }) => everywhere)) {
    if (authorities.length > 0) rules.push(refusing(labelOf("no-statement", labels), authorities));
    else notes.push("weaker: images of no statement are refused by notation, and not here, since nobody is named who signs");
  }
  const spec = { mode: "observe", trustStores: converted.flatMap((each) => each.trustStores), authorities, admission: { mode: "enforce" }, rules };
  const comments = notes.map((note) => `# ${printable(note, 300)}\n`).join("");
  return {
    text: `# Hullmark policy out of ${printable(file, 300)}: a rule for each of its statements, the certificates of its trust stores as they are now.
# At the cluster's door it refuses what notation refuses; of what runs it tells. Of an index, signatures of every image in it do instead of the index's own.
${comments}${stringify({ apiVersion: "hullmark.dev/v1", kind: "Policy", metadata: { name }, spec }, { lineWidth: 0, aliasDuplicateObjects: false })}`,
    notes,
  };
}

function convert(folder: string, { repositories, verification }: Statement, label: string) {
  const everywhere = repositories === undefined;
  const select = everywhere ? {} : { select: { images: repositories.flatMap(imageGlobs) } };
  if (!verification) return { everywhere, trustStores: [], authorities: [], rule: { name: label, ...select, allow: ALLOW } };
  const stores = storesOf(folder, verification, label);
  const authorities = stores.flatMap(({ name }) => authoritiesOf(verification, name));
  return {
    everywhere,
    trustStores: stores.map((store) => ({ ...store, ...checksOf(folder, verification, store) })),
    authorities,
    rule: {
      ...{ name: label, ...select, require: { signatures: { authorities: authorities.map(({ name }) => name), threshold: "any" } }, allow: ALLOW },
      ...(refuses(verification) ? {} : { admission: "audit" }),
    },
  };
}

/** What the statement's level leaves out by no more than telling is told here too; one check that it enforces makes the whole rule refuse. */
function refuses({ actions }: Verification): boolean {
  return Object.values(actions).includes("enforce");
}

/** One for each kind of signers' stores: which of several certificates it was makes no difference to notation either. */
function storesOf(folder: string, { stores }: Verification, label: string): readonly Store[] {
  return (["ca", "signingAuthority"] as const).flatMap((scheme) => {
    const own = stores.filter(({ kind }) => kind === scheme);
    if (own.length === 0) return [];
    const name = `${label}${scheme === "ca" ? "-ca" : "-authority"}`;
    return [{ name, scheme, certificates: [...new Set(own.flatMap((store) => readStore(folder, store)))] }];
  });
}

function checksOf(folder: string, { stores, actions, timestampAfterExpiry }: Verification, { scheme }: Store): object {
  const roots = scheme === "ca" ? stores.filter(({ kind }) => kind === "tsa").flatMap((store) => readStore(folder, store)) : [];
  return {
    ...(roots.length > 0 && { timestampAuthorities: [...new Set(roots)] }),
    ...(roots.length > 0 && actions.authenticTimestamp === "enforce" && !timestampAfterExpiry && { requireTimestamp: true }),
    revocation: actions.revocation,
  };
}

function authoritiesOf({ identities }: Verification, trustStore: string): readonly Authority[] {
  if (!identities) return [{ name: `${trustStore}-any`, notary: { trustStore, anySubject: true } }];
  return identities.map((subject, i) => ({ name: `${trustStore}-${i + 1}`, notary: { trustStore, subject } }));
}

/** What no statement is for fails the verification: nothing is in that registry. */
function refusing(name: string, authorities: readonly Authority[]) {
  return { name, require: { signatures: { authorities: authorities.map((each) => each.name), threshold: "any" }, registries: [NOWHERE] }, allow: ALLOW };
}

function notesOf({ verification }: Statement): readonly string[] {
  if (!verification) return [];
  const { level, actions, stores, timestampAfterExpiry } = verification;
  const of = (action: string) => Object.entries(actions).flatMap(([check, each]) => (each === action ? [check] : []));
  if (!refuses(verification))
    return [
      `weaker: at the level ${level} notation refuses an image without a signature, or of which every envelope is altered; here that is told and not refused, as is whatever else does not hold`,
    ];
  const logged = of("log").filter((check) => check !== "revocation");
  const stamped = stores.some(({ kind }) => kind === "tsa");
  return [
    ...(logged.length > 0 ? [`stricter: ${logged.join(", ")} is only logged there, and refuses here`] : []),
    ...(stamped && timestampAfterExpiry ? ["stricter: a timestamp that does not hold refuses here before the certificate has ended too"] : []),
    ...(stamped && actions.authenticTimestamp === "enforce" && actions.revocation !== "enforce"
      ? ["weaker: whether a timestamp authority's certificate was taken back is asked there whatever `revocation` says, and goes by it here"]
      : []),
  ];
}

/** A name as policy has them, that is not there yet. */
function labelOf(name: string, taken: Set<string>): string {
  const plain =
    name
      .toLowerCase()
      .replaceAll(/[^a-z0-9._-]+/g, "-")
      .replaceAll(/^[^a-z0-9]+|[^a-z0-9]+$/g, "")
      .slice(0, 40)
      .replace(/[^a-z0-9]+$/, "") || "statement";
  let label = plain;
  for (let i = 2; taken.has(label); i++) label = `${plain}-${i}`;
  taken.add(label);
  return label;
}
