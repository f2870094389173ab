/** Starts containers over the runtime's own socket, as somebody does who goes past Kubernetes. The project's copy of the interface has no call that changes something. */
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { Client, credentials } from "@grpc/grpc-js";

const [VARINT, LENGTH_DELIMITED] = [0, 2];

export interface SmuggledContainer {
  readonly name: string;
  /** As the runtime has it. */
  readonly image: string;
  /** What the pod's specification calls it, which a kubelet tells beside the id; default: nothing is told. */
  readonly asked?: string;
  readonly command: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
  /** Without `CAP_`; beyond the runtime's own. */
  readonly capabilities?: readonly string[];
  /** Paths of the node by where they are mounted. */
  readonly mounts?: Readonly<Record<string, string>>;
  /** Below 128. */
  readonly groups?: readonly number[];
}

function message(fields: readonly (readonly [field: number, value: string | Uint8Array])[]): Uint8Array {
  const writer = new BinaryWriter();
  for (const [field, value] of fields) {
    writer.tag(field, LENGTH_DELIMITED);
    if (typeof value === "string") writer.string(value);
    else writer.bytes(value);
  }
  return writer.finish();
}

/** `pairs` as entries of field `field`: the same on the wire for a map and for KeyValue. */
function entries(field: number, pairs: Readonly<Record<string, string>>): [number, Uint8Array][] {
  return Object.entries(pairs).map(([key, value]) => [
    field,
    message([
      [1, key],
      [2, value],
    ]),
  ]);
}

/** CreateContainerRequest's `config`. */
function configOf({ name, image, asked, command, labels = {}, env = {}, capabilities = [], mounts = {}, groups = [] }: SmuggledContainer): Uint8Array {
  const added = message(capabilities.map((capability): [number, string] => [1, capability]));
  return message([
    [1, message([[1, name]])],
    [2, message([[1, image], ...(asked === undefined ? [] : [[18, asked] as const])])],
    ...command.map((word): [number, string] => [3, word]),
    ...entries(6, env),
    ...entries(7, mounts),
    ...entries(9, labels),
    [
      15,
      message([
        [2, message([...(capabilities.length === 0 ? [] : [[1, added] as const]), ...(groups.length === 0 ? [] : [[8, Uint8Array.from(groups)] as const])])],
      ]),
    ],
  ]);
}

/** The runtime's calls that change something. */
export class RuntimeSocket implements Disposable {
  readonly #client: Client;

  constructor(socketPath: string) {
    this.#client = new Client(`unix:${socketPath}`, credentials.createInsecure());
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }

  /** On its node's network. As {@link sandboxOf}. @returns its id */
  runSandbox(...pod: Parameters<typeof sandboxOf>): Promise<string> {
    return this.#named("RunPodSandbox", message([[1, sandboxOf(...pod)]]));
  }

  /** From its registry. */
  async pull(image: string): Promise<void> {
    await this.#call("PullImage", message([[1, message([[1, image]])]]), "ImageService");
  }

  /** @returns the container's id; it runs */
  async startContainer(sandboxId: string, container: SmuggledContainer, sandbox: Uint8Array = message([[1, message([[1, "x"]])]])): Promise<string> {
    const created = message([
      [1, sandboxId],
      [2, configOf(container)],
      [3, sandbox],
    ]);
    const id = await this.#named("CreateContainer", created);
    await this.#call("StartContainer", message([[1, id]]));
    return id;
  }

  /** With its containers. */
  async removeSandbox(id: string): Promise<void> {
    await this.#call("StopPodSandbox", message([[1, id]]));
    await this.#call("RemovePodSandbox", message([[1, id]]));
  }

  /** The answer has one field, an id of 64 digits. */
  async #named(method: string, request: Uint8Array): Promise<string> {
    return (await this.#call(method, request)).subarray(2).toString("utf8");
  }

  #call(method: string, request: Uint8Array, service = "RuntimeService"): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const plain = (bytes: Buffer): Buffer => bytes;
      this.#client.makeUnaryRequest(`/runtime.v1.${service}/${method}`, plain, plain, Buffer.from(request), (error, answer) =>
        error || !answer ? reject(error ?? new Error("no answer")) : resolve(answer),
      );
    });
  }
}

/** Labels by which the kubelet, and whoever reads after it, knows what belongs to a pod. */
export function podLabels({ name, uid }: { readonly name: string; readonly uid: string }): Record<string, string> {
  return { "io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": "default", "io.kubernetes.pod.uid": uid };
}

/** PodSandboxConfig, of a pod in namespace `default`. @param cgroup its parent, absolute; default the runtime's own @param labels of the pod's own */
export function sandboxOf(pod: { readonly name: string; readonly uid: string }, cgroup?: string, labels: Readonly<Record<string, string>> = {}): Uint8Array {
  const writer = new BinaryWriter();
  // NamespaceOption.network: NODE.
  const options = writer.tag(1, VARINT).int32(2).finish();
  const metadata = message([
    [1, pod.name],
    [2, pod.uid],
    [3, "default"],
  ]);
  return message([
    [1, metadata],
    ...entries(6, { ...podLabels(pod), ...labels }),
    [8, message([...(cgroup === undefined ? [] : [[1, cgroup] as const]), [2, message([[1, options]])]])],
  ]);
}

/** @returns the container's id; it runs */
export async function smuggle(socketPath: string, sandboxId: string, container: SmuggledContainer): Promise<string> {
  using runtime = new RuntimeSocket(socketPath);
  return await runtime.startContainer(sandboxId, container);
}
