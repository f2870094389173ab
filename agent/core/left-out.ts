/**
 * Which parts of a node's containers are told where everything together is more than one message takes, and what stands in their place: a claim, so that
 * what is not told never passes for clean.
 */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { ContainerParts } from "@hullmark/proto/codec";
import { CodeSetSchema, ContainerConfigurationSchema, ContainerIdentitySchema, FilesystemStateSchema } from "@hullmark/proto/v1/attestation";

/** `code` is the part of that name; `description` the three others, which mean nothing without each other. */
export type Share = "code" | "description";

/** What a share is counted as at least: what stands in for it is never more. */
export const LEAST_SHARE_BYTES = 1024;
/** Of a name that stays; whoever starts a container may give it a long one. */
const MAX_NAME_CHARS = 256;

export interface Demand {
  readonly containerId: string;
  readonly share: Share;
  readonly bytes: number;
}

/**
 * The largest are left out first, so that what one workload makes of itself costs no other its word: a demand of at most `roomBytes / demands.length`, or of
 * {@link LEAST_SHARE_BYTES}, never is among them.
 * @returns which to leave out, gravest first; equal ones by their container's id, so that the same demands give the same answer
 */
export function leftOut(demands: readonly Demand[], roomBytes: number): readonly Demand[] {
  const counted = (each: Demand): number => Math.max(each.bytes, LEAST_SHARE_BYTES);
  let bytes = demands.reduce((sum, each) => sum + counted(each), 0);
  if (bytes <= roomBytes) return [];
  const out: Demand[] = [];
  for (const each of [...demands].sort((a, b) => b.bytes - a.bytes || (a.containerId < b.containerId ? -1 : 1))) {
    if (bytes <= roomBytes || each.bytes <= LEAST_SHARE_BYTES) break;
    out.push(each);
    bytes -= counted(each) - LEAST_SHARE_BYTES;
  }
  return out;
}

/** What stands in for the shares that are left out. The delta is told all the same. */
export function withoutShares(parts: ContainerParts, shares: ReadonlySet<Share>): ContainerParts {
  return { ...parts, ...(shares.has("code") ? { code: NO_CODE } : {}), ...(shares.has("description") ? description(parts.identity) : {}) };
}

const claims = (what: string) => [{ code: "unmeasurable", detail: `${what}: more than there is room for in one report beside the node's other containers` }];

const NO_CODE = toBinary(CodeSetSchema, create(CodeSetSchema, { claims: claims("running code") }));

/** Whose it is, as it is known for a container that the engine cannot describe: without an image nothing is held against one. */
function description(bytes: Uint8Array): Pick<ContainerParts, "identity" | "configuration" | "filesystem"> {
  const { id, name, runtime, workload, pid, pod } = fromBinary(ContainerIdentitySchema, bytes);
  const names = { name: name.slice(0, MAX_NAME_CHARS), workload: workload.slice(0, MAX_NAME_CHARS) };
  const identity = create(ContainerIdentitySchema, { id, ...names, runtime, pid, ...(pod ? { pod } : {}) });
  return {
    identity: toBinary(ContainerIdentitySchema, identity),
    configuration: toBinary(ContainerConfigurationSchema, create(ContainerConfigurationSchema, {})),
    filesystem: toBinary(FilesystemStateSchema, create(FilesystemStateSchema, { claims: claims("labels, configuration and mounts") })),
  };
}
