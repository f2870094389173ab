/** The parts of a container's state from their bytes. Decoding is strict: unknown fields are kept out, limits come before use. */
import { fromBinary } from "@bufbuild/protobuf";
import { CodecError, type ContainerParts } from "@hullmark/proto/codec";
import {
  type CodeSet,
  CodeSetSchema,
  type ContainerConfiguration,
  ContainerConfigurationSchema,
  type ContainerIdentity,
  ContainerIdentitySchema,
  type FilesystemState,
  FilesystemStateSchema,
  type NodeState,
  NodeStateSchema,
} from "@hullmark/proto/v1/attestation";
import type { ContainerState } from "./types.ts";

const MAX_PART_BYTES = 2 * 1024 * 1024;
const MAX_LAYERS = 256;
const MAX_MOUNTS = 4096;
const MAX_CODE_OBJECTS = 8192;
const MAX_PRIVILEGED = 64;
/** Linux has at most 64 capabilities; five ancestors. */
const MAX_PRIVILEGED_NAMES = 69;
/** Linux PATH_MAX. */
const MAX_DESTINATION_BYTES = 4096;

export interface DecodedParts {
  readonly identity: ContainerIdentity;
  readonly configuration: ContainerConfiguration;
  readonly code: CodeSet;
  readonly filesystem: FilesystemState;
}

/** Decodes what differs from `previous`, and reuses the rest. @throws CodecError */
export function decodeParts(parts: ContainerParts, previous: ContainerState | undefined): DecodedParts {
  const identity = reuse(parts, previous, "identity") ?? decode("identity", parts.identity, (bytes) => fromBinary(ContainerIdentitySchema, bytes));
  const configuration =
    reuse(parts, previous, "configuration") ?? decode("configuration", parts.configuration, (bytes) => fromBinary(ContainerConfigurationSchema, bytes));
  const code = reuse(parts, previous, "code") ?? decode("code", parts.code, (bytes) => fromBinary(CodeSetSchema, bytes));
  const filesystem = reuse(parts, previous, "filesystem") ?? decode("filesystem", parts.filesystem, (bytes) => fromBinary(FilesystemStateSchema, bytes));
  limit("layers", filesystem.layers.length, MAX_LAYERS);
  limit("bind files", filesystem.bindFiles.length, 64);
  limit("mounts", configuration.mounts.length, MAX_MOUNTS);
  limit("environment variables", configuration.env.length, 4096);
  limit("code objects", code.objects.length, MAX_CODE_OBJECTS);
  limit("privileged programs", code.privileged.length, MAX_PRIVILEGED);
  for (const { capabilities, ancestry } of code.privileged) limit("names of a privileged program", capabilities.length + ancestry.length, MAX_PRIVILEGED_NAMES);
  for (const { destination } of configuration.mounts) limit("bytes of a mount's destination", Buffer.byteLength(destination), MAX_DESTINATION_BYTES);
  for (const layer of filesystem.layers) if (layer.root.length !== 32) throw new CodecError("WRONG_LENGTH", `root of layer ${layer.id}`);
  return { identity, configuration, code, filesystem };
}

/** @throws CodecError */
export function decodeNode(bytes: Uint8Array): NodeState {
  return decode("node", bytes, (part) => fromBinary(NodeStateSchema, part));
}

function reuse<K extends keyof ContainerParts>(parts: ContainerParts, previous: ContainerState | undefined, name: K): DecodedParts[K] | undefined {
  return previous && previous.parts[name] === parts[name] ? previous[name] : undefined;
}

function decode<T>(name: string, bytes: Uint8Array, read: (bytes: Uint8Array) => T): T {
  limit(`bytes of ${name}`, bytes.length, MAX_PART_BYTES);
  try {
    return read(bytes);
  } catch (cause) {
    throw new CodecError("TRUNCATED", `${name} is not a message: ${cause instanceof Error ? cause.message : "unreadable"}`);
  }
}

function limit(what: string, count: number, most: number): void {
  if (count > most) throw new CodecError("TOO_LONG", `${count} ${what}, limit ${most}`);
}
