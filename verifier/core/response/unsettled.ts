import { ActionState } from "@hullmark/proto/v1/response";

/** What is still to come to its end. The store has one such a container. */
export const UNSETTLED: ReadonlySet<ActionState> = new Set([ActionState.AWAITING, ActionState.CAPTURING, ActionState.ISSUED]);
