/**
 * Tells the verifier which variables of containers are equal, by digests under a key that it makes for this one question. The verifier is not trusted with more: the key is mixed with
 * whose container it is, so that nothing of one workload can be held against another.
 */
import { createHmac } from "node:crypto";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { ByteWriter } from "@hullmark/proto/codec";
import type { VariablesRequest, VariablesResponseSchema } from "@hullmark/proto/v1/attestation";
import type { ContainerFacts } from "../ports/container-runtime.ts";
import { environmentEntry } from "./parts.ts";

const KEY_BYTES = 32;
const MAX_CONTAINERS = 128;
const MAX_NAMES = 256;

type Facts = Pick<ContainerFacts, "env" | "workload"> & { readonly pod: { readonly container: string } | undefined };

/** @param request the verifier's, which may be anybody's @param factsOf of a container of this node; undefined: there is none @returns nothing of what is no container of a pod, and of too many */
export function comparedVariables(
  { id, key, containerIds, names }: VariablesRequest,
  factsOf: (containerId: string) => Facts | undefined,
): MessageInitShape<typeof VariablesResponseSchema> {
  if (key.length !== KEY_BYTES || containerIds.length > MAX_CONTAINERS || names.length > MAX_NAMES) return { id };
  const wanted = new Set(names);
  const containers = [...new Set(containerIds)].flatMap((containerId) => {
    const facts = factsOf(containerId);
    if (!facts?.pod || facts.pod.container === "") return [];
    const own = keyOf(key, facts.workload, facts.pod.container);
    const entries = facts.env.map((entry) => [entry.split("=", 1)[0] ?? "", entry] as const);
    // Of several of a name the last counts.
    const variables = [...new Map(entries.filter(([name]) => wanted.has(name))).values()].map((entry) => environmentEntry(own, entry));
    return [{ containerId, variables }];
  });
  return { id, containers };
}

function keyOf(key: Uint8Array, workload: string, container: string): Buffer {
  const message = ["hullmark-variables-v1", workload, container].reduce((writer, text) => writer.bytes(Buffer.from(text)), new ByteWriter()).finish();
  return createHmac("sha256", key).update(message).digest();
}
