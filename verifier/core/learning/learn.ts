/**
 * What a workload writes, proposed as paths that may change, out of its drift over a time. Nothing that can be executed, that programs load code from, that a process
 * maps, or that somebody outside the container or through an exec wrote. A person decides: what is learned from a workload that was taken over is what its attacker wrote. Pure.
 */
import type { DriftRow, LearnedGroup, LearnedPath } from "../../ports/rows.ts";
import { entryWords } from "../appraisal/actor.ts";
import { subjectOf } from "../policy/exception-scope.ts";
import { CONTENT_KINDS } from "../policy/granted.ts";
import { printable } from "../text/printable.ts";
import { classify, PATH_CLASSES, type PathClass } from "./classes.ts";
import { generalise } from "./generalise.ts";

export interface LeftOut {
  /** Printable. */
  readonly path: string;
  readonly why: string;
}

export interface Learned {
  readonly groups: readonly LearnedGroup[];
  readonly leftOut: readonly LeftOut[];
}

/** Types that are data wherever they lie; a link may lead to anything. */
const LEARNABLE_TYPES: ReadonlySet<string> = new Set(["file", "directory", "FIFO", "socket"]);

/** @param drifts of one workload, whatever their state; texts and paths are its own. */
export function learn(drifts: readonly DriftRow[]): Learned {
  const running = new Set(drifts.filter(({ place, mappedBy }) => place === "process" || mappedBy.length > 0).map(({ path }) => path.toString("latin1")));
  const executable = new Set(drifts.filter((drift) => drift.place === "upper" && drift.executable !== false).map(({ path }) => path.toString("latin1")));
  const leftOut = new Map<string, LeftOut>();
  const groups = new Map<string, { select: LearnedGroup["select"]; classes: Map<PathClass, Set<string>> }>();
  for (const drift of drifts) {
    if (drift.path.length === 0 || (drift.place !== "upper" && drift.place !== "process")) continue;
    const key = drift.path.toString("latin1");
    const why = running.has(key) ? "a process runs or maps it" : executable.has(key) ? "it can be executed, or could" : whyNot(drift);
    const classified = why === undefined ? classify(drift.path) : { ok: false as const, why };
    if (!classified.ok) {
      leftOut.set(key, { path: printable(drift.path, 512), why: classified.why });
      continue;
    }
    const select = subjectOf(drift);
    const name = JSON.stringify(select);
    const group = groups.get(name) ?? { select, classes: new Map() };
    groups.set(name, group);
    group.classes.set(classified.is, (group.classes.get(classified.is) ?? new Set()).add(drift.path.toString()));
  }
  const named = [...groups.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, { select, classes }]) => ({ select, paths: pathsOf(classes) }));
  return { groups: named, leftOut: [...leftOut.values()].sort((a, b) => (a.path < b.path ? -1 : 1)) };
}

function whyNot({ kind, differences, actor, containerId }: DriftRow): string | undefined {
  if (!CONTENT_KINDS.has(kind)) return `only content is learned, not ${kind}`;
  const type = differences.find(({ field }) => field === "type");
  if (type && ![type.expected, type.observed].every((each) => each === "absent" || LEARNABLE_TYPES.has(each))) return "it is no plain file or directory";
  if (actor?.located && actor.containerId !== containerId) return "it was written from outside the container";
  if (actor && entryWords(actor) !== "") return `it was written by a process that was ${entryWords({ entry: actor.entry })}`;
  return undefined;
}

/** What is configuration is told path by path: a pattern there would be one over what programs do. */
function pathsOf(classes: ReadonlyMap<PathClass, ReadonlySet<string>>): LearnedPath[] {
  return PATH_CLASSES.flatMap((is) => {
    const paths = [...(classes.get(is) ?? [])].sort();
    const patterns = is === "configuration" ? paths.flatMap((path) => generalise([path])) : generalise(paths);
    return patterns.map((pattern) => ({ ...pattern, class: is }));
  });
}
