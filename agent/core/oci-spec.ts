/** The OCI runtime configuration (`config.json`, OCI Runtime Specification 1.1) by which a container was really started, as far as it is appraised. */
import { z } from "zod";

/** Larger ones are not read. */
export const MAX_SPEC_BYTES = 4 * 1024 * 1024;

const strings = z.array(z.string()).nullish();

/** Unknown fields pass. */
export const OciSpecSchema = z.object({
  process: z.object({
    args: strings,
    env: strings,
    cwd: z.string().nullish(),
    user: z.object({ uid: z.number().nullish(), gid: z.number().nullish() }).nullish(),
    noNewPrivileges: z.boolean().nullish(),
    apparmorProfile: z.string().nullish(),
    capabilities: z.object({ bounding: strings }).nullish(),
  }),
  root: z.object({ path: z.string().nullish(), readonly: z.boolean().nullish() }).nullish(),
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

/** undefined: not such a document. @param text from the runtime's state directory */
export function parseOciSpec(text: string): OciSpec | undefined {
  if (text.length > MAX_SPEC_BYTES) return undefined;
  try {
    return OciSpecSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

const NAMESPACES: Readonly<Record<string, string>> = { pid: "pid", network: "net", ipc: "ipc", uts: "uts" };

/** Namespaces that the configuration neither makes nor takes from another container: they are the host's. */
export function sharedNamespaces(spec: OciSpec): string[] {
  const own = spec.linux?.namespaces ?? [];
  return Object.keys(NAMESPACES)
    .filter((type) => !own.some((each) => each.type === type))
    .map((type) => NAMESPACES[type] ?? type);
}

/** Devices that the runtime makes for every container. */
const STANDARD_DEVICES = new Set(["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/console", "/dev/fuse", "/dev/ptmx"]);

/** Devices beyond those that every container gets. */
export function givenDevices(spec: OciSpec): string[] {
  return (spec.linux?.devices ?? []).map(({ path }) => path).filter((path) => !STANDARD_DEVICES.has(path));
}

/** Bounding set without `CAP_`. */
export function boundingCapabilities(spec: OciSpec): string[] {
  return (spec.process.capabilities?.bounding ?? []).map((each) => each.replace(/^CAP_/, ""));
}
