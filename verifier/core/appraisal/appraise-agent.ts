/** The agent's own files against releases. The digests are the agent's word: only the kernel's measurement list proves what ran, and holds the same files. */
import type { NodeState } from "@hullmark/proto/v1/attestation";

/** Files that every agent consists of (agentDigests of NodeState). */
const PARTS = ["node", "agent", "addon"] as const;

export interface AgentAppraisal {
  readonly findings: readonly { readonly kind: "agent"; readonly what: string; readonly detail: string }[];
  readonly unknown: readonly { readonly code: string; readonly detail: string }[];
}

/** @param known hex SHA-256 of a release's file; undefined: policy asks for none. @param state as last reported */
export function appraiseAgent(state: NodeState | undefined, known: ((sha256: string) => boolean) | undefined): AgentAppraisal {
  if (!known) return { findings: [], unknown: [] };
  const told = new Map(Object.entries(state?.agentDigests ?? {}).map(([name, digest]) => [name, Buffer.from(digest).toString("hex")]));
  const missing = PARTS.filter((name) => !told.has(name));
  return {
    findings: [...told]
      .slice(0, 16)
      .filter(([, digest]) => !known(digest))
      .map(([name, digest]) => ({ kind: "agent" as const, what: name, detail: `the agent's ${name} is ${digest}, which no release of the policy holds` })),
    unknown: missing.length > 0 ? [{ code: "no-agent-digests", detail: `the agent does not tell what its ${missing.join(", ")} is` }] : [],
  };
}
