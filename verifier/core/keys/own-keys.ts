/** The verifier's own keys: rotated and retired by name, each time an entry of the log, and told of where they grow old. */
import type { OwnKey, OwnKeyFact, OwnKeyName } from "../../ports/own-key.ts";
import type { ClaimRow } from "../../ports/rows.ts";
import { AdministrationError } from "../fleet/administration.ts";
import { claimRow } from "../fleet/claims.ts";
import type { Committer } from "../fleet/committer.ts";
import { adminFact } from "../fleet/log-facts.ts";

const DAY_MS = 86_400_000;

export interface OwnKeysOptions {
  readonly keys: readonly OwnKey[];
  readonly committer: Pick<Committer, "submit">;
  readonly nowMs: () => number;
  /** No key changes before this is fulfilled. */
  readonly ready: Promise<void>;
  /** Whether the newest key of this name was put into its token by somebody else, and taken. */
  readonly wasTaken: (name: OwnKeyName) => boolean;
  /** A key changed, and the log has it: what is to follow at once. Does not reject. */
  readonly changed: (name: OwnKeyName, how: "rotated" | "retired") => Promise<void>;
  /** Days after which a key in use should be replaced. */
  readonly maxAgeDays: Readonly<Record<OwnKeyName, number>>;
  /** Days after which one that gave way should be retired. */
  readonly overlapDays: number;
}

export interface OwnKeyRow extends OwnKeyFact {
  readonly name: OwnKeyName;
  /** Unix milliseconds. Of one in use: when to replace it. Of one that is accepted: when to retire it, counted from when it gave way. */
  readonly dueAtMs: number;
}

export class OwnKeys {
  readonly #options: OwnKeysOptions;
  /** One change at a time: a second that comes meanwhile finds the first done. */
  #last: Promise<unknown>;

  constructor(options: OwnKeysOptions) {
    this.#options = options;
    this.#last = options.ready;
  }

  rows(): readonly OwnKeyRow[] {
    const { keys, maxAgeDays, overlapDays } = this.#options;
    return keys.flatMap((key) => {
      const facts = key.facts();
      const sinceMs = facts.find(({ state }) => state === "in-use")?.madeAtMs ?? 0;
      return facts.map((fact) => {
        const dueAtMs = fact.state === "in-use" ? fact.madeAtMs + maxAgeDays[key.name] * DAY_MS : sinceMs + overlapDays * DAY_MS;
        return { ...fact, name: key.name, dueAtMs };
      });
    });
  }

  /** Keys in use, by name: what the log tells at each start, so that none comes into use unseen. */
  inUse(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.#options.keys.map((key) => [key.name, key.facts()[0]?.id ?? ""]));
  }

  get claims(): readonly ClaimRow[] {
    const nowMs = this.#options.nowMs();
    return this.rows()
      .filter(({ dueAtMs }) => nowMs >= dueAtMs)
      .map(({ name, id, state, madeAtMs }) => {
        if (state === "accepted") return claimRow("key-overlap", `the key ${id} of ${name} gave way and is accepted still: hullmark keys retire ${name}`);
        return claimRow("key-old", `the key ${id} of ${name} is ${Math.floor((nowMs - madeAtMs) / DAY_MS)} days old: hullmark keys rotate ${name}`);
      });
  }

  /** @returns the new key's id @throws AdministrationError NOT_FOUND, OVERLAP (one that gave way is accepted still); what the key's adapter throws; StoreError: then it is rotated, and the next start tells */
  async rotate(name: string, by: string, reason: string): Promise<string> {
    return await this.#alone(async () => {
      const key = this.#find(name);
      const [before, accepted] = key.facts();
      if (accepted) throw new AdministrationError("OVERLAP", `the key ${accepted.id} that gave way is accepted still: hullmark keys retire ${name}`);
      await key.rotate();
      const id = key.facts()[0]?.id ?? "";
      const fields = { key: name, id, before: before?.id ?? null, taken: this.#options.wasTaken(key.name), by, reason };
      await this.#tell("key-rotated", fields).finally(() => this.#options.changed(key.name, "rotated"));
      return id;
    });
  }

  /** @returns ids of those that are accepted no more @throws AdministrationError NOT_FOUND where there is none; as {@link rotate} */
  async retire(name: string, by: string, reason: string): Promise<readonly string[]> {
    return await this.#alone(async () => {
      const key = this.#find(name);
      const ids = key.facts().flatMap(({ id, state }) => (state === "accepted" ? [id] : []));
      if (ids.length === 0) throw new AdministrationError("NOT_FOUND", `no key of ${name} that gave way is accepted still`);
      await key.retire();
      await this.#tell("key-retired", { key: name, id: ids.join(" "), by, reason }).finally(() => this.#options.changed(key.name, "retired"));
      return ids;
    });
  }

  #find(name: string): OwnKey {
    const key = this.#options.keys.find((each) => each.name === name);
    if (!key) throw new AdministrationError("NOT_FOUND", `no key of this name; there are: ${this.#options.keys.map((each) => each.name).join(", ")}`);
    return key;
  }

  async #tell(action: string, fields: Readonly<Record<string, string | boolean | null>>): Promise<void> {
    await this.#options.committer.submit({ entries: [adminFact(action, this.#options.nowMs(), fields)], build: () => ({}) });
  }

  async #alone<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(work);
    this.#last = mine.catch(() => undefined);
    return await mine;
  }
}
