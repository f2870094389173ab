/** Whether a layer may be taken off this host, with all that stands on it: the host's own limits, which no verifier can raise. Pure. */
import { compileNames } from "@hullmark/proto/codec";
import type { EngineContainer } from "../ports/engine.ts";
import type { PurgeTarget, Standing } from "../ports/layers.ts";
import { ownersOf } from "./check-target.ts";
import type { LocalLimits } from "./hands.ts";
import { listed } from "./listed.ts";

export interface PurgeLimits extends LocalLimits {
  /** Containers that one purge may take away, stopped ones too. */
  readonly purgeContainers: number;
}

/** Codes of docs/response.md. */
export interface PurgeRefusal {
  readonly reason: "more-than-named" | "protected" | "auto-remove" | "shared-namespaces" | "breaker" | `owned-by-${string}`;
  /** For people: which. */
  readonly detail: string;
}

/** Of an action's detail, which has words before them. */
const MAX_NAMES_CHARS = 450;

/** For people: no list of what runs on the layer has one that does not. */
export function nameOf({ name, running }: Pick<EngineContainer, "name" | "running">): string {
  return running ? name : `${name} (not running)`;
}

/** @param sharersOf names of running containers that live in a namespace of this one @returns undefined: all of it may go */
export function refusePurge(
  { purge, owners }: { readonly purge: PurgeTarget; readonly owners: readonly string[] },
  { images, containers }: Pick<Standing, "images" | "containers">,
  sharersOf: (container: EngineContainer) => readonly string[],
  { protect, purgeContainers }: PurgeLimits,
): PurgeRefusal | undefined {
  const refuse = (reason: PurgeRefusal["reason"], names: readonly string[]): PurgeRefusal => ({ reason, detail: listed(names, MAX_NAMES_CHARS) });
  const named = new Set(purge.imageDigests);
  const more = [...images.filter(({ id }) => !named.has(id)).map(({ name }) => name), ...containers.filter(({ imageId }) => !named.has(imageId)).map(nameOf)];
  if (more.length > 0) return refuse("more-than-named", more);
  const isProtected = compileNames(protect);
  const kept = protect.length > 0 ? containers.filter(({ name }) => isProtected(name)) : [];
  if (kept.length > 0) return refuse("protected", kept.map(nameOf));
  for (const container of containers) {
    const owner = ownersOf(container).find((each) => !owners.includes(each));
    if (owner) return refuse(`owned-by-${owner}`, [nameOf(container)]);
    if (container.autoRemove) return refuse("auto-remove", [nameOf(container)]);
  }
  const going = new Set(containers.map(({ name }) => name));
  const sharers = containers.flatMap(sharersOf).filter((name) => !going.has(name));
  if (sharers.length > 0) return refuse("shared-namespaces", sharers);
  return containers.length > purgeContainers ? refuse("breaker", [`${containers.length} containers stand on it`]) : undefined;
}
