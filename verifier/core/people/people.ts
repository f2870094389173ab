/** Who asks and decides: certificates of people, given to a name with a role, and taken from that name. Each is an entry of the log. */
import { hash } from "node:crypto";
import type { IssuedCertificate, OperatorRole } from "../../ports/certificate-authority.ts";
import type { PersonRow } from "../../ports/rows.ts";
import type { Store } from "../../ports/store.ts";
import { AdministrationError } from "../fleet/administration.ts";
import type { Committer } from "../fleet/committer.ts";
import { adminFact } from "../fleet/log-facts.ts";

/** Names that are remembered, with the verifier's own. */
const MAX_PEOPLE = 10_000;
/** Certificates of one name that count after it was revoked: of more the oldest gives way. */
const MAX_SINCE_REVOKED = 64;

export interface PeopleServices {
  readonly store: Pick<Store, "readPeople">;
  readonly committer: Pick<Committer, "submit">;
  readonly nowMs: () => number;
  /** @throws CertificateAuthorityError BAD_KEY, BAD_NAME */
  readonly certify: (role: OperatorRole, name: string, spki: Uint8Array, lifetimeMs: number) => Promise<IssuedCertificate>;
  /** Names whose certificates the verifier makes for itself: nobody else gets one of them. */
  readonly ownNames: readonly string[];
  /** What was taken counts no more from here on: what is open by it must end, and the verifier's own be made anew. Does not reject. */
  readonly revoked: (name: string) => Promise<void>;
}

export interface Wanted {
  readonly name: string;
  readonly role: OperatorRole;
  /** SubjectPublicKeyInfo (DER), P-256. */
  readonly publicKey: Uint8Array;
  readonly lifetimeMs: number;
}

export class People {
  readonly #services: PeopleServices;
  readonly #rows: Map<string, PersonRow>;
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
   * so that neither a clock nor how certificates were dated decides. @param certificateSha256 of the DER, hexadecimal
   */
  counts(name: string, certificateSha256: string): boolean {
    const row = this.#rows.get(name);
    return row?.revokedAtMs === undefined || row.sinceRevoked.some(({ sha256 }) => sha256 === certificateSha256);
  }

  /** A certificate that counts, whatever was taken from the name. @throws AdministrationError OWN_NAME, TOO_MANY; CertificateAuthorityError; StoreError */
  async issue(wanted: Wanted, by: string): Promise<IssuedCertificate> {
    if (this.#services.ownNames.includes(wanted.name))
      throw new AdministrationError("OWN_NAME", `certificates of ${wanted.name} are the verifier's own: choose another name`);
    return await this.#alone(async () => await this.#record(wanted, await this.#certify(wanted), by));
  }

  /** The same for one of the verifier's own names: noted only where the name was revoked, for else all count. @throws CertificateAuthorityError; StoreError */
  async issueOwn(wanted: Wanted): Promise<IssuedCertificate> {
    return await this.#alone(async () => {
      const issued = await this.#certify(wanted);
      return this.#rows.get(wanted.name)?.revokedAtMs === undefined ? issued : await this.#record(wanted, issued, undefined);
    });
  }

  /**
   * No certificate of this name counts any more that was issued until now, whatever its role and wherever it lies.
   * @returns whether one is known to have been issued @throws AdministrationError TOO_MANY; StoreError
   */
  async revoke(name: string, by: string, reason: string): Promise<boolean> {
    const { nowMs, ownNames, revoked } = this.#services;
    const known = await this.#alone(async () => {
      const before = this.#row(name);
      const taken = { revokedAtMs: Math.max(nowMs(), before.issuedAtMs ?? 0), revokedBy: by, revokedReason: reason, sinceRevoked: [] };
      await this.#write({ ...before, ...taken }, adminFact("person-revoked", nowMs(), { name, by, reason }));
      return before.issuedAtMs !== undefined;
    });
    await revoked(name);
    return known || ownNames.includes(name);
  }

  async #certify({ role, name, publicKey, lifetimeMs }: Wanted): Promise<IssuedCertificate> {
    // First: what cannot be noted is not issued.
    this.#row(name);
    return await this.#services.certify(role, name, publicKey, lifetimeMs);
  }

  /** @param by undefined: the verifier, for itself */
  async #record({ name, role, publicKey }: Wanted, issued: IssuedCertificate, by: string | undefined): Promise<IssuedCertificate> {
    const nowMs = this.#services.nowMs();
    const { revokedAtMs, sinceRevoked, ...before } = this.#row(name);
    const one = { sha256: hash("sha256", issued.chain[0] as Buffer), notAfterMs: issued.notAfterMs };
    const lately = sinceRevoked.filter(({ notAfterMs }) => notAfterMs > nowMs).slice(1 - MAX_SINCE_REVOKED);
    const given = { role, issuedAtMs: Math.max(nowMs, (revokedAtMs ?? -1) + 1), issuedBy: by ?? "", notAfterMs: issued.notAfterMs };
    await this.#write(
      { ...before, ...given, revokedAtMs, sinceRevoked: revokedAtMs === undefined ? [] : [...lately, one] },
      adminFact("person-certificate", nowMs, { name, role, key: `sha256:${hash("sha256", publicKey)}`, until: issued.notAfterMs, by: by ?? null }),
    );
    return issued;
  }

  #row(name: string): PersonRow {
    const row = this.#rows.get(name);
    if (!row && this.#rows.size >= MAX_PEOPLE) throw new AdministrationError("TOO_MANY", `more than ${MAX_PEOPLE} names`);
    const given = { role: "", issuedAtMs: undefined, issuedBy: "", notAfterMs: undefined };
    return row ?? { name, ...given, revokedAtMs: undefined, revokedBy: "", revokedReason: "", sinceRevoked: [] };
  }

  async #write(row: PersonRow, fact: ReturnType<typeof adminFact>): Promise<void> {
    await this.#services.committer.submit({ entries: [fact], build: () => ({ people: [row] }) });
    this.#rows.set(row.name, row);
  }

  async #alone<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(work);
    this.#last = mine.catch(() => undefined);
    return await mine;
  }
}
