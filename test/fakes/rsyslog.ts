/** A real rsyslog (Debian's, with rsyslog-openssl) as people set it up, over TLS or plain TCP; what it has read comes out as it understood it. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../../deploy/testbed/http-service.ts";

const RSYSLOG = "/usr/sbin/rsyslogd";
export const hasRsyslog = existsSync(RSYSLOG) && existsSync("/usr/share/doc/rsyslog-openssl");

/** `%jsonmesg%` of rsyslog, as far as it matters. */
export interface SyslogMessage {
  readonly msg: string;
  readonly hostname: string;
  readonly programname: string;
  readonly msgid: string;
  readonly "structured-data": string;
  readonly procid: string;
  readonly pri: string;
  readonly timereported: string;
}

export class Rsyslog implements AsyncDisposable {
  readonly port: number;
  readonly #directory: string;
  #process: ChildProcess | undefined;

  private constructor(port: number, directory: string) {
    this.port = port;
    this.#directory = directory;
  }

  static async start(transport: "tls" | "tcp"): Promise<Rsyslog> {
    const directory = await mkdtemp(join(tmpdir(), "hullmark-rsyslog-"));
    const rsyslog = new Rsyslog(await freePort(), directory);
    const names = ["-subj", "/CN=rsyslog.test", "-addext", "subjectAltName=IP:127.0.0.1"];
    const files = ["-keyout", join(directory, "key.pem"), "-out", rsyslog.caFile];
    execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", ...names, ...files], {
      stdio: "ignore",
    });
    const driver = `DefaultNetstreamDriver="ossl" DefaultNetstreamDriverCAFile="${rsyslog.caFile}" DefaultNetstreamDriverCertFile="${rsyslog.caFile}" DefaultNetstreamDriverKeyFile="${directory}/key.pem"`;
    const config = [
      `global(workDirectory="${directory}" ${transport === "tls" ? driver : ""})`,
      `module(load="imtcp"${transport === "tls" ? ' StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="anon"' : ""})`,
      `input(type="imtcp" address="127.0.0.1" port="${rsyslog.port}")`,
      'template(name="whole" type="string" string="%jsonmesg%\\n")',
      `if $programname == "hullmark" then action(type="omfile" file="${directory}/out" template="whole")`,
    ];
    await writeFile(join(directory, "rsyslog.conf"), `${config.join("\n")}\n`);
    await rsyslog.up();
    return rsyslog;
  }

  get caFile(): string {
    return join(this.#directory, "cert.pem");
  }

  async up(): Promise<void> {
    const child = spawn(RSYSLOG, ["-n", "-f", join(this.#directory, "rsyslog.conf"), "-i", join(this.#directory, "pid")], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#process = child;
    let said = "";
    child.stderr?.on("data", (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-4000);
    });
    for (const until = Date.now() + 20_000; !(await listens(this.port)); ) {
      if (child.exitCode !== null || Date.now() > until) {
        await this[Symbol.asyncDispose]();
        throw new Error(`rsyslogd did not start: ${said}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async down(): Promise<void> {
    const child = this.#process;
    if (!child || child.exitCode !== null) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await gone;
  }

  /** All messages of Hullmark's so far; waits until there are `count`. @throws Error after 20 s */
  async messages(count: number): Promise<SyslogMessage[]> {
    for (const until = Date.now() + 20_000; ; ) {
      const lines = (await readFile(join(this.#directory, "out"), "utf8").catch(() => "")).split("\n").slice(0, -1);
      if (lines.length >= count) return lines.map((line) => JSON.parse(line) as SyslogMessage);
      if (Date.now() > until) throw new Error(`${lines.length} of ${count} messages after 20 s`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down();
    await rm(this.#directory, { recursive: true, force: true });
  }
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}
