/** An agent's own process, as it is shipped, and a verifier that the test plays: it takes what it is told, and asks for captures on each stream anew until they are answered. */
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import { Server } from "@grpc/grpc-js";
import { writeCredential } from "@hullmark/agent/adapters/grpc/credential-file";
import { addService } from "@hullmark/proto/rpc";
import { Attestation, type AttestRequest, EvidenceBodySchema } from "@hullmark/proto/v1/attestation";
import type { CaptureTaken } from "@hullmark/proto/v1/capture";
import { Enrollment } from "@hullmark/proto/v1/enrollment";
import { X509Ca } from "@hullmark/verifier/adapters/x509-ca/index";
import { readRequestKey } from "@hullmark/verifier/core/enrolment/certificate-request";
import { stringify } from "yaml";
import { REPOSITORY } from "../../deploy/testbed/paths.ts";
import { certified, LoneProcess, listen } from "./lone-process.ts";

const NODE = { verifierId: "v1", region: "eu-1", nodeId: "00112233445566aa" };
const HOUR_MS = 3_600_000;

interface Wanted {
  readonly id: Buffer;
  readonly actionId: string;
  readonly containerId: string;
}

export class LoneAgent {
  readonly home: string;
  readonly #server = new Server();
  readonly #process = new LoneProcess();
  readonly #ca: X509Ca;
  readonly #wrap: (argv: readonly string[]) => string[];
  /** All that was told, of whatever was asked. */
  readonly answers: CaptureTaken[] = [];
  #wanted: Wanted | undefined;
  #port = 0;

  private constructor(home: string, ca: X509Ca, wrap: (argv: readonly string[]) => string[]) {
    this.home = home;
    this.#ca = ca;
    this.#wrap = wrap;
  }

  /** @param wrap puts a command into the mounts of its node */
  static async open(wrap: (argv: readonly string[]) => string[]): Promise<LoneAgent> {
    const home = mkdtempSync(join(tmpdir(), "hullmark-agent-e2e-"));
    const ca = await X509Ca.open({ stateDir: join(home, "ca"), region: NODE.region, clock: { nowMs: () => Date.now() } });
    const agent = new LoneAgent(home, ca, wrap);
    agent.#serve();
    agent.#port = await listen(agent.#server, ca);
    writeFileSync(join(agent.home, "ca.crt"), ca.rootPem);
    return agent;
  }

  #serve(): void {
    addService(
      this.#server,
      Attestation,
      { attest: (requests) => this.#attest(requests), uploadPodCapture: async () => ({}) },
      () => {},
      () => {},
    );
    const renewed = async (request: Uint8Array) => {
      const key = await readRequestKey(request);
      if (!key) throw new Error("no certificate request");
      const { chain } = await this.#ca.issueNode(NODE.nodeId, key, HOUR_MS);
      return { certificateChain: [...chain], lifetimeSeconds: HOUR_MS / 1000 };
    };
    const enrolment = { begin: async () => ({}), complete: ({ certificateRequest }: { certificateRequest: Uint8Array }) => renewed(certificateRequest) };
    addService(
      this.#server,
      Enrollment,
      enrolment,
      () => {},
      () => {},
    );
  }

  /** Holds all that the agent ever told: of a stream, and of those before. */
  async *#attest(requests: AsyncIterable<AttestRequest>) {
    let asked = false;
    for await (const { message } of requests) {
      if (message.case === "hello") {
        const { lastSeq, lastDigest } = message.value;
        yield { message: { case: "welcome" as const, value: { ...NODE, durableSeq: lastSeq, durableDigest: lastDigest } } };
      }
      if (message.case === "captured") this.answers.push(message.value);
      if (message.case !== "evidence") continue;
      const { seq, containers } = fromBinary(EvidenceBodySchema, message.value.body);
      yield { message: { case: "acknowledgement" as const, value: { seq } } };
      const wanted = this.#wanted;
      if (!wanted || asked || !containers.some(({ id }) => id === wanted.containerId)) continue;
      asked = true;
      yield { message: { case: "capture" as const, value: wanted } };
    }
  }

  /** Asked for on each stream from now on, once the agent tells of the container. */
  want(wanted: Wanted): void {
    this.#wanted = wanted;
  }

  /** On the state of `name`. @param settings besides those of every agent @param failpoint where it kills itself; undefined: nowhere */
  async start(name: string, settings: object, failpoint?: string): Promise<void> {
    const [stateDirectory, config] = [join(this.home, name), join(this.home, `${name}.yaml`)];
    mkdirSync(stateDirectory, { recursive: true, mode: 0o700 });
    const { key, pem, spki } = await certified((request) => this.#ca.issueNode(NODE.nodeId, request, HOUR_MS));
    const spkiSha256 = createHash("sha256").update(spki).digest();
    writeCredential(join(stateDirectory, "credential.json"), { ...NODE, certificateChain: pem, privateKey: key, spkiSha256, notAfterMs: Date.now() + HOUR_MS });
    const verifier = { address: `localhost:${this.#port}`, enrolmentAddress: `localhost:${this.#port}`, caFile: join(this.home, "ca.crt") };
    writeFileSync(config, stringify({ nodeName: "node-0", stateDirectory, verifier, tpm: { tcti: "none" }, ...settings }));
    this.#process.start(this.#wrap([process.execPath, join(REPOSITORY, "dist/agent.js"), "--config", config]), {}, failpoint);
  }

  /** As {@link LoneProcess.ended}. */
  ended(signal?: NodeJS.Signals): Promise<string | null> {
    return this.#process.ended(signal);
  }

  /** What was told of it so far. */
  told(id: Buffer): CaptureTaken[] {
    return this.answers.filter((each) => id.equals(each.id));
  }

  async close(): Promise<void> {
    await this.ended("SIGKILL");
    this.#server.forceShutdown();
    rmSync(this.home, { recursive: true });
  }
}
