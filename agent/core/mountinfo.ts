/** `/proc/PID/mountinfo` (proc_pid_mountinfo(5)). Strings are latin1, so that every byte of a path survives. */
import type { MountPoint } from "../ports/root-filesystem.ts";

const MAX_MOUNTINFO_BYTES = 16 * 1024 * 1024;

export interface MountInfo extends MountPoint {
  readonly mountId: number;
  readonly superOptions: string;
}

/** @throws RangeError over the size limit */
export function assertMountInfoLength(length: number): void {
  if (length > MAX_MOUNTINFO_BYTES) throw new RangeError(`mountinfo of ${length} bytes, limit ${MAX_MOUNTINFO_BYTES}`);
}

/** @throws RangeError over the size limit; lines that cannot be read are left out (the kernel writes them, a mount's owner chooses their paths) */
export function parseMountInfo(text: string): MountInfo[] {
  assertMountInfoLength(text.length);
  const mounts: MountInfo[] = [];
  for (const line of text.split("\n")) {
    const fields = line.split(" ");
    const separator = fields.indexOf("-", 6);
    const [mountId, , device, root, destination, options] = fields;
    const [type, source, superOptions] = fields.slice(separator + 1);
    if (separator < 0 || mountId === undefined || device === undefined || root === undefined || destination === undefined || type === undefined) continue;
    mounts.push({
      mountId: Number(mountId),
      device,
      root: unescapeOctal(root),
      destination: unescapeOctal(destination),
      type,
      source: unescapeOctal(source ?? ""),
      options: (options ?? "").split(","),
      ...(fields.slice(6, separator).some((field) => field.startsWith("master:")) && { propagated: true }),
      superOptions: superOptions ?? "",
    });
  }
  return mounts;
}

/** The kernel writes space, tab, newline and backslash as three octal digits. */
export function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

export interface OverlayOptions {
  /** As mounted, topmost first. */
  readonly lowerdirs: readonly string[];
  readonly upperdir: string;
  readonly oddOptions: readonly string[];
}

const ODD = /^(redirect_dir=(on|follow)|metacopy=on|userxattr|verity=.*|datadir\+=.*)$/;

/** Directories of an overlay mount from its super options. A `:` within a directory's name is written `\:`. undefined: no upper directory. */
export function parseOverlayOptions(superOptions: string): OverlayOptions | undefined {
  const lowerdirs: string[] = [];
  const oddOptions: string[] = [];
  let upperdir: string | undefined;
  // A comma within a value is escaped as `\,`, and the whole field once more in octal.
  for (const option of unescapeOctal(superOptions).split(/(?<!\\),/)) {
    const [name, value = ""] = [option.slice(0, option.indexOf("=")), option.slice(option.indexOf("=") + 1)];
    if (name === "lowerdir") lowerdirs.push(...value.split(/(?<!\\):/).map(unescapeName));
    else if (name === "lowerdir+") lowerdirs.push(unescapeName(value));
    else if (name === "upperdir") upperdir = unescapeName(value);
    if (ODD.test(option)) oddOptions.push(option);
  }
  return upperdir === undefined || lowerdirs.length === 0 ? undefined : { lowerdirs, upperdir, oddOptions };
}

function unescapeName(name: string): string {
  return name.replace(/\\([:,\\])/g, "$1");
}
