/** Plays the actuator of a node or a cluster: keeps what it is handed, where that is well signed, and does none of it. */
import { verify } from "node:crypto";
import { fromBinary } from "@bufbuild/protobuf";
import { intentMessage } from "@hullmark/proto/codec";
import { type Intent, IntentSchema, type NodeMark, Outcome } from "@hullmark/proto/v1/response";
import { admitActuator, type ReachedVerifier } from "./admit-actuator.ts";

interface ListeningActuator {
  readonly intents: Intent[];
  /** By how many keys each was signed. */
  readonly signed: number[];
  readonly ended: () => boolean;
  readonly report: (intent: Intent, outcome: Outcome, marks?: NodeMark[]) => Promise<unknown>;
}

/** @param of the node's id or name, or the cluster */
export async function listeningActuator(verifier: ReachedVerifier, of: string | { readonly cluster: true }): Promise<ListeningActuator> {
  const { client, intentKeys } = await admitActuator(verifier, typeof of === "string" ? { node: of } : of);
  const intents: Intent[] = [];
  const signed: number[] = [];
  let ended = false;
  const signers = intentKeys.map((der) => ({ key: Buffer.from(der), format: "der", type: "spki" }) as const);
  void (async () => {
    for await (const { intent } of client.pullIntents({})) {
      const { body, signatures } = intent ?? { body: new Uint8Array(), signatures: [] };
      if (!signers.some((signer) => signatures.some((each) => verify(null, intentMessage(body), signer, each))))
        throw new Error("an intent that is not well signed");
      intents.push(fromBinary(IntentSchema, body));
      signed.push(signatures.length);
    }
  })()
    .catch(() => undefined) // the verifier stops, or the node is revoked
    .finally(() => {
      ended = true;
    });
  return {
    intents,
    signed,
    ended: () => ended,
    report: (intent, outcome, marks = []) =>
      client.reportOutcome({ intentId: intent.id, outcome, reason: outcome === Outcome.DONE ? "" : "breaker", newContainerId: "f".repeat(64), marks }),
  };
}
