/**
 * Who somebody is, whatever they come with, and what they may do by a token. A certificate's name is a person's; what another issuer calls somebody is `SOURCE:NAME`, and
 * somebody else than any certificate's and any other issuer's until configuration says that they are one (`aliases`): nobody becomes another by taking their name elsewhere. Pure.
 */
import type { OperatorRole } from "../../ports/certificate-authority.ts";
import { type Grants, grantsOf } from "./grants.ts";

/** As somebody is known: by certificate, or by another issuer. What is in requests is held against it before anything else. */
export const PERSON_PATTERN = /^(?:[A-Za-z0-9][A-Za-z0-9._@-]{0,63}|[a-z0-9][a-z0-9._-]{0,62}:[!-~]{1,255})$/;
/** What an issuer may call somebody, or a group. */
export const ISSUED_NAME_PATTERN = /^[!-~]{1,255}$/;
/** In configuration, before a certificate's name. */
export const CERTIFICATE_SOURCE = "certificate";

/** `SOURCE:NAME` each. */
export interface RoleRule {
  readonly role: OperatorRole;
  /** Where it holds; undefined: in the whole cluster. */
  readonly namespaces?: readonly string[] | undefined;
  readonly users: readonly string[];
  readonly groups: readonly string[];
}

export interface IdentityRules {
  /** A person's name → what else they are known by: `SOURCE:NAME`, or `certificate:NAME`. */
  readonly aliases: Readonly<Record<string, readonly string[]>>;
  readonly roles: readonly RoleRule[];
}

export class Identities {
  /** What somebody is known by → who that is. */
  readonly #subjects: ReadonlyMap<string, string>;
  readonly #rules: readonly {
    readonly role: OperatorRole;
    readonly namespaces: readonly string[] | undefined;
    readonly users: ReadonlySet<string>;
    readonly groups: ReadonlySet<string>;
  }[];

  constructor({ aliases, roles }: IdentityRules) {
    const certificate = `${CERTIFICATE_SOURCE}:`;
    const known = (credential: string): string => (credential.startsWith(certificate) ? credential.slice(certificate.length) : credential);
    this.#subjects = new Map(Object.entries(aliases).flatMap(([name, credentials]) => credentials.map((each) => [known(each), name] as const)));
    this.#rules = roles.map(({ role, namespaces, users, groups }) => ({ role, namespaces, users: new Set(users), groups: new Set(groups) }));
  }

  /** @param known a certificate's name, or `SOURCE:NAME` */
  readonly subjectOf = (known: string): string => this.#subjects.get(known) ?? known;

  /** As configuration has it now, whatever either was called when it was written down. */
  readonly samePerson = (a: string, b: string): boolean => this.subjectOf(a) === this.subjectOf(b);

  /** What somebody with a token may do, of all rules that name them; undefined: nothing. @param groups as their issuer names them */
  grantsOf(source: string, name: string, groups: readonly string[]): Grants | undefined {
    return grantsOf(
      this.#rules.filter(({ users, groups: ofRule }) => users.has(`${source}:${name}`) || groups.some((group) => ofRule.has(`${source}:${group}`))),
    );
  }
}

/** What is contradictory, with its place in the configuration. @param sources that are configured */
export function identityProblems(
  { aliases, roles }: IdentityRules,
  sources: readonly string[],
): { readonly path: (string | number)[]; readonly message: string }[] {
  const problems: { path: (string | number)[]; message: string }[] = [];
  const owners = new Map<string, string>();
  const unknown = (credential: string, allowed: readonly string[]): string | undefined => {
    const source = credential.slice(0, Math.max(0, credential.indexOf(":")));
    return allowed.includes(source)
      ? undefined
      : `"${credential}" is of no source that is configured (${allowed.join(", ") || "there is none"}): want SOURCE:NAME`;
  };
  for (const [name, credentials] of Object.entries(aliases))
    for (const [at, credential] of credentials.entries()) {
      const path = ["aliases", name, at];
      const of = owners.get(credential);
      const source = unknown(credential, [CERTIFICATE_SOURCE, ...sources]);
      if (source !== undefined) problems.push({ path, message: source });
      if (of !== undefined) problems.push({ path, message: `"${credential}" is ${of === name ? "there twice" : `${of} already: nobody is two`}` });
      const named = credential.startsWith(`${CERTIFICATE_SOURCE}:`) ? credential.slice(CERTIFICATE_SOURCE.length + 1) : undefined;
      if (named !== undefined && named !== name && named in aliases)
        problems.push({ path, message: `the certificate of ${named} is ${named}'s, who is named here too` });
      owners.set(credential, name);
    }
  for (const [at, { users, groups }] of roles.entries())
    for (const [list, names] of Object.entries({ users, groups }))
      for (const [i, name] of names.entries()) {
        const source = unknown(name, sources);
        if (source !== undefined) problems.push({ path: ["roles", at, list, i], message: source });
      }
  return problems;
}
