/** Captures as files: fetched from the hosts that keep them, and held against the digests that the log has. They are sealed for the responders. */
import { createHash, type Hash, randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { RpcError } from "@hullmark/proto/rpc";
import { type Action, Response } from "@hullmark/proto/v1/response";
import type { ProvenEntry } from "@hullmark/verifier/core/transparency/extract";
import type { Asking } from "../connection/run.ts";
import type { ToldIncident } from "./fetch.ts";

const NAME = /^A-[0-9A-Z]{4,16}$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;

/** The verifier chooses no path and nothing of what is printed. */
export function isNamed({ id, capture }: Pick<Action, "id" | "capture">): boolean {
  return NAME.test(id) && (capture === undefined || DIGEST.test(capture.digest));
}

/** Where the capture of an action lies beside the file of its incident. */
export function besideRecord(record: string, action: string): string {
  return `${record}.${action}.age`;
}

/** Actions of an incident of which something was captured. */
export function capturedIn({ members }: Pick<ToldIncident, "members">): readonly Action[] {
  return members.flatMap(({ actions }) => actions).filter((action) => action.capture !== undefined && isNamed(action));
}

export interface CaptureFetched {
  readonly action: string;
  /** Why it is not there; undefined: it is. */
  readonly why: string | undefined;
}

/** Fetches each beside the record, one after the other, as hosts hand them out. What is not to be had is told. @throws the system's error, of a file that is there already too */
export async function fetchBeside(
  { channel, signal }: Pick<Asking, "channel" | "signal">,
  record: string,
  actions: readonly Action[],
  reason: string,
): Promise<CaptureFetched[]> {
  const told: CaptureFetched[] = [];
  for (const { id, capture } of actions) {
    if (!capture) continue;
    const { digest, bytes: size } = capture;
    try {
      const bytes = await fetchedCapture(besideRecord(record, id), channel.client(Response).fetchCapture({ actionId: id, reason }, { signal }), {
        digest,
        size,
      });
      told.push({ action: id, why: bytes === undefined ? "what was fetched is not what the action has" : undefined });
    } catch (error) {
      if (!(error instanceof RpcError) || signal.aborted) throw error;
      told.push({ action: id, why: error.message });
    }
  }
  return told;
}

export interface CaptureHeld {
  readonly action: string;
  readonly digest: string;
  /** Entry of the log that has the digest. */
  readonly index: number;
  /** `missing`: no such file. `other`: a file with other content. */
  readonly file: "same" | "other" | "missing";
}

/** Holds what lies beside a record against what entries of the log, which are proven, say was captured. @throws the system's error, but for a file that is not there */
export async function capturesBeside(record: string, entries: readonly ProvenEntry[]): Promise<CaptureHeld[]> {
  const held: CaptureHeld[] = [];
  const named = new Map<string, { readonly digest: string; readonly index: number }>();
  for (const { type, fields, index } of entries) {
    const [action, digest] = [String(fields["id"]), String(fields["capture"])];
    if (type === "action" && NAME.test(action) && DIGEST.test(digest)) named.set(action, { digest, index });
  }
  for (const [action, { digest, index }] of named) held.push({ action, digest, index, file: await heldAgainst(besideRecord(record, action), digest) });
  return held;
}

async function heldAgainst(path: string, digest: string): Promise<CaptureHeld["file"]> {
  const hash = createHash("sha256");
  try {
    await pipeline(createReadStream(path), hash);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "missing";
    throw error;
  }
  return `sha256:${hash.digest("hex")}` === digest ? "same" : "other";
}

interface Wanted {
  readonly digest: string;
  /** Bytes. */
  readonly size: bigint;
}

/** The whole file, or none. @returns its bytes; undefined: they are others @throws RpcError; the system's error */
export async function fetchedCapture(path: string, parts: AsyncIterable<{ readonly part: Uint8Array }>, { digest, size }: Wanted): Promise<number | undefined> {
  const temporary = `${path}.${randomBytes(6).toString("hex")}.new`;
  const file = await open(temporary, "wx", 0o600);
  try {
    const { hash, bytes } = await written(file, parts, size);
    if (`sha256:${hash.digest("hex")}` !== digest) return undefined;
    await file.sync();
    await rename(temporary, path);
    return bytes;
  } finally {
    await file.close();
    await rm(temporary, { force: true });
  }
}

/** Not further than what is more than wanted. */
async function written(
  file: FileHandle,
  parts: AsyncIterable<{ readonly part: Uint8Array }>,
  size: bigint,
): Promise<{ readonly hash: Hash; readonly bytes: number }> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const { part } of parts) {
    hash.update(part);
    bytes += part.length;
    if (bytes > size) break;
    await file.write(part);
  }
  return { hash, bytes };
}
