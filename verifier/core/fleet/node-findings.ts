/** What is told of a node itself, as drifts: its contradictions, its silence, and that it does not prove its boot. */
import { Severity } from "@hullmark/proto/v1/common";
import type { NodeRow } from "../../ports/rows.ts";
import { isCurrent, isHeard } from "../appraisal/heard.ts";
import type { BootFindingKind } from "../measured-boot/appraise.ts";
import { isSilence, isUnprovenBoot, type LackKind } from "../policy/kinds.ts";
import { severityFor, WIRE_SEVERITY } from "../policy/match.ts";
import type { Policy } from "../policy/types.ts";
import type { AnyFinding } from "./drift-rows.ts";

/** Differences of one boot that become drifts one by one; its claims name as many. */
const MAX_BOOT_FINDINGS = 50;
const MAX_KEY_CHARS = 256;

/** The same for every node and at any time: an acknowledgement holds for what was read. */
const SILENT_SUMMARY = "its agent is not heard any more, or cannot vouch for what runs there: nothing there is judged";

/** Why a boot is not proven, by the claim's code. Without what the node says of it, for the same reason. */
const WHY_UNPROVEN: Readonly<Record<string, string>> = {
  kexec: "its kernel was started by another one",
  "tpm-reset": "its TPM was reset under a kernel that runs on",
  "no-event-log": "it has no event log",
  "event-log-pending": "its event log does not arrive",
  "event-log-malformed": "its event log cannot be read",
  "pcr-not-quoted": "it does not quote a PCR that policy asks for",
  "no-ima-list": "it tells no measurement list",
  "ima-catching-up": "its measurement list is not told whole",
  "no-agent-digests": "its agent does not tell what it consists of",
};

/** Worth a page where policy says nothing else, and not the gravest: nothing is known to be wrong. */
export function lackSeverity(policy: Policy, kind: LackKind): Severity {
  return WIRE_SEVERITY[severityFor(policy, undefined, "node", kind) ?? "high"];
}

/** Whether policy asks for proof of what the node booted, and there is none. */
export function isUnproven({ boot }: Pick<NodeRow, "boot">): boolean {
  return boot !== undefined && boot.unknown.length > 0;
}

/** Contradictions that are not of the boot, and hold or do not by themselves. */
const STANDING: ReadonlySet<string> = new Set(["quote-refused", "chain-broken", "cloned"]);

/** Whether this drift of the node would be found if it were still there: what was found in a log is not gone because the log is. */
export function nodeConclusive(row: NodeRow, { kind }: { readonly kind: string }): boolean {
  const { reasons, revokedAtMs } = row;
  if (isSilence(kind)) return revokedAtMs !== undefined || isHeard(reasons);
  if (isUnprovenBoot(kind)) return revokedAtMs !== undefined || (isCurrent(reasons) && !isUnproven(row));
  return STANDING.has(kind) || !isUnproven(row);
}

/** They are drifts, alerted like any other. */
export function nodeFindings(row: NodeRow, policy: Policy): AnyFinding[] {
  const findings: AnyFinding[] = [];
  const add = (kind: "quote-refused" | "chain-broken" | "cloned" | LackKind | BootFindingKind, summary: string, more: Partial<AnyFinding> = {}): void => {
    findings.push({
      kind,
      place: "node",
      path: Buffer.alloc(0),
      key: `node|${kind}`,
      severity: Severity.CRITICAL,
      notice: false,
      summary,
      differences: [],
      layerIndex: -1,
      actor: undefined,
      changedAtMs: undefined,
      mappedBy: [],
      ...more,
    });
  };
  const claimed = (code: string) => row.reasons.find((each) => each.code === code);
  if (row.quoteRefused !== undefined) add("quote-refused", row.quoteRefused);
  if (row.chainBroken !== undefined) add("chain-broken", row.chainBroken);
  const cloned = claimed("cloned");
  if (cloned) add("cloned", cloned.detail);
  if (claimed("silent")) add("silent", SILENT_SUMMARY, { severity: lackSeverity(policy, "silent"), changedAtMs: row.lastSeenMs });
  if (claimed("boot-unproven")) add("boot-unproven", unprovenSummary(row), { severity: lackSeverity(policy, "boot-unproven") });
  for (const { kind, what, detail } of row.boot?.findings.slice(0, MAX_BOOT_FINDINGS) ?? [])
    add(kind, detail, what === "" ? {} : { key: `node|${kind}|${what.slice(0, MAX_KEY_CHARS)}` });
  return findings;
}

function unprovenSummary({ boot }: NodeRow): string {
  const codes = [...new Set(boot?.unknown.map(({ code }) => code))].toSorted();
  return `what policy asks of its boot is not proven: ${codes.map((code) => `${WHY_UNPROVEN[code] ?? "see the node"} (${code})`).join(", ")}`;
}
