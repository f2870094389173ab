/**
 * What one node booted, over the quotes of one stream. Every quote binds the digest of the node's event log; the log itself is asked for where it is not
 * known for the PCR values that were quoted: once a boot, as a rule. Held against other values it would prove nothing.
 */
import { hash } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { TrustLevel } from "@hullmark/proto/v1/common";
import type { BootRow, NodeRow, QuotedBy } from "../../ports/rows.ts";
import { IMA_PCR } from "../ima/replay.ts";
import { appraiseBoot, type BootAppraisal, examineLog } from "../measured-boot/appraise.ts";
import type { QuotedPcr } from "../measured-boot/replay.ts";
import { bootRules } from "../policy/match.ts";
import type { Policy } from "../policy/types.ts";

const SHA256_BYTES = 32;

export class BootWatch {
  #row: BootRow | undefined;
  #appraised: { readonly row: BootRow | undefined; readonly policy: Policy; readonly name: string; readonly appraisal: BootAppraisal } | undefined;

  /** @param row as stored; undefined before the first quote */
  constructor(row: BootRow | undefined) {
    this.#row = row;
  }

  get row(): BootRow | undefined {
    return this.#row;
  }

  /** A quote held. @returns the log to ask for, where one is missing */
  quoted(
    { id: nodeId, uncleared }: Pick<NodeRow, "id" | "uncleared">,
    quotedBy: QuotedBy,
    eventLogSha256: Uint8Array,
    quoted: readonly QuotedPcr[],
  ): Buffer | undefined {
    const sha256 = Buffer.from(eventLogSha256);
    const pcrs = quoted.filter(({ index }) => index !== IMA_PCR);
    const known = this.#row;
    const since = known ? sinceBefore(known, quotedBy, uncleared === true) : {};
    if (known?.eventLogSha256.equals(sha256) && samePcrs(known.pcrs, pcrs)) {
      const row = { ...known, quotedBy, ...since };
      if (!isDeepStrictEqual(row, known)) this.#row = row;
      return known.log === "pending" ? sha256 : undefined;
    }
    const has = sha256.length === SHA256_BYTES;
    this.#row = {
      nodeId,
      quotedBy,
      ...since,
      eventLogSha256: sha256,
      pcrs: pcrs.map(({ bank, index, value }) => ({ bank, index, value: Buffer.from(value) })),
      log: has ? "pending" : "none",
    };
    return has ? sha256 : undefined;
  }

  /** A log came. @returns false where it is not the one that the newest quote bound: then nothing changes */
  received(bytes: Uint8Array): boolean {
    const row = this.#row;
    if (row?.log !== "pending" || !hash("sha256", bytes, "buffer").equals(row.eventLogSha256)) return false;
    this.#row = { ...row, log: examineLog(bytes, row.pcrs) };
    return true;
  }

  /** The same object while nothing changes. */
  appraise(policy: Policy, { name, trustLevel }: Pick<NodeRow, "name" | "trustLevel">): BootAppraisal {
    const row = this.#row;
    const known = this.#appraised;
    if (known && known.row === row && known.policy === policy && known.name === name) return known.appraisal;
    const evidence = row ?? { pcrs: [], log: trustLevel === TrustLevel.NONE ? ("none" as const) : ("pending" as const) };
    const appraisal = appraiseBoot(evidence, bootRules(policy, name));
    this.#appraised = { row, policy, name, appraisal };
    return appraisal;
  }
}

/**
 * What the counters of the TPM say of this boot beside the one before.
 * A kernel that is started by another (kexec) has a boot id of its own, and the TPM knows nothing of it: neither a reset (a machine that starts) nor a restart
 * (one that wakes up). Not seen: kexec between waking up and a quote. A reset without a new boot id is none of a machine: that would have started a kernel.
 * The counters are the TPM's, whichever attestation key speaks. Clearing it, which takes the key, sets them to zero: under another key a risen one still is a reset,
 * equal ones say something where it was not cleared.
 */
function sinceBefore({ quotedBy: before, ...row }: BootRow, now: QuotedBy, uncleared: boolean): Pick<BootRow, "kexec" | "reset" | "firmware"> {
  if (!before) return { kexec: false, reset: false, firmware: undefined };
  const resets = now.resetCount - before.resetCount;
  const changed = before.firmware !== undefined && now.firmware !== undefined && before.firmware !== now.firmware;
  const firmware = changed ? { was: before.firmware, is: now.firmware } : undefined;
  if (before.bootId === now.bootId) return { kexec: row.kexec ?? false, reset: row.reset === true || resets > 0, firmware: firmware ?? row.firmware };
  const comparable = before.akSha256 === now.akSha256 || uncleared;
  return { kexec: comparable && resets === 0 && before.restartCount === now.restartCount, reset: false, firmware };
}

function samePcrs(a: readonly QuotedPcr[], b: readonly QuotedPcr[]): boolean {
  return (
    a.length === b.length && a.every(({ bank, index, value }, i) => bank === b[i]?.bank && index === b[i]?.index && Buffer.compare(value, b[i].value) === 0)
  );
}
