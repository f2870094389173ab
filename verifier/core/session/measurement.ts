/** What a node's agent is told of policy, and the digest by which it says what it measured under. */
import { hash } from "node:crypto";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { type MeasurementPolicy, MeasurementPolicySchema } from "@hullmark/proto/v1/attestation";
import { measurementFor } from "../policy/match.ts";
import type { Policy } from "../policy/types.ts";

/** `digest` is the SHA-256 of the message without it, as serialised here; to the agent it is an opaque name. */
export function measurementPolicy(policy: Policy, nodeName: string): MeasurementPolicy {
  const { mutableClasses, intervals, budget } = measurementFor(policy, nodeName);
  const init: MessageInitShape<typeof MeasurementPolicySchema> = {
    mutableClasses: mutableClasses.map((each) => ({ ...each, labels: { ...each.labels }, paths: [...each.paths] })),
    quoteIntervalSeconds: intervals.quoteSeconds,
    rescanIntervalSeconds: intervals.rescanSeconds,
    heartbeatIntervalSeconds: intervals.heartbeatSeconds,
    budget: { maxEntries: BigInt(budget.maxEntries), maxBytes: BigInt(budget.maxBytes), maxSeconds: budget.maxSeconds },
  };
  const message = create(MeasurementPolicySchema, init);
  message.digest = hash("sha256", toBinary(MeasurementPolicySchema, message), "buffer");
  return message;
}
