import { readFileSync, writeFileSync } from "node:fs";

// node deploy/lock-platforms.ts [--check]: completes package-lock.json with the packages for other platforms.
//
// A package with prebuilt programs (esbuild, biome, swc, …) names one optional package for each platform, and `npm ci` refuses a
// lock file that misses any. `npm install` drops those that the registry in use does not offer: a mirror that holds Linux only is
// enough to break `npm ci` for everyone. The entries added here have a version and the platform, which is what keeps them from
// being fetched elsewhere; they have no integrity, since the bytes were not seen. Linux with glibc is always locked with integrity.

interface LockEntry {
  version?: string;
  optional?: boolean;
  dev?: boolean;
  os?: string[];
  cpu?: string[];
  libc?: string[];
  license?: string;
  link?: boolean;
  optionalDependencies?: Record<string, string>;
}

const OS = ["linux", "darwin", "win32", "android", "freebsd", "netbsd", "openbsd", "openharmony", "sunos", "aix"];
const CPU = ["x64", "arm64", "arm", "armv7", "ia32", "ppc64", "ppc64le", "ppc64", "s390x", "riscv64", "loong64", "mips64el", "wasm32"];

const path = new URL("../package-lock.json", import.meta.url).pathname;
const lock = JSON.parse(readFileSync(path, "utf8")) as { packages: Record<string, LockEntry> };

/** Where npm would look for a dependency of the package at `from`, nearest first. */
function resolvable(from: string, name: string): boolean {
  for (let at = from; ; ) {
    if (lock.packages[`${at ? `${at}/` : ""}node_modules/${name}`]) return true;
    if (at === "") return false;
    const parent = at.lastIndexOf("node_modules/");
    at = parent > 0 ? at.slice(0, parent - 1) : "";
  }
}

/** The platform that the package's name tells: all such packages are named after it. */
function platformOf(name: string): Pick<LockEntry, "os" | "cpu" | "libc"> {
  const words = name.split(/[/.-]/);
  const os = words.filter((word) => OS.includes(word));
  const cpu = words.filter((word) => CPU.includes(word)).map((word) => (word === "armv7" ? "arm" : word));
  const libc = words.some((word) => word.includes("musl")) ? ["musl"] : words.some((word) => /^gnu/.test(word)) ? ["glibc"] : undefined;
  // Without a known platform it must never be fetched at all: none of ours is so named.
  return { os: os.length > 0 ? os : ["none"], cpu: cpu.length > 0 ? cpu : ["none"], ...(libc ? { libc } : {}) };
}

const added: string[] = [];
for (const [from, entry] of Object.entries(lock.packages)) {
  for (const [name, range] of Object.entries(entry.optionalDependencies ?? {})) {
    if (resolvable(from, name)) continue;
    const version = range.replace(/^[\^~]/, "");
    lock.packages[`node_modules/${name}`] = { version, ...(entry.dev ? { dev: true } : {}), ...platformOf(name), optional: true };
    added.push(`${name}@${version}`);
  }
}
if (process.argv[2] === "--check") {
  for (const name of added) console.log(`package-lock.json misses ${name}: node deploy/lock-platforms.ts`);
  process.exitCode = added.length === 0 ? 0 : 1;
} else if (added.length > 0) {
  const root = Object.entries(lock.packages).filter(([key]) => !key.startsWith("node_modules/"));
  const others = Object.entries(lock.packages).filter(([key]) => key.startsWith("node_modules/"));
  others.sort(([a], [b]) => (a < b ? -1 : 1));
  lock.packages = Object.fromEntries([...root, ...others]);
  writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`);
  console.log(`added ${added.length}`);
}
