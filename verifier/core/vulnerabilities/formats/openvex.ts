/** OpenVEX (openvex/spec, v0.2.0): what makers say of vulnerabilities in their products. */
import * as z from "zod";
import { dateMs, few, id, imageDigest, isDigest, MAX_STATEMENTS, purl, some, text, words } from "../shapes.ts";
import { type ParsedReport, STATEMENT_STATUSES, type Statement } from "../types.ts";

const COMPONENT = z.object({
  "@id": text(1024),
  identifiers: z.object({ purl }).nullish(),
  hashes: z.object({ "sha-256": text(64) }).nullish(),
});
const PRODUCT = COMPONENT.extend({ subcomponents: some(COMPONENT, 1024) });
const STATEMENT = z
  .object({
    vulnerability: z.object({ name: id, "@id": text(1024), aliases: few(z.string().max(128)) }),
    products: some(PRODUCT, 1024),
    status: z.enum(STATEMENT_STATUSES),
    justification: text(64),
    impact_statement: words,
  })
  .refine(({ status, justification, impact_statement: impact }) => status !== "not_affected" || justification !== "" || impact !== "", {
    message: "not_affected without justification or impact_statement",
  });
const DOCUMENT = z.object({
  "@context": z.string().regex(/^https:\/\/openvex\.dev\/ns(\/v0\.2\.\d+)?$/, "want https://openvex.dev/ns/v0.2.0"),
  // Stays as it is from version to version.
  "@id": text(1024),
  author: z.string().min(1).max(512),
  timestamp: dateMs,
  last_updated: dateMs,
  tooling: text(),
  statements: some(STATEMENT, MAX_STATEMENTS),
});

export const isOpenvex = (value: Readonly<Record<string, unknown>>): boolean => typeof value["@context"] === "string" && "statements" in value;

/** @throws ZodError */
export function readOpenvex(value: unknown): ParsedReport {
  const document = DOCUMENT.parse(value);
  const statements = document.statements.map(
    ({ vulnerability, products, status, justification, impact_statement: detail }): Statement => ({
      ids: [...new Set([vulnerability.name, ...vulnerability.aliases])],
      ...{ status, justification, detail },
      products: products.map((product) => ({ purl: nameOf(product), parts: product.subcomponents.map(nameOf) })),
    }),
  );
  const hashes = document.statements.flatMap(({ products }) => products.map(({ hashes: named }) => `sha256:${named?.["sha-256"] ?? ""}`)).filter(isDigest);
  return {
    format: "openvex",
    tool: `${document.author} ${document["@id"]}`.trim(),
    createdAtMs: document.last_updated ?? document.timestamp,
    subject: {
      configDigest: undefined,
      manifestDigests: [...new Set([...hashes, ...statements.flatMap(({ products }) => products.flatMap(({ purl: name }) => imageDigest(name)))])],
      diffIds: [],
    },
    isScan: false,
    findings: [],
    statements,
    ...{ packages: 0, leftOut: 0 },
  };
}

const nameOf = ({ "@id": name, identifiers }: z.output<typeof COMPONENT>): string => identifiers?.purl || name;
