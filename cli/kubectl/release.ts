/** Which Hullmark of the cluster is meant. */
import { ContextError } from "../connection/context-error.ts";

export interface Release {
  readonly namespace: string;
  /** What the chart calls its objects, before their suffixes. */
  readonly name: string;
}

export const DEFAULT_RELEASE = "hullmark/hullmark";

/** @param text `NAMESPACE/NAME` of the Helm release, or `NAMESPACE` where the release is called hullmark @throws ContextError */
export function parseRelease(text: string): Release {
  const [, namespace, release = "hullmark"] = /^([a-z0-9][a-z0-9-]{0,62})(?:\/([a-z0-9][a-z0-9.-]{0,52}))?$/.exec(text) ?? [];
  if (namespace === undefined) throw new ContextError(`--release ${text}: use NAMESPACE/NAME of the Helm release`);
  // As the chart names its objects (templates/_helpers.tpl, hullmark.name).
  const name = release.includes("hullmark") ? release.slice(0, 40) : `${release.slice(0, 31).replace(/-$/, "")}-hullmark`;
  return { namespace, name: name.replace(/-$/, "") };
}
