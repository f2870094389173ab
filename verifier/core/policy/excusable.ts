/** Whether an exception can be had for a drift as it is now: asked by the verifier, the command and the dashboard alike. Pure. */
import type { DriftRow } from "../../ports/rows.ts";

/** What of a drift decides whether it can be excused as it is now. */
export type Excusable = Pick<DriftRow, "containerId" | "containerName" | "workload" | "configDigest" | "place" | "kind" | "differences">;

export interface Refused {
  readonly ok: false;
  readonly code: "NOT_EXCUSABLE" | "TOO_BROAD";
  readonly why: string;
  /** What to ask for instead; empty: nothing would do. */
  readonly offer: string;
}

/** What is altered on the node, or vouched for by nobody, is no matter of one workload. */
const PLACES: ReadonlySet<string> = new Set(["upper", "bind", "process", "configuration", "mount"]);
const UNEXCUSABLE: ReadonlySet<string> = new Set(["unlisted", "no-pod", "injected-container", "static-pod", "added-container"]);

/** Why none can be had for it with the narrowest scope: this path, content, workload and image. undefined: one can be asked for. */
export function whyNotExcusable(drift: Excusable): string | undefined {
  return (whyNever(drift, false) ?? whyUnseen(drift))?.why;
}

export function whyNever({ containerId, containerName, workload, configDigest, place, kind }: Excusable, anyImage: boolean): Refused | undefined {
  if (containerId === "" || !PLACES.has(place) || UNEXCUSABLE.has(kind))
    return refused("NOT_EXCUSABLE", `drift of kind ${place}/${kind} is of a node or an image: no exception covers it`, "");
  if (workload === "" && containerName === "") return refused("NOT_EXCUSABLE", "it is of a container without a name", "");
  if (!anyImage && configDigest === "") return refused("NOT_EXCUSABLE", "its image is not known (yet): nothing tells which one is meant", "");
  return undefined;
}

export function refused(code: "NOT_EXCUSABLE" | "TOO_BROAD", why: string, offer: string): Refused {
  return { ok: false, code, why, offer };
}

/** Hexadecimal SHA-256, with its name where the text has one. */
const DIGEST = /^(sha256 )?[0-9a-f]{64}$/;
/** How texts end that were cut for people ({@link printable}; of extended attributes the first bytes). */
const CUT = /\u2026( \(\d+ bytes\))?$/;

/** What else would look the same: an exception is held against what the drift says of what was seen, and where it does not say all, others would pass for it. */
export function whyUnseen({ place, kind, differences }: Excusable): Refused | undefined {
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
