import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, copyFileSync, existsSync, globSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { type BuildOptions, build, type Plugin } from "esbuild";
import { bundleDashboard } from "../dashboard/bundle.ts";
import { builtins, DEFERRED, deferred } from "./bundle-plugins.ts";

// Makes dist/{agent,actuator,verifier}.js: one file each, started by plain `node`, with the native addons and the dashboard's page beside them. An agent so
// bundled takes some 15 MB less memory than the same from node_modules, and its dependency closure is what is in the file.
// The command is dist/hullmark.js and the dist/hullmark-*.mjs that it loads as it needs them: it starts anew for each question.

const REPOSITORY = new URL("..", import.meta.url).pathname;
const DIST = join(REPOSITORY, "dist");
/** Built beside and then renamed, so that dist/ is never half a build. */
const BUILT = join(REPOSITORY, `build/dist-${process.pid}`);

const PROGRAMS: Readonly<Record<string, string>> = {
  agent: "agent/main.ts",
  actuator: "actuator/main.ts",
  verifier: "verifier/main.ts",
};

/** Entries of worker threads; the module that starts one names the same file when it runs from a bundle. */
const THREADS: Readonly<Record<string, string>> = {
  "sqlite-thread": "verifier/adapters/sqlite/thread.ts",
  "replay-thread": "verifier/adapters/replay-thread/thread.ts",
  "pkcs11-thread": "verifier/adapters/pkcs11/thread.ts",
};

/** CommonJS modules inside an ES module bundle want these three. A Node that has no such function must get as far as where it is told that it is too old. */
const BANNER = [
  'const require = process.getBuiltinModule?.("node:module").createRequire(import.meta.url);',
  "const __filename = import.meta.filename;",
  "const __dirname = import.meta.dirname;",
].join("\n");

/** A module whose function nothing here calls. */
function absent(what: string): string {
  return `module.exports = () => { throw new Error("${what} is not part of this build"); };`;
}

/** Modules replaced: [what is imported, by whom (package), what stands in for it]. */
const REPLACEMENTS: readonly (readonly [RegExp, RegExp, string])[] = [
  // The engine is reached over its unix socket only: no SSH client, no BuildKit session, no build contexts in a privileged agent.
  [/^\.\/ssh$/, /docker-modem/, absent("the ssh transport")],
  [/^\.\/(session|buildkit)$/, /dockerode/, absent("BuildKit")],
  [/^(tar-fs|@balena\/dockerignore)$/, /dockerode/, absent("packing a build context")],
  // Node's own streams instead of their copy for the browser.
  [/^readable-stream$/, /docker-modem/, 'module.exports = require("node:stream");'],
  // Services are described by generated code; the loader of .proto files is for grpc-js's admin services, which nobody adds.
  [/^@grpc\/proto-loader$/, /@grpc\/grpc-js/, `exports.loadSync = ${absent("loading .proto files").slice("module.exports = ".length)}`],
  // Messages are English. (English itself is imported by another name.)
  [/^\.\.\/locales\/index\.js$/, /zod/, "export {};"],
  // The prebuilt addon lies beside the bundle, not in a prebuilds folder.
  [/^\.\/binding$/, /better-sqlite3/, 'exports.getBinding = () => require(require("node:path").join(__dirname, "better_sqlite3.node"));'],
  // A bundle is one file: the page is in it.
  [/^\.\.\/playbook\/text\.ts$/, /cli\/commands/, `export const PLAYBOOKS = ${JSON.stringify(readFileSync(join(REPOSITORY, "docs/playbooks.md"), "utf8"))};`],
  [/^\.\/build\/Release\/pkcs11\.node$/, /pkcs11js/, 'module.exports = require(require("node:path").join(__dirname, "pkcs11.node"));'],
];

const replace: Plugin = {
  name: "replace",
  setup(setup) {
    for (const [index, [imported, importer]] of REPLACEMENTS.entries()) {
      setup.onResolve({ filter: imported }, (args) => (importer.test(args.importer) ? { path: String(index), namespace: "replaced" } : undefined));
    }
    setup.onLoad({ filter: /.*/, namespace: "replaced" }, (args) => ({ contents: REPLACEMENTS[Number(args.path)]?.[2] ?? "", loader: "js", resolveDir: "/" }));
  },
};

const ADDONS: Readonly<Record<string, string>> = {
  "native/build/hullmark.node": "native/build.sh",
  "node_modules/pkcs11js/build/Release/pkcs11.node": "native/pkcs11.sh",
};

function copyAddons(): void {
  for (const addon of Object.keys(ADDONS)) {
    // Debug information names the folder that it was compiled in, and the build id is a digest over it: without them it is the same from every checkout.
    execFileSync("objcopy", ["--strip-debug", "--remove-section=.note.gnu.build-id", join(REPOSITORY, addon), join(BUILT, basename(addon))]);
  }
  const sqlite = dirname(new URL(import.meta.resolve("better-sqlite3/package.json")).pathname);
  copyFileSync(join(sqlite, "prebuilds", `linux-${process.arch}.node`), join(BUILT, "better_sqlite3.node"));
}

/** What an agent of this build consists of, as `sha256sum` would list it: to be signed, and named by policies (docs/policy.md, `agent`). */
function writeSums(): void {
  const files = { "agent.js": join(BUILT, "agent.js"), "hullmark.node": join(BUILT, "hullmark.node"), node: process.execPath };
  const lines = Object.entries(files).map(([name, path]) => `${createHash("sha256").update(readFileSync(path)).digest("hex")}  ${name}\n`);
  writeFileSync(join(BUILT, "SHA256SUMS"), lines.join(""));
}

const OPTIONS = {
  absWorkingDir: REPOSITORY,
  outdir: BUILT,
  bundle: true,
  platform: "node",
  // Older than what the programs want (24): with syntax that is new a Node that is too old could say no more than that it does not know it.
  target: "node20",
  format: "esm",
  banner: { js: BANNER },
  minifyWhitespace: true,
  minifySyntax: true,
  minifyIdentifiers: true,
  keepNames: true,
  sourcemap: "linked",
  legalComments: "linked",
  logLevel: "warning",
} as const satisfies BuildOptions;

for (const [addon, maker] of Object.entries(ADDONS)) {
  if (existsSync(join(REPOSITORY, addon))) continue;
  console.error(`${addon} is not built: run bash ${maker}`);
  process.exit(1);
}
mkdirSync(BUILT, { recursive: true });
await build({
  ...OPTIONS,
  entryPoints: Object.entries({ ...PROGRAMS, ...THREADS }).map(([out, path]) => ({ in: join(REPOSITORY, path), out })),
  plugins: [replace, builtins],
});
await build({
  ...OPTIONS,
  entryPoints: [{ in: join(REPOSITORY, "cli/main.ts"), out: "hullmark" }, ...DEFERRED.map(({ out }) => ({ in: out, out }))],
  splitting: true,
  // By this name Node knows them for ES modules: it would parse each twice to find out.
  outExtension: { ".js": ".mjs" },
  chunkNames: "hullmark-[name]-[hash]",
  plugins: [replace, builtins, deferred],
});
await bundleDashboard(BUILT);
renameSync(join(BUILT, "hullmark.mjs"), join(BUILT, "hullmark.js"));
// The command is started by its own name, or by one of kubectl's.
chmodSync(join(BUILT, "hullmark.js"), 0o755);
copyAddons();
writeSums();
rmSync(DIST, { recursive: true, force: true });
renameSync(BUILT, DIST);
for (const name of [...Object.keys(PROGRAMS), "hullmark"]) {
  const bytes = globSync(`${name}{.js,-*.mjs}`, { cwd: DIST }).reduce((sum, file) => sum + statSync(join(DIST, file)).size, 0);
  console.log(`dist/${name}.js ${Math.round(bytes / 1024)} KiB`);
}
