/**
 * Which of two checkpoints of the verifier's log (C2SP tlog-checkpoint) to keep. An agent has no key of the log: it looks at no signature, and keeps what it was given
 * for the verifier to verify. So it takes nothing shorter from the same log, by the same key: a verifier whose database went back must meet what it once signed.
 */
const MAX_NOTE_CHARACTERS = 4096;
/** Of a signature line's base64: the key's hash, 4 bytes. */
const KEY_HASH_BYTES = 4;

interface Kept {
  readonly origin: string;
  /** Hashes of the keys that it says it is signed by. */
  readonly keys: ReadonlySet<string>;
  readonly size: number;
}

/** @returns the one of the two to keep; `offered` comes from the verifier */
export function checkpointToKeep(held: string, offered: string): string {
  const [before, after] = [readCheckpoint(held), readCheckpoint(offered)];
  if (!after) return held;
  return before && isSameLog(before, after) && before.size > after.size ? held : offered;
}

function readCheckpoint(note: string): Kept | undefined {
  if (note.length > MAX_NOTE_CHARACTERS) return undefined;
  const [origin, size] = note.split("\n", 2);
  const signatures = note.split("\n").filter((line) => line.startsWith(`\u2014 ${origin} `));
  if (!origin || !size || !/^(0|[1-9]\d{0,15})$/.test(size) || signatures.length === 0) return undefined;
  const hashes = signatures.map((line) =>
    Buffer.from(line.slice(line.lastIndexOf(" ") + 1), "base64")
      .subarray(0, KEY_HASH_BYTES)
      .toString("hex"),
  );
  return { origin, keys: new Set(hashes), size: Number(size) };
}

/** By one key at least: while the log's key is being replaced, the old and the new sign both. */
function isSameLog(a: Kept, b: Kept): boolean {
  return a.origin === b.origin && [...a.keys].some((key) => b.keys.has(key));
}
