/** Finds and loads the addon. Internal to this workspace: each part types its own exports. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

/** Thrown when the addon is absent or does not load. `cause` is the loader's own error. */
export class NativeAddonError extends Error {
  readonly code: "ADDON_NOT_FOUND" | "ADDON_NOT_LOADABLE";

  constructor(code: "ADDON_NOT_FOUND" | "ADDON_NOT_LOADABLE", message: string, cause?: unknown) {
    super(message, { cause });
    this.name = "NativeAddonError";
    this.code = code;
  }
}

let addon: unknown;

/**
 * The addon's exports. Looked for, in order: the file that `HULLMARK_NATIVE` names (no other is tried then), `hullmark.node` beside
 * the running module (a bundle), `build/hullmark.node` beside this source. Loaded once a thread.
 * @throws NativeAddonError
 */
export function loadAddon(): unknown {
  if (addon !== undefined) return addon;
  const found = addonPath();
  try {
    addon = createRequire(import.meta.url)(found) as unknown;
  } catch (cause) {
    throw new NativeAddonError("ADDON_NOT_LOADABLE", `native addon ${found} does not load: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
  }
  return addon;
}

/** The file that {@link loadAddon} loads. @throws NativeAddonError ADDON_NOT_FOUND */
export function addonPath(): string {
  const named = process.env["HULLMARK_NATIVE"];
  const candidates = named ? [named] : ["./hullmark.node", "./build/hullmark.node"].map((path) => fileURLToPath(new URL(path, import.meta.url)));
  const found = candidates.find((path) => existsSync(path));
  if (!found) throw new NativeAddonError("ADDON_NOT_FOUND", `no native addon (looked for ${candidates.join(", ")}); build it with: npm run build -w native`);
  return found;
}
