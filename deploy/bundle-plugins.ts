/** How a bundle starts quickly: what is not used in a run is not evaluated, and what is seldom used is not even read. */
import { builtinModules } from "node:module";
import type { Plugin } from "esbuild";

/**
 * Node's own modules by `process.getBuiltinModule`. An `import` of one reads every property that it has, among them those of node:http that load
 * an HTTP client for WebSockets: 30 ms. And an import of what an older Node's module does not have ends a program before it can say that it wants a newer one.
 */
export const builtins: Plugin = {
  name: "builtins",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^(node:)?[a-z0-9_/]+$/ }, ({ path, kind }) => {
      const name = path.replace(/^node:/, "");
      return kind !== "entry-point" && builtinModules.includes(name) ? { path: name, namespace: "builtin" } : undefined;
    });
    onLoad({ filter: /.*/, namespace: "builtin" }, ({ path }) => ({ contents: `module.exports = process.getBuiltinModule("node:${path}");`, loader: "js" }));
  },
};

/** A module that is read and evaluated when the first of its exports is used, as `import defer` will have it (https://github.com/tc39/proposal-defer-import-eval). */
interface Deferred {
  /** By which paths our own modules import it. They may use it within functions only. */
  readonly imported: RegExp;
  /** For `import()`. */
  readonly module: string;
  /** The file that it becomes, without `.mjs`: an entry of the same build, so that what others use too is there once. */
  readonly out: string;
}

const source = (path: string): string => new URL(`../${path}`, import.meta.url).pathname;

/** What most runs of the command do without. */
export const DEFERRED: readonly Deferred[] = [
  { imported: /^yaml$/, module: "yaml", out: "hullmark-yaml" },
  { imported: /\/policy\/condition\.ts$/, module: source("verifier/core/policy/condition.ts"), out: "hullmark-condition" },
  { imported: /^\.\/x509\.ts$/, module: source("verifier/adapters/notary/x509.ts"), out: "hullmark-x509" },
  { imported: /^\.\/cose\.ts$/, module: source("verifier/adapters/notary/cose.ts"), out: "hullmark-cose" },
];

export const deferred: Plugin = {
  name: "deferred",
  setup({ onResolve, onLoad }) {
    for (const { imported, module, out } of DEFERRED) {
      onResolve({ filter: imported }, ({ kind, importer, namespace }) =>
        kind === "import-statement" && namespace === "file" && !importer.includes("/node_modules/") ? { path: out, namespace: "deferred" } : undefined,
      );
      onResolve({ filter: new RegExp(`^${out}$`) }, () => ({ path: out, namespace: "entry" }));
      const filter = new RegExp(`^${out}$`);
      onLoad({ filter, namespace: "deferred" }, async () => {
        const getters = (await namesOf(module)).map((name) => `get ${name}() { return require("./${out}.mjs").${name}; }`);
        return { contents: `module.exports = { __esModule: true, ${getters.join(", ")} };`, loader: "js" };
      });
      onLoad({ filter, namespace: "entry" }, async () => ({
        contents: `export { ${(await namesOf(module)).join(", ")} } from ${JSON.stringify(module)};`,
        loader: "js",
        resolveDir: import.meta.dirname,
      }));
    }
    onResolve({ filter: /.*/, namespace: "deferred" }, ({ path }) => ({ path, external: true }));
  },
};

async function namesOf(module: string): Promise<readonly string[]> {
  return Object.keys((await import(module)) as object).filter((name) => name !== "default" && /^\w+$/.test(name));
}
