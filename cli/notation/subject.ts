/** Trusted identities of the form `x509.subject: C=US, ST=WA, O=acme`: a distinguished name (RFC 4514) with the Notary Project's limits. */
import { SUBJECT_ATTRIBUTES } from "@hullmark/verifier/core/policy/schema";

type Attribute = (typeof SUBJECT_ATTRIBUTES)[number];
export type SubjectNames = Readonly<Partial<Record<Attribute, string>>>;

const PREFIX = "x509.subject:";
const REQUIRED = ["C", "ST", "O"] as const;

/** @param wrong throws with what is wrong, in the place where it stands */
export function parseSubject(identity: string, wrong: (message: string) => never): SubjectNames {
  const quoted = JSON.stringify(identity);
  if (!identity.startsWith(PREFIX)) return wrong(`${quoted} has no counterpart here: x509.subject: NAME, or *`);
  const names: Partial<Record<Attribute, string>> = {};
  for (const part of split(identity.slice(PREFIX.length))) {
    const [, type, text] = /^\s*([A-Za-z0-9.]+)\s*=([\s\S]*)$/.exec(part) ?? [];
    const attribute = SUBJECT_ATTRIBUTES.find((each) => each === (type === "S" ? "ST" : type));
    if (type === undefined || text === undefined) return wrong(`${quoted} is no distinguished name: ${JSON.stringify(part)}`);
    if (attribute === undefined) return wrong(`${quoted} asks for ${type}, of which nothing can be asked here: ${SUBJECT_ATTRIBUTES.join(", ")}`);
    if (names[attribute] !== undefined) return wrong(`${quoted} names ${attribute} twice`);
    const value = unescaped(text);
    if (value === undefined || value === "") return wrong(`${quoted} has no value for ${attribute} that can be read`);
    names[attribute] = value;
  }
  const missing = REQUIRED.find((each) => names[each] === undefined);
  return missing === undefined ? names : wrong(`${quoted} lacks ${missing}: C, ST and O must be there`);
}

/** Whether whoever bears all the names of `narrow` bears those of `wide`. */
export function isWithin(narrow: SubjectNames, wide: SubjectNames): boolean {
  return SUBJECT_ATTRIBUTES.every((each) => wide[each] === undefined || wide[each] === narrow[each]);
}

/** At commas that are not escaped. */
function split(text: string): readonly string[] {
  return text.match(/(?:\\[\s\S]|[^,\\]|\\$)+|(?<=,|^)(?=,|$)/g) ?? [""];
}

/** RFC 4514 section 3: an escaped character, or a byte in hex. Spaces around count only where escaped. @returns undefined: cannot be read, or means several values */
function unescaped(text: string): string | undefined {
  if (!/^\s*(?!#)(?:\\(?:[0-9A-Fa-f]{2}|[^0-9A-Za-z])|[^\\+;])*$/.test(text)) return undefined;
  const [, inner = ""] = /^\s*((?:\\[\s\S]|[^\\])*?)\s*$/.exec(text) ?? [];
  const bytes: Buffer[] = [];
  for (const [token] of inner.matchAll(/\\[0-9A-Fa-f]{2}|\\[\s\S]|[^\\]+/g)) {
    if (/^\\[0-9A-Fa-f]{2}$/.test(token)) bytes.push(Buffer.from(token.slice(1), "hex"));
    else bytes.push(Buffer.from(token.startsWith("\\") ? token.slice(1) : token));
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(bytes));
  } catch {
    return undefined;
  }
}
