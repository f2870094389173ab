/** The node itself: is its word fresh, and whose word is it? */
import { create } from "@bufbuild/protobuf";
import type { NodeState } from "@hullmark/proto/v1/attestation";
import { type Claim, ClaimSchema, TrustLevel as Level, type TrustLevel, type TrustVector, TrustVectorSchema, Verdict } from "@hullmark/proto/v1/common";
import type { BootAppraisal, BootFindingKind } from "../measured-boot/appraise.ts";
import { isUnjudged } from "./heard.ts";

/** What has lasted for longer than policy lets be. */
export interface Overdue {
  /** It is unheard, or unjudged. */
  readonly silent: boolean;
  /** It does not prove the boot that policy asks it to prove. */
  readonly unproven: boolean;
}

/** What the verifier knows of a node besides its own words. Times are Unix milliseconds. */
export interface NodeFacts {
  readonly trustLevel: TrustLevel;
  readonly revoked: boolean;
  readonly connected: boolean;
  /** Newest Evidence or heartbeat; undefined: none yet. */
  readonly lastSeenMs: number | undefined;
  /** Newest quote of the present boot that held and covered the newest Evidence; undefined: none yet. Not asked for at trust level none. */
  readonly lastQuoteMs: number | undefined;
  /** Why the newest quote was refused, if it was. */
  readonly quoteRefused: string | undefined;
  /** Why the chain of Evidence cannot be trusted (a fork, two sessions), if so. */
  readonly chainBroken: string | undefined;
  /** What policy says of its boot; undefined before that was looked at. */
  readonly boot: BootAppraisal | undefined;
  readonly state: NodeState | undefined;
  /** Who else speaks as this node, if anybody does. */
  readonly rival: string | undefined;
  /** It enrolled with another attestation key than before, and nobody has approved that. */
  readonly akReplaced?: boolean | undefined;
  /** How its clock differs from the verifier's, if it does by more than messages explain. */
  readonly clockSkew: string | undefined;
  /** How its TPM's clock went back over a reset, if it did by more than a power loss explains. */
  readonly clockLost: string | undefined;
  readonly heartbeatIntervalMs: number;
  readonly quoteIntervalMs: number;
  /** The verifier leaves nodes out that it should ask for a quote. */
  readonly overloaded: boolean;
  readonly overdue?: Overdue | undefined;
  /** Its last report could not be taken. */
  readonly barred?: boolean | undefined;
}

export interface NodeAppraisal {
  readonly verdict: Verdict;
  /** The gravest first; those that say nothing of the verdict last. */
  readonly reasons: readonly Claim[];
  readonly vector: TrustVector;
}

/** Claims of a node under which nothing that it says of containers is current. */
const BLINDING_CLAIMS: ReadonlySet<string> = new Set(["runtime-unreachable", "change-source-dead", "spool-lost", "measuring"]);
/** Nothing stays green past this many intervals. */
const STALE_INTERVALS = 2;

export function appraiseNode(facts: NodeFacts, nowMs: number): NodeAppraisal {
  const bad: Claim[] = [];
  const unknown: Claim[] = [];
  const warnings: Claim[] = [];
  const notes: Claim[] = [];
  if (facts.revoked) bad.push(claim("revoked", "this node was revoked"));
  if (facts.quoteRefused) bad.push(claim("quote-refused", facts.quoteRefused));
  if (facts.chainBroken) bad.push(claim("chain-broken", facts.chainBroken));
  if (facts.rival) bad.push(claim("cloned", facts.rival));
  const compromised = bad.length > 0;
  bootWords(facts.boot, bad, unknown, warnings, notes);
  freshness(facts, nowMs, unknown);
  ownWords(facts.state, unknown, warnings);
  if (facts.overdue?.silent && isStillSilent(facts, compromised, unknown, nowMs))
    unknown.push(claim("silent", "for longer than the policy's alerts.silentAfter"));
  // What contradicts itself is told as that.
  if (facts.overdue?.unproven && bad.length === 0 && facts.boot && facts.boot.unknown.length > 0)
    unknown.push(claim("boot-unproven", "for longer than the policy's alerts.bootUnprovenAfter"));
  if (facts.akReplaced) warnings.push(claim("ak-replaced", "it enrolled with another attestation key than before: approve it, or revoke the node"));
  if (facts.clockSkew) warnings.push(claim("clock-skew", facts.clockSkew));
  if (facts.clockLost) warnings.push(claim("tpm-clock-lost", facts.clockLost));
  if (facts.state && tellsNobody(facts.state))
    notes.push(claim("no-process-events", "the kernel tells the agent of no processes: drift is found, and not who made it"));
  if (facts.trustLevel === Level.NONE) warnings.push(claim("no-tpm", "trust none: sees tampering from containers, not from root on the host"));
  if (facts.trustLevel === Level.TPM_TOFU) warnings.push(claim("tpm-tofu", "the TPM was accepted at first sight"));
  const verdict = bad.length > 0 ? Verdict.CONTRAINDICATED : unknown.length > 0 ? Verdict.UNKNOWN : warnings.length > 0 ? Verdict.WARNING : Verdict.AFFIRMING;
  const vector = create(TrustVectorSchema, { ...identityVector(facts, compromised, bad.length + unknown.length > 0), ...bootVector(facts.boot) });
  return { verdict, reasons: [...bad, ...unknown, ...warnings, ...notes], vector };
}

/** fanotify tells who made a change only where the kernel's process events are to be had. The fallback never does, which its own claim says. */
function tellsNobody({ changeSource, attribution }: NodeState): boolean {
  return changeSource === "fanotify" && !attribution;
}

/** Claims of one boot that are shown; its drifts tell the rest. */
const MAX_BOOT_CLAIMS = 8;

function bootWords(boot: BootAppraisal | undefined, bad: Claim[], unknown: Claim[], warnings: Claim[], notes: Claim[]): void {
  if (!boot) return;
  for (const { kind, detail } of boot.findings.slice(0, MAX_BOOT_CLAIMS)) bad.push(claim(kind, detail.slice(0, 500)));
  for (const { code, detail } of boot.unknown.slice(0, MAX_BOOT_CLAIMS)) unknown.push(claim(code, detail.slice(0, 500)));
  for (const { code, detail } of boot.warnings.slice(0, MAX_BOOT_CLAIMS)) warnings.push(claim(code, detail.slice(0, 500)));
  for (const { code, detail } of (boot.notes ?? []).slice(0, MAX_BOOT_CLAIMS)) notes.push(claim(code, detail.slice(0, 500)));
}

/**
 * AR4SI, section 2.3.4. A node whose key lies in a file is recognised by nothing that root on it could not copy. Hardware is never contradicted: a quote that
 * is not the node's says nothing of the node's TPM.
 * @param compromised a quote, a chain or a session says that this is not the node, or somebody said so
 * @param doubted anything else is wrong or not known
 */
function identityVector({ trustLevel }: NodeFacts, compromised: boolean, doubted: boolean): { instanceIdentity: number; hardware: number } {
  if (compromised) return { instanceIdentity: 96, hardware: 0 };
  if (trustLevel === Level.NONE || doubted) return { instanceIdentity: 0, hardware: trustLevel === Level.NONE ? 0 : 32 };
  return { instanceIdentity: 2, hardware: trustLevel === Level.TPM ? 2 : 32 };
}

/** What of a boot is about what ran; the rest is about how. */
const EXECUTABLE_FINDINGS: ReadonlySet<BootFindingKind> = new Set(["boot", "ima", "agent"]);

/** AR4SI, section 2.3.4: only what policy asks for and was seen is affirmed. */
function bootVector(boot: BootAppraisal | undefined): { executables?: number; configuration?: number } {
  if (!boot) return {};
  const ran = boot.findings.some(({ kind }) => EXECUTABLE_FINDINGS.has(kind));
  const how = boot.findings.some(({ kind }) => !EXECUTABLE_FINDINGS.has(kind));
  if (ran || how) return { ...(ran && { executables: 96 }), ...(how && { configuration: 96 }) };
  return boot.judged ? { executables: 3, configuration: 2 } : {};
}

function claim(code: string, detail: string): Claim {
  return create(ClaimSchema, { code, detail });
}

function freshness(facts: NodeFacts, nowMs: number, unknown: Claim[]): void {
  if (facts.lastSeenMs === undefined) unknown.push(claim("never-seen", "enrolled, and no Evidence yet"));
  else if (!holds(facts.lastSeenMs, facts.heartbeatIntervalMs, nowMs))
    unknown.push(claim(facts.connected ? "stale" : "unreachable", `nothing heard for ${Math.round((nowMs - facts.lastSeenMs) / 1000)} s (not judged)`));
  if (facts.trustLevel === Level.NONE) return;
  if (holds(facts.lastQuoteMs, facts.quoteIntervalMs, nowMs)) return;
  if (facts.lastQuoteMs === undefined) unknown.push(claim("no-quote", "no quote of this boot yet"));
  else unknown.push(claim("quote-stale", `newest quote is ${Math.round((nowMs - facts.lastQuoteMs) / 1000)} s old`));
  if (facts.connected && facts.overloaded) unknown.push(claim("verifier-overloaded", "the verifier has no capacity to ask every node for its quote in time"));
}

/** What contradicts itself is told as that, whether it quotes or not. */
function isStillSilent({ lastSeenMs, heartbeatIntervalMs, barred }: NodeFacts, compromised: boolean, unknown: readonly Claim[], nowMs: number): boolean {
  return !holds(lastSeenMs, heartbeatIntervalMs, nowMs) || (!compromised && (barred === true || isUnjudged(unknown)));
}

/** Whether what was heard, or asked for, at this time still says something. A time to come says nothing: the verifier's clock was set back since. */
export function holds(atMs: number | undefined, intervalMs: number, nowMs: number): boolean {
  return atMs !== undefined && Math.abs(nowMs - atMs) <= STALE_INTERVALS * intervalMs;
}

function ownWords(state: NodeState | undefined, unknown: Claim[], warnings: Claim[]): void {
  if (!state) return;
  if (!state.runtimeReachable) unknown.push(claim("runtime-unreachable", "the container runtime does not answer"));
  if (state.changeSource === "") unknown.push(claim("change-source-dead", "no change source works: changes are seen at rescans only"));
  if (state.tpm !== "ok" && state.tpm !== "absent") unknown.push(claim("tpm", state.tpm.slice(0, 200)));
  for (const each of state.claims) (BLINDING_CLAIMS.has(each.code) ? unknown : warnings).push(claim(each.code, each.detail.slice(0, 500)));
  if (state.missingCapabilities.length > 0) warnings.push(claim("missing-capabilities", state.missingCapabilities.join(", ").slice(0, 500)));
}
