/**
 * An image out of a registry: every file of it known, against `crane export IMAGE - | sha256sum`, in one run: the ratios count.
 *
 *   node bench/replay-image.ts [--rounds N] [--json FILE]
 *
 * A registry on loopback with an image of three layers: 8,000 files as of a distribution, 3,000 of an application, 500 that replace some of the former. crane merges the layers into one tar,
 * of which one digest is taken. Ours is what `hullmark diff` and the verifier do: digests of blobs and layers checked, every file hashed, the layers merged.
 * Processor time is user and system, all threads: of crane, sha256sum and their shell, and of this process; the registry's is in neither. crane: deploy/testbed/go-tools.sh peers.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, release } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import { readImageContent } from "hullmark/signing/image-content";
import { startTestbed } from "../deploy/testbed/index.ts";
import { STATE_ROOT } from "../deploy/testbed/paths.ts";
import { makeLayer } from "./support/layer.ts";

const { values } = parseArgs({ options: { rounds: { type: "string", default: "3" }, json: { type: "string" } } });
const crane = join(STATE_ROOT, "tools/bin/crane");
if (!existsSync(crane)) {
  console.log(`not measured: ${crane} is not there (deploy/testbed/go-tools.sh peers)`);
  process.exit();
}
const never = new AbortController().signal;
const MEGA = 1e6;

interface Used {
  readonly cpuMs: number;
  readonly wallMs: number;
}

function ofShell(script: string, ...args: string[]): Used {
  const at = performance.now();
  const { status, stdout, stderr } = spawnSync("bash", ["-o", "pipefail", "-c", `${script} >/dev/null || exit 1; times`, "bash", ...args], {
    env: { PATH: process.env["PATH"], HOME: "/nonexistent", DOCKER_CONFIG: "/nonexistent" },
    encoding: "utf8",
  });
  const wallMs = performance.now() - at;
  if (status !== 0) throw new Error(`${script}: ${stderr}`);
  const children = [...(stdout.trim().split("\n")[1] ?? "").matchAll(/(\d+)m([\d.]+)s/g)];
  return { cpuMs: children.reduce((sum, [, minutes, seconds]) => sum + Number(minutes) * 60_000 + Number(seconds) * 1000, 0), wallMs };
}

async function ofThis(run: () => Promise<void>): Promise<Used> {
  const [cpu, at] = [process.cpuUsage(), performance.now()];
  await run();
  const wallMs = performance.now() - at;
  const { user, system } = process.cpuUsage(cpu);
  return { cpuMs: (user + system) / 1000, wallMs };
}

async function push(registry: OciRegistry, repository: string): Promise<{ readonly reference: string; readonly blobBytes: number; readonly tarBytes: number }> {
  const layers = [makeLayer(8000, 1), makeLayer(3000, 2), makeLayer(500, 3)];
  const diffIds = layers.map(({ tar }) => `sha256:${createHash("sha256").update(tar).digest("hex")}`);
  const config = Buffer.from(JSON.stringify({ architecture: "amd64", os: "linux", config: {}, rootfs: { type: "layers", diff_ids: diffIds } }));
  const pushed = async (type: string, bytes: Buffer) => ({
    mediaType: `application/vnd.oci.image.${type}`,
    ...(await registry.pushBlob(repository, bytes, never)),
  });
  const descriptors = [];
  for (const { blob } of layers) descriptors.push(await pushed("layer.v1.tar+gzip", blob));
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const manifest = { schemaVersion: 2, mediaType, config: await pushed("config.v1+json", config), layers: descriptors };
  const digest = await registry.pushManifest(repository, "1", mediaType, Buffer.from(JSON.stringify(manifest)), never);
  const sum = (sizes: readonly number[]): number => sizes.reduce((all, each) => all + each, 0);
  return { reference: `${repository}@${digest}`, blobBytes: sum(layers.map(({ blob }) => blob.length)), tarBytes: sum(layers.map(({ tar }) => tar.length)) };
}

const bed = await startTestbed({ name: "bench-replay", parts: { registry: true } });
const registry = new OciRegistry();
try {
  const { reference, blobBytes, tarBytes } = await push(registry, `${bed.registry?.host}/bench/replay`);
  let entries = 0;
  const best = new Map<string, Used>();
  const record = (name: string, { cpuMs, wallMs }: Used): void => {
    const before = best.get(name) ?? { cpuMs: Infinity, wallMs: Infinity };
    best.set(name, { cpuMs: Math.min(cpuMs, before.cpuMs), wallMs: Math.min(wallMs, before.wallMs) });
  };
  for (let round = 0; round < Number(values.rounds); round++) {
    record("crane export | sha256sum", ofShell('"$1" export --insecure "$2" - | sha256sum', crane, reference));
    const ours = await ofThis(async () => {
      const { files } = await readImageContent(registry, reference, undefined, new Map(), never);
      // The first question of this kind walks all that the layers make together.
      files.findByContent(Buffer.alloc(32));
      entries = files.layers.reduce((sum, { size }) => sum + size, 0);
    });
    record("Hullmark, from the registry", ours);
  }
  console.log(`${cpus()[0]?.model ?? "unknown CPU"}, ${availableParallelism()} CPUs, Linux ${release()}, Node ${process.version}`);
  console.log(
    `image: ${(blobBytes / MEGA).toFixed(1)} MB compressed, ${(tarBytes / MEGA).toFixed(1)} MB tar, ${entries} entries in three layers; fastest of ${values.rounds}`,
  );
  const base = best.get("crane export | sha256sum") ?? { cpuMs: Number.NaN, wallMs: Number.NaN };
  for (const [name, { cpuMs, wallMs }] of best) {
    const rate = (blobBytes / MEGA / (wallMs / 1000)).toFixed(1).padStart(6);
    const ratios = `${(base.cpuMs / cpuMs).toFixed(2)} × by CPU, ${(base.wallMs / wallMs).toFixed(2)} × by the clock`;
    console.log(`${name.padEnd(28)} CPU ${cpuMs.toFixed(0).padStart(6)} ms   clock ${wallMs.toFixed(0).padStart(6)} ms  ${rate} MB/s compressed  ${ratios}`);
  }
  if (values.json) writeFileSync(values.json, JSON.stringify({ bench: "replay-image", entries, blobBytes, tarBytes, best: Object.fromEntries(best) }, null, 2));
} finally {
  registry.close();
  await bed.down();
}
