/**
 * As many pods as a node may hold, without kubelet and containerd: a server of Kubernetes' runtime interface that tells of real containers, each with its sandbox, started by
 * runc over real overlay mounts and laid out on disk as containerd and kubelet lay theirs out.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { EventEmitter, on } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { create, type MessageInitShape, type UnknownField } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { Events } from "@hullmark/proto/containerd-events";
import {
  ContainerSchema,
  ContainerState,
  type ContainerStatusResponseSchema,
  ImageService,
  PodSandboxSchema,
  PodSandboxState,
  type PodSandboxStatusResponseSchema,
  RuntimeService,
} from "@hullmark/proto/cri";
import { addService, RpcError } from "@hullmark/proto/rpc";
import { run } from "../../deploy/testbed/run.ts";
import type { PushedImage } from "../../test/e2e/images/push.ts";

const CREATED_NS = BigInt(Date.now()) * 1_000_000n;
const SECRETS = "/var/run/secrets/kubernetes.io/serviceaccount";
/** runc is asked for so many at the same time. */
const AT_ONCE = 4;
/** prctl(PR_SET_CHILD_SUBREAPER, 1): what runc starts is then its child, as containers are their shim's; it outlives an exec. */
const AS_SHIM = `require "syscall.ph"; syscall(&SYS_prctl, 36, 1, 0, 0, 0) == 0 or die "prctl: $!"; exec @ARGV`;

export interface SimulatedPods {
  readonly socketPath: string;
  readonly kubeletDirectory: string;
  /** Starts that many more, each of one container. */
  start(pods: number): Promise<void>;
  stop(): Promise<void>;
}

export interface SimulatedPodsOptions {
  /** Empty, on a filesystem that can be below an overlay. */
  readonly directory: string;
  readonly image: PushedImage;
  /** Its layers, bottom first. */
  readonly layers: readonly Buffer[];
  readonly command: readonly string[];
  /** Whether the runtime interface tells events (GetContainerEvents), or, as with containerd before 2.0, has to be asked for its list when tasks begin and end. */
  readonly events: boolean;
}

interface Simulated {
  readonly id: string;
  readonly sandboxId: string;
  readonly pod: { readonly name: string; readonly uid: string };
  readonly bundle: string;
  readonly spec: object;
  readonly pid: number;
}

export async function startSimulatedPods(options: SimulatedPodsOptions): Promise<SimulatedPods> {
  const node = new SimulatedNode(options);
  await node.prepare();
  const server = await serve(node, options);
  return {
    socketPath: node.socketPath,
    kubeletDirectory: node.kubelet,
    start: (pods) => node.start(pods),
    async stop() {
      server.forceShutdown();
      await node.stop();
    },
  };
}

/** The containers and where their files lie. */
class SimulatedNode {
  readonly containers = new Map<string, Simulated>();
  readonly sandboxes = new Map<string, Simulated>();
  /** `started` with each. */
  readonly tasks = new EventEmitter();
  readonly root: string;
  readonly kubelet: string;
  readonly socketPath: string;
  readonly #options: SimulatedPodsOptions;
  readonly #shim: Shim;
  #snapshots = 0;

  constructor(options: SimulatedPodsOptions) {
    this.#options = options;
    this.root = join(options.directory, "containerd");
    this.kubelet = join(options.directory, "kubelet");
    this.socketPath = join(options.directory, "cri.sock");
    this.#shim = new Shim(join(options.directory, "runc"));
  }

  /** Config blob and layers, as containerd keeps them. */
  async prepare(): Promise<void> {
    const { image, layers } = this.#options;
    const blobs = join(this.root, "io.containerd.content.v1.content/blobs/sha256");
    mkdirSync(blobs, { recursive: true });
    const [host = "", repository = ""] = splitOnce(image.repository, "/");
    const config = await fetch(`http://${host}/v2/${repository}/blobs/${image.configDigest}`);
    writeFileSync(join(blobs, image.configDigest.slice("sha256:".length)), Buffer.from(await config.arrayBuffer()));
    for (const [i, layer] of layers.entries()) {
      const [archive, directory] = [join(this.#options.directory, `layer-${i}.tar`), this.#snapshot("fs")];
      writeFileSync(archive, layer);
      await run(["tar", "--extract", "--same-owner", "--same-permissions", "--file", archive, "--directory", directory]);
    }
  }

  async start(pods: number): Promise<void> {
    let left = pods;
    const lane = async (): Promise<void> => {
      while (left-- > 0) {
        const pod = { name: `rest-${this.sandboxes.size}-${randomBytes(3).toString("hex")}`, uid: randomUUID() };
        const sandbox = await this.#container(pod, undefined);
        this.sandboxes.set(sandbox.id, sandbox);
        this.tasks.emit("started");
        const container = await this.#container(pod, sandbox);
        this.containers.set(container.id, container);
        this.tasks.emit("started");
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, lane));
  }

  async stop(): Promise<void> {
    for (const { pid } of [...this.containers.values(), ...this.sandboxes.values()]) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It has ended by itself.
      }
    }
    for (const id of [...this.containers.keys(), ...this.sandboxes.keys()]) await this.#shim.run(["runc", "--root", "$RUNC", "delete", "--force", id]);
    await this.#shim.end();
  }

  #snapshot(...names: readonly string[]): string {
    const base = join(this.root, "io.containerd.snapshotter.v1.overlayfs/snapshots", String(++this.#snapshots));
    for (const name of names) mkdirSync(join(base, name), { recursive: true });
    return join(base, names[0] ?? "");
  }

  async #container(pod: Simulated["pod"], sandbox: Simulated | undefined): Promise<Simulated> {
    const id = randomBytes(32).toString("hex");
    const bundle = join(this.#options.directory, "run", id);
    mkdirSync(join(bundle, "rootfs"), { recursive: true });
    const upper = this.#snapshot("fs", "work");
    const lower = this.#options.layers.map((_, i) => join(upper, "../..", String(i + 1), "fs")).toReversed();
    const overlay = `lowerdir=${lower.join(":")},upperdir=${upper},workdir=${join(upper, "../work")}`;
    const spec = ociSpec(
      join(bundle, "rootfs"),
      this.#options.command,
      `/hullmark-bench/${pod.uid}/${id}`,
      this.#mounts(pod, sandbox?.id ?? id, sandbox !== undefined),
    );
    writeFileSync(join(bundle, "config.json"), JSON.stringify(spec));
    await this.#shim.run(["mount", "-t", "overlay", "overlay", "-o", overlay, join(bundle, "rootfs")]);
    const pidFile = join(bundle, "pid");
    await this.#shim.run(["runc", "--root", "$RUNC", "run", "--detach", "--bundle", bundle, "--pid-file", pidFile, id]);
    return { id, sandboxId: sandbox?.id ?? id, pod, bundle, spec, pid: Number(readFileSync(pidFile, "utf8")) };
  }

  /** Of a sandbox those that containerd gives it, of a container also the kubelet's. */
  #mounts({ uid, name }: Simulated["pod"], sandboxId: string, whole: boolean): object[] {
    const sandbox = join(this.root, "io.containerd.grpc.v1.cri/sandboxes", sandboxId);
    const pod = join(this.kubelet, "pods", uid);
    const bound = (path: string, destination: string, content?: string): object => {
      mkdirSync(content === undefined ? path : join(path, ".."), { recursive: true });
      if (content !== undefined) writeFileSync(path, content);
      return { destination, type: "bind", source: path, options: ["rbind", "rprivate", "rw"] };
    };
    const resolver = bound(join(sandbox, "resolv.conf"), "/etc/resolv.conf", "nameserver 10.96.0.10\n");
    if (!whole) return [resolver];
    return [
      resolver,
      bound(join(sandbox, "hostname"), "/etc/hostname", `${name}\n`),
      bound(join(pod, "etc-hosts"), "/etc/hosts", `# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n`),
      bound(join(pod, "containers/web", randomBytes(4).toString("hex")), "/dev/termination-log", ""),
      bound(join(pod, "volumes/kubernetes.io~projected/kube-api-access"), SECRETS),
    ];
  }
}

/** One shell with a mount namespace of its own: what has to be done on the node's side is done there, and what runc starts is its child. */
class Shim {
  readonly #shell: ChildProcess;
  readonly #runc: string;
  readonly #waiting: ((line: string) => void)[] = [];

  constructor(runc: string) {
    this.#runc = runc;
    this.#shell = spawn("unshare", ["--mount", "--propagation", "private", "perl", "-e", AS_SHIM, "bash"], { stdio: ["pipe", "pipe", "inherit"] });
    if (!this.#shell.stdout) throw new Error("no shell");
    createInterface(this.#shell.stdout).on("line", (line) => this.#waiting.shift()?.(line));
  }

  /** One command after the other. `$RUNC` stands for runc's directory. @throws Error when it fails */
  async run(argv: readonly string[]): Promise<void> {
    const words = argv.map((word) => (word === "$RUNC" ? this.#runc : word)).map((word) => `'${word.replaceAll("'", "'\\''")}'`);
    const answer = new Promise<string>((resolve) => this.#waiting.push(resolve));
    this.#shell.stdin?.write(`${words.join(" ")} </dev/null >/dev/null; echo $?\n`);
    if ((await answer) !== "0") throw new Error(`${argv.join(" ")} failed`);
  }

  async end(): Promise<void> {
    const ended = new Promise<void>((resolve) => this.#shell.once("exit", () => resolve()));
    this.#shell.stdin?.end("exit\n");
    await ended;
  }
}

const CAPABILITIES = [
  "CHOWN",
  "DAC_OVERRIDE",
  "FSETID",
  "FOWNER",
  "MKNOD",
  "NET_RAW",
  "SETGID",
  "SETUID",
  "SETFCAP",
  "SETPCAP",
  "NET_BIND_SERVICE",
  "SYS_CHROOT",
  "KILL",
  "AUDIT_WRITE",
].map((name) => `CAP_${name}`);

/** As containerd's CRI plug-in makes it for a pod that asks for nothing. */
function ociSpec(path: string, args: readonly string[], cgroupsPath: string, mounts: readonly object[]): object {
  const plain = (destination: string, type: string, options: readonly string[]): object => ({ destination, type, source: type, options });
  return {
    ociVersion: "1.0.2",
    process: {
      user: { uid: 0, gid: 0 },
      args,
      env: ["PATH=/bin", "KUBERNETES_SERVICE_HOST=10.96.0.1", "KUBERNETES_SERVICE_PORT=443"],
      cwd: "/",
      capabilities: Object.fromEntries(["bounding", "effective", "permitted"].map((set) => [set, CAPABILITIES])),
    },
    root: { path },
    mounts: [
      plain("/proc", "proc", ["nosuid", "noexec", "nodev"]),
      plain("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
      plain("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
      plain("/dev/mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
      plain("/sys", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
      plain("/sys/fs/cgroup", "cgroup", ["nosuid", "noexec", "nodev", "relatime", "ro"]),
      ...mounts,
    ],
    linux: {
      cgroupsPath,
      namespaces: ["pid", "ipc", "uts", "mount", "network"].map((type) => ({ type })),
      maskedPaths: [
        "/proc/asound",
        "/proc/acpi",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/sys/firmware",
      ],
      readonlyPaths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    },
  };
}

function labelsOf({ name, uid }: Simulated["pod"], container?: string): Record<string, string> {
  return {
    "io.kubernetes.pod.name": name,
    "io.kubernetes.pod.namespace": "default",
    "io.kubernetes.pod.uid": uid,
    ...(container === undefined ? { app: "rest", "io.cri-containerd.kind": "sandbox" } : { "io.kubernetes.container.name": container }),
  };
}

/** The kubelet's, of about the length that real ones have. */
const ANNOTATIONS = {
  "io.kubernetes.container.hash": "5d2a6f1c",
  "io.kubernetes.container.restartCount": "0",
  "io.kubernetes.container.terminationMessagePath": "/dev/termination-log",
  "io.kubernetes.container.terminationMessagePolicy": "File",
  "io.kubernetes.pod.terminationGracePeriod": "30",
};
const SANDBOX_ANNOTATIONS = { "kubernetes.io/config.seen": "2026-01-01T00:00:00.000000000Z", "kubernetes.io/config.source": "api" };

/** A map of the interface that the agent does not read of a list's entries: they are as long as real ones, and it has to skip what it does not read. */
function unread(no: number, pairs: Readonly<Record<string, string>>): UnknownField[] {
  return Object.entries(pairs).map(([key, value]) => {
    const entry = new BinaryWriter().tag(1, WireType.LengthDelimited).string(key).tag(2, WireType.LengthDelimited).string(value).finish();
    return { no, wireType: WireType.LengthDelimited, data: new BinaryWriter().bytes(entry).finish() };
  });
}

async function serve(node: SimulatedNode, { image, events }: SimulatedPodsOptions): Promise<Server> {
  const server = new Server();
  const named = { imageRef: image.configDigest, imageId: image.configDigest, state: ContainerState.CONTAINER_RUNNING };
  const listed = ({ id, sandboxId, pod }: Simulated) =>
    create(ContainerSchema, { id, podSandboxId: sandboxId, ...named, $unknown: [...unread(8, labelsOf(pod, "web")), ...unread(9, ANNOTATIONS)] });
  const sandboxOf = ({ id, pod }: Simulated) =>
    create(PodSandboxSchema, { id, state: PodSandboxState.SANDBOX_READY, $unknown: [...unread(5, labelsOf(pod)), ...unread(6, SANDBOX_ANNOTATIONS)] });
  const known = (from: ReadonlyMap<string, Simulated>, id: string): Simulated => {
    const found = from.get(id);
    if (!found) throw new RpcError("NOT_FOUND", `no ${id}`);
    return found;
  };
  const runtime = {
    version: async () => ({ version: "0.1.0", runtimeName: "containerd", runtimeVersion: events ? "2.0.0" : "1.6.20~ds1", runtimeApiVersion: "v1" }),
    status: async () => ({ info: { config: JSON.stringify({ containerdRootDir: node.root, containerd: { snapshotter: "overlayfs" } }) } }),
    listContainers: async ({ filter }: { filter?: { id: string } | undefined }) => ({
      containers: filter?.id ? [...node.containers.values()].filter(({ id }) => id === filter.id).map(listed) : [...node.containers.values()].map(listed),
    }),
    listPodSandbox: async () => ({ items: [...node.sandboxes.values()].map(sandboxOf) }),
    async containerStatus({ containerId }: { containerId: string }): Promise<MessageInitShape<typeof ContainerStatusResponseSchema>> {
      const { id, pid, pod, spec } = known(node.containers, containerId);
      const times = { createdAt: CREATED_NS, startedAt: CREATED_NS };
      const labels = labelsOf(pod, "web");
      const status = { id, ...named, ...times, labels, annotations: ANNOTATIONS, metadata: { name: "web" }, image: { image: image.reference } };
      return { status, info: { info: JSON.stringify({ pid, runtimeSpec: spec, config: { image: { image: image.reference } } }) } };
    },
    async podSandboxStatus({ podSandboxId }: { podSandboxId: string }): Promise<MessageInitShape<typeof PodSandboxStatusResponseSchema>> {
      const { id, pid, pod, spec } = known(node.sandboxes, podSandboxId);
      const network = { ip: "10.88.0.2" };
      const metadata = { ...pod, namespace: "default" };
      const status = {
        id,
        metadata,
        state: PodSandboxState.SANDBOX_READY,
        createdAt: CREATED_NS,
        network,
        labels: labelsOf(pod),
        annotations: SANDBOX_ANNOTATIONS,
      };
      return { status, info: { info: JSON.stringify({ pid, image: image.reference, runtimeSpec: spec, config: { hostname: pod.name } }) } };
    },
    // Nothing happens to the pods while they are looked at.
    async *getContainerEvents(_: unknown, { signal }: { signal: AbortSignal }): AsyncGenerator<never> {
      if (!events) throw new RpcError("UNIMPLEMENTED", "unknown method GetContainerEvents");
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
    },
  };
  const tasks = {
    async *subscribe(_: unknown, { signal }: { signal: AbortSignal }) {
      for await (const _started of on(node.tasks, "started", { signal })) yield { namespace: "k8s.io", topic: "/tasks/start" };
    },
  };
  const images = {
    imageStatus: async () => ({ image: { id: image.configDigest, repoTags: [image.tagged], repoDigests: [image.reference] } }),
    imageFsInfo: async () => ({ imageFilesystems: [{ fsId: { mountpoint: join(node.root, "io.containerd.snapshotter.v1.overlayfs") } }] }),
  };
  const pass = (): void => undefined;
  addService(server, RuntimeService, runtime, pass, pass);
  addService(server, ImageService, images, pass, pass);
  addService(server, Events, tasks, pass, pass);
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(`unix:${node.socketPath}`, ServerCredentials.createInsecure(), (error) => (error ? reject(error) : resolve())),
  );
  return server;
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return [text.slice(0, at), text.slice(at + 1)];
}
