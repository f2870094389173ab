import { mkdirSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import type { Bridge } from "./bridge.ts";
import { cgroupName } from "./cgroup.ts";
import type { Containerd } from "./containerd.ts";
import { TestbedError } from "./error.ts";
import { RUNTIME_MOUNT } from "./mount-points.ts";
import type { MountNamespace } from "./namespace.ts";
import { PROGRAM_PATH, program, socketPath } from "./paths.ts";
import { type Daemon, run, startDaemon } from "./run.ts";

/** A Docker Engine of the test bed's own; no engine found on the machine is ever used. */
export interface Engine {
  readonly socketPath: string;
  /** For DOCKER_HOST. */
  readonly dockerHost: string;
  readonly dataRoot: string;
  readonly version: string;
  readonly imageStore: ImageStore;
  /** The running dockerd; changes at each start. */
  daemon(): Daemon;
  /** SIGTERM: the engine stops its containers unless live-restore is set. */
  stop(): Promise<void>;
  /** SIGKILL: containers keep running under their shims. */
  kill(): Promise<void>;
  start(): Promise<void>;
}

/** Where an engine keeps images: in its own store by the graph driver overlay2, or in containerd's by the snapshotter overlayfs. */
export type ImageStore = "overlay2" | "containerd";

/** What engine is wanted. */
export interface EngineOptions {
  /** Merged into daemon.json over the test bed's own settings, for example `{ "live-restore": true }`. */
  readonly config?: Readonly<Record<string, unknown>>;
}

/** Starts dockerd on the test bed's containerd and bridge. @throws TestbedError */
export async function startEngine(
  place: { readonly directory: string; readonly runtimeDirectory: string; readonly id: string },
  parts: { readonly namespace: MountNamespace; readonly bridge: Bridge; readonly containerd: Containerd },
  options: EngineOptions,
): Promise<Engine> {
  const socket = socketPath(place.runtimeDirectory, "docker.sock");
  const dataRoot = join(place.directory, "docker");
  mkdirSync(dataRoot, { recursive: true, mode: 0o711 });
  const version = /version (\d+)\.(\d+)/.exec(await run([program("dockerd"), "--version"])) ?? ["", "0", "0"];
  const major = Number(version[1]);
  const configPath = join(place.directory, "daemon.json");
  const imageStore = imageStoreFor(major);
  const config = { ...settings(place.directory, dataRoot, place.id, parts.bridge, major), ...storeSettings(imageStore, major), ...options.config };
  writeFileSync(configPath, JSON.stringify(config, null, 2));

  const launch = (): Promise<Daemon> =>
    startDaemon({
      name: "dockerd",
      argv: parts.namespace.wrap([program("dockerd"), "--config-file", configPath, "--log-level", "warn"]),
      env: { PATH: PROGRAM_PATH, DOCKER_TMPDIR: join(place.directory, "docker-tmp") },
      logPath: join(place.directory, "dockerd.log"),
      ready: () => ping(socket),
    });
  let daemon = await launch();
  return {
    socketPath: socket,
    dockerHost: `unix://${socket}`,
    dataRoot,
    version: `${version[1]}.${version[2]}`,
    imageStore,
    daemon: () => daemon,
    stop: () => daemon.stop(30_000),
    kill: () => daemon.kill(),
    start: async () => {
      daemon = await launch();
    },
  };
}

function settings(directory: string, dataRoot: string, id: string, bridge: Bridge, major: number): Record<string, unknown> {
  return {
    hosts: [`unix://${RUNTIME_MOUNT}/docker.sock`],
    "data-root": dataRoot,
    "exec-root": `${RUNTIME_MOUNT}/docker`,
    pidfile: `${RUNTIME_MOUNT}/docker.pid`,
    containerd: `${RUNTIME_MOUNT}/containerd.sock`,
    bridge: bridge.name,
    // No rule, no forwarding, no address translation: containers reach the bridge and each other, nothing on the host is changed.
    iptables: false,
    "ip-masq": false,
    "ip-forward": false,
    ...(major >= 27 ? { ip6tables: false } : {}),
    "default-address-pools": [{ base: `${bridge.prefix}.128/25`, size: 28 }],
    "cgroup-parent": `/${cgroupName(id)}`,
    "exec-opts": ["native.cgroupdriver=cgroupfs"],
    "log-driver": "json-file",
    "shutdown-timeout": 2,
    // Before 24 the engine makes a trust key, by default below /etc.
    ...(major < 24 ? { "deprecated-key-path": join(directory, "key.json") } : {}),
  };
}

/** `HULLMARK_ENGINE_STORE`, or overlay2. @throws TestbedError `start_failed` */
function imageStoreFor(major: number): ImageStore {
  const store = process.env["HULLMARK_ENGINE_STORE"] || "overlay2";
  if (store !== "overlay2" && store !== "containerd") throw new TestbedError("start_failed", `HULLMARK_ENGINE_STORE: overlay2 or containerd, not ${store}`);
  if (store === "containerd" && major < 25)
    throw new TestbedError("start_failed", `Docker Engine ${major} has no containerd image store: set HULLMARK_ENGINE_BIN`);
  return store;
}

function storeSettings(store: ImageStore, major: number): Record<string, unknown> {
  // Older engines know no such feature; from 29 on it is on unless told otherwise.
  if (major < 25) return { "storage-driver": "overlay2" };
  return { "storage-driver": store === "containerd" ? "overlayfs" : "overlay2", features: { "containerd-snapshotter": store === "containerd" } };
}

/** GET /_ping on the engine's socket. */
function ping(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const call = request({ socketPath: socket, path: "/_ping", timeout: 2_000 }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    call.on("error", () => resolve(false));
    call.on("timeout", () => call.destroy());
    call.end();
  });
}
