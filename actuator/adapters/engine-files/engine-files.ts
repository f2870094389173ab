/** What a container changed on its file system, asked of the engine: whichever storage driver it has. Every name and byte is the container's. */
import { type IncomingMessage, request } from "node:http";
import { type Archived, CaptureError, type Change, type ChangedFiles, type FoundChanges } from "@hullmark/capture/capture";
import * as z from "zod";

const MAX_ANSWER_BYTES = 16 * 2 ** 20;
const MAX_STAT_CHARS = 65_536;
/** Go's os.ModeDir, as the engine writes modes. */
const DIRECTORY = 2 ** 31;

const ChangesSchema = z.array(z.object({ Path: z.string(), Kind: z.int().min(0).max(2) })).nullable();
const MountsSchema = z.object({ Mounts: z.array(z.object({ Destination: z.string() })).nullish() });
const StatSchema = z.object({ mode: z.int().min(0) });

const KINDS = ["modified", "added", "deleted"] as const;

export class EngineFiles implements ChangedFiles {
  readonly #socketPath: string;
  readonly #containerId: string;

  /** @param containerId 64 hex digits */
  constructor(socketPath: string, containerId: string) {
    this.#socketPath = socketPath;
    this.#containerId = containerId;
  }

  async changes(signal: AbortSignal): Promise<FoundChanges> {
    const what = "list of changes";
    const { body, whole } = await this.#told(`/containers/${this.#containerId}/changes`, what, signal);
    const found = understood(whole ? body : wholeElements(body), ChangesSchema, what);
    const changes = (found ?? []).map(({ Path, Kind }) => ({ path: Path, kind: KINDS[Kind] ?? "modified" }));
    return whole ? { changes } : { changes, problem: `only the beginning of the engine's ${what} is kept: it has more than ${MAX_ANSWER_BYTES} bytes` };
  }

  async mounts(signal: AbortSignal): Promise<readonly string[]> {
    const what = "description of the container";
    const { body, whole } = await this.#told(`/containers/${this.#containerId}/json`, what, signal);
    if (!whole) throw new CaptureError(`the engine's ${what} has more than ${MAX_ANSWER_BYTES} bytes`);
    const { Mounts } = understood(body, MountsSchema, what);
    return (Mounts ?? []).map(({ Destination }) => Destination.replace(/\/+$/, ""));
  }

  async archive({ path }: Change, { whole, maxBytes }: { readonly whole: boolean; readonly maxBytes: number }, signal: AbortSignal): Promise<Archived> {
    const response = await this.#get(`/containers/${this.#containerId}/archive?path=${encodeURIComponent(path)}`, signal);
    try {
      if (response.statusCode === 404) return { left: "gone" };
      if (response.statusCode !== 200)
        throw new CaptureError(`the engine does not hand out ${JSON.stringify(path.slice(0, 200))} (status ${response.statusCode ?? 0})`);
      if (!whole && isDirectory(response.headers["x-docker-container-path-stat"])) return { left: "directory" };
      const tar = await bounded(response, maxBytes);
      return tar.whole ? { tar: tar.body } : { left: "too-large" };
    } finally {
      response.destroy();
    }
  }

  async #told(path: string, what: string, signal: AbortSignal): Promise<Bounded> {
    const response = await this.#get(path, signal);
    try {
      if (response.statusCode !== 200) throw new CaptureError(`the engine gives no ${what} (status ${response.statusCode ?? 0})`);
      return await bounded(response, MAX_ANSWER_BYTES);
    } finally {
      response.destroy();
    }
  }

  #get(path: string, signal: AbortSignal): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      request({ socketPath: this.#socketPath, path, agent: false, signal }, resolve).on("error", reject).end();
    });
  }
}

/** At most so many bytes; not `whole`: there are more. */
interface Bounded {
  readonly body: Buffer;
  readonly whole: boolean;
}

async function bounded(response: IncomingMessage, maxBytes: number): Promise<Bounded> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxBytes) return { body: Buffer.concat(chunks), whole: false };
    chunks.push(chunk);
  }
  return { body: Buffer.concat(chunks, bytes), whole: true };
}

function understood<T>(body: Buffer, schema: z.ZodType<T>, what: string): T {
  const parsed = schema.safeParse(json(body.toString("utf8")));
  if (!parsed.success) throw new CaptureError(`the engine's ${what} is not one`);
  return parsed.data;
}

const [QUOTE, BACKSLASH, OPENING, CLOSING] = [0x22, 0x5c, [0x5b, 0x7b], [0x5d, 0x7d]];

/** Of a JSON array that is cut somewhere the elements before, as an array. The names in it are of the container's choice. */
function wholeElements(cut: Buffer): Buffer {
  let depth = 0;
  let quoted = false;
  let end = 0;
  for (let at = 0; at < cut.length; at++) {
    const byte = cut[at] ?? 0;
    if (quoted && byte === BACKSLASH) at++;
    else if (byte === QUOTE) quoted = !quoted;
    else if (quoted) continue;
    else if (OPENING.includes(byte)) depth++;
    else if (CLOSING.includes(byte) && --depth === 1) end = at + 1;
  }
  return Buffer.concat([cut.subarray(0, end), Buffer.from("]")]);
}

/** What cannot be understood counts as one: the whole of a directory is not read by mistake. */
function isDirectory(header: string | readonly string[] | undefined): boolean {
  if (typeof header !== "string" || header.length > MAX_STAT_CHARS) return true;
  const parsed = StatSchema.safeParse(json(Buffer.from(header, "base64").toString("utf8")));
  return !parsed.success || parsed.data.mode >= DIRECTORY;
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
