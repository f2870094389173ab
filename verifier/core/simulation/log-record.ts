/** What the transparency log holds of past days beside drift: how nodes stood, when acting was paused, which containers and images there were. Read in order, bounded. */
import { Verdict } from "@hullmark/proto/v1/common";
import { type LogReader, TILE_WIDTH } from "../../ports/log-store.ts";
import { wireName } from "../fleet/log-facts.ts";
import { decodeLogEntry, type LogEntry, type LogValue } from "../transparency/entry.ts";

/** Names of containers and images that are kept; of more than that only the number of entries is bounded, and it is told. */
export const MAX_NAMES = 200_000;
const MAX_NODE_CHANGES = 500_000;

export interface SeenImage {
  readonly firstMs: number;
  readonly reference: string;
}

export interface LogRecord {
  /** Of the log's first entry; undefined: it has none. */
  readonly beginsMs: number | undefined;
  readonly entries: number;
  /** When each node's verdict became what; ascending. */
  readonly nodes: ReadonlyMap<string, readonly { readonly atMs: number; readonly before: Verdict; readonly verdict: Verdict }[]>;
  readonly pauses: readonly { readonly atMs: number; readonly paused: boolean }[];
  /** `nodeId/containerId` of what was judged. */
  readonly containers: ReadonlySet<string>;
  /** By config digest. */
  readonly images: ReadonlyMap<string, SeenImage>;
  /** When the webhook refused something. */
  readonly refused: readonly number[];
  /** How often another policy took effect. */
  readonly policies: number;
  /** More than is kept. */
  readonly truncated: boolean;
}

const VERDICTS = new Map(
  [Verdict.AFFIRMING, Verdict.WARNING, Verdict.CONTRAINDICATED, Verdict.UNKNOWN].map((verdict) => [wireName(Verdict, verdict), verdict]),
);

/** @param onProgress entries read, of how many @throws the signal's reason; TransparencyError where an entry cannot be read */
export async function readLogRecord(
  log: { readonly reader: LogReader; readonly size: number },
  sinceMs: number,
  onProgress: (done: number, total: number) => Promise<void>,
  signal: AbortSignal,
): Promise<LogRecord> {
  const first = log.size > 0 ? await entryAt(log.reader, 0) : undefined;
  const from = await firstBundleSince(log, sinceMs);
  const gathering = new Gathering();
  for (let at = from * TILE_WIDTH; at < log.size; at += TILE_WIDTH) {
    signal.throwIfAborted();
    for (const bytes of await log.reader.readEntries(at, Math.min(TILE_WIDTH, log.size - at))) {
      const entry = decodeLogEntry(bytes);
      if (entry.timeMs >= sinceMs) gathering.take(entry);
    }
    await onProgress(Math.min(at + TILE_WIDTH, log.size) - from * TILE_WIDTH, log.size - from * TILE_WIDTH);
  }
  return { ...gathering.record(), beginsMs: first?.timeMs };
}

async function entryAt(reader: LogReader, index: number): Promise<LogEntry | undefined> {
  const [bytes] = await reader.readEntries(index, 1);
  return bytes && decodeLogEntry(bytes);
}

/** Entries are in the order of their times, but for a clock that was set: the bundle before the first that begins later. */
async function firstBundleSince({ reader, size }: { readonly reader: LogReader; readonly size: number }, sinceMs: number): Promise<number> {
  let [low, high] = [0, Math.ceil(size / TILE_WIDTH)];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const entry = await entryAt(reader, middle * TILE_WIDTH);
    if (entry && entry.timeMs < sinceMs) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}

class Gathering {
  readonly #nodes = new Map<string, { atMs: number; before: Verdict; verdict: Verdict }[]>();
  readonly #pauses: { atMs: number; paused: boolean }[] = [];
  readonly #containers = new Set<string>();
  readonly #images = new Map<string, SeenImage>();
  readonly #refused: number[] = [];
  #entries = 0;
  #nodeChanges = 0;
  #policies = 0;
  #truncated = false;

  take({ type, timeMs, fields }: LogEntry): void {
    this.#entries++;
    if (type === "policy") this.#policies++;
    else if (type === "verdict") this.#verdict(timeMs, fields);
    else if (type === "admission" && fields["decision"] === "refused") this.#keep(this.#refused.length, () => this.#refused.push(timeMs));
    else if (type === "admin" && (fields["action"] === "actions-paused" || fields["action"] === "actions-resumed"))
      this.#pauses.push({ atMs: timeMs, paused: fields["action"] === "actions-paused" });
  }

  record(): Omit<LogRecord, "beginsMs"> {
    return {
      ...{ entries: this.#entries, nodes: this.#nodes, pauses: this.#pauses, containers: this.#containers, images: this.#images },
      ...{ refused: this.#refused, policies: this.#policies, truncated: this.#truncated },
    };
  }

  #verdict(atMs: number, fields: Readonly<Record<string, LogValue>>): void {
    const text = (name: string): string => (typeof fields[name] === "string" ? fields[name] : "");
    const node = text("node");
    if (fields["subject"] === "node") {
      if (this.#nodeChanges++ >= MAX_NODE_CHANGES) {
        this.#truncated = true;
        return;
      }
      const own = this.#nodes.get(node) ?? [];
      own.push({ atMs, before: VERDICTS.get(text("before")) ?? Verdict.UNSPECIFIED, verdict: VERDICTS.get(text("verdict")) ?? Verdict.UNSPECIFIED });
      this.#nodes.set(node, own);
      return;
    }
    this.#keep(this.#containers.size, () => this.#containers.add(`${node}/${text("container")}`));
    const config = text("config");
    if (config !== "" && !this.#images.has(config)) this.#keep(this.#images.size, () => this.#images.set(config, { firstMs: atMs, reference: text("image") }));
  }

  #keep(size: number, keep: () => void): void {
    if (size < MAX_NAMES) keep();
    else this.#truncated = true;
  }
}
