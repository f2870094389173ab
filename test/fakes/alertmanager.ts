/** A real Prometheus Alertmanager (Debian's prometheus-alertmanager) that pages a webhook at once. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../../deploy/testbed/http-service.ts";

export const ALERTMANAGER = "/usr/bin/prometheus-alertmanager";
export const hasAlertmanager = existsSync(ALERTMANAGER);

export interface HeldAlert {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly startsAt: string;
  readonly endsAt: string;
  readonly status: { readonly state: string };
}

export class Alertmanager implements AsyncDisposable {
  readonly url: string;
  readonly #directory: string;
  readonly #process: ChildProcess;

  private constructor(url: string, directory: string, child: ChildProcess) {
    this.url = url;
    this.#directory = directory;
    this.#process = child;
  }

  static async start(receiverUrl: string, groupBy = ["alertname", "node", "workload"]): Promise<Alertmanager> {
    const directory = await mkdtemp(join(tmpdir(), "hullmark-alertmanager-"));
    const config = {
      route: { receiver: "hook", group_by: groupBy, group_wait: "500ms", group_interval: "1s", repeat_interval: "1h" },
      receivers: [{ name: "hook", webhook_configs: [{ url: receiverUrl, send_resolved: true }] }],
    };
    // JSON is YAML.
    await writeFile(join(directory, "config.yml"), JSON.stringify(config));
    const port = await freePort();
    const args = [
      `--config.file=${directory}/config.yml`,
      `--storage.path=${directory}/data`,
      `--web.listen-address=127.0.0.1:${port}`,
      "--cluster.listen-address=",
    ];
    const child = spawn(ALERTMANAGER, args, { stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    child.stderr?.on("data", (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-4000);
    });
    const alertmanager = new Alertmanager(`http://127.0.0.1:${port}`, directory, child);
    for (const until = Date.now() + 20_000; ; ) {
      const ready = await fetch(`${alertmanager.url}/-/ready`).catch(() => undefined);
      if (ready?.ok) return alertmanager;
      if (child.exitCode !== null || Date.now() > until) {
        await alertmanager[Symbol.asyncDispose]();
        throw new Error(`alertmanager did not start: ${said}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** The alerts that it holds now. */
  async alerts(): Promise<HeldAlert[]> {
    return (await (await fetch(`${this.url}/api/v2/alerts`)).json()) as HeldAlert[];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode === null) {
      const gone = new Promise((resolve) => this.#process.once("exit", resolve));
      this.#process.kill("SIGTERM");
      await gone;
    }
    await rm(this.#directory, { recursive: true, force: true });
  }
}
