/** Where the command finds its verifier: contexts in a file, as kubectl has them. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { existsSync, lstatSync, readFileSync, realpathSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { credentials } from "@grpc/grpc-js";
import { RpcChannel } from "@hullmark/proto/rpc";
import { parse } from "yaml";
import * as z from "zod";
import { because } from "../output/because.ts";
import type { Connection } from "./connection.ts";
import { ContextError } from "./context-error.ts";
import { tokenCredentials } from "./token.ts";

export const ADDRESS_PATTERN = /^[^\s/]+:\d{1,5}$/;

const ContextSchema = z
  .strictObject({
    /** `host:port` of the verifier's main listener, or of the one for people with tokens. */
    address: z.string().regex(ADDRESS_PATTERN, "want host:port"),
    /** PEM files; relative ones start at the configuration file. */
    caFile: z.string(),
    certFile: z.string().optional(),
    keyFile: z.string().optional(),
    /** In their place: a file that holds a bearer token, read for each call; or a command without shell that prints one, or an ExecCredential as kubectl's plugins do. */
    tokenFile: z.string().min(1).optional(),
    tokenCommand: z.array(z.string()).min(1).max(64).optional(),
    /** What `log verify` checks where nothing else is named. */
    logUrl: z.string().optional(),
    logKeyFile: z.string().optional(),
  })
  .refine(
    ({ certFile, keyFile, tokenFile, tokenCommand }) =>
      (certFile === undefined) === (keyFile === undefined) && [certFile, tokenFile, tokenCommand].filter((each) => each !== undefined).length === 1,
    "want certFile with keyFile, or tokenFile, or tokenCommand",
  );
const ConfigSchema = z.strictObject({ currentContext: z.string(), contexts: z.record(z.string(), ContextSchema) });

export type Context = z.infer<typeof ContextSchema> & { readonly name: string };

/** What `hullmark up` leaves for everybody on the host who may read it. */
export const HOST_CONFIG = "/etc/hullmark/config.yaml";

/** $HULLMARK_CONFIG, else the user's file, else the host's where only that one exists. */
export function defaultConfigPath(environment: NodeJS.ProcessEnv): string {
  if (environment["HULLMARK_CONFIG"]) return environment["HULLMARK_CONFIG"];
  const own = join(environment["XDG_CONFIG_HOME"] ?? join(homedir(), ".config"), "hullmark", "config.yaml");
  return !existsSync(own) && isThere(HOST_CONFIG) ? HOST_CONFIG : own;
}

/** The name alone counts: what the link leads to is for root. */
function isThere(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch {
    return false;
  }
}

/** @param name context to use instead of the current one @throws ContextError */
export function loadContext(path: string, name: string | undefined): Context {
  const parsed = ConfigSchema.safeParse(parsedYaml(path, read(path).toString("utf8")));
  if (!parsed.success)
    throw new ContextError(`${path}: ${parsed.error.issues.map((issue) => `${issue.path.join(".") || "top level"}: ${issue.message}`).join("; ")}`);
  const wanted = name ?? parsed.data.currentContext;
  const context = parsed.data.contexts[wanted];
  if (!context) throw new ContextError(`${path}: no context "${wanted}" (there are: ${Object.keys(parsed.data.contexts).join(", ")})`);
  // A link leads to where the files are.
  const directory = dirname(realpathSync(path));
  const file = (relative: string): string => resolve(directory, relative);
  const files = (["caFile", "certFile", "keyFile", "tokenFile", "logKeyFile"] as const).flatMap((key) => {
    const path = context[key];
    return path === undefined ? [] : [[key, file(path)]];
  });
  return { ...context, ...Object.fromEntries(files), name: wanted };
}

/** @throws ContextError where a file cannot be read or used, or there is no token */
export async function connectByFile(context: Context): Promise<Connection> {
  const channel = context.certFile === undefined ? await openTokenChannel(context) : openChannel(context);
  return { channel, name: context.name, namespace: undefined, cluster: undefined, close: async () => channel.close() };
}

async function openTokenChannel({ address, caFile, tokenFile, tokenCommand }: Context): Promise<RpcChannel> {
  const ca = readCa(caFile);
  const token = await tokenCredentials({ tokenFile, tokenCommand });
  return new RpcChannel(address, credentials.combineChannelCredentials(credentials.createSsl(ca), token.credentials), {}, token.renew);
}

/** By the certificate of a context that has one. @throws ContextError where a file cannot be read or used */
export function openChannel({ name, address, caFile, keyFile, certFile }: Context): RpcChannel {
  if (certFile === undefined || keyFile === undefined) throw new ContextError(`the context "${name}" has no client certificate: this needs one`);
  const [ca, key, certificate] = [readCa(caFile), read(keyFile), read(certFile)];
  const client = inPem(certFile, "certificate", () => new X509Certificate(certificate));
  const ends = client.validToDate;
  if (ends.getTime() < Date.now()) throw new ContextError(`the client certificate ${certFile} expired at ${ends.toISOString()}: get a new one`);
  if (!client.checkPrivateKey(inPem(keyFile, "private key", () => createPrivateKey(key))))
    throw new ContextError(`${keyFile} is not the key of the certificate ${certFile}`);
  return new RpcChannel(address, credentials.createSsl(ca, key, certificate));
}

function readCa(path: string): Buffer {
  const ca = read(path);
  inPem(path, "certificate", () => new X509Certificate(ca));
  return ca;
}

/** The cause is left out: it could one day quote a key. */
function inPem<T>(path: string, what: string, parsed: () => T): T {
  try {
    return parsed();
  } catch {
    throw new ContextError(`${path} holds no ${what} in PEM`);
  }
}

function read(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === "ENOENT")
      throw new ContextError(
        `${path} is not there: on a Docker host, "sudo hullmark up" makes a configuration; else name one by --config or HULLMARK_CONFIG (a verifier writes its own to STATE/admin/config.yaml)`,
        { cause },
      );
    const who = code === "EACCES" ? 'is not for this user to read (what "hullmark up" made is for root: sudo hullmark …)' : `cannot be read: ${because(cause)}`;
    throw new ContextError(`${path} ${who}`, { cause });
  }
}

function parsedYaml(path: string, text: string): unknown {
  try {
    return parse(text);
  } catch (cause) {
    throw new ContextError(`${path} is not YAML: ${cause instanceof Error ? cause.message.split("\n")[0] : cause}`, { cause });
  }
}
