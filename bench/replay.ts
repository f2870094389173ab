/**
 * Replay of one compressed layer against `gzip -dc | sha256sum` of the same file, in one run: the ratio counts.
 *
 *   node bench/replay.ts [--layer FILE.tar.gz] [--rounds N] [--json FILE]
 *
 * Without --layer, a layer of 13,000 files and 300 MB is made from fixed pseudo-random words in the state folder and kept.
 * Replay does more than the other line: it checks the blob's digest and the diff_id, hashes every file and computes the tree's root.
 * The last lines are what is fetched and done in its place where a signed file manifest stands for the layer.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, release } from "node:os";
import { join, resolve } from "node:path";
import { performance } from "node:perf_hooks";
import { parseArgs } from "node:util";
import { gunzipSync, zstdCompressSync } from "node:zlib";
import { fetchLayerTree } from "../verifier/core/images/signed-tree.ts";
import type { LayerFiles } from "../verifier/core/provenance/index.ts";
import { DIALECT_VERSION, type Dialect, type LayerIdentity, LayerTree, replayBlob } from "../verifier/core/reference-value/index.ts";
import type { Registry } from "../verifier/ports/registry.ts";
import { makeLayer } from "./support/layer.ts";

const FILES = 13_000;
const MEGA = 1e6;
const FROM_MANIFEST = "out of a file manifest";

const { values } = parseArgs({ options: { layer: { type: "string" }, rounds: { type: "string", default: "5" }, json: { type: "string" } } });
const state = resolve(process.env["HULLMARK_STATE"] ?? join(import.meta.dirname, "../.hullmark"), "bench");

function keptLayer(): string {
  const path = join(state, "layer.tar.gz");
  if (existsSync(path)) return path;
  mkdirSync(state, { recursive: true });
  writeFileSync(`${path}.new`, makeLayer(FILES, 1).blob);
  renameSync(`${path}.new`, path);
  return path;
}

function identify(path: string): LayerIdentity & { readonly tarBytes: number } {
  const blob = readFileSync(path);
  const tar = gunzipSync(blob, { maxOutputLength: 2 ** 32 - 1 });
  const sha256 = (bytes: Buffer): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
  return { digest: sha256(blob), size: blob.length, diffId: sha256(tar), tarBytes: tar.length };
}

const path = values.layer ?? keptLayer();
const identity = identify(path);
const best = new Map<string, number>();
const cpu = new Map<string, number>();
let entries = 0;
const record = async (name: string, run: () => Promise<unknown> | unknown): Promise<void> => {
  const start = performance.now();
  const usage = process.cpuUsage();
  await run();
  const { user, system } = process.cpuUsage(usage);
  best.set(name, Math.min(best.get(name) ?? Infinity, performance.now() - start));
  cpu.set(name, Math.min(cpu.get(name) ?? Infinity, (user + system) / 1000));
};
const replay = async (dialect: Dialect): Promise<LayerTree> => {
  const reference = await replayBlob(createReadStream(path, { highWaterMark: 1 << 18 }) as AsyncIterable<Buffer>, identity, { dialect, lower: [] });
  if ("unextractable" in reference) throw new Error(reference.unextractable.reason);
  if (reference.root.length !== 32) throw new Error("no root");
  entries = reference.size;
  return reference;
};

/** What `hullmark manifest` says of the layer, and the blob that it stores. */
function packed(tree: LayerTree, dialect: Dialect): { readonly files: LayerFiles; readonly blob: Buffer } {
  const [content, root] = [tree.serialize(), tree.root.toString("hex")];
  const blob = zstdCompressSync(content);
  const sized = (bytes: Buffer) => ({ digest: `sha256:${createHash("sha256").update(bytes).digest("hex")}`, size: bytes.length });
  return { files: { dialect, version: DIALECT_VERSION[dialect], root, content: sized(content), blob: sized(blob) }, blob };
}
const manifest = packed(await replay("docker"), "docker");
const storage: Pick<Registry, "blob"> = {
  blob: async function* () {
    yield manifest.blob;
  },
};
const fromManifest = async (): Promise<void> => {
  const found = await fetchLayerTree(storage as Registry, "bench/app", manifest.files, new AbortController().signal);
  if (!(found instanceof LayerTree) || found.size !== entries) throw new Error("not the tree of the layer");
};
for (let round = 0; round < Number(values.rounds); round++) {
  await record("gzip -dc | sha256sum", () => void execFileSync("sh", ["-c", 'gzip -dc "$1" | sha256sum', "sh", path]));
  await record("replay, docker dialect", () => replay("docker"));
  await record("replay, containerd dialect", () => replay("containerd"));
  await record(FROM_MANIFEST, fromManifest);
}

const base = best.get("gzip -dc | sha256sum") ?? 0;
console.log(`${cpus()[0]?.model ?? "unknown CPU"}, ${availableParallelism()} CPUs, Linux ${release()}, Node ${process.version}`);
console.log(
  `layer: ${(identity.size / MEGA).toFixed(1)} MB compressed, ${(identity.tarBytes / MEGA).toFixed(1)} MB tar, ${entries} entries; fastest of ${values.rounds}`,
);
for (const [name, ms] of [...best].filter(([each]) => each !== FROM_MANIFEST)) {
  const compressed = (identity.size / MEGA / (ms / 1000)).toFixed(1);
  const plain = (identity.tarBytes / MEGA / (ms / 1000)).toFixed(0);
  console.log(
    `${name.padEnd(28)} ${ms.toFixed(0).padStart(6)} ms  ${compressed.padStart(6)} MB/s compressed  ${plain.padStart(5)} MB/s tar  ${(base / ms).toFixed(2)} ×`,
  );
}
const replayed = "replay, docker dialect";
const gain = (of: ReadonlyMap<string, number>): string => ((of.get(replayed) ?? 0) / (of.get(FROM_MANIFEST) ?? 0)).toFixed(1);
console.log(
  `file manifest: ${(manifest.blob.length / MEGA).toFixed(2)} MB fetched in place of ${(identity.size / MEGA).toFixed(1)} MB: ${(identity.size / manifest.blob.length).toFixed(0)} × less`,
);
console.log(
  `               ${cpu.get(FROM_MANIFEST)?.toFixed(0)} ms of processor time in place of ${cpu.get(replayed)?.toFixed(0)} ms: ${gain(cpu)} × less (time passed: ${gain(best)} ×)`,
);
console.log(`peak memory of this process: ${(process.resourceUsage().maxRSS / 1024).toFixed(0)} MB (the layer is read whole once, to name its digests)`);
if (values.json)
  writeFileSync(
    values.json,
    JSON.stringify({ entries, ...identity, wallMs: Object.fromEntries(best), cpuMs: Object.fromEntries(cpu), manifestBytes: manifest.blob.length }, null, 2),
  );
