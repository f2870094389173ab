import { chmodSync, copyFileSync, existsSync, globSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { run } from "./command.ts";
import { type DebianPackage, fetchPackages, packagesNeededBy, unpack, withLicences } from "./debian.ts";
import { BASE_FILES, IMAGES, type ImageDefinition, PROGRAM_FOLDER } from "./definitions.ts";
import { type Image, type Layer, packLayer, type Written, writeLayout } from "./layout.ts";
import { type SourceFacts, softwareBill } from "./sbom.ts";

const REPOSITORY = new URL("../..", import.meta.url).pathname;
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64" };

export interface BuildOptions {
  /** Made anew: an OCI layout, and beside it a bill of materials NAME.spdx.json for each image. */
  readonly output: string;
  /** Downloaded Debian packages, kept. */
  readonly cache: string;
}

export interface BuiltImage extends Written {
  /** Path of the SPDX document. */
  readonly bill: string;
}

/**
 * Builds every image from dist/, the running Node and Debian packages. Nothing is started, no root is needed.
 * The same commit, packages and compiler give the same bytes wherever and whenever.
 */
export async function buildImages({ output, cache }: BuildOptions): Promise<BuiltImage[]> {
  const architecture = ARCHITECTURES[process.arch];
  if (architecture === undefined) throw new Error(`no image for ${process.arch}`);
  rmSync(output, { recursive: true, force: true });
  mkdirSync(output, { recursive: true });
  const scratch = mkdtempSync(join(output, "scratch."));
  try {
    const source = await sourceFacts();
    const base = await packagesNeededBy([process.execPath, join(REPOSITORY, "dist/better_sqlite3.node")]);
    const tpm = (await packagesNeededBy([join(REPOSITORY, "dist/hullmark.node")])).filter((name) => !base.includes(name));
    const basePackages = await fetchPackages(await withLicences([...base, "base-files", "ca-certificates"]), cache);
    const tpmPackages = await fetchPackages(tpm, cache);

    const pack = async (folder: string, createdBy: string): Promise<Layer> => packLayer(folder, output, source.atSeconds, createdBy);
    const shared = [
      await pack(await debianLayer(join(scratch, "base"), basePackages, BASE_FILES), `Debian packages: ${titles(basePackages)}`),
      await pack(nodeLayer(join(scratch, "node")), `Node ${process.version}`),
    ];
    const tpmLayer = await pack(await debianLayer(join(scratch, "tpm"), tpmPackages, {}), `Debian packages: ${titles(tpmPackages)}`);
    const images: Image[] = [];
    for (const definition of IMAGES) {
      const own = await pack(programLayer(join(scratch, definition.name), definition), `${definition.title} ${source.version} ${source.revision}`);
      const layers = definition.files.includes("hullmark.node") ? [...shared, tpmLayer, own] : [...shared, own];
      images.push({ name: definition.name, layers, config: configOf(definition, source) });
    }
    const written = writeLayout(output, images, architecture, source.created);
    return await Promise.all(
      IMAGES.map(async (definition, index) => {
        const image = written[index] as Written;
        const packages = definition.files.includes("hullmark.node") ? [...basePackages, ...tpmPackages] : basePackages;
        const bill = join(output, `${definition.name}.spdx.json`);
        writeFileSync(bill, await softwareBill(definition, image.digest, packages, source));
        return { ...image, bill };
      }),
    );
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Which sources these are. */
async function sourceFacts(): Promise<SourceFacts> {
  const git = async (...args: string[]): Promise<string> => (await run("git", ["-c", "safe.directory=*", ...args], REPOSITORY)).trim();
  const atSeconds = Number(await git("log", "-1", "--format=%ct"));
  const dirty = (await git("status", "--porcelain", "--untracked-files=no")) !== "";
  const { version } = (await import(join(REPOSITORY, "package.json"), { with: { type: "json" } })).default as { version: string };
  return { version, revision: `${await git("rev-parse", "HEAD")}${dirty ? "-dirty" : ""}`, atSeconds, created: new Date(atSeconds * 1000).toISOString() };
}

function titles(packages: readonly DebianPackage[]): string {
  return packages.map(({ name, version }) => `${name}=${version}`).join(" ");
}

async function debianLayer(root: string, packages: readonly DebianPackage[], files: Readonly<Record<string, string>>): Promise<string> {
  mkdirSync(root, { recursive: true });
  await unpack(packages, root);
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  return root;
}

/** The very file of the npm package that the lock file names, unstripped: its digest can be compared with the published one. */
function nodeLayer(root: string): string {
  place(process.execPath, join(root, "usr/bin/node"), 0o755);
  const licence = join(REPOSITORY, `node_modules/node-linux-${process.arch}/LICENSE`);
  place(licence, join(root, "usr/share/doc/node/LICENSE"), 0o644);
  return root;
}

/** The very files of dist/, whose digests are in its SHA256SUMS. */
function programLayer(root: string, { files }: ImageDefinition): string {
  const dist = join(REPOSITORY, "dist");
  for (const file of files.flatMap((name) => (name.includes("*") ? globSync(name, { cwd: dist }).sort() : [name])))
    place(join(dist, file), join(root, PROGRAM_FOLDER, file), 0o644);
  place(join(REPOSITORY, "LICENSE"), join(root, "usr/share/doc/hullmark/LICENSE"), 0o644);
  return root;
}

function place(from: string, to: string, mode: number): void {
  if (!existsSync(from)) throw new Error(`${from} is missing: npm run build`);
  mkdirSync(dirname(to), { recursive: true });
  copyFileSync(from, to);
  chmodSync(to, mode);
}

function configOf({ title, description, files, user, ports }: ImageDefinition, { version, revision, created }: SourceFacts): Readonly<Record<string, unknown>> {
  return {
    User: user,
    Env: ["PATH=/usr/bin", "NODE_ENV=production", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"],
    Entrypoint: ["/usr/bin/node", `/${PROGRAM_FOLDER}/${files[0]}`],
    WorkingDir: "/",
    ...(ports.length > 0 && { ExposedPorts: Object.fromEntries(ports.map((port) => [`${port}/tcp`, {}])) }),
    Labels: {
      "org.opencontainers.image.title": title,
      "org.opencontainers.image.description": description,
      "org.opencontainers.image.version": version,
      "org.opencontainers.image.revision": revision,
      "org.opencontainers.image.created": created,
      "org.opencontainers.image.licenses": "Apache-2.0",
    },
  };
}
