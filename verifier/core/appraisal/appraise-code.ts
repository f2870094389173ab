/** Executables and executable mappings: what runs must be a file of the image, the same inode that its path names. */
import { type CodeObject, CodePlace, type CodeSet, type ContainerConfiguration } from "@hullmark/proto/v1/attestation";
import { printable } from "../text/printable.ts";
import { entryFacts } from "./actor.ts";
import { engineInitPath } from "./engine-mounts.ts";
import { finding } from "./findings.ts";
import { timestampMs } from "./time.ts";
import type { ContainerRules, ContainerState, Difference, Finding, FindingKind, ReferenceImage } from "./types.ts";
import type { UpperEntries } from "./upper-entries.ts";

const KINDS: Partial<Record<CodePlace, { kind: FindingKind; place: string; words: string }>> = {
  [CodePlace.UPPER]: { kind: "code-upper", place: "upper", words: "from a file written after start" },
  [CodePlace.VOLUME]: { kind: "code-volume", place: "volume", words: "from a volume or bind mount" },
  [CodePlace.TMPFS]: { kind: "code-tmpfs", place: "tmpfs", words: "from memory (tmpfs)" },
  [CodePlace.MEMFD]: { kind: "code-memfd", place: "memfd", words: "from memory (memfd), no file at all" },
  [CodePlace.DELETED]: { kind: "code-deleted", place: "deleted", words: "from a file that has no name any more" },
  [CodePlace.UNKNOWN]: { kind: "code-unknown", place: "unknown", words: "from a place that could not be told" },
  [CodePlace.UNSPECIFIED]: { kind: "code-unknown", place: "unknown", words: "from a place that could not be told" },
};

/** What was found in the running code; kept as long as what it rests on stays. */
export interface CodeAppraisal {
  readonly code: CodeSet;
  readonly configuration: ContainerConfiguration;
  readonly reference: ReferenceImage;
  readonly rules: ContainerRules;
  readonly upper: UpperEntries;
  readonly findings: readonly Finding[];
}

/** @param before an earlier appraisal of the same container: where only the delta changed, code from elsewhere is not looked at again */
export function appraiseCode(state: ContainerState, reference: ReferenceImage, rules: ContainerRules, before?: CodeAppraisal): CodeAppraisal {
  const { code, configuration, upper } = state;
  const same = before?.code === code && before.configuration === configuration && before.reference === reference && before.rules === rules;
  if (same && (before.upper === upper || !touchesCode(state, before))) return before.upper === upper ? before : { ...before, upper };
  const findings: Finding[] = [];
  const init = engineInitPath(configuration, reference);
  for (const object of code.objects) {
    const isInit = object.place === CodePlace.VOLUME && init !== undefined && Buffer.from(object.path).toString() === init;
    const judge = isInit ? engineInit : object.place === CodePlace.LAYER ? layerCode : otherCode;
    const found = judge(object, reference, rules, state);
    if (found) findings.push(found);
  }
  return { code, configuration, reference, rules, upper, findings };
}

/** Paths in the upper directory that a process runs or maps. */
const upperCode = new WeakMap<CodeSet, ReadonlySet<string>>();

function touchesCode({ code, upperDelta }: ContainerState, before: CodeAppraisal): boolean {
  if (upperDelta?.from !== before.upper) return true;
  let paths = upperCode.get(code);
  if (!paths) {
    paths = new Set(code.objects.filter(({ place }) => place === CodePlace.UPPER).map(({ path }) => relative(path).toString("latin1")));
    upperCode.set(code, paths);
  }
  return paths.size > 0 && upperDelta.paths.some((path) => paths.has(path.toString("latin1")));
}

/** The layer's content is appraised by its root; here only: does the image show this file at this path? */
function layerCode(object: CodeObject, reference: ReferenceImage, rules: ContainerRules): Finding | undefined {
  if (reference.merged(relative(object.path))?.record[0] !== undefined) return undefined;
  return make(object, "code-unknown", "from a path that the image does not hold", rules);
}

/** A file of the host's, which comes with the engine: whether it is one that policy names, where it names any. */
function engineInit(object: CodeObject, _reference: ReferenceImage, rules: ContainerRules): Finding | undefined {
  const { engineInits } = rules.require;
  if (engineInits.length === 0 || engineInits.includes(Buffer.from(object.sha256).toString("hex"))) return undefined;
  return make(object, "code-volume", "as the engine's init, and is none that policy lists", rules, "listed in require.engineInits");
}

function otherCode(object: CodeObject, reference: ReferenceImage, rules: ContainerRules, state: ContainerState): Finding | undefined {
  const { kind, place, words } = KINDS[object.place] ?? { kind: "code-unknown" as const, place: "unknown", words: "from a place that could not be told" };
  if (object.place === CodePlace.UPPER && sameAsImage(object, state, reference)) return undefined;
  if (rules.allow.code(place)) return undefined;
  return make(object, kind, words, rules);
}

/** A copy-up of the image's own bytes (`touch /bin/tool`, then run it) is the image's code. */
function sameAsImage(object: CodeObject, state: ContainerState, reference: ReferenceImage): boolean {
  const path = relative(object.path);
  const upper = state.upper.get(path);
  return upper !== undefined && reference.merged(path)?.record.equals(upper.record) === true;
}

function make(object: CodeObject, kind: FindingKind, words: string, rules: ContainerRules, expected = "a file of the image"): Finding {
  const sha256 = Buffer.from(object.sha256).toString("hex");
  const differences: Difference[] = [{ field: "code", expected, observed: words }];
  if (sha256) differences.push({ field: "sha256", expected: "absent", observed: sha256 });
  const what = object.mainExecutable ? "runs" : "maps executable code";
  const process = object.pid ? `pid ${object.pid} ` : "";
  const name = printable(object.path);
  const found = finding(
    {
      place: "process",
      kind,
      path: Buffer.from(object.path),
      differences,
      summary: `${process}${what} ${words}`,
      discriminator: `${kind}|${sha256}`,
      actor: object.pid
        ? { pid: object.pid, executable: name, located: true, uid: object.uid, containerId: "", ancestry: object.ancestry.slice(0, 5), ...entryFacts(object) }
        : undefined,
      changedAtMs: object.firstSeen && timestampMs(object.firstSeen),
    },
    rules,
  );
  return { ...found, mappedBy: object.pid ? [`${object.pid} ${name}`] : [] };
}

function relative(path: Uint8Array): Buffer {
  const buffer = Buffer.from(path.buffer, path.byteOffset, path.byteLength);
  return buffer[0] === 0x2f ? buffer.subarray(1) : buffer;
}
