/** Short names of predicate types, as cosign takes them, and the predicate's own file. */
import { readFile } from "node:fs/promises";
import { readBuildSource, SIGN_PREDICATE_TYPE } from "@hullmark/verifier/core/provenance/index";
import { because } from "../output/because.ts";
import type { Predicate } from "./bundle.ts";
import { SigningError } from "./errors.ts";

export const PREDICATE_TYPES: Readonly<Record<string, string>> = {
  slsaprovenance: "https://slsa.dev/provenance/v0.2",
  slsaprovenance02: "https://slsa.dev/provenance/v0.2",
  slsaprovenance1: "https://slsa.dev/provenance/v1",
  spdxjson: "https://spdx.dev/Document",
  cyclonedx: "https://cyclonedx.org/bom",
  vuln: "https://cosign.sigstore.dev/attestation/vuln/v1",
  openvex: "https://openvex.dev/ns",
};
const MAX_PREDICATE_BYTES = 6 * 1024 * 1024;

/** A scheme, a colon and something (RFC 3986, section 3). */
export function isUri(text: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\S+$/i.test(text);
}

/** A type from its short name or URI. @throws SigningError USAGE */
export function predicateType(name: string): string {
  const known = Object.hasOwn(PREDICATE_TYPES, name) ? PREDICATE_TYPES[name] : undefined;
  if (known !== undefined) return known;
  if (name.length <= 1024 && isUri(name)) return name;
  throw new SigningError("USAGE", `unknown predicate type ${JSON.stringify(name)}: want a URI or one of ${Object.keys(PREDICATE_TYPES).join(", ")}`);
}

/** Reads the predicate (not a whole statement) from a JSON file. @throws SigningError USAGE, FILE */
export async function loadPredicate(path: string, typeName: string): Promise<Predicate> {
  const type = predicateType(typeName);
  if (type === SIGN_PREDICATE_TYPE) throw new SigningError("USAGE", 'an attestation of this type is a signature: use "sign"');
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    throw new SigningError("FILE", `${path} cannot be read: ${because(cause)}`, { cause });
  }
  if (bytes.length > MAX_PREDICATE_BYTES) throw new SigningError("USAGE", `${path} has ${bytes.length} bytes, limit ${MAX_PREDICATE_BYTES}`);
  const value = parse(bytes, path);
  if ("_type" in value && "predicateType" in value) throw new SigningError("USAGE", `${path} is a whole in-toto statement: give its predicate alone`);
  const source = readBuildSource(type, value);
  if (source && source.builder === "") throw new SigningError("USAGE", `${path} names no builder: not a ${type} predicate`);
  return { type, value };
}

function parse(bytes: Buffer, path: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch (cause) {
    throw new SigningError("USAGE", `${path} is not JSON`, { cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new SigningError("USAGE", `${path} is not a JSON object`);
  return value as Record<string, unknown>;
}
