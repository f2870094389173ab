/** The measurement list of one node, over the quotes of one stream: asked for only where policy wants it, from where the last proven part ends. */
import type { ImaReport } from "@hullmark/proto/v1/attestation";
import type { ImaRow } from "../../ports/rows.ts";
import { appraiseIma, IMA_PCR, type ImaAppraisal, type ImaRules, newImaState, takeIma, untoldIma, type Vouches } from "../ima/index.ts";
import { judgedPcr, type QuotedPcr } from "../measured-boot/replay.ts";
import { imaRules } from "../policy/match.ts";
import type { Policy } from "../policy/types.ts";

const NOTHING: ImaAppraisal = { findings: [], unknown: [] };

export class ImaWatch {
  readonly #nodeId: string;
  readonly #vouches: Vouches;
  #row: ImaRow | undefined;
  #rules: { readonly policy: Policy; readonly name: string; readonly rules: ImaRules | undefined } | undefined;
  #impatient = false;
  /** PCR 10 is not among the quoted ones. */
  #unquoted = false;

  /** @param row as stored; undefined: nothing was ever told */
  constructor(nodeId: string, row: ImaRow | undefined, vouches: Vouches) {
    this.#nodeId = nodeId;
    this.#row = row;
    this.#vouches = vouches;
  }

  get row(): ImaRow | undefined {
    return this.#row;
  }

  /** Whether the next quote should not wait for its turn: there is more to tell, or to tell again. */
  get impatient(): boolean {
    return this.#impatient;
  }

  /** The first entry that is wanted; undefined: policy asks for none. A new boot and other rules begin at the start. */
  wanted(policy: Policy, name: string, bootId: string): bigint | undefined {
    const rules = this.#rulesOf(policy, name);
    if (!rules) return undefined;
    if (this.#row?.bootId !== bootId || this.#row.rulesDigest !== rules.digest) this.#row = { nodeId: this.#nodeId, ...newImaState(bootId, rules.digest) };
    return BigInt(this.#row.count);
  }

  /** A quote held. @param report undefined: none was asked for, or the agent is older */
  quoted(policy: Policy, name: string, report: ImaReport | undefined, pcrs: readonly QuotedPcr[]): void {
    const rules = this.#rulesOf(policy, name);
    const pcr = judgedPcr(pcrs, IMA_PCR);
    this.#unquoted = pcr === undefined;
    this.#impatient = false;
    if (!rules || !this.#row || !pcr) return;
    if (!report) {
      this.#row = { nodeId: this.#nodeId, ...untoldIma(this.#row, pcr.value) };
      return;
    }
    const { start, entries, more, absent } = report;
    this.#row = {
      nodeId: this.#nodeId,
      ...takeIma(this.#row, { start: Number(start), entries, more, absent }, { pcr: pcr.value, quoted: pcrs }, rules, this.#vouches),
    };
    this.#impatient = this.#row.standing === "partial";
  }

  appraise(policy: Policy, name: string): ImaAppraisal {
    const rules = this.#rulesOf(policy, name);
    if (!rules) return NOTHING;
    if (this.#unquoted)
      return { findings: [], unknown: [{ code: "pcr-not-quoted", detail: "policy asks for the measurement list, and the node does not quote PCR 10" }] };
    return appraiseIma(this.#row, rules);
  }

  #rulesOf(policy: Policy, name: string): ImaRules | undefined {
    if (this.#rules?.policy !== policy || this.#rules.name !== name) this.#rules = { policy, name, rules: imaRules(policy, name) };
    return this.#rules.rules;
  }
}
