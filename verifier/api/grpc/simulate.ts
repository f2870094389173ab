/** Query.SimulatePolicy: a policy's text in, what would change out. What is given is checked as a policy file is, and bounded before. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { RpcError } from "@hullmark/proto/rpc";
import type {
  SimulatedFindingSchema,
  SimulatedNodeSchema,
  SimulatedResultSchema,
  SimulatedWorkloadSchema,
  SimulatePolicyRequest,
  SimulatePolicyResponseSchema,
} from "@hullmark/proto/v1/query";
import { formatProblem, parsePolicy, policyDigest } from "../../core/policy/index.ts";
import type { Policy } from "../../core/policy/types.ts";
import type { ChangedContainer, ChangedFinding, Said, Simulation } from "../../core/session/index.ts";
import type { NodeRow } from "../../ports/rows.ts";
import { invalid } from "./errors.ts";

export interface SimulateServices {
  readonly policy: () => Policy;
  /** A policy as it would be in force. */
  readonly composed: (given: Policy) => Policy;
  readonly simulate: (policy: Policy, signal: AbortSignal) => Promise<Simulation>;
  /** Nodes that count, connected or not. */
  readonly members: () => number;
}

const MAX_FILES = 256;
const MAX_LISTED = 1000;
const MAX_REASONS = 20;
const MAX_TOLD_PROBLEMS = 10;
const TEXT_CHARS = 1024;

/** One at a time: it costs what a change of policy costs. */
export function policySimulator({ policy, composed, simulate, members }: SimulateServices) {
  let running = false;
  return async (request: SimulatePolicyRequest, signal: AbortSignal): Promise<MessageInitShape<typeof SimulatePolicyResponseSchema>> => {
    if (running) throw new RpcError("RESOURCE_EXHAUSTED", "another policy is being simulated", { reason: "BUSY", fix: "try again", retryable: true });
    const proposed = composed(givenPolicy(request));
    running = true;
    try {
      const digestBefore = policyDigest(policy());
      const found = await simulate(proposed, signal);
      return {
        ...{ digestBefore, digestAfter: policyDigest(proposed) },
        ...{ containers: found.containers, containersFailed: found.failed, containersUnknown: found.unknown, containersChanged: found.changed.length },
        ...{ containersManifestDropped: found.forsaken.containers, manifestsDroppedOf: [...found.forsaken.by].slice(0, MAX_LISTED) },
        workloads: found.changed.slice(0, MAX_LISTED).map(workloadMessage),
        ...{ nodes: found.nodes, nodesAway: Math.max(0, members() - found.nodes), nodesRemeasured: found.remeasured },
        changedNodes: found.changedNodes.slice(0, MAX_LISTED).map(nodeMessage),
      };
    } finally {
      running = false;
    }
  };
}

/** A policy as its text and files say. @throws RpcError INVALID_ARGUMENT */
export function givenPolicy({ policy, files }: SimulatePolicyRequest): Policy {
  // Of bytes the request's own limit allows no more than a policy may have.
  if (policy === "") throw invalid("policy", "the text of a policy file");
  if (Object.keys(files).length > MAX_FILES) throw invalid("files", `at most ${MAX_FILES} files`);
  const readKeyFile = (name: string): string => {
    const content = Object.hasOwn(files, name) ? files[name] : undefined;
    if (content === undefined) throw new Error("it was not sent along");
    return content;
  };
  const parsed = parsePolicy(policy, "policy", { readKeyFile });
  if (parsed.ok) return parsed.policy;
  throw invalid("policy", `a policy that lints clean here: ${parsed.errors.slice(0, MAX_TOLD_PROBLEMS).map(formatProblem).join("; ").slice(0, 4096)}`);
}

function workloadMessage({ node, before, after, findings, findingsChanged }: ChangedContainer): MessageInitShape<typeof SimulatedWorkloadSchema> {
  const { containerId, containerName, workload, imageReference } = after.row;
  return {
    ...{ nodeName: node.name, containerId, containerName, workload, imageReference },
    ...{ before: result(before), after: result(after), findings: findings.map(findingMessage), findingsChanged },
  };
}

function result({ row: { appraised, provenance }, rule }: Said): MessageInitShape<typeof SimulatedResultSchema> {
  const { verdict, content } = appraised;
  return { verdict, content, rule, ...(provenance && { provenance: provenance.status, provenanceText: provenance.text }) };
}

function findingMessage({ before, after }: ChangedFinding): MessageInitShape<typeof SimulatedFindingSchema> {
  const shown = after ?? before;
  return {
    ...(shown && { kind: shown.kind, place: shown.place, path: shown.path.subarray(0, 4096), summary: shown.summary.slice(0, TEXT_CHARS) }),
    ...{ before: before?.severity ?? 0, after: after?.severity ?? 0 },
    ...{ noticeBefore: before?.notice ?? false, noticeAfter: after?.notice ?? false },
  };
}

function nodeMessage({ before, after }: { readonly before: NodeRow; readonly after: NodeRow }): MessageInitShape<typeof SimulatedNodeSchema> {
  const { findings = [], unknown = [] } = after.boot ?? {};
  const reasons = [...findings.map(({ kind, detail }) => `${kind}: ${detail}`), ...unknown.map(({ code, detail }) => `${code}: ${detail}`)];
  return {
    ...{ nodeName: after.name, before: before.verdict, after: after.verdict },
    reasons: reasons.slice(0, MAX_REASONS).map((reason) => reason.slice(0, TEXT_CHARS)),
  };
}
