/**
 * Hands out the content of a changed file to the verifier, where the node's own configuration lets it. The verifier is not trusted with the choice: of what it asks for, only what is
 * allowed, was measured here as changed (or lies in a layer that is measured), and still has the very content that it names, leaves the node.
 */
import { hash } from "node:crypto";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { assertPath, CodecError, decodeRecord, pathKey } from "@hullmark/proto/codec";
import { ContentRefusal, type ContentRequest, type ContentResponseSchema } from "@hullmark/proto/v1/attestation";
import type { Clock } from "../ports/clock.ts";
import { type ContentReader, ContentReaderError, type ContentReaderErrorCode } from "../ports/content-reader.ts";
import { type MeasuredTree, TreeMeasurerError } from "../ports/tree-measurer.ts";
import { type ContentRules, holdsSecret, type PathRule, pathRule } from "./content-rules.ts";

export type ContentAnswer = MessageInitShape<typeof ContentResponseSchema>;

/** A tree that is measured, and the directory that it was measured in. */
export interface TreePlace {
  readonly root: string;
  readonly tree: MeasuredTree;
}

export interface FileContentsOptions {
  /** undefined: nothing leaves the node. */
  readonly rules: ContentRules | undefined;
  readonly reader: ContentReader;
  /** A layer of the container; empty: what lies over its layers. undefined: there is no such container or layer of it. */
  readonly place: (containerId: string, layerId: string) => Promise<TreePlace | undefined>;
  readonly clock: Pick<Clock, "nowMs">;
  /** What left the node, and what was refused ({@link MAX_REFUSALS_LOGGED} an hour, and how many more): the node's own record, which no verifier can take back. */
  readonly log: (message: string, fields: object) => void;
}

const HOUR_MS = 3_600_000;
const MAX_LOGGED_CHARS = 500;
/** Refusals that are written in an hour: more would only push out of a log of bounded size what left the node. */
const MAX_REFUSALS_LOGGED = 100;

const REFUSALS: Readonly<Record<ContentReaderErrorCode, ContentRefusal>> = {
  CHANGED: ContentRefusal.CHANGED,
  TOO_LARGE: ContentRefusal.TOO_LARGE,
  OTHER_NAMES: ContentRefusal.OTHER_NAMES,
  UNREADABLE: ContentRefusal.UNREADABLE,
};

export class FileContents {
  readonly #options: FileContentsOptions;
  readonly #ruleOf: (absolute: Buffer) => PathRule;
  #hour = { sinceMs: 0, asked: 0, refused: 0 };
  /** Refusals that are in no line yet. */
  #unwritten = 0;

  constructor(options: FileContentsOptions) {
    this.#options = options;
    this.#ruleOf = options.rules ? pathRule(options.rules) : () => "not-allowed";
  }

  get enabled(): boolean {
    return this.#options.rules !== undefined;
  }

  /** Never throws for what is asked. */
  async answer(request: ContentRequest): Promise<ContentAnswer> {
    const found = await this.#read(request);
    if (typeof found !== "number") {
      this.#log("content of a file was handed out", request, { bytes: found.length });
      return { id: request.id, content: found };
    }
    const nth = ++this.#hourNow().refused;
    const last = nth === MAX_REFUSALS_LOGGED ? ": no more of it is written in this hour" : "";
    if (nth <= MAX_REFUSALS_LOGGED) this.#log(`content of a file was refused${last}`, request, { refusal: ContentRefusal[found] });
    else this.#unwritten++;
    return { id: request.id, refusal: found };
  }

  #log(message: string, request: ContentRequest, outcome: object): void {
    const { containerId, path, requestedBy, reason, driftId } = request;
    const asked = { container: containerId.slice(0, 128), path: Buffer.from(path).toString("latin1").slice(0, 4096), drift: driftId.slice(0, 32) };
    const by = { requestedBy: requestedBy.slice(0, 64), reason: reason.slice(0, MAX_LOGGED_CHARS) };
    this.#options.log(message, { ...asked, ...by, ...outcome, ...(this.#unwritten > 0 && { unwritten: this.#unwritten }) });
    this.#unwritten = 0;
  }

  async #read({ containerId, layerId, path: bytes, sha256 }: ContentRequest): Promise<Buffer | ContentRefusal> {
    const { rules, reader, place } = this.#options;
    const path = Buffer.from(bytes);
    if (!rules || !isPath(path)) return ContentRefusal.NOT_ALLOWED;
    const rule = this.#ruleOf(Buffer.concat([Buffer.from("/"), path]));
    if (rule !== "allowed") return rule === "secret" ? ContentRefusal.SECRET : ContentRefusal.NOT_ALLOWED;
    if (!this.#mayAsk(rules.hourly)) return ContentRefusal.TOO_MANY;
    const at = await place(containerId, layerId);
    const size = at && measuredSize(at.tree, path, sha256);
    if (!at || size === undefined) return ContentRefusal.CHANGED;
    if (size > BigInt(rules.maxBytes)) return ContentRefusal.TOO_LARGE;
    try {
      const content = await reader.read(at.root, path, rules.maxBytes);
      if (!hash("sha256", content, "buffer").equals(sha256)) return ContentRefusal.CHANGED;
      return holdsSecret(content) ? ContentRefusal.SECRET : content;
    } catch (error) {
      if (error instanceof ContentReaderError) return REFUSALS[error.code];
      throw error;
    }
  }

  #mayAsk(hourly: number): boolean {
    return ++this.#hourNow().asked <= hourly;
  }

  #hourNow(): { sinceMs: number; asked: number; refused: number } {
    const nowMs = this.#options.clock.nowMs();
    if (Math.abs(nowMs - this.#hour.sinceMs) >= HOUR_MS) this.#hour = { sinceMs: nowMs, asked: 0, refused: 0 };
    return this.#hour;
  }
}

function isPath(path: Buffer): boolean {
  try {
    assertPath(path);
    return true;
  } catch (error) {
    if (error instanceof CodecError) return false;
    throw error;
  }
}

/** Of the file that was measured there with this content, in bytes; undefined: there is none. */
function measuredSize(tree: MeasuredTree, path: Buffer, sha256: Uint8Array): bigint | undefined {
  try {
    const at = tree.descend(pathKey(path), 256);
    if (at.kind !== "leaf" || !at.path.equals(path)) return undefined;
    const record = decodeRecord(at.record);
    return record.type === "f" && record.sha256.equals(sha256) ? record.size : undefined;
  } catch (error) {
    // It is measured anew, or gone, at this moment.
    if (error instanceof TreeMeasurerError) return undefined;
    throw error;
  }
}
