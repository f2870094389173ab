/** Messages of the wire as plain rows: bounded, without message objects. */
import type { Claim, TrustVector } from "@hullmark/proto/v1/common";
import type { ClaimRow, VectorRow } from "../../ports/rows.ts";
import { timestampMs } from "../appraisal/time.ts";

const MAX_CLAIMS = 64;
const MAX_CODE_CHARS = 64;
const MAX_DETAIL_CHARS = 500;

export function claimRows(claims: readonly Claim[]): ClaimRow[] {
  return claims.slice(0, MAX_CLAIMS).map(({ code, detail, since }) => ({
    code: code.slice(0, MAX_CODE_CHARS),
    detail: detail.slice(0, MAX_DETAIL_CHARS),
    sinceMs: since && timestampMs(since),
  }));
}

export function claimRow(code: string, detail: string): ClaimRow {
  return { code, detail: detail.slice(0, MAX_DETAIL_CHARS), sinceMs: undefined };
}

export function vectorRow(vector: TrustVector): VectorRow {
  const { instanceIdentity, configuration, executables, fileSystem, hardware, runtimeOpaque, storageOpaque, sourcedData } = vector;
  return { instanceIdentity, configuration, executables, fileSystem, hardware, runtimeOpaque, storageOpaque, sourcedData };
}

/** Whether two lists say the same, whenever they began to. */
export function sameClaims(a: readonly ClaimRow[], b: readonly ClaimRow[]): boolean {
  return a.length === b.length && a.every((claim, i) => claim.code === b[i]?.code && claim.detail === b[i]?.detail);
}
