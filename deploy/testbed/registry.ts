import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { answers, freePort } from "./http-service.ts";
import { program } from "./paths.ts";
import { type Daemon, startDaemon } from "./run.ts";

/** An OCI registry: Debian's docker-registry 2.8, which has no referrers API, so that the tag fallback is what is used. */
export interface Registry {
  /** "127.0.0.1:PORT", or with a cluster the host's address there: the first part of image names. Plain HTTP. */
  readonly host: string;
  readonly url: string;
  /** Folder of blobs and manifests. */
  readonly storage: string;
  daemon(): Daemon;
  stop(): Promise<void>;
  start(): Promise<void>;
}

/**
 * Starts a registry on an address of this host, which keeps its blobs below `directory`.
 * @param users lines of a password file as `htpasswd -B` writes it: everybody else is refused. undefined: nobody is
 * @throws TestbedError
 */
export async function startRegistry(directory: string, env: Readonly<Record<string, string>>, address: string, users?: string): Promise<Registry> {
  const storage = join(directory, "registry");
  mkdirSync(storage, { recursive: true });
  const host = `${address}:${await freePort(address)}`;
  const config = join(directory, "registry.json");
  const settings = {
    version: 0.1,
    log: { level: "warn", accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: storage }, delete: { enabled: true } },
    ...(users !== undefined && { auth: { htpasswd: { realm: "test", path: join(directory, "registry.users") } } }),
    http: { addr: host, secret: "only-for-resumed-uploads-on-loopback" },
  };
  // JSON is YAML.
  writeFileSync(config, JSON.stringify(settings, null, 2));
  if (users !== undefined) writeFileSync(join(directory, "registry.users"), users, { mode: 0o600 });
  const launch = (): Promise<Daemon> =>
    startDaemon({
      name: "docker-registry",
      argv: [program("docker-registry"), "serve", config],
      env: { ...env, OTEL_TRACES_EXPORTER: "none" },
      logPath: join(directory, "registry.log"),
      ready: () => answers(`http://${host}/v2/`, users === undefined ? undefined : 401),
    });
  let daemon = await launch();
  return {
    host,
    url: `http://${host}`,
    storage,
    daemon: () => daemon,
    stop: () => daemon.stop(),
    start: async () => {
      daemon = await launch();
    },
  };
}
