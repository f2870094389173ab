/** The OCI runtime configuration by which the container was really started (`config.json` of its bundle). */
import { readFile, readlink } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";

const MAX_SPEC_BYTES = 4 * 1024 * 1024;

const strings = z.array(z.string()).nullish();

/** OCI Runtime Specification 1.1, config.md: the parts that are appraised. Unknown fields pass. */
const OciSpecSchema = z.object({
  process: z.object({
    args: strings,
    env: strings,
    cwd: z.string().nullish(),
    noNewPrivileges: z.boolean().nullish(),
    apparmorProfile: z.string().nullish(),
    capabilities: z.object({ bounding: strings }).nullish(),
  }),
  root: z.object({ readonly: z.boolean().nullish() }).nullish(),
  hostname: z.string().nullish(),
  mounts: z.array(z.object({ destination: z.string(), type: z.string().nullish(), source: z.string().nullish(), options: strings })).nullish(),
  linux: z
    .object({
      seccomp: z.object({}).nullish(),
      namespaces: z.array(z.object({ type: z.string(), path: z.string().nullish() })).nullish(),
      devices: z.array(z.object({ path: z.string() })).nullish(),
      maskedPaths: strings,
      readonlyPaths: strings,
    })
    .nullish(),
});

export type OciSpec = z.infer<typeof OciSpecSchema>;

/**
 * Docker's shim is the parent of the container's first process and works in the bundle's directory.
 * undefined where the bundle cannot be found: the engine's own inspection must then do.
 */
export async function readOciSpec(pid: number, containerId: string): Promise<OciSpec | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "latin1");
    const parent = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1];
    const bundle = await readlink(`/proc/${parent}/cwd`);
    if (!bundle.endsWith(`/${containerId}`)) return undefined;
    const text = await readFile(join(bundle, "config.json"), "utf8");
    if (text.length > MAX_SPEC_BYTES) return undefined;
    const parsed = OciSpecSchema.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}
