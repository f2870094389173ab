/**
 * How much an exception covers: as little as excuses what was seen, unless somebody asks for more, and what is more than can be looked at is refused with what would do
 * instead. Pure.
 */
import { compileGlob } from "@hullmark/proto/codec";
import type { DriftRow } from "../../ports/rows.ts";
import { isInPod } from "../response/eviction.ts";
import { EVERYTHING } from "./default.ts";
import { type Refused, refused, whyNever, whyUnseen } from "./excusable.ts";
import { CONTENT_KINDS, observedOf } from "./granted.ts";
import type { GrantedException } from "./types.ts";

export interface AskedScope {
  /** Glob over paths; empty: the drift's own path. */
  readonly path: string;
  /** Whatever the file holds, not only what it holds now. */
  readonly anyContent: boolean;
  /** Of later images too. */
  readonly anyImage: boolean;
}

/** `offer`: what to ask for instead; empty: nothing would do. */
export type Scoped = { readonly ok: true; readonly scope: Omit<GrantedException, "id"> } | Refused;

const MAX_GLOB_CHARS = 1024;
/** Directories that a pattern must name in full. */
export const LEAST_DIRECTORIES = 2;
const EXACT = "leave --path and --any-content out: then it is excused as it is now";

export function scopeOf(drift: DriftRow, { path, anyContent, anyImage }: AskedScope): Scoped {
  const { place, kind } = drift;
  const never = whyNever(drift, anyImage);
  if (never) return never;
  const wide = path !== "" || anyContent;
  const unseen = whyUnseen(drift);
  const refusal = wide ? whyTooBroad(drift, path) : unseen;
  // What would be refused itself is no offer.
  if (refusal) return refusal.offer === EXACT && unseen ? { ...refusal, offer: "" } : refusal;
  const of = { select: { ...EVERYTHING, ...subjectOf(drift) }, ...(drift.service !== undefined && { service: drift.service }) };
  const observed = wide ? "" : observedOf(drift.differences);
  const scope = { ...of, place, kind, severity: drift.severity, pathHex: drift.path.toString("hex"), glob: path, observed };
  return { ok: true, scope: { ...scope, configDigest: anyImage ? "" : drift.configDigest } };
}

/** More than the one content of the one path. */
function whyTooBroad({ place, kind, path, executable }: DriftRow, glob: string): Refused | undefined {
  const tooBroad = (why: string, offer: string): Refused => refused("TOO_BROAD", why, offer);
  if (place !== "upper" || !CONTENT_KINDS.has(kind)) return tooBroad(`only the content of a file can be left open, and this is ${place}/${kind}`, EXACT);
  if (executable !== false) return tooBroad("what can be executed is excused by its one path and content alone", EXACT);
  if (glob === "") return undefined;
  if (glob.length > MAX_GLOB_CHARS) return tooBroad(`a pattern of more than ${MAX_GLOB_CHARS} characters`, EXACT);
  let matches: (path: Uint8Array) => boolean;
  try {
    matches = compileGlob(glob);
  } catch {
    return tooBroad("that is no pattern", EXACT);
  }
  const directory = glob.slice(0, glob.lastIndexOf("/"));
  const name = glob.slice(directory.length + 1);
  const narrower = narrowerGlob(path);
  if (!glob.startsWith("/") || hasWildcard(directory) || name.includes("**"))
    return tooBroad("a pattern may be open in the last name of the path only", narrower ? `--path '${narrower}'` : EXACT);
  if (hasWildcard(name) && directory.split("/").length - 1 < LEAST_DIRECTORIES)
    return tooBroad(`everything in ${directory || "/"}`, narrower ? `--path '${narrower}'` : EXACT);
  return matches(path) ? undefined : tooBroad("the pattern does not cover the drift itself", narrower ? `--path '${narrower}'` : EXACT);
}

export function hasWildcard(glob: string): boolean {
  return /[*?]/.test(glob.replaceAll(/\\./gs, ""));
}

/** Files of the same ending in the same directory; undefined: that would be too broad itself, or no text. */
function narrowerGlob(path: Buffer): string | undefined {
  const text = path.toString();
  if (!Buffer.from(text).equals(path)) return undefined;
  const directory = text.slice(0, text.lastIndexOf("/"));
  if (directory.split("/").length - 1 < LEAST_DIRECTORIES) return undefined;
  const [ending = ""] = /\.[A-Za-z0-9_-]{1,16}$/.exec(text.slice(directory.length + 1)) ?? [];
  return `${literal(directory)}/*${ending}`;
}

/** One workload, of whichever Compose project, and in a pod one of its containers; without a workload the one container. */
export function subjectOf({ workload, containerName }: Pick<DriftRow, "workload" | "containerName">): {
  readonly workloads: readonly string[];
  readonly containers: readonly string[];
} {
  if (workload === "") return { workloads: [], containers: [literal(containerName)] };
  // An engine's own names have no slash: what is in a pod is another workload, whatever it is called.
  if (!isInPod(containerName)) return { workloads: [literal(workload)], containers: ["*"] };
  const [namespace = "", , container = ""] = containerName.split("/");
  return { workloads: [literal(workload)], containers: [`${literal(namespace)}/*/${literal(container)}`] };
}

/** A glob that matches this text alone. */
export function literal(text: string): string {
  return text.replaceAll(/[*?\\]/g, (sign) => `\\${sign}`);
}
