/** Intents as a verifier signs them for a cluster's actuator, about a pod of {@link FakeCluster}. */
import { randomBytes } from "node:crypto";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ActionKind, IntentSchema } from "@hullmark/proto/v1/response";
import type { FakeCluster } from "./cluster.ts";

export const IDENTITY = { cluster: "prod", region: "eu-1" };
export const LIFE_MS = 300_000;

export type IntentInit = MessageInitShape<typeof IntentSchema>;
export type AddedPod = ReturnType<FakeCluster["add"]>;

/** What is to be done to the pod as it is, from now on for five minutes. @param more in the place of what is said here */
export function podIntent({ target, containerId }: AddedPod, kind: ActionKind, nowMs: number, more: IntentInit = {}): IntentInit {
  return {
    ...{ id: randomBytes(16), actionId: "A-7K2Q", verifierId: "v1", ...IDENTITY, containerId },
    ...{ configDigest: target.imageDigests[0] ?? "", kind, driftId: target.driftId, driftLogIndex: BigInt(target.driftLogIndex) },
    ...{ podNamespace: target.namespace, podName: target.name, podUid: target.uid, podContainer: target.container, podNode: target.nodeName },
    ...{ podImageDigests: [...target.imageDigests], issuedAt: timestampFromMs(nowMs), expiresAt: timestampFromMs(nowMs + LIFE_MS), ...more },
  };
}
