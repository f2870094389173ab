/** What a container runs, as hullmark.v1.CodeSet: stable while nothing new runs, so that an untouched container costs no bytes. */
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { type CodeObjectSchema, CodePlace, CodeSetSchema, type PrivilegedProcessSchema } from "@hullmark/proto/v1/attestation";
import type { CodePlaceName, InspectedCode, InspectedContainer, InspectedPrivilege } from "../ports/process-inspector.ts";
import type { EntryPart } from "./change-actors.ts";
import { timestampFromMs } from "./timestamp.ts";

/** Objects of one container that are kept; more is `truncated`. */
const MAX_OBJECTS = 4096;
/** And bytes: a workload may give each a path of 4 KiB, and the verifier takes no part above 2 MiB. */
const MAX_BYTES = 1792 * 1024;
/** Of an object besides its path: digest, names of five ancestors and of five more that brought it in, numbers. */
const OBJECT_BYTES = 480;

/** Programs with privileges of their own that are told; more is `truncated`. */
const MAX_PRIVILEGED = 64;

const PLACES: Readonly<Record<CodePlaceName, CodePlace>> = {
  layer: CodePlace.LAYER,
  upper: CodePlace.UPPER,
  volume: CodePlace.VOLUME,
  tmpfs: CodePlace.TMPFS,
  memfd: CodePlace.MEMFD,
  deleted: CodePlace.DELETED,
  unknown: CodePlace.UNKNOWN,
};

type CodeObjectInit = MessageInitShape<typeof CodeObjectSchema>;
/** How a process came into the container; undefined: not known. */
export type EntryOf = (pid: number) => EntryPart | undefined;

const UNKNOWN: EntryOf = () => undefined;

/** One container's code over time: what lies in layers stays once seen, the rest goes with its last process. */
export class CodeHistory {
  readonly #layers = new Map<string, CodeObjectInit>();
  readonly #firstSeenMs = new Map<string, number>();
  #layerBytes = 0;
  #truncated = false;
  #last: { readonly inspected: InspectedContainer; readonly bytes: Uint8Array } | undefined;

  /** @param inspected never changed afterwards: the very same one gives the same bytes */
  serialize(inspected: InspectedContainer, nowMs: number, entryOf = UNKNOWN): Uint8Array {
    if (this.#last?.inspected !== inspected) this.#last = { inspected, bytes: this.#serialize(inspected, nowMs, entryOf) };
    return this.#last.bytes;
  }

  #serialize({ code, privileges, claims }: InspectedContainer, nowMs: number, entryOf: EntryOf): Uint8Array {
    const others = new Map<string, CodeObjectInit>();
    let otherBytes = 0;
    for (const each of code) {
      const key = keyOf(each);
      const inLayer = each.place === "layer";
      const objects = inLayer ? this.#layers : others;
      if (objects.has(key)) continue;
      const bytes = each.path.length + OBJECT_BYTES;
      if (this.#layers.size + others.size >= MAX_OBJECTS || this.#layerBytes + otherBytes + bytes > MAX_BYTES) {
        this.#truncated = true;
        continue;
      }
      objects.set(key, { ...this.#object(key, each, nowMs), ...(inLayer ? {} : entryOf(each.pid)) });
      if (inLayer) this.#layerBytes += bytes;
      else otherBytes += bytes;
    }
    const privileged = new Map<string, MessageInitShape<typeof PrivilegedProcessSchema>>();
    for (const each of privileges) {
      const key = `privilege|${each.path.toString("latin1")}|${each.capabilities.join()}`;
      if (privileged.has(key)) continue;
      if (privileged.size >= MAX_PRIVILEGED) this.#truncated = true;
      else privileged.set(key, { ...this.#privilege(key, each, nowMs), ...entryOf(each.pid) });
    }
    for (const key of this.#firstSeenMs.keys()) if (!others.has(key) && !privileged.has(key)) this.#firstSeenMs.delete(key);
    const objects = inOrder([...this.#layers, ...others]);
    const told = { objects, truncated: this.#truncated, claims: claims.map((claim) => ({ ...claim })), privileged: inOrder(privileged) };
    return toBinary(CodeSetSchema, create(CodeSetSchema, told));
  }

  #privilege(key: string, { path, capabilities, pid, uid, ancestry }: InspectedPrivilege, nowMs: number): MessageInitShape<typeof PrivilegedProcessSchema> {
    return { program: path, capabilities: [...capabilities], pid, uid, ancestry: [...ancestry], firstSeen: this.#firstSeen(key, nowMs) };
  }

  #firstSeen(key: string, nowMs: number) {
    const firstSeenMs = this.#firstSeenMs.get(key) ?? nowMs;
    this.#firstSeenMs.set(key, firstSeenMs);
    return timestampFromMs(firstSeenMs);
  }

  #object(key: string, { place, path, sha256, main, pid, uid, ancestry }: InspectedCode, nowMs: number): CodeObjectInit {
    const base = { place: PLACES[place], path, mainExecutable: main };
    if (place === "layer") return base;
    return { ...base, sha256: sha256 ?? new Uint8Array(), pid, uid, ancestry: [...ancestry], firstSeen: this.#firstSeen(key, nowMs) };
  }
}

function inOrder<T>(byKey: Iterable<readonly [string, T]>): T[] {
  return [...byKey].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, each]) => each);
}

/** Place first, so that the order of keys is the order of the message. */
function keyOf({ place, path, sha256, main }: InspectedCode): string {
  return `${PLACES[place]}|${path.toString("latin1")}|${sha256?.toString("hex") ?? ""}|${main ? 0 : 1}`;
}
