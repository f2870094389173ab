/** A verifier that holds the key which signs intents, and says with it what a test wants; and the host's actuator that it says it to, by a clock of the test's. */
import { generateKeyPairSync, randomBytes, sign, verify } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { FileLedger } from "@hullmark/actuator/adapters/file-ledger/file-ledger";
import { Actuator } from "@hullmark/actuator/core/actuator";
import type { LocalLimits } from "@hullmark/actuator/core/hands";
import { HostHands } from "@hullmark/actuator/core/host-hands";
import type { Engine } from "@hullmark/actuator/ports/engine";
import type { Captures } from "@hullmark/capture/capture";
import { intentMessage } from "@hullmark/proto/codec";
import { ActionKind, IntentSchema, type Outcome } from "@hullmark/proto/v1/response";

const NODE = "00112233445566aa";
const REGION = "eu-1";

export type IntentInit = MessageInitShape<typeof IntentSchema>;
export interface SignedIntent {
  readonly body: Buffer | Uint8Array;
  readonly signatures: readonly Buffer[];
}

export interface ToldOutcome {
  readonly id: string;
  readonly outcome: Outcome;
  readonly reason: string;
  readonly detail: string;
  readonly captureProblem?: string | undefined;
}

export class PlayedVerifier {
  readonly directory = mkdtempSync(join(tmpdir(), "hullmark-actuator-"));
  readonly #keys = generateKeyPairSync("ed25519");
  /** Of every image, where an intent does not say another. */
  readonly #imageId: string;
  readonly reports: ToldOutcome[] = [];
  nowMs: number;
  ledger: FileLedger;

  constructor(nowMs: number, imageId: string) {
    this.nowMs = nowMs;
    this.#imageId = imageId;
    this.ledger = new FileLedger(this.directory, nowMs);
  }

  actuator(engine: Engine, limits: LocalLimits, captures?: Captures): Actuator {
    return new Actuator({
      ...{ identity: { nodeId: NODE, region: REGION }, hands: new HostHands({ limits, engine, captures }), ledger: this.ledger },
      verify: (message, signature) => verify(null, message, this.#keys.publicKey, signature),
      report: async (id, { outcome, reason, detail, captureProblem }) => void this.reports.push({ id, outcome, reason, detail, captureProblem }),
      nowMs: () => this.nowMs,
      passing: () => {},
      told: () => {},
    });
  }

  /** @param key another than the verifier's */
  intent(containerId: string, more: IntentInit = {}, key = this.#keys.privateKey): SignedIntent {
    const init: IntentInit = {
      ...{ id: randomBytes(16), actionId: "A-7K2Q", verifierId: "v1", region: REGION, nodeId: NODE, containerId, configDigest: this.#imageId },
      ...{ kind: ActionKind.RECREATE, driftId: "D-7K2Q", issuedAt: timestampFromMs(this.nowMs), expiresAt: timestampFromMs(this.nowMs + 300_000), ...more },
    };
    return this.#signed(toBinary(IntentSchema, create(IntentSchema, init)), key);
  }

  /** Well signed, and not in the one form: a field that nobody knows. */
  trailing(containerId: string): SignedIntent {
    return this.#signed(Buffer.concat([this.intent(containerId).body, Buffer.of(0xfa, 0x07, 0x01, 0x00)]));
  }

  #signed(body: Uint8Array, key = this.#keys.privateKey): SignedIntent {
    return { body, signatures: [sign(null, intentMessage(body), key)] };
  }

  /** As a process that was started again has it. */
  reopen(): void {
    this.ledger.close();
    this.ledger = new FileLedger(this.directory, this.nowMs);
  }

  close(): void {
    this.ledger.close();
    rmSync(this.directory, { recursive: true });
  }
}
