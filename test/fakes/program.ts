/** What tests start as a process of its own. */
import { globSync, statSync } from "node:fs";
import { join } from "node:path";

const REPOSITORY = join(import.meta.dirname, "../..");
const SOURCES = ["{actuator,agent,capture,cli,daemon,proto,verifier}/**/*.ts", "native/*.ts", "native/build/hullmark.node", "deploy/bundle.ts"];

const changed = (path: string): number => statSync(join(REPOSITORY, path), { throwIfNoEntry: false })?.mtimeMs ?? 0;
let newest: number | undefined;

/**
 * @returns the script of a program: the bundle, which starts in half of the processor's time, or the sources where one of them is newer
 */
export function program(name: "actuator" | "agent" | "cli" | "verifier"): string {
  newest ??= Math.max(...SOURCES.flatMap((glob) => globSync(glob, { cwd: REPOSITORY, exclude: ["**/node_modules"] })).map(changed));
  const bundle = `dist/${name === "cli" ? "hullmark" : name}.js`;
  return join(REPOSITORY, changed(bundle) > newest ? bundle : `${name}/main.ts`);
}
