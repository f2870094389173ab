/** {@link ContainerRuntime} over the Docker Engine API (dockerode). */
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import Docker from "dockerode";
import { nodeHosts } from "../../core/hosts-file.ts";
import {
  type ContainerFacts,
  type ContainerRuntime,
  ContainerRuntimeError,
  type RuntimeEvent,
  type RuntimeFacts,
  type StoppedContainer,
} from "../../ports/container-runtime.ts";
import { containerFacts, hostGatewayIps } from "./container-facts.ts";
import { namespacesOfHost } from "./host-namespaces.ts";
import { contentStoreOf, imageStoreConfig, manifestConfig } from "./image-config.ts";
import { parentOf, readOciSpec } from "./oci-spec.ts";

/**
 * Events after which a container is inspected again. Not `pause`, which changes nothing that is told: engines before 23 hold the list of a container's commands
 * while they start one (moby daemon/exec.go), inspection waits for that list with the container's lock, and a command that the pause froze as it was being started
 * goes on only after an unpause, which waits for the lock.
 */
const ACTIONS = ["start", "die", "unpause", "rename", "update", "connect", "disconnect", "oom", "destroy"];
/** As the engine names states; `removing` is going, and what waits to be restarted has no process. */
const NOT_RUNNING = ["created", "restarting", "exited", "dead"];
const CALL_TIMEOUT_MS = 15_000;
/** A call that broke only then was given up here; timers may be early by a little. */
const GIVEN_UP_MS = CALL_TIMEOUT_MS - 100;
/** Where the engine reads its settings unless told otherwise; its API does not tell `host-gateway-ip`. */
const DAEMON_CONFIGURATION = "/etc/docker/daemon.json";
const MAX_EVENT_BYTES = 1024 * 1024;
/** Of networks, each by a container that joined another's. */
const MAX_JOINS = 16;

/** What is used of dockerode; its own types know neither abort signals everywhere nor what `info` holds. */
interface Engine {
  info(): Promise<{ Driver: string; ServerVersion: string; DockerRootDir: string; DriverStatus?: [string, string][] }>;
  listContainers(options: {
    all?: boolean;
    filters?: Record<string, string[]>;
    abortSignal: AbortSignal;
  }): Promise<{ Id: string; Names?: string[] | null; ImageID?: string }[]>;
  getContainer(id: string): { inspect(options: { abortSignal: AbortSignal }): Promise<Docker.ContainerInspectInfo> };
  getNetwork(name: string): { inspect(): Promise<{ IPAM?: { Config?: { Gateway?: string }[] | null } }> };
  getImage(id: string): { inspect(): Promise<Docker.ImageInspectInfo> };
  getEvents(options: { filters: Record<string, string[]>; abortSignal: AbortSignal }): Promise<Readable>;
}

export interface DockerRuntimeOptions {
  /** Unix socket of the engine. */
  readonly socketPath: string;
}

export class DockerRuntime implements ContainerRuntime {
  readonly #docker: Engine;
  /** Events may be far apart: a connection of their own, without time limit. */
  readonly #events: Engine;
  #rootDirectory = "";
  #storageDriver = "";
  #dialect: RuntimeFacts["dialect"] = "docker";
  /** Where containerd keeps blobs, once a container has shown it. */
  #contentStore: string | undefined;

  constructor({ socketPath }: DockerRuntimeOptions) {
    this.#docker = new Docker({ socketPath, timeout: CALL_TIMEOUT_MS }) as unknown as Engine;
    this.#events = new Docker({ socketPath }) as unknown as Engine;
  }

  async facts(signal: AbortSignal): Promise<RuntimeFacts> {
    signal.throwIfAborted();
    const info = await guard(() => this.#docker.info());
    this.#rootDirectory = info.DockerRootDir;
    this.#storageDriver = info.Driver;
    // The containerd image store names its snapshotter as driver and says `driver-type io.containerd.snapshotter.v1`.
    const snapshotter = info.DriverStatus?.some(([name, value]) => name === "driver-type" && value.startsWith("io.containerd.snapshotter")) ?? false;
    this.#dialect = snapshotter ? "containerd" : "docker";
    return { name: "docker", version: info.ServerVersion, storageDriver: info.Driver, dialect: this.#dialect, ownLayer: true };
  }

  async list(signal: AbortSignal): Promise<readonly string[]> {
    const containers = await guard(() => this.#docker.listContainers({ abortSignal: signal }));
    return containers.map(({ Id }) => Id);
  }

  async stopped(signal: AbortSignal): Promise<readonly StoppedContainer[]> {
    const containers = await guard(() => this.#docker.listContainers({ all: true, filters: { status: NOT_RUNNING }, abortSignal: signal }));
    // Links to a container are among its names, with that of whose they are before them.
    const nameOf = (names: readonly string[]): string => (names.find((name) => name.lastIndexOf("/") === 0) ?? names[0] ?? "").replace(/^\//, "");
    return containers.map(({ Id, Names, ImageID }) => ({ id: Id, name: nameOf(Names ?? []) || Id.slice(0, 12), imageId: ImageID ?? "" }));
  }

  async inspect(id: string, signal: AbortSignal): Promise<ContainerFacts | undefined> {
    if (this.#rootDirectory === "") await this.facts(signal);
    const container = await guard(() => this.#docker.getContainer(id).inspect({ abortSignal: signal })).catch(ignoreMissing);
    if (!container?.State.Running || container.State.Pid <= 0) return undefined;
    const { Pid: pid } = container.State;
    const [spec, image, owner] = await Promise.all([readOciSpec(pid, id), this.#image(container.Image), this.#networkOwner(container, signal)]);
    return containerFacts(container, spec, image, await this.#configBlobPath(container, spec?.root?.path), {
      hostGateways: owner?.HostConfig.ExtraHosts?.some((each: string) => each.endsWith("host-gateway")) ? await this.#hostGateways() : [],
      hostHosts: owner?.HostConfig.NetworkMode === "host" ? await nodeHosts((path) => readFile(path, "latin1")) : "",
      networkOwner: owner,
      hostNamespaces: await namespacesOfHost(pid),
    });
  }

  /** The container whose network it is: one joins another's, which may have joined a third's. undefined: it is gone. */
  async #networkOwner(container: Docker.ContainerInspectInfo, signal: AbortSignal): Promise<Docker.ContainerInspectInfo | undefined> {
    let owner: Docker.ContainerInspectInfo | undefined = container;
    for (let joins = 0; owner && joins < MAX_JOINS; joins++) {
      const joined: string | undefined = /^container:(.+)$/.exec(owner.HostConfig.NetworkMode ?? "")?.[1];
      if (joined === undefined) return owner;
      owner = await guard(() => this.#docker.getContainer(joined).inspect({ abortSignal: signal })).catch(ignoreMissing);
    }
    return undefined;
  }

  async *events(signal: AbortSignal): AsyncGenerator<RuntimeEvent> {
    const options = { filters: { type: ["container", "network"], event: ACTIONS }, abortSignal: signal };
    const stream = await guard(() => this.#events.getEvents(options));
    const lines = createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY });
    // Keeps lines from now on: those that come while the reader still deals with `connected` would be lost.
    const kept = lines[Symbol.asyncIterator]();
    const abort = (): void => {
      // A stream that is destroyed does not end: the lines' iterator would wait for ever.
      lines.close();
      stream.destroy();
    };
    signal.addEventListener("abort", abort, { once: true });
    try {
      yield { kind: "connected", containerId: "" };
      for await (const line of kept) {
        const containerId = containerOf(line);
        if (containerId) yield { kind: "changed", containerId };
      }
    } catch (cause) {
      if (!signal.aborted) throw new ContainerRuntimeError("RUNTIME_UNREACHABLE", "the event stream broke", { cause });
    } finally {
      signal.removeEventListener("abort", abort);
      stream.destroy();
    }
    if (!signal.aborted) throw new ContainerRuntimeError("RUNTIME_UNREACHABLE", "the event stream ended");
  }

  async #configBlobPath(container: Docker.ContainerInspectInfo, rootPath: string | null | undefined): Promise<string | undefined> {
    if (this.#dialect === "docker") return imageStoreConfig(this.#rootDirectory, this.#storageDriver, container.Image);
    if (!rootPath) return undefined;
    const mountInfo = async (): Promise<string> => readFile(`/proc/${await parentOf(container.State.Pid)}/mountinfo`, "latin1");
    this.#contentStore ??= contentStoreOf(await mountInfo().catch(() => ""), rootPath);
    return this.#contentStore === undefined ? undefined : await manifestConfig(this.#contentStore, container);
  }

  /** What the engine puts for `host-gateway`: the default bridge's address, or what it was configured to when the container started (moby `setHostGatewayIP`). */
  async #hostGateways(): Promise<string[]> {
    const bridge = await guard(() => this.#docker.getNetwork("bridge").inspect()).catch(ignoreMissing);
    const configured = hostGatewayIps(await readFile(DAEMON_CONFIGURATION, "utf8").catch(() => ""));
    const gateways = (bridge?.IPAM?.Config ?? []).map(({ Gateway }) => (Gateway ?? "").replace(/\/.*$/, ""));
    return [...gateways.filter((each) => each !== ""), ...configured];
  }

  /** The engine's record of the image, which outlives its tags. */
  async #image(id: string): Promise<Docker.ImageInspectInfo | undefined> {
    return guard(() => this.#docker.getImage(id).inspect()).catch(ignoreMissing);
  }
}

function containerOf(line: string): string | undefined {
  if (line.length > MAX_EVENT_BYTES) throw new ContainerRuntimeError("RUNTIME_PROTOCOL", `event of ${line.length} bytes`);
  try {
    const event = JSON.parse(line) as { Type?: string; Actor?: { ID?: string; Attributes?: { container?: string } } };
    return event.Type === "network" ? event.Actor?.Attributes?.container : event.Actor?.ID;
  } catch (cause) {
    throw new ContainerRuntimeError("RUNTIME_PROTOCOL", "an event that is not JSON", { cause });
  }
}

class MissingError extends Error {}

async function guard<T>(call: () => Promise<T>): Promise<T> {
  const sinceMs = performance.now();
  try {
    return await call();
  } catch (error) {
    const status = (error as { statusCode?: number }).statusCode;
    if (status === 404) throw new MissingError();
    const code = status === undefined ? "RUNTIME_UNREACHABLE" : "RUNTIME_PROTOCOL";
    // One that is given up looks like a connection that broke ("socket hang up").
    const afterMs = performance.now() - sinceMs;
    const why =
      status === undefined && afterMs > GIVEN_UP_MS
        ? `no answer within ${Math.round(afterMs / 1000)} s`
        : error instanceof Error
          ? error.message
          : "unknown error";
    throw new ContainerRuntimeError(code, why, { cause: error });
  }
}

function ignoreMissing(error: unknown): undefined {
  if (error instanceof MissingError) return undefined;
  throw error;
}
