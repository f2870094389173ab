/** What the CRI adapter makes of answers that lack what an appraisal rests on: faults of a runtime that speaks the protocol. */
import { join } from "node:path";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { ContainerState, ImageService, PodSandboxState, RuntimeService } from "@hullmark/proto/cri";
import { addService, RpcError, type ServiceImplementation } from "@hullmark/proto/rpc";
import { expect, onTestFinished, test } from "vitest";
import { CriRuntime } from "../../agent/adapters/cri/cri-runtime.ts";
import { scratch } from "../native/tree-support.ts";

const [CONTAINER, SANDBOX] = ["b".repeat(64), "a".repeat(64)];
const joined = ["ipc", "uts", "network"].map((type) => ({ type, path: `/proc/4711/ns/${type}` }));
const OF_CONTAINER = { pid: process.pid, runtimeSpec: { process: {}, linux: { namespaces: [{ type: "pid" }, { type: "mount" }, ...joined] } } };
const OF_SANDBOX = { pid: process.pid, runtimeSpec: { process: {}, linux: { namespaces: [{ type: "pid" }, { type: "ipc" }, { type: "mount" }] } } };

interface Answers {
  readonly container?: string;
  /** undefined: there is no such sandbox. */
  readonly sandbox: string | undefined;
}

/** A runtime without containers. */
const EMPTY: ServiceImplementation<typeof RuntimeService> = {
  version: async () => ({ runtimeName: "containerd", runtimeVersion: "1.6.20" }),
  status: async () => ({ info: { config: "{}" } }),
  listContainers: async () => ({ containers: [] }),
  listPodSandbox: async () => ({ items: [] }),
  containerStatus: () => Promise.reject(new RpcError("NOT_FOUND", "no such container")),
  podSandboxStatus: () => Promise.reject(new RpcError("NOT_FOUND", "no such sandbox")),
  async *getContainerEvents() {},
};

/** A connection to a server of the runtime interface that answers so. */
async function serving(runtime: Partial<ServiceImplementation<typeof RuntimeService>>): Promise<CriRuntime> {
  const socketPath = join(scratch(), "cri.sock");
  const server = new Server();
  const pass = (): void => undefined;
  const imageService = { imageStatus: async () => ({}), imageFsInfo: async () => ({ imageFilesystems: [] }) };
  addService(server, RuntimeService, { ...EMPTY, ...runtime }, pass, pass);
  addService(server, ImageService, imageService, pass, pass);
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${socketPath}`, ServerCredentials.createInsecure(), (error) => (error ? reject(error) : resolve()));
  });
  onTestFinished(() => server.forceShutdown());
  const cri = new CriRuntime({ socketPath, kubeletDirectory: "/var/lib/kubelet", reportOthers: false });
  onTestFinished(() => cri.close());
  return cri;
}

async function inspected({ container = JSON.stringify(OF_CONTAINER), sandbox }: Answers) {
  const cri = await serving({
    listContainers: async () => ({ containers: [{ id: CONTAINER, podSandboxId: SANDBOX }] }),
    listPodSandbox: async () => ({ items: [{ id: SANDBOX, state: PodSandboxState.SANDBOX_READY }] }),
    containerStatus: async () => ({ status: { id: CONTAINER, state: ContainerState.CONTAINER_RUNNING }, info: { info: container } }),
    async podSandboxStatus() {
      if (sandbox === undefined) throw new RpcError("NOT_FOUND", "no such sandbox");
      return { status: { id: SANDBOX, state: PodSandboxState.SANDBOX_READY }, info: { info: sandbox } };
    },
  });
  return await cri.inspect(CONTAINER, new AbortController().signal);
}

/** What it is asked for until its events, or their lack, are followed. */
async function askedOf(runtimeName: string, runtimeVersion: string, events: "told" | "off"): Promise<readonly string[]> {
  const asked: string[] = [];
  const cri = await serving({
    version: async () => ({ runtimeName, runtimeVersion }),
    async listContainers() {
      asked.push("list");
      return { containers: [] };
    },
    async *getContainerEvents() {
      asked.push("events");
      if (events === "told") yield { containerId: CONTAINER };
    },
  });
  for await (const { kind } of cri.events(new AbortController().signal)) {
    expect(kind).toBe("connected");
    break;
  }
  return asked;
}

test.each<[string, string, string]>([
  ["containerd", "1.6.20~ds1", "list"],
  ["containerd", "v1.7.27-k3s1", "list"],
  ["containerd", "unknown", "list"],
  ["containerd", "v2.0.0", "events"],
  ["cri-o", "1.27.8", "list"],
  ["cri-o", "1.28.0", "events"],
])("events of %s %s are asked for only where others are told of them as well: %s", async (name, version, asked) => {
  expect(await askedOf(name, version, "told")).toEqual([asked]);
});

test("a runtime that tells no events, and says so by ending their stream at once, is asked for its list", async () => {
  expect(await askedOf("cri-o", "1.30.0", "off")).toEqual(["events", "list"]);
});

test("a container takes the node's namespaces from its sandbox", async () => {
  expect(await inspected({ sandbox: JSON.stringify(OF_SANDBOX) })).toMatchObject({ id: CONTAINER, hostNamespaces: ["net", "uts"] });
});

test.each<[string, string]>([
  ["nothing", ""],
  ["what is no JSON", "{"],
  ["no configuration", JSON.stringify({ pid: 1 })],
  ["more than is read", JSON.stringify({ ...OF_SANDBOX, config: { annotations: { x: "x".repeat(5 << 20) } } })],
])("of a container whose sandbox is told with %s nothing is said, not that it has none of the node's", async (_, sandbox) => {
  await expect(inspected({ sandbox })).rejects.toMatchObject({ code: "RUNTIME_PROTOCOL" });
});

test.each<[string, string]>([
  ["nothing", ""],
  ["no configuration", JSON.stringify({ pid: 1 })],
])("so it is of a container that is told with %s itself", async (_, container) => {
  await expect(inspected({ container, sandbox: JSON.stringify(OF_SANDBOX) })).rejects.toMatchObject({ code: "RUNTIME_PROTOCOL" });
});

test("what does not run is told by the name and the image that it had as it ran, whatever of its sandbox is left", async () => {
  const labels = { "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.name": "cart", "io.kubernetes.pod.uid": "u" };
  const usual = { podSandboxId: SANDBOX, imageRef: "ref", metadata: { name: "web" }, labels };
  const of = (id: string, state: ContainerState, more: object = {}) => ({ ...usual, id, state, ...more });
  const { CONTAINER_RUNNING, CONTAINER_EXITED, CONTAINER_CREATED } = ContainerState;
  const cri = await serving({
    listContainers: async () => ({
      containers: [
        ...[of("runs", CONTAINER_RUNNING), of("ended", CONTAINER_EXITED, { imageId: "id" }), of("made", CONTAINER_CREATED)],
        of("sandboxless", CONTAINER_EXITED, { podSandboxId: "gone" }),
        of("alone", CONTAINER_EXITED, { podSandboxId: "gone", labels: {} }),
      ],
    }),
    listPodSandbox: async () => ({ items: [{ id: SANDBOX, state: PodSandboxState.SANDBOX_NOTREADY, labels }] }),
  });
  expect(await cri.stopped(new AbortController().signal)).toEqual([
    { id: "ended", name: "shop/cart/web", imageId: "id" },
    { id: "made", name: "shop/cart/web", imageId: "ref" },
    { id: "sandboxless", name: "shop/cart/web", imageId: "ref" },
    { id: "alone", name: "web", imageId: "ref" },
  ]);
});
