/**
 * The agent as a process of its own, on a real TPM and with a verifier in this process, so that what it rests on can be changed under it: what the verifier has
 * of the node is read from outside, as people read it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Verdict } from "@hullmark/proto/v1/common";
import type { Node } from "@hullmark/proto/v1/query";
import { isAttested } from "@hullmark/verifier/core/fleet/census";
import { expect } from "vitest";
import { boot, linuxBoot, writeLog } from "./boot-log.ts";
import { logEntries } from "./log-entries.ts";
import { program } from "./program.ts";
import { Scrape } from "./scrape.ts";
import { Swtpm } from "./swtpm.ts";
import { TestVerifier } from "./verifier.ts";

const PROGRAM = program("agent");
const NAME = "w-1";
const POLICY = `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: p }
spec:
  nodes:
    - name: all
      boot: { secureBoot: required }
  intervals: { heartbeat: 1m, quote: 5m }
`;

/** For `expect.poll`: a condition comes about in seconds; a machine that is busy has minutes. */
export const PATIENT = { timeout: 180_000, interval: 300 };

export interface AgentAtWorkOptions {
  /** Socket of a Docker Engine; without one the node is `runtime-unreachable`. */
  readonly dockerSocket?: string;
  /** Of the node's certificates, an hour where nothing is said: a new one is asked for after two thirds. */
  readonly certificateSeconds?: number | undefined;
}

export class AgentAtWork {
  readonly directory = mkdtempSync(join(tmpdir(), "hullmark-agent-"));
  readonly verifier = new TestVerifier();
  readonly tpm: Swtpm;
  #agent: ChildProcess | undefined;
  #said = "";

  private constructor(tpm: Swtpm) {
    this.tpm = tpm;
  }

  /** A TPM that has measured a boot, a verifier that trusts it at first sight and wants Secure Boot, and the agent, which need not be known yet on return. */
  static async start({ dockerSocket, certificateSeconds }: AgentAtWorkOptions = {}): Promise<AgentAtWork> {
    const scene = new AgentAtWork(await Swtpm.start({ withoutEkCertificate: true }));
    try {
      await boot(scene.tpm.tcti, linuxBoot());
      const { verifier } = scene;
      const enrolment = `enrolment: { mode: tofu, acceptWithoutCertificate: true }`;
      await verifier.start(`${enrolment}\npolicyFile: ${verifier.policy(POLICY)}`, undefined, certificateSeconds);
      const { mainPort, enrolmentPort } = verifier.running ?? {};
      const file = scene.#file.bind(scene);
      file(
        "agent.yaml",
        `nodeName: ${NAME}
stateDirectory: ${join(scene.directory, "state")}
verifier: { address: "localhost:${mainPort}", enrolmentAddress: "localhost:${enrolmentPort}", caFile: ${file("ca.crt", verifier.ca)} }
tpm: { tcti: "${scene.tpm.tcti}" }
measuredBoot: { eventLog: ${file("event-log", writeLog(linuxBoot()))} }
runtime: { docker: { socket: ${dockerSocket ?? join(scene.directory, "none.sock")} } }
changes: { source: chokidar }
`,
      );
      scene.startAgent();
      return scene;
    } catch (error) {
      await scene.dispose();
      throw error;
    }
  }

  startAgent(): void {
    this.#agent = spawn(process.execPath, [PROGRAM, "--config", join(this.directory, "agent.yaml")], { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.#agent.stdout, this.#agent.stderr]) stream?.on("data", (chunk: Buffer) => (this.#said += chunk.toString()));
  }

  /** As systemd ends it. @returns the exit code */
  async stopAgent(): Promise<number | null> {
    const agent = this.#agent;
    if (!agent) return null;
    if (this.isRunning) {
      const ended = once(agent, "exit");
      agent.kill("SIGTERM");
      await ended;
    }
    return agent.exitCode;
  }

  get isRunning(): boolean {
    return this.#agent !== undefined && this.#agent.exitCode === null && this.#agent.signalCode === null;
  }

  /** All that agents of this scene have logged, the parsed lines in order. */
  get logged(): readonly Record<string, unknown>[] {
    return this.#said.split("\n").flatMap((line) => (line.startsWith("{") && line.endsWith("}") ? [JSON.parse(line) as Record<string, unknown>] : []));
  }

  /** undefined: the verifier does not know it yet. */
  async node(): Promise<Node | undefined> {
    const { node } = await this.verifier.query.getNode({ id: NAME }).catch(() => ({ node: undefined }));
    return node;
  }

  /** What the verifier holds against the node. */
  async codes(): Promise<readonly string[]> {
    return (await this.node())?.reasons.map(({ code }) => code) ?? ["unknown to the verifier"];
  }

  /** The same, once another quote was asked for. */
  async askedCodes(): Promise<readonly string[]> {
    await this.#askForQuote();
    return await this.codes();
  }

  /** Until a quote that was asked for from here on holds. */
  async quoted(): Promise<void> {
    const last = async (): Promise<bigint> => (await this.node())?.lastQuote?.seconds ?? 0n;
    const before = await last();
    const newer = async (): Promise<boolean> => {
      await this.#askForQuote();
      return (await last()) > before;
    };
    await expect.poll(newer, PATIENT).toBe(true);
  }

  async #askForQuote(): Promise<void> {
    // Between two streams there is nobody to ask: certificates are renewed on a new one.
    await this.verifier.adminClient.requestQuote({ nodeId: NAME }).catch(() => undefined);
  }

  /** Until the node counts as attested. Where it does not come about, what is held against it and the agent's own words explain. */
  async attested(): Promise<void> {
    const standing = async () => (isAttested((await this.node())?.verdict ?? Verdict.UNSPECIFIED) ? "attested" : [await this.codes(), this.#said.slice(-2000)]);
    await expect.poll(standing, PATIENT).toBe("attested");
  }

  /** Entries of the log, one for each certificate that was given to the node. */
  enrolments(): readonly Record<string, unknown>[] {
    return logEntries(this.verifier, "enrolment", "type");
  }

  /** Changes of the node's verdict, as the log has them. */
  verdicts(): readonly Record<string, unknown>[] {
    return logEntries(this.verifier, "verdict", "type").filter(({ container }) => container === undefined);
  }

  async metrics(): Promise<Scrape> {
    return await Scrape.from(`http://127.0.0.1:${this.verifier.running?.httpPort}`);
  }

  /** How many roots the agent has learnt to know its verifier by. */
  get learntRoots(): number {
    const file = join(this.directory, "state/learnt-ca.pem");
    return existsSync(file) ? (readFileSync(file, "utf8").match(/BEGIN CERTIFICATE/g) ?? []).length : 0;
  }

  async dispose(): Promise<void> {
    await this.stopAgent();
    await this.verifier.dispose();
    await this.tpm.stop();
    rmSync(this.directory, { recursive: true });
  }

  #file(name: string, content: string | Buffer): string {
    const path = join(this.directory, name);
    writeFileSync(path, content);
    return path;
  }
}
