/**
 * Replay of one compressed layer against `gzip -dc | sha256sum` of the same file, in one run: the ratio counts.
 *
 *   node bench/replay.ts [--layer FILE.tar.gz] [--rounds N] [--json FILE]
 *
 * Without --layer, a layer of 13,000 files and 300 MB is made from fixed pseudo-random words in the state folder and kept.
 * Replay does more than the other line: it checks the blob's digest and the diff_id, hashes every file and computes the tree's root.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, release } from "node:os";
import { join, resolve } from "node:path";
import { performance } from "node:perf_hooks";
import { parseArgs } from "node:util";
import { gunzipSync, gzipSync } from "node:zlib";
import { seededRandom } from "../test/fakes/random-layers.ts";
import { entry } from "../test/fakes/tar-writer.ts";
import { type Dialect, type LayerIdentity, replayBlob } from "../verifier/core/reference-value/index.ts";

const FILES = 13_000;
const MEAN_BYTES = 23_000;
const MEGA = 1e6;

const { values } = parseArgs({ options: { layer: { type: "string" }, rounds: { type: "string", default: "5" }, json: { type: "string" } } });
const state = resolve(process.env["HULLMARK_STATE"] ?? join(import.meta.dirname, "../.hullmark"), "bench");

/** Text that gzip makes about a third of, as with installed packages. */
function makeLayer(): string {
  const path = join(state, "layer.tar.gz");
  if (existsSync(path)) return path;
  mkdirSync(state, { recursive: true });
  const random = seededRandom(1);
  const words = Array.from({ length: 4096 }, () => Math.floor(random() * 2 ** 32).toString(36));
  const text = Buffer.from(Array.from({ length: 1_000_000 }, () => words[Math.floor(random() * words.length)]).join(" "));
  const parts: Buffer[] = [];
  for (let i = 0; i < FILES; i++) {
    const bytes = Math.min(Math.floor(-Math.log(1 - random()) * MEAN_BYTES), text.length / 2);
    const from = Math.floor(random() * (text.length - bytes));
    parts.push(entry({ name: `usr/lib/package${i % 97}/part${i % 31}/file${i}`, mode: i % 9 === 0 ? 0o755 : 0o644, data: text.subarray(from, from + bytes) }));
  }
  writeFileSync(`${path}.new`, gzipSync(Buffer.concat([...parts, Buffer.alloc(1024)]), { level: 6 }));
  renameSync(`${path}.new`, path);
  return path;
}

function identify(path: string): LayerIdentity & { readonly tarBytes: number } {
  const blob = readFileSync(path);
  const tar = gunzipSync(blob, { maxOutputLength: 2 ** 32 - 1 });
  const sha256 = (bytes: Buffer): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
  return { digest: sha256(blob), size: blob.length, diffId: sha256(tar), tarBytes: tar.length };
}

const path = values.layer ?? makeLayer();
const identity = identify(path);
const best = new Map<string, number>();
let entries = 0;
const record = async (name: string, run: () => Promise<void> | void): Promise<void> => {
  const start = performance.now();
  await run();
  best.set(name, Math.min(best.get(name) ?? Infinity, performance.now() - start));
};
const replay = async (dialect: Dialect): Promise<void> => {
  const reference = await replayBlob(createReadStream(path, { highWaterMark: 1 << 18 }) as AsyncIterable<Buffer>, identity, { dialect, lower: [] });
  if ("unextractable" in reference) throw new Error(reference.unextractable.reason);
  if (reference.root.length !== 32) throw new Error("no root");
  entries = reference.size;
};
for (let round = 0; round < Number(values.rounds); round++) {
  await record("gzip -dc | sha256sum", () => void execFileSync("sh", ["-c", 'gzip -dc "$1" | sha256sum', "sh", path]));
  await record("replay, docker dialect", () => replay("docker"));
  await record("replay, containerd dialect", () => replay("containerd"));
}

const base = best.get("gzip -dc | sha256sum") ?? 0;
console.log(`${cpus()[0]?.model ?? "unknown CPU"}, ${availableParallelism()} CPUs, Linux ${release()}, Node ${process.version}`);
console.log(
  `layer: ${(identity.size / MEGA).toFixed(1)} MB compressed, ${(identity.tarBytes / MEGA).toFixed(1)} MB tar, ${entries} entries; fastest of ${values.rounds}`,
);
for (const [name, ms] of best) {
  const compressed = (identity.size / MEGA / (ms / 1000)).toFixed(1);
  const plain = (identity.tarBytes / MEGA / (ms / 1000)).toFixed(0);
  console.log(
    `${name.padEnd(28)} ${ms.toFixed(0).padStart(6)} ms  ${compressed.padStart(6)} MB/s compressed  ${plain.padStart(5)} MB/s tar  ${(base / ms).toFixed(2)} ×`,
  );
}
console.log(`peak memory of this process: ${(process.resourceUsage().maxRSS / 1024).toFixed(0)} MB (the layer is read whole once, to name its digests)`);
if (values.json) writeFileSync(values.json, JSON.stringify({ entries, ...identity, wallMs: Object.fromEntries(best) }, null, 2));
