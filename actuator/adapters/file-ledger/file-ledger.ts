/**
 * {@link Ledger} as an append-only file of JSON lines, each synced to disk before the call returns. A torn last line was never answered for and is cut off;
 * anything else that cannot be read stops the actuator: without its memory it could be made to do things twice. It is one process's: whoever opens it takes it
 * from whoever had it open.
 */
import { closeSync, constants, fstatSync, fsyncSync, ftruncateSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { ActionKind, NodeMark, Outcome } from "@hullmark/proto/v1/response";
import * as z from "zod";
import { standingIsolations } from "../../core/standing-isolations.ts";
import { standingOn } from "../../core/standing-on.ts";
import { type Ledger, type LedgerEntry, LedgerError, type Settled } from "../../ports/ledger.ts";

/** Entries older than this are forgotten at the next start, and where there is no more room: intents end sooner, and so do the windows of the breaker. Not those of nodes whose marks stand. */
const KEPT_MS = 2 * 86_400_000;
/** What an isolated container was on is known for so long. */
const ISOLATION_KEPT_MS = 365 * 86_400_000;
const MAX_ENTRIES = 10_000;
const MAX_FILE_BYTES = 64 * 1024 * 1024;
/** Beyond it nothing new is taken: what was begun still ends, and is told. */
const FULL_BYTES = 48 * 1024 * 1024;

const captureSchema = z.strictObject({
  digest: z.string(),
  bytes: z.number(),
  complete: z.boolean(),
  expiresAtMs: z.number().optional(),
  files: z.number().optional(),
  processes: z.number().optional(),
});
const settledSchema = z.strictObject({
  outcome: z.enum(Outcome),
  reason: z.string(),
  detail: z.string(),
  newContainerId: z.string(),
  capture: captureSchema.optional(),
  captureProblem: z.string().optional(),
  marks: z.array(z.enum(NodeMark)).optional(),
});
const entrySchema = z.strictObject({
  intentId: z.string().regex(/^[0-9a-f]{32}$/),
  actionId: z.string(),
  logIndex: z.number().optional(),
  kind: z.enum(ActionKind),
  containerId: z.string(),
  name: z.string(),
  restartPolicy: z.strictObject({ name: z.string(), maximumRetryCount: z.number() }),
  networks: z.array(z.strictObject({ name: z.string(), endpoint: z.record(z.string(), z.unknown()) })).optional(),
  vanishesWith: z.array(z.string()).optional(),
  takenAway: z.literal(true).optional(),
  weight: z.number().optional(),
  receivedAtMs: z.number(),
  expiresAtMs: z.number(),
  target: z.strictObject({ imageId: z.string(), reference: z.string() }).optional(),
  pod: z
    .strictObject({
      ...{ namespace: z.string(), name: z.string(), uid: z.string(), container: z.string(), nodeName: z.string(), imageDigests: z.array(z.string()) },
      ...{ driftId: z.string(), driftLogIndex: z.number() },
    })
    .optional(),
  rollout: z
    .strictObject({
      owner: z.strictObject({ kind: z.string(), name: z.string(), uid: z.string() }),
      revisions: z.array(z.strictObject({ name: z.string(), images: z.array(z.strictObject({ container: z.string(), digest: z.string() })) })),
    })
    .optional(),
  purge: z.strictObject({ chainId: z.string(), imageDigests: z.array(z.string()) }).optional(),
  layerDirectory: z.string().optional(),
  notRunning: z.array(z.string()).optional(),
  owners: z.array(z.string()).optional(),
  node: z.strictObject({ nodeId: z.string(), name: z.string(), marks: z.array(z.enum(NodeMark)), reason: z.string() }).optional(),
  tried: z.array(z.enum(NodeMark)).optional(),
  settled: settledSchema.optional(),
  reported: z.boolean(),
});
const lineSchema = z.union([
  z.strictObject({ add: entrySchema }),
  z.strictObject({ try: z.string(), mark: z.enum(NodeMark), open: z.boolean() }),
  z.strictObject({ settle: z.string(), as: settledSchema }),
  z.strictObject({ reported: z.string() }),
]);
type Line = z.output<typeof lineSchema>;

export class FileLedger implements Ledger {
  readonly #path: string;
  #fd: number;
  /** Of the file, as far as it is whole lines. */
  #bytes = 0;
  readonly #entries = new Map<string, LedgerEntry>();

  /**
   * Opens or makes the ledger in a directory of its own (mode 0700).
   * @throws LedgerError LEDGER_CORRUPT; the system's error
   */
  constructor(directory: string, nowMs: number) {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    this.#path = join(directory, "ledger.jsonl");
    const before = openIfThere(this.#path);
    try {
      const content = before === undefined ? Buffer.alloc(0) : readFileSync(before);
      this.#fd = this.#start(content, nowMs);
      // What another process wrote until its place was taken: from then on it writes nothing that it acts on.
      const late = before === undefined ? Buffer.alloc(0) : readFileSync(before);
      if (late.length === 0) return;
      closeSync(this.#fd);
      this.#entries.clear();
      this.#fd = this.#start(Buffer.concat([content, late]), nowMs);
    } finally {
      if (before !== undefined) closeSync(before);
    }
  }

  /** @returns open for appending @throws LedgerError LEDGER_CORRUPT; the system's error */
  #start(content: Buffer, nowMs: number): number {
    this.#read(content.toString("utf8"));
    // A clock that is ahead forgets nothing: it may be put right, and what was done is to be known then.
    const newestMs = Math.max(...[...this.#entries.values()].map(({ receivedAtMs }) => receivedAtMs));
    this.#forget(Math.min(nowMs, newestMs));
    return this.#rewrite();
  }

  get(intentId: string): LedgerEntry | undefined {
    return this.#entries.get(intentId);
  }

  all(): readonly LedgerEntry[] {
    return [...this.#entries.values()];
  }

  add(entry: LedgerEntry): void {
    if (this.#entries.has(entry.intentId)) throw new LedgerError("LEDGER_KNOWN", `intent ${entry.intentId}`);
    if (this.#isFull()) this.#makeRoom(entry.receivedAtMs);
    if (this.#isFull()) throw new LedgerError("LEDGER_FULL", `${this.#entries.size} intents within two days`);
    this.#append({ add: toLine(entry) });
    this.#entries.set(entry.intentId, entry);
  }

  noteTry(intentId: string, mark: NodeMark, open: boolean): void {
    const entry = this.#entries.get(intentId);
    if (!entry || entry.settled) return;
    this.#append({ try: intentId, mark, open });
    this.#entries.set(intentId, withTry(entry, mark, open));
  }

  settle(intentId: string, settled: Settled): void {
    const entry = this.#entries.get(intentId);
    if (!entry || entry.settled) return;
    this.#append({ settle: intentId, as: toSettled(settled) });
    this.#entries.set(intentId, { ...entry, settled });
  }

  markReported(intentId: string): void {
    const entry = this.#entries.get(intentId);
    if (!entry || entry.reported) return;
    this.#append({ reported: intentId });
    this.#entries.set(intentId, { ...entry, reported: true });
  }

  close(): void {
    closeSync(this.#fd);
  }

  #isFull(): boolean {
    return this.#entries.size >= MAX_ENTRIES || this.#bytes >= FULL_BYTES;
  }

  /** @throws LedgerError LEDGER_TAKEN: what it would write is not all that was done; the system's error, and the file is as it was */
  #makeRoom(nowMs: number): void {
    this.mustBeOurs();
    if (!this.#forget(nowMs)) return;
    const before = this.#fd;
    this.#fd = this.#rewrite();
    closeSync(before);
  }

  /**
   * What nothing rests on any more: what is old, and what was refused, once it has ended. @param nowMs not after the newest that is kept, or that is added next: by that an intent is known to
   * have ended @returns whether there was any
   */
  #forget(nowMs: number): boolean {
    const before = this.#entries.size;
    const standing = standingOn(this.#entries.values());
    const isolations = standingIsolations(this.#entries.values());
    for (const [id, { receivedAtMs, expiresAtMs, reported, node, containerId, settled }] of this.#entries) {
      if (!reported || (node && standing.has(node.nodeId) && settled?.outcome !== Outcome.REFUSED)) continue;
      const keptMs = isolations.get(containerId)?.intentId === id ? ISOLATION_KEPT_MS : KEPT_MS;
      const isVoid = settled?.outcome === Outcome.REFUSED && expiresAtMs <= nowMs;
      if (isVoid || nowMs - receivedAtMs > keptMs) this.#entries.delete(id);
    }
    return this.#entries.size < before;
  }

  /** @returns bytes of the file @throws LedgerError LEDGER_TAKEN where another process has opened it since */
  mustBeOurs(): number {
    const { nlink, size } = fstatSync(this.#fd);
    if (nlink === 0) throw new LedgerError("LEDGER_TAKEN", `${this.#path} is another process's now, or was removed: one actuator runs on a state directory`);
    return size;
  }

  /** All of it, or nothing: half a line would make the next ones unreadable. @throws LedgerError LEDGER_TAKEN; the system's error */
  #append(line: Line): void {
    const size = this.mustBeOurs();
    // What could not be taken back when it failed is now.
    if (size !== this.#bytes) ftruncateSync(this.#fd, this.#bytes);
    const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
    try {
      writeAll(this.#fd, bytes);
      fsyncSync(this.#fd);
    } catch (error) {
      ftruncateSync(this.#fd, this.#bytes);
      throw error;
    }
    this.#bytes += bytes.length;
    // Written before its place was taken, whoever took it has read it; else it may not know, and nothing is done for it here.
    this.mustBeOurs();
  }

  #read(text: string): void {
    if (text.length > MAX_FILE_BYTES) throw new LedgerError("LEDGER_CORRUPT", `${this.#path} has ${text.length} characters`);
    // What follows the last line end was being written when the process ended.
    const lines = text.split("\n").slice(0, -1);
    for (const [index, each] of lines.entries()) {
      try {
        this.#apply(lineSchema.parse(JSON.parse(each)));
      } catch (cause) {
        throw new LedgerError(
          "LEDGER_CORRUPT",
          `${this.#path}:${index + 1} cannot be read: look at it, and move it away only if no intent can still be alive (15 min)`,
          {
            cause,
          },
        );
      }
    }
  }

  #apply(line: Line): void {
    if ("add" in line) return void this.#entries.set(line.add.intentId, { ...line.add, settled: line.add.settled });
    const id = "try" in line ? line.try : "settle" in line ? line.settle : line.reported;
    const entry = this.#entries.get(id);
    if (!entry) throw new Error(`no entry ${id}`);
    if ("try" in line) return void this.#entries.set(id, withTry(entry, line.mark, line.open));
    this.#entries.set(id, "settle" in line ? { ...entry, settled: line.as } : { ...entry, reported: true });
  }

  /** The file anew, with what is kept; a crash leaves the old one. @returns open for appending */
  #rewrite(): number {
    const path = this.#path;
    const fresh = `${path}.new`;
    rmSync(fresh, { force: true });
    const fd = openSync(fresh, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_APPEND | constants.O_NOFOLLOW, 0o600);
    const bytes = Buffer.from([...this.#entries.values()].map((entry) => `${JSON.stringify({ add: toLine(entry) })}\n`).join(""));
    try {
      writeAll(fd, bytes);
      fsyncSync(fd);
      renameSync(fresh, path);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    this.#bytes = bytes.length;
    const directory = openSync(dirname(path), constants.O_RDONLY);
    fsyncSync(directory);
    closeSync(directory);
    return fd;
  }
}

function openIfThere(path: string): number | undefined {
  try {
    return openSync(path, constants.O_RDONLY);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function withTry(entry: LedgerEntry, mark: NodeMark, open: boolean): LedgerEntry {
  const others = (entry.tried ?? []).filter((each) => each !== mark);
  return { ...entry, tried: open ? [...others, mark] : others };
}

function toLine({
  settled,
  restartPolicy,
  networks,
  vanishesWith,
  takenAway,
  weight = 1,
  target,
  pod,
  rollout,
  purge,
  layerDirectory,
  notRunning,
  owners,
  node,
  tried,
  ...entry
}: LedgerEntry): z.output<typeof entrySchema> {
  return {
    ...entry,
    restartPolicy: { ...restartPolicy },
    ...(networks && { networks: networks.map(({ name, endpoint }) => ({ name, endpoint: { ...endpoint } })) }),
    ...(takenAway && { takenAway }),
    ...(vanishesWith && { vanishesWith: [...vanishesWith] }),
    // Older actuators know of no weight.
    ...(weight > 1 && { weight }),
    ...(target && { target: { ...target } }),
    ...(pod && { pod: { ...pod, imageDigests: [...pod.imageDigests] } }),
    ...(rollout && { rollout: { owner: { ...rollout.owner }, revisions: rollout.revisions.map(({ name, images }) => ({ name, images: [...images] })) } }),
    ...(purge && { purge: { chainId: purge.chainId, imageDigests: [...purge.imageDigests] } }),
    ...(layerDirectory !== undefined && { layerDirectory }),
    ...(notRunning && { notRunning: [...notRunning] }),
    ...(owners && { owners: [...owners] }),
    ...(node && { node: { ...node, marks: [...node.marks] } }),
    ...(tried && { tried: [...tried] }),
    ...(settled && { settled: toSettled(settled) }),
  };
}

function toSettled({ capture, marks, ...settled }: Settled): z.output<typeof settledSchema> {
  return { ...settled, ...(capture && { capture: { ...capture } }), ...(marks && { marks: [...marks] }) };
}

function writeAll(fd: number, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}
