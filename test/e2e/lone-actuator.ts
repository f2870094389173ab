/** An actuator's own process, and a verifier that the test plays: it hands out what the test signs, and keeps what it is told. */
import { generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Server } from "@grpc/grpc-js";
import { intentMessage } from "@hullmark/proto/codec";
import { addService } from "@hullmark/proto/rpc";
import { Actuation, IntentSchema, Outcome, type ReportOutcomeRequest } from "@hullmark/proto/v1/response";
import { X509Ca } from "@hullmark/verifier/adapters/x509-ca/index";
import { stringify } from "yaml";
import { REPOSITORY } from "../../deploy/testbed/paths.ts";
import { eventually } from "./fault-support.ts";
import { certified, LoneProcess, listen } from "./lone-process.ts";

const REGION = "eu-1";
const SETTLE_MS = 90_000;

export type IntentInit = MessageInitShape<typeof IntentSchema>;
export interface SignedIntent {
  readonly body: Uint8Array;
  readonly signatures: Uint8Array[];
}

export class LoneActuator {
  readonly home = mkdtempSync(join(tmpdir(), "hullmark-actuator-e2e-"));
  readonly #keys = generateKeyPairSync("ed25519");
  readonly #server = new Server();
  readonly #environment: Readonly<Record<string, string>>;
  /** What is handed out to whoever pulls. */
  readonly offered: SignedIntent[] = [];
  readonly reports: ReportOutcomeRequest[] = [];
  readonly #process = new LoneProcess();
  #port = 0;

  private constructor(environment: Readonly<Record<string, string>>) {
    this.#environment = environment;
  }

  /** @param environment of the process, besides this one's own */
  static async open(
    identity: { readonly nodeId: string } | { readonly cluster: string },
    environment: Readonly<Record<string, string>>,
  ): Promise<LoneActuator> {
    const lone = new LoneActuator(environment);
    const ca = await X509Ca.open({ stateDir: join(lone.home, "ca"), region: REGION, clock: { nowMs: () => Date.now() } });
    await lone.#serve(ca);
    const issue = (spki: Buffer) =>
      "cluster" in identity ? ca.issueClusterActuator(identity.cluster, spki, 14_400_000) : ca.issueActuator(identity.nodeId, spki, 14_400_000);
    const { key, pem } = await certified(issue);
    mkdirSync(join(lone.home, "credentials"));
    const intentKey = lone.#keys.publicKey.export({ type: "spki", format: "pem" }).toString();
    const files = { "client.key": key, "client.crt": pem, "ca.crt": ca.rootPem, "intent.pub": intentKey };
    for (const [name, content] of Object.entries(files)) writeFileSync(join(lone.home, "credentials", name), content, { mode: 0o600 });
    return lone;
  }

  async #serve(ca: X509Ca): Promise<void> {
    const { offered, reports } = this;
    addService(
      this.#server,
      Actuation,
      {
        async *pullIntents(_request, { signal }) {
          for (const intent of [...offered]) yield { intent };
          await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
        },
        async reportOutcome(request) {
          reports.push(request);
          return {};
        },
        async uploadCapture() {
          return {};
        },
      },
      () => {},
      () => {},
    );
    this.#port = await listen(this.#server, ca);
  }

  /** On the state of `name`. @param settings besides those of every actuator @param failpoint where it kills itself; undefined: nowhere */
  start(name: string, settings: object, failpoint?: string): void {
    const config = join(this.home, `${name}.yaml`);
    const verifier = { address: `localhost:${this.#port}` };
    writeFileSync(config, stringify({ stateDirectory: join(this.home, name), credentialDirectory: join(this.home, "credentials"), verifier, ...settings }));
    this.#process.start([process.execPath, join(REPOSITORY, "dist/actuator.js"), "--config", config], this.#environment, failpoint);
  }

  /** As {@link LoneProcess.ended}. */
  ended(signal?: NodeJS.Signals): Promise<string | null> {
    return this.#process.ended(signal);
  }

  /** For the actuator's own region and five minutes, unless it says another. @returns its id, and what is handed out alone from now on */
  offer(intent: IntentInit): Buffer {
    const id = Buffer.from(intent.id ?? randomBytes(16));
    this.offered.splice(0, this.offered.length, this.signed({ ...intent, id }));
    return id;
  }

  signed(intent: IntentInit): SignedIntent {
    const times = { issuedAt: timestampFromMs(Date.now()), expiresAt: timestampFromMs(Date.now() + 300_000) };
    const whole = { id: randomBytes(16), actionId: "A-7K2Q", verifierId: "v1", region: REGION, driftId: "D-7K2Q", ...times, ...intent };
    const body = toBinary(IntentSchema, create(IntentSchema, whole));
    return { body, signatures: [sign(null, intentMessage(body), this.#keys.privateKey)] };
  }

  told(id: Buffer): ReportOutcomeRequest[] {
    return this.reports.filter(({ intentId }) => id.equals(intentId));
  }

  /** @returns the last report, once it is no waiting */
  async settled(id: Buffer, withinMs = SETTLE_MS): Promise<ReportOutcomeRequest> {
    const isOver = (report: ReportOutcomeRequest | undefined): boolean => report !== undefined && report.outcome !== Outcome.WAITING;
    const report = await eventually("it is told", async () => this.told(id).at(-1), isOver, withinMs);
    if (!report) throw new Error("no report");
    return report;
  }

  /** Lines of the ledger of `name` that take an intent up. */
  taken(name: string): string[] {
    return readFileSync(join(this.home, name, "ledger.jsonl"), "utf8")
      .split("\n")
      .filter((line) => line.includes('"add"'));
  }

  async close(): Promise<void> {
    await this.ended("SIGKILL");
    this.#server.forceShutdown();
    rmSync(this.home, { recursive: true });
  }
}
