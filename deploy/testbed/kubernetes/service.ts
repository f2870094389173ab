import { type Daemon, type DaemonOptions, startDaemon } from "../run.ts";

/** A daemon of the cluster that tests may end and start again. */
export interface Service {
  /** The running process; changes at each start. */
  daemon(): Daemon;
  /** SIGTERM, then SIGKILL after 10 s. */
  stop(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Ends when it serves again. @throws TestbedError */
  start(): Promise<void>;
}

/** Starts a daemon that can be started again with the same arguments. @throws TestbedError */
export async function startService(options: DaemonOptions): Promise<Service> {
  let daemon = await startDaemon(options);
  return {
    daemon: () => daemon,
    stop: () => daemon.stop(),
    kill: () => daemon.kill(),
    start: async () => {
      daemon = await startDaemon(options);
    },
  };
}
