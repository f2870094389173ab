/**
 * `boot_aggregate`, the first measurement of a boot: the kernel's own reading of the PCRs that firmware and boot loader extended (ima_calc_boot_aggregate_tfm
 * in security/integrity/ima/ima_crypto.c). Held against the PCRs of a quote it ties the list to this boot.
 */
import { createHash } from "node:crypto";
import type { QuotedPcr } from "../measured-boot/replay.ts";

export const BOOT_AGGREGATE = "boot_aggregate";
/** Of the SHA-1 bank PCRs 0–7; of every other bank 0–9 since Linux 5.8, and 0–7 where only the choice of bank was taken back to an older kernel. */
const PCRS = { all: 10, firmware: 8 };

/**
 * @param algorithm of the entry, which is the bank's that the kernel read
 * @param digest hex
 * @param quoted each covered by a verified quote
 * @returns undefined where the quote does not cover the PCRs of that bank
 */
export function isBootAggregate(algorithm: string, digest: string, quoted: readonly QuotedPcr[]): boolean | undefined {
  const values = Array.from({ length: PCRS.all }, (_, pcr) => quoted.find(({ bank, index }) => bank === algorithm && index === pcr)?.value);
  const over = (count: number): string | undefined => {
    const covered = values.slice(0, count);
    if (covered.includes(undefined)) return undefined;
    return covered.reduce((aggregate, value) => aggregate.update(value as Uint8Array), createHash(algorithm)).digest("hex");
  };
  const possible = algorithm === "sha1" ? [over(PCRS.firmware)] : [over(PCRS.all), over(PCRS.firmware)];
  if (possible.includes(digest)) return true;
  return possible.includes(undefined) ? undefined : false;
}
