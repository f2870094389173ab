/** Has real engines extract layers, and tells in which directories the result lies. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Containerd, Engine } from "../../deploy/testbed/index.ts";
import { chainId, dockerArchive, ociArchive } from "./image-archive.ts";

/** Layer directories, bottom first, or the engine's own words why it has none. */
export type Extracted = { readonly directories: readonly string[] } | { readonly refused: string };

export interface LayerExtractor {
  extract(layers: readonly Buffer[], name: string): Promise<Extracted>;
}

/** `docker load` on overlay2. */
export function dockerExtractor(engine: Engine): LayerExtractor {
  return {
    async extract(layers, name) {
      const tag = `replay/${name}:latest`;
      const loaded = await call(engine.socketPath, "POST", "/images/load?quiet=1", dockerArchive(layers, tag));
      const failure = loaded
        .split("\n")
        .filter((line) => line.trim() !== "")
        .map((line) => JSON.parse(line) as { error?: string; message?: string })
        .find((line) => line.error ?? line.message);
      if (failure) return { refused: failure.error ?? failure.message ?? "" };
      const image = JSON.parse(await call(engine.socketPath, "GET", `/images/${tag}/json`)) as {
        GraphDriver: { Data: { LowerDir?: string; UpperDir: string } };
      };
      const { LowerDir, UpperDir } = image.GraphDriver.Data;
      return { directories: [UpperDir, ...(LowerDir?.split(":") ?? [])].reverse() };
    },
  };
}

function call(socketPath: string, method: string, path: string, body?: Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = request(
      { socketPath, method, path, headers: body ? { "content-type": "application/x-tar", "content-length": body.length } : {} },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("end", () => resolve(Buffer.concat(chunks).toString()));
        response.on("error", reject);
      },
    );
    sent.on("error", reject);
    sent.end(body);
  });
}

/** `ctr images import` with the overlayfs snapshotter. */
export function containerdExtractor(containerd: Containerd): LayerExtractor {
  return {
    async extract(layers, name) {
      const scratch = mkdtempSync(join(tmpdir(), "hullmark-replay-"));
      try {
        const path = join(scratch, "image.tar");
        const reference = `localhost/replay/${name}:latest`;
        writeFileSync(path, ociArchive(layers, reference));
        const imported = await run(containerd.ctr("-n", "replay", "images", "import", "--snapshotter", "overlayfs", path));
        if (imported.status !== 0) return { refused: imported.output.trim() };
        return { directories: await snapshotDirectories((...args) => containerd.ctr("-n", "replay", ...args), name, layers) };
      } finally {
        rmSync(scratch, { recursive: true, force: true });
      }
    },
  };
}

/** Where the overlayfs snapshotter has layers that were extracted, bottom first. @param ctr argument vector in their namespace */
export async function snapshotDirectories(ctr: (...args: string[]) => string[], name: string, layers: readonly Buffer[]): Promise<readonly string[]> {
  const view = await run(ctr("snapshots", "--snapshotter", "overlayfs", "view", "--mounts", `view-${name}`, chainId(layers)));
  if (view.status !== 0) throw new Error(`no snapshot of ${name}: ${view.output}`);
  const [mount] = JSON.parse(view.output) as { Type: string; Source: string; Options: string[] }[];
  const lower = mount?.Options.find((option) => option.startsWith("lowerdir="))
    ?.slice(9)
    .split(":") ?? [mount?.Source ?? ""];
  return lower.reverse();
}

function run(argv: readonly string[]): Promise<{ status: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(argv[0] as string, argv.slice(1), { stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
    child.on("error", reject);
    child.on("close", (status) => resolve({ status, output }));
  });
}
