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
/** Refusals that are of the image itself; others pass, or hold for whatever would be done to the container. */
const LASTING: ReadonlySet<string> = new Set(["engine", "no-target-image"]);

/** @returns what to go back to; "looking-up": whether there is one, or a newer one is verified, is not known yet */
export function rollbackOf(
  rollback: Rollback | undefined,
  { nodeId, containerId, configDigest, imageId }: Pick<WorkloadRow, "nodeId" | "containerId" | "configDigest" | "imageId">,
  history: readonly ActionRow[],
): EarlierImage | "looking-up" | "none" {
  const tried = history.filter((each) => each.kind === ActionKind.ROLLBACK && each.nodeId === nodeId && each.containerId === containerId);
  if (rollback?.never || tried.some(({ state, reason }) => state === ActionState.REFUSED && reason === "rollback-never")) return "none";
  const fruitless = new Set(tried.flatMap((each) => (FRUITLESS.has(each.state) && LASTING.has(each.reason) ? [each.target?.configDigest] : [])));
  if (!rollback) return "looking-up";
  for (const { image, standing } of rollback.earlier) {
    if (image.configDigest === configDigest || image.imageId === imageId || fruitless.has(image.configDigest)) continue;
    if (standing === "looking-up") return "looking-up";
    if (standing === "verified") return image;
  }
  return "none";
}
