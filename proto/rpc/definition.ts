/** protobuf-es service descriptors as grpc-js service definitions. */
import { type DescMethod, type DescService, fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import type { MethodDefinition, ServiceDefinition } from "@grpc/grpc-js";

/** Largest message of a stream in both directions (a node's attestation), and largest answer of any method, in bytes. The full state of a node fits: its deltas (16 MiB at most, agent/core/node-evidence) and 500 containers. */
export const MAX_MESSAGE_BYTES = 32 * 1024 * 1024;

/** Largest request of any other method, in bytes: held against the limit before it is parsed. */
const MAX_REQUEST_BYTES = 1024 * 1024;

export function methodPath(service: DescService, method: DescMethod): string {
  return `/${service.typeName}/${method.name}`;
}

export function methodDefinition(service: DescService, method: DescMethod): MethodDefinition<Message, Message> {
  // A serialiser must return a Buffer: grpc-js writes a bare Uint8Array wrongly.
  const buffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return {
    path: methodPath(service, method),
    requestStream: method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming",
    responseStream: method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming",
    requestSerialize: (message) => buffer(toBinary(method.input, message)),
    requestDeserialize: (bytes) => {
      if (method.methodKind !== "bidi_streaming" && bytes.length > MAX_REQUEST_BYTES)
        throw new RangeError(`a request of ${bytes.length} bytes, limit ${MAX_REQUEST_BYTES}`);
      return fromBinary(method.input, bytes);
    },
    responseSerialize: (message) => buffer(toBinary(method.output, message)),
    // Nobody passes an answer on: what this side does not know of it is not kept.
    responseDeserialize: (bytes) => fromBinary(method.output, bytes, { readUnknownFields: false }),
  };
}

/** As a server takes it: of every method the requests are a stream, the same on the wire, for that one is not read until somebody asks for it. */
export function servedDefinition(service: DescService): ServiceDefinition {
  return Object.fromEntries(service.methods.map((method) => [method.localName, { ...methodDefinition(service, method), requestStream: true }]));
}
