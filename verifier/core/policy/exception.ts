/**
 * An exception of a team (DriftException): files that may differ in one workload of its namespace until a day. It counts only as far as the cluster's policy allows such
 * exceptions, and reaches no further than its own namespace: whoever may write objects there can excuse nothing elsewhere.
 */
import { compileNames } from "@hullmark/proto/codec";
import * as z from "zod";
import { instant } from "./fields.ts";
import type { ExceptionTerms, MutableClass } from "./types.ts";

const DAY_MS = 86_400_000;
const MAX_PATHS = 16;
const MAX_CONTAINERS = 16;
/** So many of one namespace count, and so many of all. */
const MAX_OF_NAMESPACE = 32;
const MAX_ALL = 256;
const TOO_MANY = `at most ${MAX_OF_NAMESPACE} of a namespace count, and ${MAX_ALL} of all: delete one that is not needed any more`;
/** What Kubernetes lets objects and containers be called: nothing in it means anything in a glob. */
const name = z.string().regex(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/, "want a name as Kubernetes has them");
/** One file, by its whole path: what a glob would be made of, it may not have. */
const exactPath = z
  .string()
  .max(4096)
  .regex(/^\/[^*?\\]+$/, "want the absolute path of one file, without `*`, `?` and `\\`")
  .superRefine((path, context) => {
    const parts = path.split("/").slice(1);
    if (path.includes("\0") || parts.some((part) => part === "" || part === "." || part === ".."))
      context.addIssue({ code: "custom", message: "want the path of one file, without empty, `.` and `..` components" });
  });

export const driftException = z.strictObject({
  /** The pod's owner: Deployment, StatefulSet, …; or the pod. */
  workload: name,
  /** Names in the pod's specification; none: every one. */
  containers: z.array(name).max(MAX_CONTAINERS).default([]),
  class: z.enum(["data", "any"]).default("data"),
  paths: z.array(exactPath).min(1).max(MAX_PATHS),
  expires: instant,
  reason: z.string().min(1).max(500),
});

/** The object as it stands in the cluster. */
export interface ExceptionObject {
  readonly namespace: string;
  readonly name: string;
  /** By the API server's clock. */
  readonly createdMs: number;
  /** As somebody wrote it. */
  readonly spec: unknown;
}

/** `Refused`: it is not well-formed. `NotAllowed`: the cluster's policy does not allow it. `Expired`: it is over. `TooMany`: others came before it. */
export type JudgedException =
  | { readonly inForce: true; readonly mutable: MutableClass; readonly expiresMs: number; readonly reason: string }
  | { readonly inForce: false; readonly reason: "Refused" | "NotAllowed" | "Expired" | "TooMany"; readonly message: string };

/**
 * Judges all of a cluster's, each with {@link judgeException}. Of those that could count so many do as may: the oldest of each namespace first, then the second of each, so that no
 * namespace's crowd out another's, and no new one an older.
 * @returns in the order of `objects`
 */
export function judgeExceptions(objects: readonly ExceptionObject[], terms: ExceptionTerms, nowMs: number): readonly JudgedException[] {
  const within = allowedNamespaces(terms);
  const judged = objects.map((object) => judgeException(object, terms, nowMs, within));
  const oldestFirst = [...objects.keys()].filter((at) => judged[at]?.inForce).sort((a, b) => (objects[a]?.createdMs ?? 0) - (objects[b]?.createdMs ?? 0));
  const ofNamespace = Map.groupBy(oldestFirst, (at) => objects[at]?.namespace);
  const turns = Array.from({ length: MAX_OF_NAMESPACE }, (_, turn) => [...ofNamespace.values()].flatMap((each) => each[turn] ?? [])).flat();
  const counting = new Set(turns.slice(0, MAX_ALL));
  return judged.map((each, at): JudgedException => (each.inForce && !counting.has(at) ? { inForce: false, reason: "TooMany", message: TOO_MANY } : each));
}

/** @param nowMs by the verifier's clock @param within {@link allowedNamespaces} of these terms, which are the same for thousands */
export function judgeException(object: ExceptionObject, terms: ExceptionTerms, nowMs: number, within = allowedNamespaces(terms)): JudgedException {
  const { namespace, name: own, createdMs } = object;
  const parsed = parsedOf(object);
  if (!parsed.success)
    return { inForce: false, reason: "Refused", message: parsed.error.issues.map(({ path, message }) => `${path.join(".") || "spec"}: ${message}`).join("; ") };
  const { workload, containers, class: kind, paths, expires, reason } = parsed.data;
  if (expires <= nowMs) return { inForce: false, reason: "Expired", message: "" };
  const against = notAllowed(namespace, kind, { createdMs, expires }, terms, within);
  if (against !== undefined) return { inForce: false, reason: "NotAllowed", message: against };
  const of = (container: string): string => `${namespace}/*/${container}`;
  const select = {
    images: [],
    containers: containers.length > 0 ? containers.map(of) : [of("*")],
    workloads: [`${namespace}/${workload}`],
    labels: {},
    nodes: [],
  };
  return { inForce: true, mutable: { name: `exception ${namespace}/${own}`, class: kind, select, paths }, expiresMs: expires, reason };
}

/** Thousands are judged again at each change of one. */
const alreadyParsed = new WeakMap<ExceptionObject, z.ZodSafeParseResult<z.infer<typeof driftException>>>();

function parsedOf(object: ExceptionObject): z.ZodSafeParseResult<z.infer<typeof driftException>> {
  const parsed = alreadyParsed.get(object) ?? driftException.safeParse(object.spec);
  alreadyParsed.set(object, parsed);
  return parsed;
}

function allowedNamespaces({ namespaces }: ExceptionTerms): (namespace: string) => boolean {
  return namespaces.length > 0 ? compileNames(namespaces) : () => true;
}

/** With what would be allowed, where anything of the kind would. */
function notAllowed(
  namespace: string,
  kind: "data" | "any",
  { createdMs, expires }: { readonly createdMs: number; readonly expires: number },
  { classes, maxDays }: ExceptionTerms,
  within: (namespace: string) => boolean,
): string | undefined {
  if (!classes.includes(kind))
    return `the cluster's policy allows ${classes.length > 0 ? `only exceptions of class ${classes.join(", ")}` : "no exceptions"} (spec.exceptions.classes)`;
  if (!within(namespace)) return `the cluster's policy allows no exceptions in ${namespace} (spec.exceptions.namespaces)`;
  const lastMs = createdMs + maxDays * DAY_MS;
  if (expires > lastMs)
    return `it lasts longer than ${maxDays} days from its creation (spec.exceptions.maxDays): expires ${new Date(lastMs).toISOString()} would do`;
  return undefined;
}
