/** Gathers what a capture holds, within its limits: processes first, as they are gone first, then changed files. */
import type { CaptureSubject, Change, ChangedFiles } from "./capture.ts";
import type { GatheredProcesses } from "./processes.ts";

export interface CaptureLimits {
  /** Of all content together, before it is compressed. */
  readonly maxBytes: number;
  readonly maxSeconds: number;
}

export interface Collected {
  readonly files: readonly { readonly name: string; readonly content: Buffer }[];
  readonly complete: boolean;
  /** Changed paths, and processes. */
  readonly counts: { readonly files: number; readonly processes: number };
}

/** Those of a container, in so many bytes. @param withinMs it rejects then, whatever they are like */
export type ProcessSource = (containerId: string, maxBytes: number, withinMs: number) => Promise<GatheredProcesses>;

/** A path of the container with what it is filed under; without: why not. */
type FiledChange = Change & ({ readonly file: string } | { readonly left: string });

const MAX_FILES = 10_000;
/** Of the time: what processes take of it, files do not have. */
const PROCESSES_SHARE = 2;
/** Why a path is not in it though it might have been. */
const INCOMPLETE: readonly string[] = ["too-large", "gone", "unreadable"];

/** Never throws for what a container is like: what could not be had is listed in `capture.json`. @param takenAtMs Unix milliseconds */
export async function collect(
  subject: CaptureSubject,
  { files: changed, processes }: { readonly files: ChangedFiles; readonly processes: ProcessSource },
  limits: CaptureLimits,
  takenAtMs: number,
): Promise<Collected> {
  const signal = AbortSignal.timeout(limits.maxSeconds * 1000);
  const files: { name: string; content: Buffer }[] = [];
  const problems: string[] = [];
  let room = limits.maxBytes;
  const file = (name: string, content: Buffer): void => {
    room -= content.length;
    files.push({ name, content });
  };

  let listed = 0;
  try {
    const found = await processes(subject.containerId, limits.maxBytes, (limits.maxSeconds * 1000) / PROCESSES_SHARE);
    for (const { name, content } of found.files) file(name, content);
    problems.push(...found.problems);
    listed = found.listed;
  } catch (error) {
    problems.push(`processes: ${error instanceof Error ? error.message : String(error)}`);
  }

  const changes: FiledChange[] = [];
  try {
    const mounts = await changed.mounts(signal);
    const { changes: found, problem } = await changed.changes(signal);
    if (problem !== undefined) problems.push(problem);
    if (found.length > MAX_FILES) problems.push(`${found.length - MAX_FILES} changed paths are not listed`);
    let whole = "";
    for (const change of found.slice(0, MAX_FILES)) {
      if (change.kind === "deleted") changes.push({ ...change, left: "deleted" });
      else if (mounts.some((mount) => isWithin(change.path, mount))) changes.push({ ...change, left: "mounted" });
      else if (whole !== "" && isWithin(change.path, whole)) changes.push({ ...change, left: "in the archive of its directory" });
      else {
        const withAll = change.kind === "added" && !mounts.some((mount) => isWithin(mount, change.path));
        const asked = changed.archive(change, { whole: withAll, maxBytes: Math.max(0, room) }, signal);
        // One that the engine fails at keeps no other out.
        const archived = await asked.catch((error: unknown) => {
          if (signal.aborted) throw error;
          return { left: "unreadable" } as const;
        });
        if ("tar" in archived) {
          const name = `files/${String(changes.length).padStart(5, "0")}.tar`;
          file(name, archived.tar);
          changes.push({ ...change, file: name });
          if (withAll) whole = change.path;
        } else changes.push({ ...change, left: archived.left });
      }
    }
  } catch (error) {
    problems.push(signal.aborted ? `it took longer than ${limits.maxSeconds} s` : error instanceof Error ? error.message : String(error));
  }
  const complete = problems.length === 0 && !changes.some((each) => "left" in each && INCOMPLETE.includes(each.left));
  const counts = { files: changes.filter((each) => "file" in each).length, processes: listed };
  const { actionId, containerId, name } = subject;
  const index = {
    format: "hullmark-capture-v1",
    action: actionId,
    container: containerId,
    name,
    takenAt: new Date(takenAtMs).toISOString(),
    complete,
    problems,
    changes,
  };
  return { files: [{ name: "capture.json", content: Buffer.from(JSON.stringify(index, undefined, 1)) }, ...files], complete, counts };
}

function isWithin(path: string, directory: string): boolean {
  return path === directory || path.startsWith(`${directory}/`);
}
