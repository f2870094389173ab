import { accessSync, constants } from "node:fs";
import { join } from "node:path";
import { TestbedError } from "./error.ts";

/** The repository's root folder, absolute, without trailing slash. */
export const REPOSITORY: string = new URL("../..", import.meta.url).pathname.replace(/\/$/, "");

/** Where runs keep everything they make: `$HULLMARK_STATE`, else `.hullmark` in the repository (git ignores it). */
export const STATE_ROOT: string = process.env["HULLMARK_STATE"] ?? join(REPOSITORY, ".hullmark");

/** Folder of one test bed. */
export function testbedDirectory(name: string): string {
  return join(STATE_ROOT, "run", name);
}

/** Another engine's programs, in one folder: `HULLMARK_ENGINE_BIN`. They, and what they start, come before the machine's. */
const ENGINE_FOLDER = process.env["HULLMARK_ENGINE_BIN"] ?? "";
/** PATH of daemons that look for programs themselves (shim, runc, docker-proxy). */
export const PROGRAM_PATH: string = [...(ENGINE_FOLDER ? [ENGINE_FOLDER] : []), "/usr/sbin:/usr/bin:/sbin:/bin", process.env["PATH"] ?? ""].join(":");

// Daemons live in sbin, which is not in every user's PATH; a program of /usr/local must not shadow the distribution's daemon.
const PROGRAM_FOLDERS = [...(ENGINE_FOLDER ? [ENGINE_FOLDER] : []), "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"];

/** Debian package that ships a program, where the names differ. */
const PACKAGE_OF: Readonly<Record<string, string>> = {
  dockerd: "docker.io",
  "docker-init": "docker.io",
  ip: "iproute2",
  swtpm_setup: "swtpm-tools",
  unshare: "util-linux",
  nsenter: "util-linux",
  mount: "mount",
};

/**
 * Absolute path of a system program.
 * @throws TestbedError `missing_program`, naming the package to install.
 */
export function program(name: string): string {
  for (const folder of PROGRAM_FOLDERS) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not here: the next folder, or the error below.
    }
  }
  throw new TestbedError("missing_program", `${name} is missing: install the package ${PACKAGE_OF[name] ?? name}, or run deploy/setup.sh`);
}

/** A unix socket's path holds at most 107 bytes (sun_path, unix(7)). @throws TestbedError `path_too_long` */
export function socketPath(...parts: string[]): string {
  const path = join(...parts);
  if (Buffer.byteLength(path) > 107) {
    throw new TestbedError("path_too_long", `${path} is longer than a socket's 107 bytes: set HULLMARK_STATE to a shorter folder`);
  }
  return path;
}
