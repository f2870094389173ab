/**
 * How much an exception covers: as little as excuses what was seen, unless somebody asks for more, and what is more than can be looked at is refused with what would do
 * instead. Pure.
 */
import { compileGlob } from "@hullmark/proto/codec";
import type { DriftRow } from "../../ports/rows.ts";
import { isInPod } from "../response/eviction.ts";
import { EVERYTHING } from "./default.ts";
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
interface Refused {
  readonly ok: false;
  readonly code: "NOT_EXCUSABLE" | "TOO_BROAD";
  readonly why: string;
  readonly offer: string;
}

/** What is altered on the node, or vouched for by nobody, is no matter of one workload. */
const PLACES: ReadonlySet<string> = new Set(["upper", "bind", "process", "configuration", "mount"]);
const UNEXCUSABLE: ReadonlySet<string> = new Set(["unlisted", "no-pod", "injected-container", "static-pod"]);
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
  const select = { ...EVERYTHING, ...subjectOf(drift) };
  const observed = wide ? "" : observedOf(drift.differences);
  const scope = { select, place, kind, severity: drift.severity, pathHex: drift.path.toString("hex"), glob: path, observed };
  return { ok: true, scope: { ...scope, configDigest: anyImage ? "" : drift.configDigest } };
}

/** What of a drift decides whether it can be excused as it is now. */
export type Excusable = Pick<DriftRow, "containerId" | "containerName" | "workload" | "configDigest" | "place" | "kind" | "differences">;

/** Why none can be had for it with the narrowest scope: this path, content, workload and image. undefined: one can be asked for. */
export function whyNotExcusable(drift: Excusable): string | undefined {
  return (whyNever(drift, false) ?? whyUnseen(drift))?.why;
}

function whyNever({ containerId, containerName, workload, configDigest, place, kind }: Excusable, anyImage: boolean): Refused | undefined {
  if (containerId === "" || !PLACES.has(place) || UNEXCUSABLE.has(kind))
    return refused("NOT_EXCUSABLE", `drift of kind ${place}/${kind} is of a node or an image: no exception covers it`, "");
  if (workload === "" && containerName === "") return refused("NOT_EXCUSABLE", "it is of a container without a name", "");
  if (!anyImage && configDigest === "") return refused("NOT_EXCUSABLE", "its image is not known (yet): nothing tells which one is meant", "");
  return undefined;
}

function refused(code: "NOT_EXCUSABLE" | "TOO_BROAD", why: string, offer: string): Refused {
  return { ok: false, code, why, offer };
}

/** Hexadecimal SHA-256, with its name where the text has one. */
const DIGEST = /^(sha256 )?[0-9a-f]{64}$/;
/** How texts end that were cut for people ({@link printable}; of extended attributes the first bytes). */
const CUT = /\u2026( \(\d+ bytes\))?$/;

/** What else would look the same: an exception is held against what the drift says of what was seen, and where it does not say all, others would pass for it. */
function whyUnseen({ place, kind, differences }: Excusable): Refused | undefined {
  const unseen = (why: string): Refused => refused("NOT_EXCUSABLE", why, "");
  const some = (is: (difference: Excusable["differences"][number]) => boolean): boolean => differences.some(is);
  if (some(({ field, observed }) => CUT.test(field) || CUT.test(observed)))
    return unseen("what differs is too long to be told in full: another that begins so would pass for it");
  if ((place === "process" || place === "bind") && !some(({ observed }) => DIGEST.test(observed)))
    return unseen("what it holds could not be read: anything else in its place would pass for it");
  if (kind === "env" && some(({ observed }) => observed !== "absent"))
    return unseen("values of variables are never told: any other value would pass for it. Policy can allow the variable (allow.env)");
  if (kind === "type" && differences.length < 2) return unseen("only its type was told: any other content would pass for it");
  if (some(({ field }) => field === "opaque") && some(({ observed }) => observed === "hidden"))
    return unseen("it hides more of the image than is told one by one: what it hides besides would pass for it");
  return undefined;
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

/** One workload, and in a pod one of its containers; without a workload the one container. */
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
