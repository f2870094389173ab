import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { answers, freePort } from "./http-service.ts";
import { program } from "./paths.ts";
import { type Daemon, startDaemon } from "./run.ts";

/** What a Prometheus is to do. */
export interface PrometheusOptions {
  /** `http://host:port` that has /metrics; its job is called `hullmark`. */
  readonly target: string;
  readonly alertmanager: string;
  readonly ruleFile: string;
}

/** A real Prometheus on loopback that scrapes and evaluates each second. */
export interface Prometheus {
  readonly url: string;
  /** An instant query's samples. @throws Error where it is refused */
  query(expression: string): Promise<readonly { readonly metric: Readonly<Record<string, string>>; readonly value: number }[]>;
  stop(): Promise<void>;
}

/** @throws TestbedError */
export async function startPrometheus(directory: string, env: Readonly<Record<string, string>>, options: PrometheusOptions): Promise<Prometheus> {
  const storage = join(directory, "prometheus");
  mkdirSync(storage, { recursive: true });
  const host = `127.0.0.1:${await freePort()}`;
  const settings = {
    global: { scrape_interval: "1s", scrape_timeout: "1s", evaluation_interval: "1s" },
    rule_files: [options.ruleFile],
    alerting: { alertmanagers: [{ static_configs: [{ targets: [new URL(options.alertmanager).host] }] }] },
    scrape_configs: [{ job_name: "hullmark", static_configs: [{ targets: [new URL(options.target).host] }] }],
  };
  const config = join(directory, "prometheus.yml");
  writeFileSync(config, JSON.stringify(settings, null, 2));
  const url = `http://${host}`;
  // What fired before the Alertmanager was discovered (up to 5 s) is otherwise told again after a minute.
  const resend = "--rules.alert.resend-delay=1s";
  const flags = [`--config.file=${config}`, `--storage.tsdb.path=${storage}`, `--web.listen-address=${host}`, "--log.level=warn", resend];
  const daemon: Daemon = await startDaemon({
    name: "prometheus",
    argv: [program("prometheus"), ...flags],
    env,
    logPath: join(directory, "prometheus.log"),
    ready: () => answers(`${url}/-/ready`),
  });
  return {
    url,
    async query(expression) {
      const response = await fetch(`${url}/api/v1/query?${new URLSearchParams({ query: expression })}`);
      const body = (await response.json()) as Answer;
      if (body.status !== "success") throw new Error(`${expression}: ${body.error}`);
      return body.data.result.map(({ metric, value: [, value] }) => ({ metric, value: Number(value) }));
    },
    stop: () => daemon.stop(),
  };
}

interface Answer {
  readonly status: string;
  readonly error?: string;
  readonly data: { readonly result: readonly { readonly metric: Record<string, string>; readonly value: readonly [number, string] }[] };
}
