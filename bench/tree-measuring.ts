/**
 * Tree measuring against command-line tools, in one run on one tree: ratios count, absolute times are of this machine.
 *
 *   node bench/tree-measuring.ts [--tree DIR] [--rounds N] [--cold] [--json FILE]
 *
 * Without --tree, a tree of at least 13,000 files and 800 MB is copied from /usr into the state folder and kept for the next run. Each
 * round runs every contestant once, in turn; the fastest wall time and its CPU time are told. --cold drops the page cache before each
 * (root). Contestants that are not installed are named and left out.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync, statfsSync, statSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, release } from "node:os";
import { join, resolve } from "node:path";
import { performance } from "node:perf_hooks";
import { parseArgs } from "node:util";
import { hashKernel, LiveTree } from "@hullmark/native";

const MIN_FILES = 13_000;
const MIN_BYTES = 800e6;

interface Sample {
  readonly wallMs: number;
  readonly cpuMs: number;
}
interface Contestant {
  readonly name: string;
  readonly run: () => Promise<void> | void;
  /** CPU time of children is read from bash's `times`; ours from this process. */
  readonly inProcess: boolean;
}

const { values } = parseArgs({
  options: { tree: { type: "string" }, rounds: { type: "string", default: "5" }, cold: { type: "boolean", default: false }, json: { type: "string" } },
});
const state = resolve(process.env["HULLMARK_STATE"] ?? join(import.meta.dirname, "../.hullmark"), "bench");

/** Copies package trees below /usr until the tree is large enough; a second copy of them where /usr is small. */
function makeTree(): string {
  const root = join(state, "tree");
  const done = join(state, "tree.complete");
  if (existsSync(done)) return root;
  rmSync(root, { recursive: true, force: true });
  mkdirSync(root, { recursive: true });
  let files = 0;
  let bytes = 0;
  for (let copy = 0; copy < 8 && (files < MIN_FILES || bytes < MIN_BYTES); copy++) {
    const parts = ["share", "lib"].flatMap((top) => readdirSync(join("/usr", top)).map((name) => join(top, name)));
    for (const part of ["bin", "lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", ...parts]) {
      if (files >= MIN_FILES && bytes >= MIN_BYTES) break;
      if (!statSync(join("/usr", part), { throwIfNoEntry: false })?.isDirectory()) continue;
      const target = join(root, `copy${copy}`, part.replaceAll("/", "-"));
      mkdirSync(target, { recursive: true });
      execFileSync("cp", ["-a", `/usr/${part}/.`, target]);
      const [moreFiles, moreBytes] = count(target);
      files += moreFiles;
      bytes += moreBytes;
    }
  }
  writeFileSync(done, `${files} files, ${bytes} bytes\n`);
  return root;
}

function count(root: string): [number, number] {
  const output = execFileSync("find", [root, "-type", "f", "-printf", "%s\n"], { encoding: "utf8", maxBuffer: 2 ** 30 });
  const sizes = output.trimEnd().split("\n");
  return [sizes.length, sizes.reduce((sum, size) => sum + Number(size), 0)];
}

function shell(name: string, script: string, tool: string): Contestant | undefined {
  if (spawnSync("bash", ["-c", `command -v ${tool}`]).status !== 0) {
    console.log(`not installed, left out: ${tool}`);
    return undefined;
  }
  return {
    name,
    inProcess: false,
    run: () => {
      const { status, stderr } = spawnSync("bash", ["-c", script], { stdio: ["ignore", "ignore", "pipe"], encoding: "utf8" });
      if (status !== 0) throw new Error(`${name}: exit ${status}: ${stderr.slice(0, 500)}`);
    },
  };
}

function aide(tree: string): Contestant | undefined {
  const config = join(state, "aide.conf");
  const base = join(state, "aide.db");
  writeFileSync(config, `database_out=file:${base}\ngzip_dbout=no\nreport_url=file:/dev/null\n${tree} p+u+g+s+acl+xattrs+sha256\n`);
  return shell("aide --init", `rm -f ${base}; aide --init --config ${config}`, "aide");
}

function contestants(tree: string, floor: LiveTree): Contestant[] {
  const ours = async (): Promise<void> => {
    using fresh = new LiveTree(tree);
    const { unmeasurable, claims } = await fresh.measure();
    if (unmeasurable || claims.length > 0) throw new Error("not measured whole");
  };
  const list = `find '${tree}' -type f -print0 | xargs -0 -n 64 -P ${availableParallelism()}`;
  return [
    { name: "hullmark measure", inProcess: true, run: ours },
    shell("xargs openssl dgst", `${list} openssl dgst -sha256`, "openssl"),
    shell("xargs sha256sum", `${list} sha256sum`, "sha256sum"),
    aide(tree),
    shell("read only (xargs cat)", `${list} cat`, "cat"),
    shell("statx walk (find -printf %s)", `find '${tree}' -printf '%i %C@ %s\\n'`, "find"),
    ...(values.cold ? [] : [{ name: "hullmark rescan, unchanged", inProcess: true, run: async () => void (await floor.rescan()) }]),
  ].filter((contestant) => contestant !== undefined);
}

async function sample({ run, inProcess }: Contestant): Promise<Sample> {
  if (values.cold) {
    execFileSync("sync");
    writeFileSync("/proc/sys/vm/drop_caches", "3");
  }
  const usage = (): number => {
    const { userCPUTime, systemCPUTime } = process.resourceUsage();
    return (userCPUTime + systemCPUTime) / 1000;
  };
  const children = (): number => childCpuMs();
  const start = performance.now();
  const [own, others] = [usage(), children()];
  await run();
  return { wallMs: performance.now() - start, cpuMs: inProcess ? usage() - own : children() - others };
}

/** User and system time of ended children, from /proc/self/stat (fields 16 and 17, in ticks of 10 ms). */
function childCpuMs(): number {
  const stat = execFileSync("cat", [`/proc/${process.pid}/stat`], { encoding: "utf8" });
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[13]) + Number(fields[14])) * 10;
}

async function main(): Promise<void> {
  mkdirSync(state, { recursive: true });
  const tree = resolve(values.tree ?? makeTree());
  const [files, bytes] = count(tree);
  using floor = new LiveTree(tree);
  const { memoryBytes, leaves } = await floor.measure();
  const best = new Map<string, Sample>();
  const runners = contestants(tree, floor);
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const contestant of runners) {
      const taken = await sample(contestant);
      const before = best.get(contestant.name);
      if (!before || taken.wallMs < before.wallMs) best.set(contestant.name, taken);
    }
  }
  const measure = best.get("hullmark measure") as Sample;
  console.log(
    `${files} files, ${(bytes / 1e6).toFixed(0)} MB, ${values.cold ? "cold" : "warm"}; ${cpus().length} × ${cpus()[0]?.model}, Linux ${release()}, kernel of SHA-256: ${hashKernel()}`,
  );
  console.log(
    `native memory: ${(memoryBytes / leaves).toFixed(0)} bytes an entry (${leaves} entries); filesystem type 0x${statfsSync(tree).type.toString(16)}, ${readdirSync(tree).length} top directories`,
  );
  for (const [name, { wallMs, cpuMs }] of best) {
    console.log(
      `${name.padEnd(32)} ${wallMs.toFixed(0).padStart(7)} ms wall ${cpuMs.toFixed(0).padStart(7)} ms CPU   ${(wallMs / measure.wallMs).toFixed(2)} × measure`,
    );
  }
  const line = JSON.stringify({
    bench: "tree-measuring",
    files,
    bytes,
    cold: values.cold,
    cores: cpus().length,
    bytesAnEntry: memoryBytes / leaves,
    results: Object.fromEntries(best),
  });
  console.log(line);
  if (values.json) writeFileSync(values.json, `${line}\n`);
}

await main();
