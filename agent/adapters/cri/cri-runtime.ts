/** {@link ContainerRuntime} over Kubernetes' Container Runtime Interface (runtime.v1): containerd and CRI-O. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { credentials } from "@grpc/grpc-js";
import { Events } from "@hullmark/proto/containerd-events";
import {
  type Container,
  ContainerSchema,
  ContainerState,
  ContainerStatusSchema,
  ImageService,
  PodSandboxState,
  type PodSandboxStatus,
  RuntimeService,
} from "@hullmark/proto/cri";
import { RpcChannel, RpcError, type ServiceClient } from "@hullmark/proto/rpc";
import { nodeHosts } from "../../core/hosts-file.ts";
import {
  type ContainerFacts,
  type ContainerRuntime,
  ContainerRuntimeError,
  type RuntimeEvent,
  type RuntimeFacts,
  type StoppedContainer,
} from "../../ports/container-runtime.ts";
import { containerFacts, nameOf, type Told } from "./container-facts.ts";
import { bindKind, type MountOwner, SUBPATH } from "./mount-kind.ts";
import { podFacts } from "./pod.ts";
import { pause, TaskHints } from "./task-hints.ts";
import { Unlisted } from "./unlisted.ts";
import { type ContainerInfo, parseContainerInfo, parseRuntimeConfig, parseSandboxInfo, type SandboxInfo } from "./verbose-info.ts";

const CALL_TIMEOUT_MS = 15_000;
/** As the kubelet's: a node's list of containers with all labels may be large. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
/** A stream that is not refused by then is followed. */
const REFUSAL_MS = 1_000;

export interface CriRuntimeOptions {
  /** Unix socket of the runtime, absolute. */
  readonly socketPath: string;
  /** The kubelet's root directory. */
  readonly kubeletDirectory: string;
  /** Also containers that the runtime does not tell of. */
  readonly reportOthers: boolean;
}

interface Place {
  /** containerd's content store; undefined: another runtime. */
  readonly blobs: string | undefined;
}

export class CriRuntime implements ContainerRuntime {
  readonly #channel: RpcChannel;
  readonly #runtime: ServiceClient<typeof RuntimeService>;
  readonly #images: ServiceClient<typeof ImageService>;
  readonly #tasks: ServiceClient<typeof Events>;
  readonly #kubeletDirectory: string;
  readonly #unlisted: Unlisted | undefined;
  #place: Place | undefined;

  constructor({ socketPath, kubeletDirectory, reportOthers }: CriRuntimeOptions) {
    this.#channel = new RpcChannel(`unix:${socketPath}`, credentials.createInsecure(), {
      "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
      // The agent's own backoff decides when to try again; a runtime that is back must be found at once then.
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 1_000,
    });
    this.#runtime = this.#channel.client(RuntimeService);
    this.#images = this.#channel.client(ImageService);
    this.#tasks = this.#channel.client(Events);
    this.#unlisted = reportOthers ? new Unlisted() : undefined;
    this.#kubeletDirectory = kubeletDirectory.replace(/\/+$/, "");
  }

  async facts(signal: AbortSignal): Promise<RuntimeFacts> {
    const options = { signal, timeoutMs: CALL_TIMEOUT_MS };
    const [version, status] = await guard(() => Promise.all([this.#runtime.version({}, options), this.#runtime.status({ verbose: true }, options)]));
    const config = parseRuntimeConfig(status.info);
    const root = config?.containerdRootDir;
    this.#place = { blobs: root ? join(root, "io.containerd.content.v1.content/blobs/sha256") : undefined };
    const name = version.runtimeName;
    // containers/storage, which CRI-O uses, extracts layers by docker's rules.
    return {
      name,
      version: version.runtimeVersion,
      storageDriver: config?.containerd?.snapshotter ?? (await this.#snapshotter(options)),
      dialect: name === "cri-o" ? "docker" : "containerd",
      ownLayer: false,
    };
  }

  /** containerd from 2.0 on does not tell it, but where images are unpacked to; empty: that neither. */
  async #snapshotter(options: { readonly signal: AbortSignal; readonly timeoutMs: number }): Promise<string> {
    const { imageFilesystems } = await guard(() => this.#images.imageFsInfo({}, options));
    const [name] = imageFilesystems.flatMap(({ fsId }) => /\/io\.containerd\.snapshotter\.v1\.([a-z0-9-]{1,64})$/.exec(fsId?.mountpoint ?? "")?.[1] ?? []);
    return name ?? "";
  }

  async list(signal: AbortSignal): Promise<readonly string[]> {
    // Looked at before the runtime is asked: what it does not know then was not started in between.
    const seen = this.#unlisted?.look();
    const { containers, sandboxes } = await this.#all(signal);
    const running = containers.filter(({ state }) => state === ContainerState.CONTAINER_RUNNING).map(({ id }) => id);
    const ready = sandboxes.filter(({ state }) => state === PodSandboxState.SANDBOX_READY).map(({ id }) => id);
    const known = new Set([...containers, ...sandboxes].map(({ id }) => id));
    return [...running, ...ready, ...(seen ? (this.#unlisted?.others(seen, known) ?? []) : [])];
  }

  /** Of a sandbox that has ended the list names no image; all have the runtime's own. */
  async stopped(signal: AbortSignal): Promise<readonly StoppedContainer[]> {
    const { containers, sandboxes } = await this.#all(signal);
    const podLabels = new Map(sandboxes.map(({ id, labels }) => [id, labels]));
    return containers
      .filter(({ state }) => state !== ContainerState.CONTAINER_RUNNING)
      .map((container) => {
        const { id, metadata, labels, podSandboxId, imageId, imageRef } = container;
        const pod = podFacts(containerLabels(container, { labels, metadata }), podLabels.get(podSandboxId) ?? {}, {});
        return { id, name: nameOf(pod, metadata?.name || id.slice(0, 12)), imageId: imageId || imageRef };
      });
  }

  async inspect(id: string, signal: AbortSignal): Promise<ContainerFacts | undefined> {
    if (!this.#place) await this.facts(signal);
    const unlisted = this.#unlisted?.facts(id);
    if (unlisted) return unlisted;
    const told = (await this.#container(id, signal)) ?? (await this.#sandbox(id, signal));
    return told && containerFacts(told);
  }

  async *events(signal: AbortSignal): AsyncGenerator<RuntimeEvent> {
    try {
      if (tellsAll(await this.facts(signal))) yield* this.#streamed(signal);
      else yield* this.#listWatch(signal);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof RpcError) || error.code !== "UNIMPLEMENTED") throw error instanceof ContainerRuntimeError ? error : unreachable(error);
      yield* this.#listWatch(signal);
    }
    if (!signal.aborted) throw new ContainerRuntimeError("RUNTIME_UNREACHABLE", "the event stream ended");
  }

  close(): void {
    this.#channel.close();
  }

  /** GetContainerEvents; see {@link tellsAll}. */
  async *#streamed(signal: AbortSignal): AsyncGenerator<RuntimeEvent> {
    const stream = this.#runtime.getContainerEvents({}, { signal })[Symbol.asyncIterator]();
    // The stream tells nothing of its own until something happens: that it is not refused is seen by waiting for a moment.
    const first = stream.next();
    first.catch(() => {});
    const early = await Promise.race([first, pause(REFUSAL_MS, signal)]);
    if (signal.aborted) return;
    // CRI-O, where `enable_pod_events` is off, as it is unless somebody says otherwise.
    if (early?.done) return yield* this.#listWatch(signal);
    yield { kind: "connected", containerId: "" };
    for (let result = await first; !result.done; result = await stream.next()) yield { kind: "changed", containerId: result.value.containerId };
  }

  /** Lists whenever something may have happened, and tells what is different. A container that came and went between two lists is not told: it could not be measured either. */
  async *#listWatch(signal: AbortSignal): AsyncGenerator<RuntimeEvent> {
    const over = new AbortController();
    // Before the list: what happens after it is told.
    const hints = new TaskHints(this.#tasks, AbortSignal.any([signal, over.signal]));
    try {
      let before = await this.#states(signal);
      yield { kind: "connected", containerId: "" };
      while (!signal.aborted) {
        await guard(() => hints.due(signal));
        if (signal.aborted) return;
        const now = await this.#states(signal);
        for (const [id, state] of now) if (before.get(id) !== state) yield { kind: "changed", containerId: id };
        for (const id of before.keys()) if (!now.has(id)) yield { kind: "changed", containerId: id };
        before = now;
      }
    } finally {
      over.abort();
    }
  }

  async #states(signal: AbortSignal): Promise<ReadonlyMap<string, number>> {
    const { containers, sandboxes } = await this.#all(signal);
    return new Map([...containers, ...sandboxes].map(({ id, state }) => [id, state]));
  }

  async #all(signal: AbortSignal) {
    const options = { signal, timeoutMs: CALL_TIMEOUT_MS };
    const [{ containers }, { items }] = await guard(() => Promise.all([this.#runtime.listContainers({}, options), this.#runtime.listPodSandbox({}, options)]));
    return { containers, sandboxes: items };
  }

  async #container(id: string, signal: AbortSignal): Promise<Told | undefined> {
    const options = { signal, timeoutMs: CALL_TIMEOUT_MS };
    const response = await missing(guard(() => this.#runtime.containerStatus({ containerId: id, verbose: true }, options)));
    const { status } = response ?? {};
    const info = parseContainerInfo(response?.info ?? {});
    if (status?.state !== ContainerState.CONTAINER_RUNNING) return undefined;
    // Without the configuration that was run nothing could be said of its privileges: that is no container without any.
    if (!info?.runtimeSpec) throw new ContainerRuntimeError("RUNTIME_PROTOCOL", `neither process nor configuration is told of container ${id.slice(0, 12)}`);
    if (info.pid <= 0) return undefined;
    // Only the list names the image by its id always: the status names it as it was pulled last.
    const listed = (await guard(() => this.#runtime.listContainers({ filter: { id } }, options))).containers[0];
    if (!listed) return undefined;
    const sandbox = await missing(guard(() => this.#runtime.podSandboxStatus({ podSandboxId: listed.podSandboxId, verbose: true }, options)));
    const ofSandbox = parseSandboxInfo(sandbox?.info ?? {});
    // Whose namespaces it takes stands there alone: that is no container with none of the node's.
    if (sandbox && !ofSandbox?.runtimeSpec)
      throw new ContainerRuntimeError("RUNTIME_PROTOCOL", `nothing is told of the sandbox of container ${id.slice(0, 12)}`);
    return this.#told(listed, { status, info }, sandbox?.status, ofSandbox, signal);
  }

  /** The sandbox's own process, which holds the pod's namespaces, is a container like any other. */
  async #sandbox(id: string, signal: AbortSignal): Promise<Told | undefined> {
    const options = { signal, timeoutMs: CALL_TIMEOUT_MS };
    const response = await missing(guard(() => this.#runtime.podSandboxStatus({ podSandboxId: id, verbose: true }, options)));
    const { status } = response ?? {};
    const info = parseSandboxInfo(response?.info ?? {});
    if (status?.state !== PodSandboxState.SANDBOX_READY) return undefined;
    if (!info?.runtimeSpec) throw new ContainerRuntimeError("RUNTIME_PROTOCOL", `nothing is told of sandbox ${id.slice(0, 12)}`);
    // CRI-O holds the namespaces of most pods without a process.
    if (!info.pid || info.pid <= 0) return undefined;
    const { createdAt, labels, annotations } = status;
    const image = { image: info.image ?? "" };
    const listed = create(ContainerSchema, { id, podSandboxId: id, imageRef: info.image ?? "" });
    const asContainer = create(ContainerStatusSchema, { id, createdAt, startedAt: createdAt, image, labels, annotations });
    return this.#told(listed, { status: asContainer, info: { pid: info.pid, runtimeSpec: info.runtimeSpec } }, status, info, signal);
  }

  async #told(
    listed: Container,
    { status, info }: Pick<Told, "status"> & { readonly info: ContainerInfo },
    sandbox: PodSandboxStatus | undefined,
    sandboxInfo: SandboxInfo | undefined,
    signal: AbortSignal,
  ): Promise<Told> {
    const pod = podFacts(containerLabels(listed, status), sandbox?.labels ?? {}, sandbox?.annotations ?? {});
    const image = await this.#image(listed, signal);
    const hex = /^sha256:([0-9a-f]{64})$/.exec(image?.id ?? "")?.[1];
    const blobs = this.#place?.blobs;
    const owner = { containerId: listed.id, sandboxId: listed.podSandboxId, podUid: pod?.uid ?? "", kubeletDirectory: this.#kubeletDirectory };
    return {
      listed,
      status,
      info,
      sandbox,
      sandboxInfo,
      image,
      pod,
      configBlobPath: hex && blobs ? join(blobs, hex) : undefined,
      mountTypes: await mountTypes(info, owner),
      nodeHosts: await nodeHosts((path) => readFile(path, "latin1")),
    };
  }

  async #image(listed: Container, signal: AbortSignal) {
    const image = listed.imageId || listed.imageRef;
    if (image === "") return undefined;
    return (await guard(() => this.#images.imageStatus({ image: { image } }, { signal, timeoutMs: CALL_TIMEOUT_MS }))).image;
  }
}

/**
 * Whether each that asks for events is told all of them. containerd 1.7 (issue 7318) and CRI-O up to 1.27 (issue 6466) tell each event to one of them: what the agent is told, a kubelet
 * with `EventedPLEG` is not.
 */
function tellsAll({ name, version }: RuntimeFacts): boolean {
  const [, major, minor] = /^v?(\d+)\.(\d+)/.exec(version) ?? [];
  if (name === "containerd") return Number(major) >= 2;
  return name !== "cri-o" || Number(major) > 1 || Number(minor) >= 28;
}

const CONTAINER_NAME = "io.kubernetes.container.name";

/** Only the sandbox has no name in its pod: a container that was started past the kubelet may lack the kubelet's labels, and is none for that. */
function containerLabels({ id, podSandboxId }: Container, { labels, metadata }: Pick<Told["status"], "labels" | "metadata">): Readonly<Record<string, string>> {
  if (id === podSandboxId) return {};
  return { ...labels, [CONTAINER_NAME]: labels[CONTAINER_NAME] || metadata?.name || id.slice(0, 12) };
}

async function mountTypes(info: ContainerInfo, owner: MountOwner): Promise<ReadonlyMap<string, string>> {
  const types = new Map<string, string>();
  for (const { destination, type, source } of info.runtimeSpec?.mounts ?? []) {
    if (type !== "bind" || !source) continue;
    const kind = bindKind(source, owner);
    types.set(destination, kind === SUBPATH ? await subPathKind(source, owner) : kind);
  }
  return types;
}

/** The kubelet binds a subPath aside; which kind of volume it is a part of shows in the directories that the pod has. */
async function subPathKind(source: string, owner: MountOwner): Promise<string> {
  const pod = `${owner.kubeletDirectory}/pods/${owner.podUid}`;
  const volume = source.slice(`${pod}/volume-subpaths/`.length).split("/", 1)[0] ?? "";
  const plugins = await readdir(`${pod}/volumes`).catch((): string[] => []);
  for (const plugin of plugins) {
    const kept = await readdir(`${pod}/volumes/${plugin}`).catch((): string[] => []);
    if (kept.includes(volume)) return bindKind(`${pod}/volumes/${plugin}/${volume}/`, owner);
  }
  // A path of the node's has no directory there.
  return "bind";
}

class MissingError extends Error {}

async function guard<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof RpcError && error.code === "NOT_FOUND") throw new MissingError();
    throw unreachable(error);
  }
}

function unreachable(error: unknown): ContainerRuntimeError {
  const answered = error instanceof RpcError && !["UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"].includes(error.code);
  const text = error instanceof Error ? error.message : "unknown error";
  return new ContainerRuntimeError(answered ? "RUNTIME_PROTOCOL" : "RUNTIME_UNREACHABLE", text, { cause: error });
}

async function missing<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof MissingError) return undefined;
    throw error;
  }
}
