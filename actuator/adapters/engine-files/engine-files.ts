/** What a container changed on its file system, asked of the engine: whichever storage driver it has. Every name and byte is the container's. */
import { type IncomingMessage, request } from "node:http";
import { type Archived, CaptureError, type Change, type ChangedFiles } from "@hullmark/capture/capture";
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

  async changes(signal: AbortSignal): Promise<readonly Change[]> {
    const found = await this.#told(`/containers/${this.#containerId}/changes`, ChangesSchema, "list of changes", signal);
    return (found ?? []).map(({ Path, Kind }) => ({ path: Path, kind: KINDS[Kind] ?? "modified" }));
  }

  async mounts(signal: AbortSignal): Promise<readonly string[]> {
    const { Mounts } = await this.#told(`/containers/${this.#containerId}/json`, MountsSchema, "description of the container", signal);
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
      return tar ? { tar } : { left: "too-large" };
    } finally {
      response.destroy();
    }
  }

  async #told<T>(path: string, schema: z.ZodType<T>, what: string, signal: AbortSignal): Promise<T> {
    const response = await this.#get(path, signal);
    const body = response.statusCode === 200 ? await bounded(response, MAX_ANSWER_BYTES) : undefined;
    response.destroy();
    if (!body) throw new CaptureError(`the engine gives no ${what} (status ${response.statusCode ?? 0}, or more than ${MAX_ANSWER_BYTES} bytes)`);
    const parsed = schema.safeParse(json(body.toString("utf8")));
    if (!parsed.success) throw new CaptureError(`the engine's ${what} is not one`);
    return parsed.data;
  }

  #get(path: string, signal: AbortSignal): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      request({ socketPath: this.#socketPath, path, agent: false, signal }, resolve).on("error", reject).end();
    });
  }
}

async function bounded(response: IncomingMessage, maxBytes: number): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, bytes);
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
