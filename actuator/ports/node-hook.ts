/** Whatever puts marks on nodes for this actuator: a scheduler's own tool, a load balancer's; of a cluster its API server. */
import type { NodeMark } from "@hullmark/proto/v1/response";

/** The node that is marked, which is never the actuator's own. */
export interface MarkedNode {
  /** 16 hex digits. */
  readonly nodeId: string;
  /** As enrolment named it; begins with a letter or digit. */
  readonly name: string;
  /** Ascending, each once, one at least. */
  readonly marks: readonly NodeMark[];
  /** Code of a claim; empty for a lift. */
  readonly reason: string;
}

export interface NodeCall {
  readonly verb: "mark" | "lift";
  readonly mark: NodeMark;
  readonly nodeId: string;
  /** Begins with a letter or digit, and holds no more than letters, digits, `.`, `_` and `-`. */
  readonly name: string;
  readonly actionId: string;
  /** Entry of the verifier's log about the action; undefined: it did not say. */
  readonly logIndex?: number | undefined;
  /** Code of a claim; empty for a lift. */
  readonly reason: string;
  /** It was asked for before, for this action, and may have been done then: of a mark that was taken away nothing on the node says by whom. */
  readonly again?: boolean;
}

/** `there`: it was so already. `failed`: as far as is known it is as it was. `cut-off`: it was ended in the midst, and may have been done. */
export type NodeCallResult = { readonly outcome: "done" | "there" } | { readonly outcome: "failed" | "cut-off"; readonly detail: string };

/** That something was not done, for whoever looks at the node. */
export interface NodeUndone extends Pick<NodeCall, "verb" | "name" | "actionId" | "logIndex" | "reason"> {
  /** A code, and what there is to say besides. */
  readonly why: string;
}

export interface NodeHook {
  /** May be called again after it was done, with the same result; ends within its own limit of time. @throws EngineError ENGINE_UNREACHABLE: nobody answers now, and whether it was done is not known */
  call(call: NodeCall): Promise<NodeCallResult>;
  /** Idempotent for an action; never rejects. Absent: there is nowhere to tell it. */
  tell?(undone: NodeUndone): Promise<void>;
}
