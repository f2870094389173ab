/** Which statements (VEX) are about a finding: by the vulnerability's names, and by the product alone. */
import { PackageURL } from "packageurl-js";
import type { Finding, Statement } from "./types.ts";

/** A statement, and when its document was made; undefined: it does not say, and counts as older than any. */
export interface DatedStatement {
  readonly statement: Statement;
  readonly madeAtMs: number | undefined;
  /** Digest of the document. */
  readonly report: string;
}

/** A statement as findings are held against it. */
interface Compiled {
  /** In the order in which they came. */
  readonly number: number;
  readonly dated: DatedStatement;
  /** It is about the whole image. */
  readonly whole: boolean;
  /** What it says of packages, by {@link keyOf}. */
  readonly packages: ReadonlyMap<string, readonly PackageURL[]>;
}

/**
 * Statements by the vulnerabilities that they name, each package URL read once: whoever wrote them chose how many there are, and findings are as many.
 * One for the reports of one image.
 */
export class Statements {
  readonly #byId = new Map<string, Compiled[]>();

  /** @param image `sha256:` digests that the image has */
  constructor(statements: readonly DatedStatement[], image: ReadonlySet<string>) {
    for (const [number, dated] of statements.entries()) {
      const compiled = compile(number, dated, image);
      if (!compiled.whole && compiled.packages.size === 0) continue;
      for (const id of new Set(dated.statement.ids)) this.#byId.set(id, pushed(this.#byId.get(id), compiled));
    }
  }

  /** The statement that decides of a finding: the newest; of several as new the one that excuses least. */
  decisive(finding: Finding): DatedStatement | undefined {
    const named = [...new Set([finding.id, ...finding.aliases])].flatMap((name) => this.#byId.get(name) ?? []);
    if (named.length === 0) return undefined;
    const found = readPurl(finding.package.purl);
    const keys = found ? [keyOf(found, undefined), keyOf(found, found.version)] : [];
    let best: Compiled | undefined;
    for (const each of named) {
      if (!each.whole && !(found && keys.some((key) => each.packages.get(key)?.some((said) => covers(said, found))))) continue;
      if (!best || goesBefore(each, best)) best = each;
    }
    return best?.dated;
  }
}

function pushed<T>(list: T[] | undefined, item: T): T[] {
  if (!list) return [item];
  list.push(item);
  return list;
}

function compile(number: number, dated: DatedStatement, image: ReadonlySet<string>): Compiled {
  const packages = new Map<string, PackageURL[]>();
  let whole = false;
  for (const { purl, parts } of dated.statement.products) {
    const product = readPurl(purl);
    if (!product) continue;
    const isImage = product.type === "oci" || product.type === "docker";
    // A name without a digest is whatever is pushed there next.
    if (isImage && !image.has(product.version ?? "")) continue;
    if (isImage && parts.length === 0) whole = true;
    for (const said of isImage ? parts.flatMap((part) => readPurl(part) ?? []) : [product]) {
      const key = keyOf(said, said.version);
      packages.set(key, pushed(packages.get(key), said));
    }
  }
  return { number, dated, whole, packages };
}

/** What must be the same in any case; the version where one is said. */
function keyOf({ type, namespace, name }: PackageURL, version: string | null | undefined): string {
  return JSON.stringify([type, namespace ?? "", name, version ?? null]);
}

/** It need not be put right: the maker says that it does no harm here, or is gone. */
export function excuses({ status }: Statement): boolean {
  return status === "not_affected" || status === "fixed";
}

function goesBefore(a: Compiled, b: Compiled): boolean {
  const [at, bt] = [a.dated.madeAtMs ?? 0, b.dated.madeAtMs ?? 0];
  if (at !== bt) return at > bt;
  const [excusesA, excusesB] = [excuses(a.dated.statement), excuses(b.dated.statement)];
  return excusesA === excusesB ? a.number < b.number : excusesB;
}

/** What the statement's package URL says must be so; what it leaves open may be anything. @param said of the same {@link keyOf} */
function covers(said: PackageURL, found: PackageURL): boolean {
  const qualifiers: Readonly<Record<string, string>> = said.qualifiers ?? {};
  const theirs: Readonly<Record<string, string>> = found.qualifiers ?? {};
  return (
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
