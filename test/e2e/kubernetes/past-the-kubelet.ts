/** Starts containers over the runtime's own socket, as somebody does who goes past Kubernetes. The project's copy of the interface has no call that changes something. */
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { Client, credentials } from "@grpc/grpc-js";

const LENGTH_DELIMITED = 2;

export interface SmuggledContainer {
  readonly name: string;
  /** As the runtime has it. */
  readonly image: string;
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
function configOf({ name, image, command, labels = {}, env = {}, capabilities = [], mounts = {}, groups = [] }: SmuggledContainer): Uint8Array {
  const added = message(capabilities.map((capability): [number, string] => [1, capability]));
  return message([
    [1, message([[1, name]])],
    [2, message([[1, image]])],
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

/** @returns the container's id; it runs */
export async function smuggle(socketPath: string, sandboxId: string, container: SmuggledContainer): Promise<string> {
  const client = new Client(`unix:${socketPath}`, credentials.createInsecure());
  const call = (method: string, request: Uint8Array): Promise<Buffer> =>
    new Promise((resolve, reject) => {
      const plain = (bytes: Buffer): Buffer => bytes;
      client.makeUnaryRequest(`/runtime.v1.RuntimeService/${method}`, plain, plain, Buffer.from(request), (error, answer) =>
        error || !answer ? reject(error ?? new Error("no answer")) : resolve(answer),
      );
    });
  try {
    const created = await call(
      "CreateContainer",
      message([
        [1, sandboxId],
        [2, configOf(container)],
        [3, message([[1, message([[1, "x"]])]])],
      ]),
    );
    // CreateContainerResponse has one field, the id of 64 digits.
    const id = created.subarray(2).toString("utf8");
    await call("StartContainer", message([[1, id]]));
    return id;
  } finally {
    client.close();
  }
}
