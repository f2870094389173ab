/** The OCI runtime configuration (`config.json`, OCI Runtime Specification 1.1) by which a container was really started, as far as it is appraised. */
import * as z from "zod";

/** Larger ones are not read. */
export const MAX_SPEC_BYTES = 4 * 1024 * 1024;

const strings = z.array(z.string()).nullish();

/** OCI Runtime Specification 1.1, "Allowed Device list": a type or a number that is not there is any. */
const DeviceRuleSchema = z.object({
  allow: z.boolean(),
  type: z.string().nullish(),
  major: z.number().nullish(),
  minor: z.number().nullish(),
  access: z.string().nullish(),
});

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
      devices: z.array(z.object({ path: z.string(), type: z.string().nullish(), major: z.number().nullish(), minor: z.number().nullish() })).nullish(),
      resources: z.object({ devices: z.array(DeviceRuleSchema).nullish() }).nullish(),
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

/**
 * Namespaces that are the host's: the configuration neither makes them nor takes them from another container, or takes them from one that has the host's.
 * @param joined configuration of the one whose namespaces it takes; undefined: of none that is known
 */
export function sharedNamespaces(spec: OciSpec, joined?: OciSpec): string[] {
  const own = spec.linux?.namespaces ?? [];
  const ofHost = joined ? sharedNamespaces(joined) : [];
  return Object.entries(NAMESPACES)
    .filter(([type, name]) => {
      const its = own.find((each) => each.type === type);
      return !its || (Boolean(its.path) && ofHost.includes(name));
    })
    .map(([, name]) => name);
}

/** Devices that the runtime makes for every container. */
const STANDARD_DEVICES = new Set(["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/console", "/dev/fuse", "/dev/ptmx"]);

/** Character devices that every container may use (runc `AllowedDevices`, containerd `WithDefaultUnixDevices`): memory, terminals, and tun, which older containerd allows. */
const STANDARD_NUMBERS = /^(1:[35789]|5:[012]|136:(\d+|\*)|10:200)$/;

/**
 * Devices beyond those that every container gets: the nodes that are made in it, by path, and what its control group lets it use besides, as
 * `/dev/char/MAJOR:MINOR` or `/dev/block/MAJOR:MINOR`, `*` for any: whoever may use a device and has MKNOD makes the node himself.
 */
export function givenDevices(spec: OciSpec): string[] {
  const made = spec.linux?.devices ?? [];
  const isStandard = ({ path, type, major, minor }: (typeof made)[number]): boolean =>
    STANDARD_DEVICES.has(path) && type !== "b" && (STANDARD_NUMBERS.test(`${major}:${minor}`) || (path === "/dev/fuse" && major === 10 && minor === 229));
  // A disk under the name of a standard device is told by its number.
  const told = made.filter((node) => isStandard(node) || !STANDARD_DEVICES.has(node.path));
  const names = new Set(told.map(({ type, major, minor }) => `${type === "b" ? "block" : "char"}/${major}:${minor}`));
  const number = (value: number | null | undefined): string => (value === undefined || value === null || value < 0 ? "*" : String(value));
  const beyond = (spec.linux?.resources?.devices ?? []).flatMap(({ allow, type, major, minor, access }) => {
    // Runtimes let every node be made: that alone opens none.
    if (!allow || access === "m") return [];
    const numbers = `${number(major)}:${number(minor)}`;
    const kinds = type === "b" ? ["block"] : type === "c" || type === "u" ? ["char"] : ["block", "char"];
    return kinds.filter((kind) => !(kind === "char" && STANDARD_NUMBERS.test(numbers))).map((kind) => `${kind}/${numbers}`);
  });
  const paths = made.map(({ path }) => path).filter((path) => !STANDARD_DEVICES.has(path));
  return [...new Set([...paths, ...beyond.filter((name) => !names.has(name)).map((name) => `/dev/${name}`)])];
}

/** Bounding set without `CAP_`. */
export function boundingCapabilities(spec: OciSpec): string[] {
  return (spec.process.capabilities?.bounding ?? []).map((each) => each.replace(/^CAP_/, ""));
}
