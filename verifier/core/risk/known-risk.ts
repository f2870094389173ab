/** What is known of an image's vulnerabilities, as a figure to hold one image against another. Pure. */
import type { ImageOverview } from "../vulnerabilities/index.ts";
import { riskOf } from "./risk.ts";

export interface KnownRisk {
  /** The term `vulnerabilities` of docs/risk.md: 0..50, whole. */
  readonly figure: number;
  /** Why, in words. */
  readonly because: string;
}

/**
 * The age of a scan is left out: it says when somebody looked, and is higher for what was replaced long ago.
 * @returns undefined: no scan of it is known, so nobody knows
 */
export function knownRisk({ findings, reports }: Pick<ImageOverview, "findings" | "reports">): KnownRisk | undefined {
  if (!reports.some(({ isScan }) => isScan)) return undefined;
  const { terms } = riskOf({ findings, scanned: true, scanAgeDays: 0, provenance: "signed", places: [], base: "", source: "" });
  const term = terms.find(({ name }) => name === "vulnerabilities");
  return term && { figure: term.figure, because: term.because };
}
