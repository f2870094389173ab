import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { run } from "./command.ts";

/** A Debian package as it was taken from the archive. */
export interface DebianPackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  /** Lower-case hex, of the .deb file. */
  readonly sha256: string;
  /** The .deb file. */
  readonly path: string;
}

/** What of a package goes into an image: shared libraries, the licence, the name of the distribution, and certificates. No program, no character sets, no pages. */
const KEPT = [/^(usr\/)?lib(64)?\/.+\.so(\.[0-9.]+)?$/, /^usr\/share\/doc\/[^/]+(\/copyright)?$/, /^(usr\/lib|etc)\/os-release$/];
const DROPPED = /\/(gconv|audit)\//;
const CERTIFICATES = "usr/share/ca-certificates";

/** Names of the installed packages that own the shared libraries which `programs` are linked with, directly and indirectly; sorted. */
export async function packagesNeededBy(programs: readonly string[]): Promise<string[]> {
  const libraries = new Set<string>();
  for (const program of programs) {
    const listed = await run("ldd", [program]);
    if (listed.includes("not found")) throw new Error(`${program} lacks a library:\n${listed}`);
    for (const [, path] of listed.matchAll(/^\s+(?:\S+ => )?(\/\S+) \(0x/gm)) libraries.add(path as string);
  }
  return ownersOf([...libraries]);
}

/** Besides the packages themselves those that hold their licences: some documentation folders are links into another package's. */
export async function withLicences(names: readonly string[]): Promise<string[]> {
  const licences = names.map((name) => realpathSync(`/usr/share/doc/${name}/copyright`));
  return [...new Set([...names, ...(await ownersOf(licences))])].sort();
}

async function ownersOf(paths: readonly string[]): Promise<string[]> {
  const owners = new Set<string>();
  for (const path of paths) {
    // Where /lib is a link to usr/lib, the package says /lib or /usr/lib, as its maintainer wrote it.
    const real = realpathSync(path);
    const candidates = [...new Set([path, real, real.replace(/^\/usr/, ""), `/usr${path}`])];
    const found = (await Promise.all(candidates.map((candidate) => run("dpkg-query", ["-S", candidate]).catch(() => "")))).find((line) => line !== "");
    if (found === undefined) throw new Error(`no Debian package owns ${path}`);
    owners.add(found.split(/[:,]/, 1)[0] as string);
  }
  return [...owners].sort();
}

/** Downloads the installed version of each package, or the archive's own where it has moved on; keeps them in `cache`. */
export async function fetchPackages(names: readonly string[], cache: string): Promise<DebianPackage[]> {
  mkdirSync(cache, { recursive: true });
  const packages: DebianPackage[] = [];
  for (const name of names) packages.push(await fetchPackage(name, cache));
  return packages;
}

async function fetchPackage(name: string, cache: string): Promise<DebianPackage> {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query's own form
  const format = "${Version} ${Architecture}";
  const installed = (await run("dpkg-query", ["-W", "-f", format, name])).split(" ");
  const [version, architecture] = installed as [string, string];
  const known = join(cache, `${name}_${version.replaceAll(":", "%3a")}_${architecture}.deb`);
  const path = existsSync(known) ? known : await download(name, version, cache);
  const fields = await run("dpkg-deb", ["-f", path, "Package", "Version", "Architecture"]);
  const field = (key: string): string => new RegExp(`^${key}: (.*)$`, "m").exec(fields)?.[1] ?? "";
  if (field("Package") !== name) throw new Error(`${path} is no package ${name}`);
  return { name, version: field("Version"), architecture: field("Architecture"), sha256: createHash("sha256").update(readFileSync(path)).digest("hex"), path };
}

/** apt checks the file against the archive's signed index. */
async function download(name: string, version: string, cache: string): Promise<string> {
  const folder = mkdtempSync(join(cache, "new."));
  try {
    const get = (what: string): Promise<string> => run("apt-get", ["download", "-q", "-o", "APT::Sandbox::User=root", what], folder);
    await get(`${name}=${version}`).catch(async () => {
      await run("apt-get", ["update", "-q"]);
      await get(`${name}=${version}`).catch(() => get(name));
    });
    const [file] = readdirSync(folder);
    if (file === undefined) throw new Error(`apt-get download ${name} brought nothing`);
    renameSync(join(folder, file), join(cache, file));
    return join(cache, file);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Unpacks what is kept of `packages` into `root`, with the package database in the form that scanners read where there is no dpkg. */
export async function unpack(packages: readonly DebianPackage[], root: string): Promise<void> {
  for (const { name, path } of packages) {
    const whole = mkdtempSync(join(dirname(root), `${basename(path)}.`));
    await run("dpkg-deb", ["-x", path, whole]);
    for (const file of filesBelow(whole)) {
      if (!KEPT.some((pattern) => pattern.test(file)) || DROPPED.test(file)) continue;
      if (file.startsWith("usr/share/doc/") && lstatSync(join(whole, file)).isDirectory()) continue;
      mkdirSync(dirname(join(root, file)), { recursive: true });
      copy(join(whole, file), join(root, file));
    }
    if (existsSync(join(whole, CERTIFICATES))) bundleCertificates(join(whole, CERTIFICATES), root);
    rmSync(whole, { recursive: true });
    const status = join(root, "var/lib/dpkg/status.d", name);
    mkdirSync(dirname(status), { recursive: true });
    writeFileSync(status, await run("dpkg-deb", ["-f", path]));
  }
}

function copy(from: string, to: string): void {
  if (lstatSync(from).isSymbolicLink()) symlinkSync(readlinkSync(from), to);
  else copyFileSync(from, to);
}

/** What update-ca-certificates makes of a fresh package. */
function bundleCertificates(folder: string, root: string): void {
  const files = filesBelow(folder).filter((file) => file.endsWith(".crt"));
  const bundle = join(root, "etc/ssl/certs/ca-certificates.crt");
  mkdirSync(dirname(bundle), { recursive: true });
  writeFileSync(bundle, files.map((file) => `${readFileSync(join(folder, file), "utf8").trimEnd()}\n`).join(""));
}

/** Relative paths, sorted by code point. */
function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort();
}
