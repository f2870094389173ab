/** The policy in force: the last one that was good, with approved baselines, the exceptions that it allows and what namespaces ask for beside it. What is wrong with a newer one is shown, and changes nothing. */
import type { BaselineRow, ClaimRow } from "../../ports/rows.ts";
import { defaultPolicy, formatProblem, learnedClasses, type ParsedPolicy, policyDigest, withBaselines, withTeams } from "../policy/index.ts";
import type { GrantedException, MutableClass, Policy } from "../policy/types.ts";
import type { LogEntry } from "../transparency/entry.ts";
import { claimRow } from "./claims.ts";
import { entry, text } from "./log-facts.ts";

/** Where policy comes from. */
export interface PolicySource {
  /** undefined: no policy is configured. @throws where it cannot be read */
  load(): ParsedPolicy | undefined;
  /** Calls `changed` with each later state until disposed. */
  watch(changed: (outcome: ParsedPolicy | Error) => void): AsyncDisposable;
}

/** Names in one entry of the log, which has its limit; the policy's digest is over all of them. */
const MAX_NAMES = 128;

function listed(names: readonly string[]): readonly string[] {
  const shown = names.slice(0, MAX_NAMES).map(text);
  return names.length > MAX_NAMES ? [...shown, `and ${names.length - MAX_NAMES} more`] : shown;
}

type Changed = (facts: (timeMs: number) => LogEntry[]) => Promise<void>;

export class PolicyHolder {
  readonly #source: PolicySource;
  /** As given. */
  #given: Policy = defaultPolicy();
  /** With what baselines, exceptions and namespaces' policies add. */
  #current: Policy = this.#given;
  #baselines: readonly BaselineRow[] = [];
  #exceptions: (policy: Policy) => readonly MutableClass[] = () => [];
  #granted: readonly GrantedException[] = [];
  #teams: Readonly<Record<string, Policy>> = {};
  #errors: readonly string[] = [];
  #onChange: Changed = async () => {};

  /** Loads at once. A policy that is wrong at the first start leaves the built-in one in force, which passes nothing. */
  constructor(source: PolicySource) {
    this.#source = source;
    this.#load();
  }

  get current(): Policy {
    return this.#current;
  }

  /** Mistakes in the newest policy; the one in force is the last without. */
  get problems(): number {
    return this.#errors.length;
  }

  get claims(): readonly ClaimRow[] {
    return this.#errors.map((error) => claimRow("policy-not-loaded", error));
  }

  onChange(changed: Changed): void {
    this.#onChange = changed;
  }

  facts(timeMs: number): LogEntry[] {
    const { name, loaded, mode, exceptions, granted, teams } = this.#current;
    const names = [...exceptions.map(({ name }) => name), ...granted.map(({ id }) => id)];
    const excepted = names.length > 0 ? { exceptions: listed(names) } : {};
    const namespaces = Object.keys(teams).sort();
    const tightened = namespaces.length > 0 ? { namespaces: listed(namespaces) } : {};
    return [entry("policy", timeMs, { name, loaded, mode, digest: `sha256:${policyDigest(this.#current).toString("hex")}`, ...excepted, ...tightened })];
  }

  async reload(): Promise<{ readonly digest: Buffer; readonly errors: readonly string[] }> {
    const before = policyDigest(this.#current);
    this.#load();
    const digest = policyDigest(this.#current);
    if (!digest.equals(before)) await this.#onChange((timeMs) => this.facts(timeMs));
    return { digest, errors: this.#errors };
  }

  /** @param exceptions what of them counts under a policy; asked again for each policy */
  async except(exceptions: (policy: Policy) => readonly MutableClass[]): Promise<void> {
    this.#exceptions = exceptions;
    await this.#recompose();
  }

  /** @param granted all that count from now on */
  async grant(granted: readonly GrantedException[]): Promise<void> {
    this.#granted = granted;
    await this.#recompose();
  }

  /** @param teams all that count from now on, by namespace */
  async tighten(teams: Readonly<Record<string, Policy>>): Promise<void> {
    this.#teams = teams;
    await this.#recompose();
  }

  /** Takes other baselines over. */
  async useBaselines(rows: readonly BaselineRow[]): Promise<void> {
    this.#baselines = rows;
    await this.#recompose();
  }

  /** A policy as it would be in force: with the baselines, exceptions and namespaces' policies of now. */
  composed(given: Policy): Policy {
    const exceptions = [...this.#exceptions(given), ...learnedClasses(this.#baselines)];
    return withTeams({ ...withBaselines(given, this.#baselines), exceptions, granted: this.#granted }, this.#teams);
  }

  #compose(): void {
    this.#current = this.composed(this.#given);
  }

  /** Who follows the policy is told where it makes a difference. */
  async #recompose(): Promise<void> {
    const before = policyDigest(this.#current);
    this.#compose();
    if (!policyDigest(this.#current).equals(before)) await this.#onChange((timeMs) => this.facts(timeMs));
  }

  /** Takes over what is saved from now on, until disposed. @param problems told what is wrong */
  watch(problems: { readonly warn: (facts: object, text: string) => void; readonly error: (facts: object, text: string) => void }): AsyncDisposable {
    return this.#source.watch((outcome) => {
      const before = policyDigest(this.#current);
      this.#take(outcome);
      if (this.#errors.length > 0) problems.warn({ problems: this.#errors }, "the policy was not taken over; the one before stays in force");
      if (policyDigest(this.#current).equals(before)) return;
      this.#onChange((timeMs) => this.facts(timeMs)).catch((error: unknown) => problems.error({ err: error }, "the change of policy could not be recorded"));
    });
  }

  #load(): void {
    let outcome: ParsedPolicy | Error | undefined;
    try {
      outcome = this.#source.load();
    } catch (error) {
      outcome = error instanceof Error ? error : new Error(String(error));
    }
    if (outcome) this.#take(outcome);
  }

  #take(outcome: ParsedPolicy | Error): void {
    if (outcome instanceof Error) this.#errors = [outcome.message];
    else if (!outcome.ok) this.#errors = outcome.errors.map(formatProblem);
    else {
      this.#errors = [];
      this.#given = outcome.policy;
      this.#compose();
    }
  }
}
