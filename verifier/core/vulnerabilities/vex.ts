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

/** What a statement says of a package. */
interface Said {
  readonly product: PackageURL;
  readonly by: Ranked;
}

interface Ranked {
  /** In the order in which they came. */
  readonly number: number;
  readonly dated: DatedStatement;
}

/** What is said of one vulnerability. */
interface OfVulnerability {
  /** Of those about the whole image, the one that goes before the others. */
  whole: Ranked | undefined;
  /** By {@link keyOf}. */
  readonly packages: Map<string, Said[]>;
}

/**
 * Statements by the vulnerabilities and packages that they name, each package URL read once: whoever wrote them chose how many there are, and findings are as many.
 * One for the reports of one image.
 */
export class Statements {
  readonly #byId = new Map<string, OfVulnerability>();
  readonly #purls = new Map<string, PackageURL | undefined>();

  /** @param image `sha256:` digests that the image has */
  constructor(statements: readonly DatedStatement[], image: ReadonlySet<string>) {
    for (const [number, dated] of statements.entries()) {
      const by = { number, dated };
      const { whole, products } = meant(dated.statement, image, this.#purl);
      if (!whole && products.length === 0) continue;
      for (const id of new Set(dated.statement.ids)) {
        const known = this.#byId.get(id) ?? { whole: undefined, packages: new Map() };
        this.#byId.set(id, known);
        if (whole) known.whole = first(known.whole, by);
        for (const product of products) {
          const key = keyOf(product, product.version);
          known.packages.set(key, pushed(known.packages.get(key), { product, by }));
        }
      }
    }
    for (const { packages } of this.#byId.values()) for (const said of packages.values()) said.sort((a, b) => (goesBefore(a.by, b.by) ? -1 : 1));
  }

  /** Documents name the same product for each vulnerability anew. */
  readonly #purl = (text: string): PackageURL | undefined => {
    const known = this.#purls.get(text);
    if (known || this.#purls.has(text)) return known;
    const read = readPurl(text);
    this.#purls.set(text, read);
    return read;
  };

  /** The statement that decides of a finding: the newest; of several as new the one that excuses least. */
  decisive(finding: Finding): DatedStatement | undefined {
    const named = [...new Set([finding.id, ...finding.aliases])].flatMap((name) => this.#byId.get(name) ?? []);
    if (named.length === 0) return undefined;
    const found = this.#purl(finding.package.purl);
    const keys = found ? [keyOf(found, undefined), ...(found.version ? [keyOf(found, found.version)] : [])] : [];
    let best: Ranked | undefined;
    for (const { whole, packages } of named) {
      best = first(best, whole);
      for (const key of keys) best = first(best, found && packages.get(key)?.find(({ product }) => covers(product, found))?.by);
    }
    return best?.dated;
  }
}

function pushed<T>(list: T[] | undefined, item: T): T[] {
  if (!list) return [item];
  list.push(item);
  return list;
}

/** Whether a statement is about the whole image, and about which packages. */
function meant(
  { products }: Statement,
  image: ReadonlySet<string>,
  read: (purl: string) => PackageURL | undefined,
): { readonly whole: boolean; readonly products: readonly PackageURL[] } {
  const found: PackageURL[] = [];
  let whole = false;
  for (const { purl, parts } of products) {
    const product = read(purl);
    if (!product) continue;
    const isImage = product.type === "oci" || product.type === "docker";
    // A name without a digest is whatever is pushed there next.
    if (isImage && !image.has(product.version ?? "")) continue;
    if (isImage && parts.length === 0) whole = true;
    found.push(...(isImage ? parts.flatMap((part) => read(part) ?? []) : [product]));
  }
  return { whole, products: found };
}

/** What must be the same in any case; the version where one is said. */
function keyOf({ type, namespace, name }: PackageURL, version: string | null | undefined): string {
  return JSON.stringify([type, namespace ?? "", name, version ?? null]);
}

/** It need not be put right: the maker says that it does no harm here, or is gone. */
export function excuses({ status }: Pick<Statement, "status">): boolean {
  return status === "not_affected" || status === "fixed";
}

function first(a: Ranked | undefined, b: Ranked | undefined): Ranked | undefined {
  return !a || (b && goesBefore(b, a)) ? b : a;
}

function goesBefore(a: Ranked, b: Ranked): boolean {
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
export function readPurl(text: string): PackageURL | undefined {
  if (!text.startsWith("pkg:")) return undefined;
  try {
    return PackageURL.fromString(text);
  } catch {
    return undefined;
  }
}
