/**
 * CSAF 2.0 (OASIS), of the profile VEX (section 4.5): what makers say of vulnerabilities in their products. A product counts by its package URL alone, and a part
 * of a product (`default_component_of`) where that product is an image: of others nobody can tell here whether they are what runs. Where its branch means single
 * versions and its package URL names none, it is no excuse: the package URL alone would stand for every version.
 */
import * as z from "zod";
import { ReportError } from "../errors.ts";
import { dateMs, few, id, imageDigest, MAX_PACKAGES, MAX_STATEMENTS, packages, purl, some, text, words } from "../shapes.ts";
import type { ParsedReport, Product, Statement, StatementStatus } from "../types.ts";
import { excuses, readPurl } from "../vex.ts";

const PRODUCT_ID = z.string().min(1).max(512);
const PRODUCT_IDS = packages(PRODUCT_ID);
const PRODUCT = z.object({ product_id: PRODUCT_ID, product_identification_helper: z.object({ purl }).nullish() });
// Branches of a branch, of the same form.
const BRANCH = z.object({ category: text(64), product: PRODUCT.nullish(), branches: packages(z.unknown()) });
const OF_VERSIONS: ReadonlySet<string> = new Set(["product_version", "product_version_range"]);
const RELATIONSHIP = z.object({
  category: text(64),
  full_product_name: PRODUCT,
  product_reference: PRODUCT_ID,
  relates_to_product_reference: PRODUCT_ID,
});
const OF_PRODUCTS = { product_ids: PRODUCT_IDS, group_ids: packages(PRODUCT_ID) };
const VULNERABILITY = z.object({
  cve: id.nullish(),
  ids: few(z.object({ text: id })),
  product_status: z
    .object({
      ...{ known_not_affected: PRODUCT_IDS, fixed: PRODUCT_IDS, first_fixed: PRODUCT_IDS, under_investigation: PRODUCT_IDS },
      ...{ known_affected: PRODUCT_IDS, first_affected: PRODUCT_IDS, last_affected: PRODUCT_IDS },
    })
    .nullish(),
  flags: few(z.object({ label: text(64), ...OF_PRODUCTS })),
  threats: few(z.object({ category: text(64), details: words, ...OF_PRODUCTS })),
});
const DOCUMENT = z.object({
  document: z.object({
    category: z.literal("csaf_vex", "document.category: want csaf_vex"),
    csaf_version: z.literal("2.0", "document.csaf_version: want 2.0"),
    publisher: z.object({ name: z.string().min(1).max(256) }),
    // Of a draft its specification says that nobody should act on it.
    tracking: z.object({ id: z.string().min(1).max(256), status: z.enum(["final", "interim"]), current_release_date: dateMs }),
  }),
  product_tree: z
    .object({
      ...{ branches: packages(BRANCH), full_product_names: packages(PRODUCT), relationships: packages(RELATIONSHIP) },
      product_groups: packages(z.object({ group_id: PRODUCT_ID, product_ids: PRODUCT_IDS })),
    })
    .nullish(),
  vulnerabilities: some(VULNERABILITY, MAX_STATEMENTS),
});
/** How often a document may name products by id, groups of them written out: an id can be one letter, and what it stands for a page. */
const MAX_REFERENCES = 100_000;
/** Characters of package URLs in all statements together. */
const MAX_PRODUCT_CHARS = 8 * 1024 * 1024;

const STATUSES: Readonly<Record<keyof NonNullable<Vulnerability["product_status"]>, StatementStatus>> = {
  ...{ known_not_affected: "not_affected", fixed: "fixed", first_fixed: "fixed", under_investigation: "under_investigation" },
  ...{ known_affected: "affected", first_affected: "affected", last_affected: "affected" },
};

type Tree = NonNullable<z.output<typeof DOCUMENT>["product_tree"]>;
type Vulnerability = z.output<typeof VULNERABILITY>;
type Why = Pick<Statement, "justification" | "detail">;

export const isCsaf = (value: Readonly<Record<string, unknown>>): boolean =>
  typeof value["document"] === "object" && value["document"] !== null && "csaf_version" in value["document"];

/** @throws ZodError; ReportError MALFORMED, TOO_LARGE */
export function readCsaf(value: unknown): ParsedReport {
  const { document, product_tree: tree, vulnerabilities } = DOCUMENT.parse(value);
  const products = tree ? productsOf(tree) : new Map<string, Known>();
  const grouped = tree?.product_groups ?? [];
  const groups = new Map(grouped.map((group) => [group.group_id, group.product_ids]));
  if (groups.size < grouped.length) throw new ReportError("MALFORMED", "product_tree: a group_id is defined twice");
  let references = MAX_REFERENCES;
  const spend = (count: number): void => {
    references -= count;
    if (references < 0) throw new ReportError("TOO_LARGE", `products are named more than ${MAX_REFERENCES} times`);
  };
  const read = vulnerabilities.map((each) => statementsOf(each, { products, groups, spend }));
  const statements = read.flatMap((each) => each.statements);
  let room = MAX_PRODUCT_CHARS;
  for (const each of statements) for (const { purl: name, parts } of each.products) room -= name.length + (parts[0]?.length ?? 0);
  if (room < 0) throw new ReportError("TOO_LARGE", `more than ${MAX_PRODUCT_CHARS} characters of products`);
  return {
    format: "csaf",
    tool: `${document.publisher.name} ${document.tracking.id}`,
    createdAtMs: document.tracking.current_release_date,
    subject: {
      configDigest: undefined,
      manifestDigests: [...new Set(statements.flatMap((each) => each.products.flatMap(({ purl: name }) => imageDigest(name))))],
      diffIds: [],
    },
    isScan: false,
    findings: [],
    statements,
    packages: 0,
    leftOut: read.reduce((sum, each) => sum + each.leftOut, 0),
  };
}

interface Known {
  readonly product: Product;
  /** Only some versions of what the package URL stands for are meant. */
  readonly isVague: boolean;
}

/** By product id; those without a package URL are not among them. @throws ReportError MALFORMED where an id is two products', TOO_LARGE; ZodError */
function productsOf({ branches: topmost, full_product_names: named, relationships }: Tree): Map<string, Known> {
  const listed = [...named.map((product) => ({ product, ofVersions: false })), ...productsIn(topmost)];
  const ids = [...listed.map(({ product }) => product), ...relationships.map(({ full_product_name: whole }) => whole)].map(({ product_id: name }) => name);
  if (new Set(ids).size < ids.length) throw new ReportError("MALFORMED", "product_tree: a product_id is defined twice");
  const products = new Map<string, Known>();
  for (const { product, ofVersions } of listed) {
    const { product_id: name, product_identification_helper: helper } = product;
    if (helper?.purl) products.set(name, { product: { purl: helper.purl, parts: [] }, isVague: ofVersions && !readPurl(helper.purl)?.version });
  }
  const joined = relationships.flatMap(({ category, full_product_name: { product_id: name }, ...of }): [string, Known][] => {
    const [part, whole] = [products.get(of.product_reference), products.get(of.relates_to_product_reference)];
    const counts = category === "default_component_of" && part && whole && imageDigest(whole.product.purl).length > 0;
    return counts ? [[name, { product: { purl: whole.product.purl, parts: [part.product.purl] }, isVague: part.isVague }]] : [];
  });
  for (const [name, product] of joined) products.set(name, product);
  return products;
}

/** @throws ReportError TOO_LARGE; ZodError */
function productsIn(topmost: readonly z.output<typeof BRANCH>[]): { readonly product: z.output<typeof PRODUCT>; readonly ofVersions: boolean }[] {
  const of = (branch: z.output<typeof BRANCH>, isIn: boolean) => ({ ...branch, ofVersions: isIn || OF_VERSIONS.has(branch.category) });
  const all = topmost.map((branch) => of(branch, false));
  for (let at = 0; at < all.length; at++) {
    const { branches = [], ofVersions = false } = all[at] ?? {};
    for (const branch of branches) all.push(of(BRANCH.parse(branch), ofVersions));
    if (all.length > MAX_PACKAGES) throw new ReportError("TOO_LARGE", `more than ${MAX_PACKAGES} branches`);
  }
  return all.flatMap(({ product, ofVersions }) => (product ? [{ product, ofVersions }] : []));
}

interface Catalogue {
  readonly products: ReadonlyMap<string, Known>;
  readonly groups: ReadonlyMap<string, readonly string[]>;
  /** Counts references. @throws ReportError TOO_LARGE */
  readonly spend: (count: number) => void;
}

/** One for each status and reason. @throws ReportError MALFORMED, TOO_LARGE */
function statementsOf(found: Vulnerability, catalogue: Catalogue) {
  const ids = [...new Set([found.cve ?? "", ...found.ids.map((each) => each.text)])].filter((each) => each !== "");
  const reasons = reasonsOf(found, catalogue);
  const byReason = new Map<string, { readonly status: StatementStatus; readonly why: Why; readonly products: Set<Product> }>();
  let leftOut = 0;
  for (const [word, status] of Object.entries(STATUSES) as [keyof typeof STATUSES, StatementStatus][]) {
    for (const name of found.product_status?.[word] ?? []) {
      catalogue.spend(1);
      const why = (status === "not_affected" && reasons.get(name)) || { justification: "", detail: "" };
      if (status === "not_affected" && why.justification === "" && why.detail === "")
        throw new ReportError("MALFORMED", `${ids[0] ?? "a vulnerability"}: known_not_affected without a flag or an impact that says why`);
      const known = catalogue.products.get(name);
      if (!known || ids.length === 0 || (known.isVague && excuses({ status }))) {
        leftOut++;
        continue;
      }
      const key = JSON.stringify([status, why.justification, why.detail]);
      const same = byReason.get(key) ?? { status, why, products: new Set<Product>() };
      byReason.set(key, same);
      same.products.add(known.product);
    }
  }
  const statements = [...byReason.values()].map(({ status, why, products: of }): Statement => ({ ids, status, ...why, products: [...of] }));
  return { statements, leftOut };
}

/** Why products are not affected, by product id: a flag's label, and an impact in words. */
function reasonsOf({ flags, threats }: Vulnerability, { groups, spend }: Catalogue): ReadonlyMap<string, Why> {
  const reasons = new Map<string, Why>();
  const say = (of: { readonly product_ids: readonly string[]; readonly group_ids: readonly string[] }, why: Partial<Why>): void => {
    for (const names of [of.product_ids, ...of.group_ids.map((group) => groups.get(group) ?? [])]) {
      spend(1 + names.length);
      for (const name of names) reasons.set(name, { ...(reasons.get(name) ?? { justification: "", detail: "" }), ...why });
    }
  };
  for (const flag of flags) say(flag, { justification: flag.label });
  for (const threat of threats) if (threat.category === "impact") say(threat, { detail: threat.details });
  return reasons;
}
