/** Makes the dashboard's three files, which the verifier serves as they are: nothing is built when it runs. */
import { copyFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { build, type Plugin } from "esbuild";
import { elementsOf } from "./markdown.ts";

/** Browsers that have what the style uses (`light-dark()`): of May 2024 and newer. */
const TARGET = ["chrome123", "firefox120", "safari17.5"];

const markdown: Plugin = {
  name: "markdown",
  setup: ({ onLoad }) => onLoad({ filter: /\.md$/ }, ({ path }) => ({ contents: JSON.stringify(elementsOf(readFileSync(path, "utf8"))), loader: "json" })),
};

/** @param directory where `dashboard.html`, `dashboard.js` and `dashboard.css` go */
export async function bundleDashboard(directory: string): Promise<void> {
  await build({
    entryPoints: ["main.tsx", "style.css"].map((name) => ({ in: join(import.meta.dirname, "src", name), out: "dashboard" })),
    outdir: directory,
    bundle: true,
    platform: "browser",
    target: TARGET,
    format: "esm",
    jsx: "automatic",
    jsxImportSource: "preact",
    minify: true,
    legalComments: "none",
    plugins: [markdown],
    logLevel: "warning",
  });
  copyFileSync(join(import.meta.dirname, "src/dashboard.html"), join(directory, "dashboard.html"));
}
