/** The verifier as a process of its own, in a folder of its own: it can be killed, at a failpoint or from outside, and started again on what it left. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { credentials } from "@grpc/grpc-js";
import { RpcChannel } from "@hullmark/proto/rpc";
import { Query } from "@hullmark/proto/v1/query";
import { program } from "./program.ts";

const MAIN = program("verifier");

export class VerifierProcess {
  readonly directory = mkdtempSync(join(tmpdir(), "hullmark-verifier-process-"));
  readonly #channels: RpcChannel[] = [];
  #child: ChildProcess | undefined;
  #ports = { mainPort: 0, enrolmentPort: 0 };
  /** By what signal the last one ended. */
  died: Promise<NodeJS.Signals | null> = Promise.resolve(null);

  readonly #environment: NodeJS.ProcessEnv;

  /** @param policy YAML @param more lines of configuration */
  constructor(policy: string, more = "", environment: NodeJS.ProcessEnv = {}) {
    this.#environment = { ...process.env, ...environment };
    const listen = `{ main: "127.0.0.1:0", enrolment: "127.0.0.1:0", http: "127.0.0.1:0" }`;
    const enrolment = "{ mode: tofu, acceptWithoutCertificate: true }";
    const settings = `stateDirectory: ${this.directory}/state\nverifierId: v1\nlisten: ${listen}\nenrolment: ${enrolment}\npolicyFile: policy.yaml\n`;
    writeFileSync(join(this.directory, "v.yaml"), `${settings}registries: { allowPrivate: ["127.0.0.1:*"] }\n${more}`);
    writeFileSync(join(this.directory, "policy.yaml"), policy);
  }

  /** Resolves when it is ready. @param failpoint at which it kills itself */
  async start(failpoint?: string): Promise<void> {
    const env = { ...this.#environment, ...(failpoint !== undefined && { HULLMARK_FAILPOINT: failpoint }) };
    const child = spawn(process.execPath, [MAIN, "--config", join(this.directory, "v.yaml")], { stdio: ["ignore", "pipe", "inherit"], env });
    this.#child = child;
    this.died = new Promise((resolve) => child.once("exit", (_code, signal) => resolve(signal)));
    for await (const line of createInterface({ input: child.stdout })) {
      const message = JSON.parse(line) as { msg: string; mainPort: number; enrolmentPort: number };
      if (message.msg !== "ready") continue;
      this.#ports = message;
      return;
    }
    throw new Error("the verifier did not start");
  }

  get addresses(): { readonly mainAddress: string; readonly enrolmentAddress: string } {
    return { mainAddress: `localhost:${this.#ports.mainPort}`, enrolmentAddress: `localhost:${this.#ports.enrolmentPort}` };
  }

  get ca(): Buffer {
    return this.#read("ca.crt");
  }

  channel(key: Buffer, certificate: Buffer): RpcChannel {
    const made = new RpcChannel(this.addresses.mainAddress, credentials.createSsl(this.ca, key, certificate));
    this.#channels.push(made);
    return made;
  }

  /** As the admin whom it made at its first start. */
  admin(): RpcChannel {
    return this.channel(this.#read("client.key"), this.#read("client.crt"));
  }

  get query() {
    return this.admin().client(Query);
  }

  async kill(): Promise<void> {
    this.#child?.kill("SIGKILL");
    await this.died;
  }

  async dispose(): Promise<void> {
    for (const channel of this.#channels) channel.close();
    await this.kill();
    rmSync(this.directory, { recursive: true });
  }

  #read(name: string): Buffer {
    return readFileSync(join(this.directory, "state/admin", name));
  }
}
