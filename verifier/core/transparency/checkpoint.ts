/** Checkpoints (C2SP tlog-checkpoint): origin, size and root of a log in a signed note. */
import type { NoteSigner } from "../../ports/signer.ts";
import { TransparencyError } from "./errors.ts";
import { EMPTY_LOG_ROOT, LOG_HASH_BYTES } from "./hash.ts";
import { type NoteVerifierKey, openNote, signNote } from "./note.ts";

export interface Checkpoint {
  /** The log's identity: the name of its key. */
  readonly origin: string;
  readonly size: number;
  /** RFC 6962 root, 32 bytes. */
  readonly root: Buffer;
}

/** The note text of a checkpoint, without extension lines. */
export function formatCheckpoint({ origin, size, root }: Checkpoint): string {
  return `${origin}\n${size}\n${root.toString("base64")}\n`;
}

/** Reads the text of an opened note. Extension lines are accepted and ignored. @throws TransparencyError BAD_CHECKPOINT */
export function parseCheckpoint(text: string): Checkpoint {
  const [origin, sizeText, rootText, ...rest] = text.split("\n");
  if (!origin || !sizeText || !rootText || rest.pop() !== "" || rest.includes(""))
    throw new TransparencyError("BAD_CHECKPOINT", "want origin, size and root, each on a line");
  const size = Number(sizeText);
  if (!/^(0|[1-9][0-9]*)$/.test(sizeText) || !Number.isSafeInteger(size))
    throw new TransparencyError("BAD_CHECKPOINT", "the size is not a decimal of 0..2^53 - 1");
  const root = Buffer.from(rootText, "base64");
  if (root.length !== LOG_HASH_BYTES || root.toString("base64") !== rootText)
    throw new TransparencyError("BAD_CHECKPOINT", "the root is not base64 of 32 bytes");
  if (size === 0 && !root.equals(EMPTY_LOG_ROOT)) throw new TransparencyError("BAD_CHECKPOINT", "an empty log with a root that is not the empty root");
  return { origin, size, root };
}

/** Signs a checkpoint whose origin is the signers' name, which is one. */
export async function signCheckpoint(size: number, root: Buffer, ...signers: readonly [NoteSigner, ...NoteSigner[]]): Promise<string> {
  return await signNote(formatCheckpoint({ origin: signers[0].name, size, root }), ...signers);
}

/** One key of a log, or all that it has had and that count, of one name. */
export type LogKeys = NoteVerifierKey | readonly NoteVerifierKey[];

/** The checkpoint of a note that one of the log's keys has signed and whose origin is their name. @throws TransparencyError */
export function openCheckpoint(note: string, log: LogKeys): Checkpoint {
  const keys = [log].flat();
  const checkpoint = parseCheckpoint(openNote(note, keys).text);
  const name = keys[0]?.name ?? "";
  if (checkpoint.origin !== name) throw new TransparencyError("BAD_CHECKPOINT", `origin ${checkpoint.origin}, want ${name}`);
  return checkpoint;
}
