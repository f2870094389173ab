/** Which statements (VEX) are about a finding: by the vulnerability's names, and by the product alone. */
import { PackageURL } from "packageurl-js";
import type { Finding, Product, Statement } from "./types.ts";

/** A statement, and when its document was made; undefined: it does not say, and counts as older than any. */
export interface DatedStatement {
  readonly statement: Statement;
  readonly madeAtMs: number | undefined;
  /** Digest of the document. */
  readonly report: string;
}

/**
 * The statement that decides of a finding: the newest; of several as new the one that excuses least.
 * @param image `sha256:` digests that the image has
 */
export function decisive(finding: Finding, statements: readonly DatedStatement[], image: ReadonlySet<string>): DatedStatement | undefined {
  const names = new Set([finding.id, ...finding.aliases]);
  const about = statements.filter(
    ({ statement }) => statement.ids.some((id) => names.has(id)) && statement.products.some((each) => isAbout(each, finding, image)),
  );
  return about.reduce<DatedStatement | undefined>((best, each) => (best && !goesBefore(each, best) ? best : each), undefined);
}

/** It need not be put right: the maker says that it does no harm here, or is gone. */
export function excuses({ status }: Statement): boolean {
  return status === "not_affected" || status === "fixed";
}

function goesBefore(a: DatedStatement, b: DatedStatement): boolean {
  const [at, bt] = [a.madeAtMs ?? 0, b.madeAtMs ?? 0];
  return at === bt ? excuses(b.statement) && !excuses(a.statement) : at > bt;
}

function isAbout({ purl, parts }: Product, finding: Finding, image: ReadonlySet<string>): boolean {
  const product = readPurl(purl);
  if (!product) return false;
  const isImage = product.type === "oci" || product.type === "docker";
  if (!isImage) return covers(product, finding);
  // A name without a digest is whatever is pushed there next.
  if (!image.has(product.version ?? "")) return false;
  return parts.length === 0 || parts.some((part) => covers(readPurl(part), finding));
}

/** What the statement's package URL says must be so; what it leaves open may be anything. */
function covers(said: PackageURL | undefined, finding: Finding): boolean {
  const found = said && readPurl(finding.package.purl);
  if (!said || !found) return false;
  const same = said.type === found.type && (said.namespace ?? "") === (found.namespace ?? "") && said.name === found.name;
  const qualifiers: Readonly<Record<string, string>> = said.qualifiers ?? {};
  const theirs: Readonly<Record<string, string>> = found.qualifiers ?? {};
  return (
    same &&
    (said.version === undefined || said.version === found.version) &&
    Object.entries(qualifiers).every(([name, value]) => Object.hasOwn(theirs, name) && theirs[name] === value) &&
    (said.subpath === undefined || said.subpath === found.subpath)
  );
}

/** undefined: it is none. */
function readPurl(text: string): PackageURL | undefined {
  if (!text.startsWith("pkg:")) return undefined;
  try {
    return PackageURL.fromString(text);
  } catch {
    return undefined;
  }
}
