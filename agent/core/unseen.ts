/** A container that the engine lists and cannot describe, as hullmark.v1.ContainerUpdate's parts: that it is there, and why nothing is known of it. */
import { create, toBinary } from "@bufbuild/protobuf";
import { type ContainerParts, EMPTY_ROOT } from "@hullmark/proto/codec";
import { CodeSetSchema, ContainerConfigurationSchema, ContainerIdentitySchema, FilesystemKind, FilesystemStateSchema } from "@hullmark/proto/v1/attestation";
import { UNANSWERED } from "./unanswered.ts";

const SHORT_ID_CHARS = 12;
const MAX_REASON_CHARS = 160;

/** @param reason the engine's words */
export function unseenParts(id: string, runtime: string, reason: string): ContainerParts {
  const name = id.slice(0, SHORT_ID_CHARS);
  const claims = [{ code: UNANSWERED, detail: `the engine lists it and cannot describe it: ${reason.slice(0, MAX_REASON_CHARS)}` }];
  return {
    identity: toBinary(ContainerIdentitySchema, create(ContainerIdentitySchema, { id, name, runtime, workload: name })),
    configuration: toBinary(ContainerConfigurationSchema, create(ContainerConfigurationSchema, {})),
    code: toBinary(CodeSetSchema, create(CodeSetSchema, {})),
    filesystem: toBinary(FilesystemStateSchema, create(FilesystemStateSchema, { kind: FilesystemKind.OVERLAY, upperRoot: EMPTY_ROOT, claims })),
  };
}
