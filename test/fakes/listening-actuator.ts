/** Plays the actuator of a node: keeps what it is handed, where that is well signed, and does none of it. */
import { generateKeyPairSync, verify } from "node:crypto";
import { fromBinary } from "@bufbuild/protobuf";
import { credentials } from "@grpc/grpc-js";
import { intentMessage } from "@hullmark/proto/codec";
import { RpcChannel } from "@hullmark/proto/rpc";
import { Actuation, type Intent, IntentSchema, type NodeMark, Outcome } from "@hullmark/proto/v1/response";
import type { TestVerifier } from "./verifier.ts";

interface ListeningActuator {
  readonly intents: Intent[];
  /** By how many keys each was signed. */
  readonly signed: number[];
  readonly ended: () => boolean;
  readonly report: (intent: Intent, outcome: Outcome, marks?: NodeMark[]) => Promise<unknown>;
}

export async function listeningActuator(verifier: TestVerifier, nodeId: string): Promise<ListeningActuator> {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const request = { node: nodeId, publicKey: publicKey.export({ type: "spki", format: "der" }) };
  const { certificateChain, intentKeys } = await verifier.adminClient.issueActuatorCertificate(request);
  const pem = certificateChain.map((der) => `-----BEGIN CERTIFICATE-----\n${Buffer.from(der).toString("base64")}\n-----END CERTIFICATE-----\n`).join("");
  const key = Buffer.from(privateKey.export({ type: "pkcs8", format: "pem" }));
  const client = verifier.track(new RpcChannel(verifier.mainAddress, credentials.createSsl(verifier.ca, key, Buffer.from(pem)))).client(Actuation);
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
