/** A whole verifier in this process on free ports and a folder of its own, with a registry in memory and a clock that tests can push forward. */
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { credentials } from "@grpc/grpc-js";
import { RpcChannel } from "@hullmark/proto/rpc";
import { Admin } from "@hullmark/proto/v1/admin";
import { Query } from "@hullmark/proto/v1/query";
import { X509Ca } from "@hullmark/verifier/adapters/x509-ca/index";
import { parseConfig } from "@hullmark/verifier/config";
import type { OperatorRole } from "@hullmark/verifier/ports/certificate-authority";
import type { Clock } from "@hullmark/verifier/ports/clock";
import { type RunningVerifier, startVerifier } from "@hullmark/verifier/verifier";
import { pino } from "pino";
import { Attester, type AttesterOptions } from "./attester.ts";

interface Timer {
  readonly dueMs: number;
  fire(): void;
}

/** Real timers; the time of day can be pushed forward. */
export class ShiftedClock implements Clock {
  shiftMs = 0;
  readonly #timers = new Set<Timer>();

  nowMs(): number {
    return Date.now() + this.shiftMs;
  }

  after(delayMs: number, run: () => void): () => void {
    const cancel = (): void => {
      clearTimeout(timeout);
      this.#timers.delete(timer);
    };
    const fire = (): void => {
      cancel();
      run();
    };
    const timer: Timer = { dueMs: this.nowMs() + delayMs, fire };
    const timeout = setTimeout(fire, delayMs).unref();
    this.#timers.add(timer);
    return cancel;
  }

  /** Pushes the time of day forward, and what waits for a time until then goes off at once. */
  pass(ms: number): void {
    this.shiftMs += ms;
    for (const timer of [...this.#timers]) if (timer.dueMs <= this.nowMs() && this.#timers.has(timer)) timer.fire();
  }
}

export class TestVerifier {
  readonly directory = mkdtempSync(join(tmpdir(), "hullmark-verifier-"));
  readonly clock = new ShiftedClock();
  readonly region: string;
  readonly #channels: RpcChannel[] = [];
  readonly #attesters: Attester[] = [];
  running: RunningVerifier | undefined;
  /** Of what is started next. */
  logger = pino({ level: process.env["TEST_LOG"] ?? "silent" });

  constructor(region = "eu-1") {
    this.region = region;
  }

  /** @param more lines of configuration @param dashboardDirectory where the dashboard's files are @param certificateSeconds of nodes' certificates, where it is less than the configuration takes */
  async start(more = "", dashboardDirectory?: string, certificateSeconds?: number): Promise<this> {
    const text = `
stateDirectory: ${join(this.directory, "state")}
verifierId: v1
region: ${this.region}
listen: { main: "127.0.0.1:0", enrolment: "127.0.0.1:0", http: "127.0.0.1:0" }
${more || "enrolment: { mode: tofu, acceptWithoutCertificate: true }"}
${/^registries:/m.test(more) ? "" : 'registries: { allowPrivate: ["127.0.0.1:*"] }'}
`;
    const dashboard = dashboardDirectory === undefined ? {} : { dashboardDirectory };
    const config = parseConfig(text, "test");
    if (certificateSeconds !== undefined) config.enrolment.certificateMinutes = certificateSeconds / 60;
    this.running = await startVerifier({ config, clock: this.clock, logger: this.logger, environment: {}, ...dashboard });
    return this;
  }

  get policyPath(): string {
    return join(this.directory, "policy.yaml");
  }

  policy(text: string): string {
    writeFileSync(this.policyPath, text);
    return this.policyPath;
  }

  get #admin(): string {
    return join(this.directory, "state/admin");
  }

  get ca(): Buffer {
    return readFileSync(join(this.#admin, "ca.crt"));
  }

  get mainAddress(): string {
    return `localhost:${this.running?.mainPort}`;
  }

  /** The admin that the verifier made at its first start. */
  admin(): RpcChannel {
    return this.channel(readFileSync(join(this.#admin, "client.key")), readFileSync(join(this.#admin, "client.crt")));
  }

  get query() {
    return this.admin().client(Query);
  }

  get adminClient() {
    return this.admin().client(Admin);
  }

  /** Someone with another role, certified by the same CA. @param namespaces where alone it holds */
  async operator(role: OperatorRole, namespaces?: readonly string[]): Promise<RpcChannel> {
    const name = ["some", role, ...(namespaces ?? [])].join("-");
    const { key, pem } = await this.certify((authority, spki) => authority.issueOperator(role, name, spki, 3_600_000, namespaces));
    return this.channel(key, pem);
  }

  /** A certificate of the verifier's own CA. @param clock that dates it; the verifier's where none is given */
  async certify(
    issue: (authority: X509Ca, spki: Buffer) => Promise<{ chain: readonly Buffer[] }>,
    clock: Pick<Clock, "nowMs"> = this.clock,
  ): Promise<{ key: Buffer; pem: Buffer }> {
    const authority = await X509Ca.open({ stateDir: join(this.directory, "state/ca"), region: this.region, clock });
    const { privateKey, publicKey }: { privateKey: KeyObject; publicKey: KeyObject } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const { chain } = await issue(authority, publicKey.export({ type: "spki", format: "der" }));
    const pem = chain.map((der) => `-----BEGIN CERTIFICATE-----\n${der.toString("base64")}\n-----END CERTIFICATE-----\n`).join("");
    return { key: Buffer.from(privateKey.export({ type: "pkcs8", format: "pem" })), pem: Buffer.from(pem) };
  }

  channel(key: Buffer, certificate: Buffer): RpcChannel {
    return this.track(new RpcChannel(this.mainAddress, credentials.createSsl(this.ca, key, certificate)));
  }

  track(channel: RpcChannel): RpcChannel {
    this.#channels.push(channel);
    return channel;
  }

  attester(options: Pick<AttesterOptions, "name"> & Partial<AttesterOptions>): Attester {
    const attester = new Attester({ mainAddress: this.mainAddress, enrolmentAddress: `localhost:${this.running?.enrolmentPort}`, ca: this.ca, ...options });
    this.#attesters.push(attester);
    return attester;
  }

  /** Stops the verifier, as SIGTERM does; the folder stays. */
  async stop(): Promise<void> {
    await this.running?.stop();
    this.running = undefined;
  }

  async dispose(): Promise<void> {
    for (const attester of this.#attesters) await attester.close();
    for (const channel of this.#channels) channel.close();
    await this.stop();
    rmSync(this.directory, { recursive: true });
  }
}
