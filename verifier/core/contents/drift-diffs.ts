/**
 * What changed in a file, for a person: its content as the image has it beside its content on the node, which the node's own configuration must allow. Contents are held in memory while
 * the answer is made and nowhere else; who asked, and why, is in the log before the node is asked.
 */
import { ContentRefusal } from "@hullmark/proto/v1/attestation";
import { DriftState } from "@hullmark/proto/v1/query";
import type { DriftRow } from "../../ports/rows.ts";
import type { Store } from "../../ports/store.ts";
import { AdministrationError, type AdministrationErrorCode } from "../fleet/administration.ts";
import type { Committer } from "../fleet/committer.ts";
import { adminFact, pathText } from "../fleet/log-facts.ts";
import type { Original } from "../images/original.ts";
import type { Session } from "../session/session.ts";
import { MAX_LINES, type TextDiff, textDiff } from "./text-diff.ts";

/** Neither side of a difference is larger. */
export const MAX_CONTENT_BYTES = 1_048_576;

export interface DriftDiffServices {
  readonly store: Store;
  readonly committer: Committer;
  readonly session: (nodeId: string) => Session | undefined;
  /** A file as the image has it. @throws RegistryError; the signal's reason */
  readonly original: (configDigest: string, file: Original, maxBytes: number, signal: AbortSignal) => Promise<Buffer | "too-large" | undefined>;
  readonly nowMs: () => number;
}

export interface DriftDiff extends TextDiff {
  /** Bytes; undefined: there is no such file. */
  readonly sizeBefore: number | undefined;
  readonly sizeAfter: number | undefined;
}

export interface Asked {
  readonly by: string;
  readonly reason: string;
}

const STANDING: readonly DriftState[] = [DriftState.OPEN, DriftState.ACKNOWLEDGED, DriftState.NOTICE];
const PLACES: readonly string[] = ["upper", "layer"];
/** People at a time: each may have a layer fetched, and two contents in memory. */
const MAX_RUNNING = 4;
const TIMEOUT_MS = 60_000;
const MAX_TEXT_CHARS = 64;

type Refused = Exclude<ContentRefusal, ContentRefusal.UNSPECIFIED>;
const ALLOW = "contents.allow in the configuration of that node's agent (docs/drift-diff.md)";
const REFUSALS: Readonly<Record<Refused, readonly [code: AdministrationErrorCode, message: string, fix?: string]>> = {
  [ContentRefusal.NOT_ALLOWED]: ["NOT_ALLOWED", "not allowed by the node: its agent's configuration does not let the content of this file out", ALLOW],
  [ContentRefusal.SECRET]: ["NOT_ALLOWED", "not allowed by the node: by its name, or by what is in it, the file may hold secrets", "look at it on the node"],
  [ContentRefusal.CHANGED]: ["CHANGED", "it changed since, or is being measured: look at the drift again"],
  [ContentRefusal.TOO_LARGE]: ["TOO_LARGE", "the file is larger than the node hands out", "contents.maxBytes in the configuration of that node's agent"],
  [ContentRefusal.OTHER_NAMES]: ["NOT_ALLOWED", "not allowed by the node: the file has another name too (a hard link)", "look at it on the node"],
  [ContentRefusal.TOO_MANY]: [
    "TOO_MANY",
    "the node has handed out as many files in this hour as it may",
    "contents.hourly in the configuration of that node's agent",
  ],
  [ContentRefusal.UNREADABLE]: ["NO_CONTENT", "the node cannot read the file"],
};

export class DriftDiffs {
  readonly #services: DriftDiffServices;
  #running = 0;

  constructor(services: DriftDiffServices) {
    this.#services = services;
  }

  /** @throws AdministrationError NOT_FOUND, NOT_OPEN, NOT_LIVE, NO_CONTENT, NOT_ALLOWED, NO_ORIGINAL, TOO_LARGE, TOO_MANY, CHANGED, SILENT; RegistryError, StoreError, SessionError */
  async of(driftId: string, asked: Asked, callSignal: AbortSignal): Promise<DriftDiff> {
    const { row, session } = await this.#found(driftId);
    const { before, after } = contentsOf(row);
    if (after && session && !session.handsOutContents) throw refused(ContentRefusal.NOT_ALLOWED);
    if (this.#running >= MAX_RUNNING) throw new AdministrationError("TOO_MANY", "others are looking at differences now: try again");
    this.#running++;
    try {
      const signal = AbortSignal.any([callSignal, AbortSignal.timeout(TIMEOUT_MS)]);
      // First: where nothing can be compared, nothing leaves the node.
      const original = before && (await this.#original(row, before, signal));
      const content = after && (await this.#content(row, after, session, asked, signal));
      const diff = textDiff(original, content);
      if (!diff) throw new AdministrationError("TOO_LARGE", `the file has more than ${MAX_LINES} lines, before and after together`);
      return { ...diff, sizeBefore: original?.length, sizeAfter: content?.length };
    } finally {
      this.#running--;
    }
  }

  async #found(driftId: string): Promise<{ readonly row: DriftRow; readonly session: Session | undefined }> {
    const stored = await this.#services.store.readDrift(driftId);
    if (!stored) throw new AdministrationError("NOT_FOUND", "no such drift");
    const session = this.#services.session(stored.nodeId);
    const row = session?.live.drift(driftId) ?? stored;
    if (!STANDING.includes(row.state)) throw new AdministrationError("NOT_OPEN", "this drift is over: what it changed is not there any more");
    return { row, session };
  }

  async #original(row: DriftRow, sha256: Buffer, signal: AbortSignal): Promise<Buffer> {
    const file = { path: row.path.subarray(1), layerIndex: row.layerIndex, sha256 };
    const found = await this.#services.original(row.configDigest, file, MAX_CONTENT_BYTES, signal);
    if (found === "too-large") throw new AdministrationError("TOO_LARGE", `the image's file is larger than ${MAX_CONTENT_BYTES} bytes`);
    if (!found)
      throw new AdministrationError("NO_ORIGINAL", "the image's layer that has this file is not to be had, or its content there is none that could be shown");
    return found;
  }

  async #content(row: DriftRow, sha256: Buffer, session: Session | undefined, { by, reason }: Asked, signal: AbortSignal): Promise<Buffer> {
    const { committer, nowMs } = this.#services;
    const container = session?.live.memory.containers.get(row.containerId);
    if (!session || !container) throw new AdministrationError("NOT_LIVE", "the node is not connected");
    const layerId = row.place === "layer" ? container.filesystem.layers[row.layerIndex]?.id : "";
    if (layerId === undefined) throw new AdministrationError("NO_CONTENT", "the node has no such layer");
    const told = { drift: row.id, node: row.nodeId, container: row.containerId, path: pathText(row.path), sha256: sha256.toString("hex") };
    await committer.submit({ entries: [adminFact("content-asked", nowMs(), { ...told, by, reason })], build: () => ({}) });
    const wanted = { containerId: row.containerId, layerId, path: row.path.subarray(1), sha256, driftId: row.id };
    const answer = await session.askContent({ ...wanted, requestedBy: by.slice(0, MAX_TEXT_CHARS), reason }, signal);
    if (answer === undefined) throw new AdministrationError("SILENT", "the node does not answer");
    if (!("refusal" in answer)) return answer.content;
    throw refused(answer.refusal);
  }
}

function refused(refusal: ContentRefusal): AdministrationError {
  const [code, message, fix = ""] = REFUSALS[refusal as Refused] ?? REFUSALS[ContentRefusal.UNREADABLE];
  return new AdministrationError(code, message, fix);
}

/** Digests of what is compared, as the drift tells them. @throws AdministrationError NO_CONTENT */
function contentsOf({ place, path, differences }: DriftRow): { readonly before: Buffer | undefined; readonly after: Buffer | undefined } {
  const digests = differences.find(({ field }) => field === "sha256");
  if (!digests || path.length < 2 || !PLACES.includes(place))
    throw new AdministrationError("NO_CONTENT", "this drift is not of a file's content in the container's own file system: `drift show` has all that differs");
  const sha256 = (text: string): Buffer | undefined => (/^[0-9a-f]{64}$/.test(text) ? Buffer.from(text, "hex") : undefined);
  return { before: sha256(digests.expected), after: sha256(digests.observed) };
}
