/** An incident is acknowledged by acknowledging each of its open drifts: whoever looks at one of them finds who did, and why. */
import { RpcError } from "@hullmark/proto/rpc";
import { Admin } from "@hullmark/proto/v1/admin";
import type { Asking } from "../connection/run.ts";
import type { ToldIncident } from "./fetch.ts";

export interface Acknowledged {
  /** Drift ids. */
  readonly acknowledged: readonly string[];
  /** Those that have changed or ended since `incident` was fetched, with the reason. */
  readonly refused: readonly { readonly driftId: string; readonly why: string }[];
}

/** As `incident` shows them: what has changed since is left open. @throws RpcError where the caller may not, or the verifier does not answer: some may be acknowledged then */
export async function acknowledgeIncident(
  { channel, signal }: Pick<Asking, "channel" | "signal">,
  incident: ToldIncident,
  reason: string,
): Promise<Acknowledged> {
  const admin = channel.client(Admin);
  const acknowledged: string[] = [];
  const refused: { driftId: string; why: string }[] = [];
  for (const { driftId, drift } of incident.members.filter(({ state }) => state === "open")) {
    try {
      await admin.acknowledgeDrift({ id: driftId, reason, seen: drift.seen }, { signal });
      acknowledged.push(driftId);
    } catch (error) {
      if (!(error instanceof RpcError) || (error.code !== "FAILED_PRECONDITION" && error.code !== "NOT_FOUND")) throw error;
      refused.push({ driftId, why: error.message });
    }
  }
  return { acknowledged, refused };
}
