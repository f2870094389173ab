/** Joins what was measured with who was seen doing it: an event names a path, a measurement finds what became of it. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { ActorEntry, type ActorSchema } from "@hullmark/proto/v1/common";
import type { ChangeActor, ChangeEntrance } from "../ports/change-source.ts";
import type { ContainerFacts } from "../ports/container-runtime.ts";
import type { TreeChange } from "../ports/tree-measurer.ts";
import type { EntryChangeInit } from "./node-evidence.ts";
import { timestampFromMs } from "./timestamp.ts";

/** Low-level runtimes by the names of their processes. */
const RUNTIMES: ReadonlySet<string | undefined> = new Set(["runc", "crun"]);

/** Who did something, with what the runtime says of their container. */
export interface KnownActor extends ChangeActor {
  /** undefined: no container, or none that the runtime told of. */
  readonly container?: Pick<ContainerFacts, "name" | "pid"> | undefined;
}

/** One dirty path, as the kernel told it. */
export interface DirtyPath {
  /** Raw bytes, no leading slash; empty: the root of the tree. */
  readonly path: Buffer;
  /** undefined where it is not certain. */
  readonly actor: KnownActor | undefined;
  /** Unix milliseconds, with a fraction. */
  readonly atMs: number;
}

const SLASH = 0x2f;

/** Dirty paths of one batch, the newest certain actor of each. */
export class DirtySet {
  readonly #byPath = new Map<string, DirtyPath>();

  add(dirty: DirtyPath): void {
    const key = dirty.path.toString("latin1");
    const before = this.#byPath.get(key);
    this.#byPath.set(key, { path: dirty.path, actor: oneOf(before?.actor, dirty.actor), atMs: before?.atMs ?? dirty.atMs });
  }

  get size(): number {
    return this.#byPath.size;
  }

  paths(): Buffer[] {
    return [...this.#byPath.values()].map(({ path }) => path);
  }

  /** The event of this very path. */
  at(path: Buffer): DirtyPath | undefined {
    return this.#byPath.get(path.toString("latin1"));
  }

  /** The event of this path, or of the nearest directory above it, whose events had it looked at. */
  nearest(path: Buffer): DirtyPath | undefined {
    for (let end = path.length; end > 0; end = path.lastIndexOf(SLASH, end - 1)) {
      const dirty = this.#byPath.get(path.toString("latin1", 0, end));
      if (dirty) return dirty;
    }
    return this.#byPath.get("");
  }
}

/** Two different writers within one batch: which of them left what is there now cannot be told. */
function oneOf(before: KnownActor | undefined, now: KnownActor | undefined): KnownActor | undefined {
  if (!before || !now) return now ?? before;
  if (before.executable !== now.executable) return undefined;
  return before.entrance?.pid === now.entrance?.pid ? now : { ...now, entrance: undefined };
}

/**
 * @param dirty the events for which the path was measured
 * @param later events that came meanwhile: what a walk of a directory finds may be newer than the event that led to it
 */
export function entryChange(change: TreeChange, dirty: DirtySet | undefined, later?: DirtySet): EntryChangeInit {
  const base = { path: change.path, record: change.after ?? new Uint8Array(), inode: change.inode };
  const own = dirty?.at(change.path) ?? later?.at(change.path);
  const event = own ?? dirty?.nearest(change.path);
  if (!event) return base;
  const changedAt = timestampFromMs(event.atMs);
  // Who made the directory need not have made what is in it: without an event of its own nobody is named.
  return event.actor && own ? { ...base, changedAt, actor: actorPart(event.actor) } : { ...base, changedAt };
}

function actorPart({ container, entrance, ...actor }: KnownActor): MessageInitShape<typeof ActorSchema> {
  return { ...actor, ancestry: [...actor.ancestry], containerName: container?.name ?? "", ...(container && entrance && entryPart(entrance, container.pid)) };
}

/** Of every message that tells it. */
export interface EntryPart {
  readonly entry: ActorEntry;
  readonly enteredAt?: Timestamp;
  readonly enteredFrom?: string[];
}

/** How it came in, in the words of the message. @param mainPid of the container, as the runtime told last */
export function entryPart(entrance: ChangeEntrance, mainPid: number): EntryPart {
  // A container that was started again has a new main process, which the runtime may not have told of yet.
  if (entrance.pid === mainPid || entrance.init) return { entry: ActorEntry.MAIN };
  const entry = entrance.fromHost && RUNTIMES.has(entrance.from[0]) ? ActorEntry.EXEC : ActorEntry.JOINED;
  return { entry, enteredAt: timestampFromMs(entrance.atMs), enteredFrom: [...entrance.from] };
}
