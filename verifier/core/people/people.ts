/** Who asks and decides: certificates of people, given to a name with a role, and taken from that name. Each is an entry of the log. */
import { hash } from "node:crypto";
import type { IssuedCertificate, OperatorRole } from "../../ports/certificate-authority.ts";
import type { PersonRow } from "../../ports/rows.ts";
import type { Store } from "../../ports/store.ts";
import { AdministrationError } from "../fleet/administration.ts";
import type { Committer } from "../fleet/committer.ts";
import { adminFact } from "../fleet/log-facts.ts";

/** Names that certificates were issued for on demand and that were never revoked: of more those give way whose last certificate has ended. */
const MAX_PEOPLE = 10_000;
/** Certificates of one name that count after it was revoked: of more the oldest gives way. */
const MAX_SINCE_REVOKED = 64;

export interface PeopleServices {
  readonly store: Pick<Store, "readPeople">;
  readonly committer: Pick<Committer, "submit">;
  readonly nowMs: () => number;
  /** @throws CertificateAuthorityError BAD_KEY, BAD_NAME */
  readonly certify: (role: OperatorRole, name: string, spki: Uint8Array, lifetimeMs: number, namespaces?: readonly string[]) => Promise<IssuedCertificate>;
  /** Names whose certificates the verifier makes for itself: nobody else gets one of them. */
  readonly ownNames: readonly string[];
  /** What was taken counts no more from here on: what is open by it must end, and the verifier's own be made anew. Does not reject. */
  readonly revoked: (name: string) => Promise<void>;
}

export interface Wanted {
  readonly name: string;
  readonly role: OperatorRole;
  /** Where it holds; undefined: in the whole cluster. */
  readonly namespaces?: readonly string[] | undefined;
  /** SubjectPublicKeyInfo (DER), P-256. */
  readonly publicKey: Uint8Array;
  readonly lifetimeMs: number;
}

/** What somebody comes with: SHA-256 of a certificate (DER, hexadecimal), or empty for a token, and when that was made, where it says (Unix milliseconds). */
export interface Credential {
  readonly certificateSha256: string;
  readonly issuedAtMs?: number | undefined;
}

/** Who asks, by what they are known by. */
export interface Asker extends Credential {
  readonly name: string;
  readonly credential: string;
}

export class People {
  readonly #services: PeopleServices;
  readonly #rows: Map<string, PersonRow>;
  /** Names whose revocation has its turn yet to come: what was asked by or for them before it is not issued, so that nothing keeps it waiting. */
  readonly #revoking = new Set<string>();
  /** One change at a time. */
  #last: Promise<unknown> = Promise.resolve();

  private constructor(services: PeopleServices, rows: readonly PersonRow[]) {
    this.#services = services;
    this.#rows = new Map(rows.map((row) => [row.name, row]));
  }

  /** @throws StoreError */
  static async open(services: PeopleServices): Promise<People> {
    return new People(services, await services.store.readPeople());
  }

  /** By name. */
  get rows(): readonly PersonRow[] {
    return [...this.#rows.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /**
   * Whether a certificate of this name counts: any where the name was never revoked, else those alone that were issued since. It goes by what was issued, not by dates,
   * so that neither a clock nor how certificates were dated decides. Of who comes with tokens none counts once the name was revoked, until it is allowed again: then those
   * that say that they were made since.
   */
  counts(name: string, { certificateSha256, issuedAtMs }: Credential): boolean {
    const row = this.#rows.get(name);
    if (row?.revokedAtMs === undefined) return true;
    if (certificateSha256 !== "") return row.sinceRevoked.some(({ sha256 }) => sha256 === certificateSha256);
    return row.tokensSinceMs !== undefined && issuedAtMs !== undefined && issuedAtMs >= row.tokensSinceMs;
  }

  /** Names that were revoked after that time, Unix milliseconds, whatever they were given since. */
  revokedSince(sinceMs: number): string[] {
    return [...this.#rows.values()].flatMap(({ name, revokedAtMs }) => (revokedAtMs !== undefined && revokedAtMs >= sinceMs ? [name] : []));
  }

  /** A certificate that counts, whatever was taken from the name. @throws AdministrationError OWN_NAME, REVOKED, CHANGED, TOO_MANY; CertificateAuthorityError; StoreError */
  async issue(wanted: Wanted, by: Asker): Promise<IssuedCertificate> {
    if (this.#services.ownNames.includes(wanted.name))
      throw new AdministrationError("OWN_NAME", `certificates of ${wanted.name} are the verifier's own: choose another name`);
    return await this.#alone(async () => {
      this.#mayAsk(by);
      for (const name of [by.name, by.credential, wanted.name])
        if (this.#revoking.has(name)) throw new AdministrationError("CHANGED", `${name} is being revoked`);
      // First: what cannot be noted is not issued.
      const ended = this.#givingWay(wanted.name);
      return await this.#record(wanted, await this.#certify(wanted), by.name, ended);
    });
  }

  /** The same for one of the verifier's own names: noted only where the name was revoked, for else all count. @throws CertificateAuthorityError; StoreError */
  async issueOwn(wanted: Wanted): Promise<IssuedCertificate> {
    return await this.#alone(async () => {
      const issued = await this.#certify(wanted);
      return this.#rows.get(wanted.name)?.revokedAtMs === undefined ? issued : await this.#record(wanted, issued, undefined, []);
    });
  }

  /**
   * No certificate of this name counts any more that was issued until now, whatever its role and wherever it lies.
   * @returns whether one is known to have been issued @throws AdministrationError REVOKED; StoreError
   */
  async revoke(name: string, by: Asker, reason: string): Promise<boolean> {
    const { ownNames, revoked } = this.#services;
    this.#revoking.add(name);
    const known = await this.#alone(async () => {
      try {
        this.#mayAsk(by);
        return await this.#take(name, by.name, reason);
      } finally {
        this.#revoking.delete(name);
      }
    });
    await revoked(name);
    return known || ownNames.includes(name);
  }

  /** Tokens of this name count again that are made from now on: what was taken stays taken. @throws AdministrationError REVOKED, CHANGED; StoreError */
  async allow(name: string, by: Asker, reason: string): Promise<void> {
    await this.#alone(async () => {
      this.#mayAsk(by);
      const row = this.#rows.get(name);
      if (row?.revokedAtMs === undefined || this.#revoking.has(name)) throw new AdministrationError("CHANGED", `${name} is not revoked, or is being revoked`);
      const nowMs = this.#services.nowMs();
      await this.#write({ ...row, tokensSinceMs: Math.max(nowMs, row.revokedAtMs) }, adminFact("person-allowed", nowMs, { name, by: by.name, reason }), []);
    });
  }

  async #take(name: string, by: string, reason: string): Promise<boolean> {
    const nowMs = this.#services.nowMs();
    const before = this.#row(name);
    const taken = { revokedAtMs: Math.max(nowMs, before.issuedAtMs ?? 0), revokedBy: by, revokedReason: reason, sinceRevoked: [], tokensSinceMs: undefined };
    await this.#write({ ...before, ...taken }, adminFact("person-revoked", nowMs, { name, by, reason }), []);
    return before.issuedAtMs !== undefined;
  }

  /** What was asked waits for its turn: who asked may have been revoked meanwhile. */
  #mayAsk(by: Asker): void {
    if (![by.name, by.credential].every((each) => this.counts(each, by))) throw new AdministrationError("REVOKED", "this certificate was revoked");
  }

  /** Names that are forgotten for this one: all of theirs counted, and the last has ended. A revocation is never forgotten. @throws AdministrationError TOO_MANY */
  #givingWay(name: string): string[] {
    const standing = this.#rows.has(name) ? [] : this.rows.filter(({ revokedAtMs }) => revokedAtMs === undefined);
    if (standing.length < MAX_PEOPLE) return [];
    const nowMs = this.#services.nowMs();
    const ended = standing.filter(({ notAfterMs }) => notAfterMs !== undefined && notAfterMs <= nowMs);
    if (ended.length === 0) throw new AdministrationError("TOO_MANY", `more than ${MAX_PEOPLE} names`);
    return ended.map((row) => row.name);
  }

  async #certify({ role, name, publicKey, lifetimeMs, namespaces }: Wanted): Promise<IssuedCertificate> {
    return await this.#services.certify(role, name, publicKey, lifetimeMs, namespaces);
  }

  /** @param by undefined: the verifier, for itself @param ended names that are forgotten */
  async #record(
    { name, role, namespaces, publicKey }: Wanted,
    issued: IssuedCertificate,
    by: string | undefined,
    ended: readonly string[],
  ): Promise<IssuedCertificate> {
    const nowMs = this.#services.nowMs();
    const { revokedAtMs, sinceRevoked, ...before } = this.#row(name);
    const one = { sha256: hash("sha256", issued.chain[0] as Buffer), notAfterMs: issued.notAfterMs };
    const lately = sinceRevoked.filter(({ notAfterMs }) => notAfterMs > nowMs).slice(1 - MAX_SINCE_REVOKED);
    const given = { role, namespaces, issuedAtMs: Math.max(nowMs, (revokedAtMs ?? -1) + 1), issuedBy: by ?? "", notAfterMs: issued.notAfterMs };
    await this.#write(
      { ...before, ...given, revokedAtMs, sinceRevoked: revokedAtMs === undefined ? [] : [...lately, one] },
      adminFact("person-certificate", nowMs, {
        ...{ name, role, ...(namespaces && { namespaces: namespaces.join(" ") }) },
        ...{ key: `sha256:${hash("sha256", publicKey)}`, until: issued.notAfterMs, by: by ?? null },
      }),
      ended,
    );
    return issued;
  }

  #row(name: string): PersonRow {
    const given = { role: "", issuedAtMs: undefined, issuedBy: "", notAfterMs: undefined };
    return this.#rows.get(name) ?? { name, ...given, revokedAtMs: undefined, revokedBy: "", revokedReason: "", sinceRevoked: [] };
  }

  async #write(row: PersonRow, fact: ReturnType<typeof adminFact>, removedPeople: readonly string[]): Promise<void> {
    await this.#services.committer.submit({ entries: [fact], build: () => ({ people: [row], removedPeople }) });
    for (const name of removedPeople) this.#rows.delete(name);
    this.#rows.set(row.name, row);
  }

  async #alone<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(work);
    this.#last = mine.catch(() => undefined);
    return await mine;
  }
}
