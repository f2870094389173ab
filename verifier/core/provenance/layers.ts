/** Which image another one is built on, as its layers tell: a chain id (OCI image-spec, config.md, "Layer ChainID") stands for all layers up to one. Pure. */
import { hash } from "node:crypto";

/** One a layer, lowest first. */
export function chainIdsOf(diffIds: readonly string[]): string[] {
  const chain: string[] = [];
  for (const diffId of diffIds) {
    const below = chain.at(-1);
    chain.push(below === undefined ? diffId : `sha256:${hash("sha256", `${below} ${diffId}`)}`);
  }
  return chain;
}

/** An image that is not built on what it should be, or of which nobody can tell. */
export interface OtherBase {
  readonly allowed: readonly string[];
  /** Chain ids of the image, lowest first; undefined: its layers are not known. */
  readonly chains: readonly string[] | undefined;
}

/**
 * @param layers diff ids of each image that is judged, lowest first; undefined: not known
 * @param allowed chain ids; empty: any base will do @returns the first image that is on none of them
 */
export function otherBase(layers: readonly (readonly string[])[] | undefined, allowed: readonly string[]): OtherBase | undefined {
  if (allowed.length === 0) return undefined;
  if (!layers || layers.length === 0) return { allowed, chains: undefined };
  const chains = layers.map(chainIdsOf).find((each) => !each.some((chain) => allowed.includes(chain)));
  return chains && { allowed, chains };
}
