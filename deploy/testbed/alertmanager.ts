import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { answers, freePort } from "./http-service.ts";
import { program } from "./paths.ts";
import { type Daemon, startDaemon } from "./run.ts";

/** A real Prometheus Alertmanager on loopback. */
export interface Alertmanager {
  readonly url: string;
  daemon(): Daemon;
  stop(): Promise<void>;
  start(): Promise<void>;
}

/** What Alertmanager is wanted. */
export interface AlertmanagerOptions {
  /** Where it posts notifications (its webhook receiver); none are sent without. */
  readonly webhookUrl?: string;
}

/** Starts an Alertmanager that notifies after 100 ms of grouping. @throws TestbedError */
export async function startAlertmanager(directory: string, env: Readonly<Record<string, string>>, options: AlertmanagerOptions): Promise<Alertmanager> {
  const storage = join(directory, "alertmanager");
  mkdirSync(storage, { recursive: true });
  const host = `127.0.0.1:${await freePort()}`;
  const receiver = options.webhookUrl === undefined ? {} : { webhook_configs: [{ url: options.webhookUrl, send_resolved: true }] };
  const settings = {
    route: { receiver: "testbed", group_by: ["..."], group_wait: "100ms", group_interval: "1s", repeat_interval: "1h" },
    receivers: [{ name: "testbed", ...receiver }],
  };
  const config = join(directory, "alertmanager.yml");
  writeFileSync(config, JSON.stringify(settings, null, 2));
  const flags = [`--config.file=${config}`, `--storage.path=${storage}`, `--web.listen-address=${host}`, "--cluster.listen-address=", "--log.level=warn"];
  const launch = (): Promise<Daemon> =>
    startDaemon({
      name: "alertmanager",
      argv: [program("prometheus-alertmanager"), ...flags],
      env,
      logPath: join(directory, "alertmanager.log"),
      ready: () => answers(`http://${host}/-/ready`),
    });
  let daemon = await launch();
  return {
    url: `http://${host}`,
    daemon: () => daemon,
    stop: () => daemon.stop(),
    start: async () => {
      daemon = await launch();
    },
  };
}
