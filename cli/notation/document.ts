/** A trust policy document of the Notary Project (specifications/trust-store-trust-policy.md): `trustpolicy.json`, or `trustpolicy.oci.json` as notation has it since 1.3. Its author is trusted; what it says is read to the letter. */
import * as z from "zod";
import { SigningError } from "../signing/errors.ts";
import { isWithin, parseSubject, type SubjectNames } from "./subject.ts";

type Check = "authenticity" | "authenticTimestamp" | "expiry" | "revocation";
type Action = "enforce" | "log" | "skip";

export interface StoreName {
  readonly kind: "ca" | "signingAuthority" | "tsa";
  readonly name: string;
}

export interface Statement {
  readonly name: string;
  /** Repositories written out (`host[:port]/name`); undefined: every one that no other statement names. */
  readonly repositories: readonly string[] | undefined;
  /** undefined: nothing is verified (level `skip`). */
  readonly verification: Verification | undefined;
}

export interface Verification {
  readonly level: string;
  readonly actions: Readonly<Record<Check, Action>>;
  /** Only once a certificate of the chain has ended; else always. */
  readonly timestampAfterExpiry: boolean;
  readonly stores: readonly StoreName[];
  /** undefined: anybody under the stores. */
  readonly identities: readonly SubjectNames[] | undefined;
}

const LEVELS: Readonly<Record<string, Readonly<Record<Check, Action>>>> = {
  strict: { authenticity: "enforce", authenticTimestamp: "enforce", expiry: "enforce", revocation: "enforce" },
  permissive: { authenticity: "enforce", authenticTimestamp: "log", expiry: "log", revocation: "log" },
  audit: { authenticity: "log", authenticTimestamp: "log", expiry: "log", revocation: "log" },
};
const MAX_STATEMENTS = 128;
const logged = z.enum(["enforce", "log"]);
const texts = z.array(z.string().min(1).max(1024)).max(64);
const document = z.strictObject({
  version: z.literal("1.0"),
  trustPolicies: z
    .array(
      z.strictObject({
        name: z.string().min(1).max(256),
        registryScopes: texts.min(1),
        signatureVerification: z.strictObject({
          level: z.enum(["strict", "permissive", "audit", "skip"]),
          override: z
            .strictObject({ authenticity: logged, authenticTimestamp: logged, expiry: logged, revocation: z.enum(["enforce", "log", "skip"]) })
            .partial()
            .default({}),
          verifyTimestamp: z.enum(["always", "afterCertExpiry"]).default("always"),
        }),
        trustStores: texts.default([]),
        trustedIdentities: texts.default([]),
      }),
    )
    .min(1)
    .max(MAX_STATEMENTS),
});
type FileStatement = z.output<typeof document>["trustPolicies"][number];

const SCOPE =
  /^(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])(?:\.(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9]))*(?::[0-9]+)?(?:\/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)+$/;
const STORE = /^(ca|signingAuthority|tsa):([A-Za-z0-9_.-]+)$/;

/** Without what is not there. */
function set(override: FileStatement["signatureVerification"]["override"]): Partial<Record<Check, Action>> {
  return Object.fromEntries(Object.entries(override).filter(([, action]) => action !== undefined));
}

/** Statements in the order of the document. @param file its name, for messages @throws SigningError USAGE where the specification has it invalid, or a part of it has no counterpart here */
export function parseDocument(text: string, file: string): readonly Statement[] {
  const wrong = (message: string): never => {
    throw new SigningError("USAGE", `${file}: ${message}`);
  };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return wrong("is not JSON");
  }
  const parsed = document.safeParse(value);
  if (!parsed.success) return wrong(parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`).join("; "));
  const statements = parsed.data.trustPolicies;
  const names = statements.map(({ name }) => name);
  const scopes = statements.flatMap(({ registryScopes }) => registryScopes);
  for (const [what, all] of [
    ["name", names],
    ["registry scope", scopes],
  ] as const) {
    const twice = all.find((each, i) => all.indexOf(each) !== i);
    if (twice !== undefined) wrong(`the ${what} ${JSON.stringify(twice)} stands twice`);
  }
  return statements.map((statement) => readStatement(statement, (message) => wrong(`statement ${JSON.stringify(statement.name)}: ${message}`)));
}

function readStatement(
  { name, registryScopes, signatureVerification, trustStores, trustedIdentities }: FileStatement,
  wrong: (message: string) => never,
): Statement {
  const everywhere = registryScopes.includes("*");
  if (everywhere && registryScopes.length > 1) wrong("the scope * stands alone");
  const strange = registryScopes.find((scope) => scope !== "*" && !SCOPE.test(scope));
  if (strange !== undefined) wrong(`${JSON.stringify(strange)} is no repository written out (registry.example/name)`);
  const repositories = everywhere ? undefined : registryScopes;
  const { level, override, verifyTimestamp } = signatureVerification;
  const base = LEVELS[level];
  if (!base) {
    if (everywhere) wrong("the level skip wants repositories, not *");
    if (Object.keys(override).length + trustStores.length + trustedIdentities.length > 0)
      wrong("the level skip has neither overrides, trust stores nor trusted identities");
    return { name, repositories, verification: undefined };
  }
  if (trustStores.length === 0 || trustedIdentities.length === 0) wrong("wants trust stores and trusted identities");
  const stores = trustStores
    .flatMap((each) => each.split(","))
    .map((each): StoreName => {
      const [, kind, named] = STORE.exec(each.trim()) ?? [];
      return kind === undefined || named === undefined || /^\.+$/.test(named)
        ? wrong(`${JSON.stringify(each)} is no trust store: ca:NAME, signingAuthority:NAME or tsa:NAME`)
        : { kind: kind as StoreName["kind"], name: named };
    });
  if (stores.every(({ kind }) => kind === "tsa")) wrong("names no trust store of signers");
  const anybody = trustedIdentities.includes("*");
  if (anybody && trustedIdentities.length > 1) wrong("the identity * stands alone");
  const identities = anybody ? undefined : trustedIdentities.map((each) => parseSubject(each, wrong));
  const overlap = identities?.find((one, i) => identities.some((other, j) => i !== j && isWithin(other, one)));
  if (overlap) wrong(`two trusted identities overlap: ${JSON.stringify(overlap)} and one that asks for more`);
  return {
    ...{ name, repositories },
    verification: { level, actions: { ...base, ...set(override) }, timestampAfterExpiry: verifyTimestamp === "afterCertExpiry", stores, identities },
  };
}
