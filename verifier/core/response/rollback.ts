/** Which image a service goes back to: the one that ran last, is verified now, and is not the present one. Pure. */
import { ActionKind, ActionState } from "@hullmark/proto/v1/response";
import type { ActionRow, EarlierImage, WorkloadRow } from "../../ports/rows.ts";

/** What policy says now of an image that ran before: `looking-up` passes by itself, and is no word for or against it. */
export type Standing = "verified" | "looking-up" | "not-verified";

export interface Rollback {
  /** The service is labelled `hullmark.dev/rollback: never`. */
  readonly never: boolean;
  /** The newest first. */
  readonly earlier: readonly { readonly image: EarlierImage; readonly standing: Standing }[];
}

export const NO_ROLLBACK: Rollback = { never: false, earlier: [] };

/** Where the deployer says so it is never rolled back, whatever policy says. */
export const ROLLBACK_LABEL = "hullmark.dev/rollback";

const FRUITLESS: ReadonlySet<ActionState> = new Set([ActionState.FAILED, ActionState.REFUSED]);
/** Why going back to an image came to nothing that is of the image itself; others pass, or hold for whatever would be done to the container. */
const LASTING: ReadonlySet<string> = new Set(["engine", "no-target-image"]);
const FORBIDDEN = "rollback-never";

/** It says that going back to this image, or to any, comes to nothing: the one before it, or the next rung, is still to be tried on the container. */
export function endsRollback({ kind, state, reason }: Pick<ActionRow, "kind" | "state" | "reason">): boolean {
  return kind === ActionKind.ROLLBACK && FRUITLESS.has(state) && (LASTING.has(reason) || reason === FORBIDDEN);
}

/** @returns what to go back to; "looking-up": whether there is one, or a newer one is verified, is not known yet */
export function rollbackOf(
  rollback: Rollback | undefined,
  { nodeId, containerId, configDigest, imageId }: Pick<WorkloadRow, "nodeId" | "containerId" | "configDigest" | "imageId">,
  history: readonly ActionRow[],
): EarlierImage | "looking-up" | "none" {
  const ended = history.filter((each) => each.nodeId === nodeId && each.containerId === containerId && endsRollback(each));
  if (rollback?.never || ended.some(({ reason }) => reason === FORBIDDEN)) return "none";
  const fruitless = new Set(ended.map(({ target }) => target?.configDigest));
  if (!rollback) return "looking-up";
  for (const { image, standing } of rollback.earlier) {
    if (image.configDigest === configDigest || image.imageId === imageId || fruitless.has(image.configDigest)) continue;
    if (standing === "looking-up") return "looking-up";
    if (standing === "verified") return image;
  }
  return "none";
}
