/** Registry credentials as Docker keeps them: `auths`, `credHelpers` and `credsStore` of config.json (docker/cli, cli/config/configfile). */
import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import * as z from "zod/mini";
import { RegistryError } from "../../ports/registry.ts";

/** Never logged. */
export type Credentials = { readonly username: string; readonly password: string } | { readonly identityToken: string };

/** Finds the credentials of a `host[:port]`; undefined: anonymous. Rejects with RegistryError UNAUTHORIZED where they exist but cannot be read. */
export type CredentialSource = (host: string, signal: AbortSignal) => Promise<Credentials | undefined>;

const MAX_CONFIG_BYTES = 1024 * 1024;
const MAX_HELPER_BYTES = 64 * 1024;
const HELPER_TIMEOUT_MS = 10_000;

const text = z.string().check(z.maxLength(16_384));
const maybeText = z.optional(text);
const configSchema = z.object({
  auths: z.optional(z.record(z.string(), z.object({ auth: maybeText, username: maybeText, password: maybeText, identitytoken: maybeText }))),
  credHelpers: z.optional(z.record(z.string(), z.string().check(z.regex(/^[A-Za-z0-9._-]{1,64}$/)))),
  credsStore: z.optional(z.string().check(z.regex(/^[A-Za-z0-9._-]{0,64}$/))),
});
type DockerConfig = z.infer<typeof configSchema>;

/** `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`. */
export function defaultDockerConfigPath(env: Readonly<Record<string, string | undefined>>): string {
  return join(env["DOCKER_CONFIG"] ?? join(homedir(), ".docker"), "config.json");
}

/** Reads the file anew for every host: logins change. A missing file is anonymous access. */
export function dockerConfigCredentials(path: string): CredentialSource {
  return async (host, signal) => {
    const config = await readConfig(path);
    if (!config) return undefined;
    const names = hostKeys(host);
    for (const name of names) {
      const helper = config.credHelpers?.[name];
      if (helper) return fromHelper(helper, name, signal);
    }
    if (config.credsStore) {
      for (const name of names) {
        const found = await fromHelper(config.credsStore, name, signal);
        if (found) return found;
      }
    }
    for (const name of names) {
      const entry = config.auths?.[name];
      if (entry) return fromEntry(entry, host);
    }
    return undefined;
  };
}

async function readConfig(path: string): Promise<DockerConfig | undefined> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR")) return undefined;
    throw new RegistryError("UNAUTHORIZED", `${path} cannot be read`, { cause: error });
  }
  try {
    if (bytes.length > MAX_CONFIG_BYTES) throw new RangeError("too large");
    return configSchema.parse(JSON.parse(bytes.toString("utf8")));
  } catch {
    // The cause may quote the file: it stays out.
    throw new RegistryError("UNAUTHORIZED", `${path} is not a Docker configuration file`);
  }
}

/** The names under which a host may be listed. Docker Hub has a historical one. */
function hostKeys(host: string): readonly string[] {
  const keys = [host, `https://${host}`, `https://${host}/`, `https://${host}/v2/`, `https://${host}/v1/`, `http://${host}`];
  return host === "registry-1.docker.io" ? ["https://index.docker.io/v1/", "docker.io", "index.docker.io", ...keys] : keys;
}

type AuthEntry = NonNullable<DockerConfig["auths"]>[string];

function fromEntry(entry: AuthEntry, host: string): Credentials | undefined {
  if (entry.identitytoken) return { identityToken: entry.identitytoken };
  if (entry.auth) {
    const decoded = Buffer.from(entry.auth, "base64").toString("utf8");
    const colon = decoded.indexOf(":");
    if (colon < 1) throw new RegistryError("UNAUTHORIZED", `the stored credentials for ${host} are malformed`);
    return { username: decoded.slice(0, colon), password: decoded.slice(colon + 1) };
  }
  return entry.username === undefined || entry.password === undefined ? undefined : { username: entry.username, password: entry.password };
}

const helperSchema = z.object({ Username: text, Secret: text });

/** `docker-credential-NAME get`, as docker/docker-credential-helpers defines it: the server on stdin, JSON on stdout. */
function fromHelper(name: string, server: string, signal: AbortSignal): Promise<Credentials | undefined> {
  const program = `docker-credential-${name}`;
  return new Promise((resolve, reject) => {
    const child = spawn(program, ["get"], { stdio: ["pipe", "pipe", "ignore"], signal });
    // Not spawn's own timeout, which keeps the process waiting when there was no such program.
    setTimeout(() => child.kill(), HELPER_TIMEOUT_MS).unref();
    const fail = (why: string) => reject(signal.aborted ? signal.reason : new RegistryError("UNAUTHORIZED", `${program}: ${why}`));
    let output = Buffer.alloc(0);
    child.on("error", () => fail("could not be run"));
    child.stdin.on("error", () => undefined);
    child.stdout.on("data", (chunk: Buffer) => {
      output = Buffer.concat([output, chunk]);
      if (output.length > MAX_HELPER_BYTES) child.kill("SIGKILL");
    });
    child.on("close", (code) => {
      if (code !== 0) return /credentials not found/i.test(output.toString("utf8")) ? resolve(undefined) : fail(`ended with ${code}`);
      const parsed = parseHelper(output);
      if (!parsed) return fail("answered something else than credentials");
      resolve(parsed.Username === "<token>" ? { identityToken: parsed.Secret } : { username: parsed.Username, password: parsed.Secret });
    });
    child.stdin.end(server);
  });
}

function parseHelper(output: Buffer): z.infer<typeof helperSchema> | undefined {
  try {
    return helperSchema.parse(JSON.parse(output.toString("utf8")));
  } catch {
    return undefined;
  }
}
