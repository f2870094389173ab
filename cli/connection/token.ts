/** Bearer tokens of a context: from a file, or from a command, as kubectl has them. */
import { spawn } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { type CallCredentials, credentials, Metadata } from "@grpc/grpc-js";
import { because } from "../output/because.ts";
import { ContextError } from "./context-error.ts";

const MAX_TOKEN_BYTES = 16_384;
const MAX_OUTPUT_BYTES = 65_536;
/** A command may ask a person to sign in. */
const COMMAND_TIMEOUT_MS = 120_000;
/** What ends so soon is not used any more. */
const SPARE_MS = 10_000;

export interface TokenSource {
  readonly tokenFile?: string | undefined;
  readonly tokenCommand?: readonly string[] | undefined;
}

/** A token that is younger is not asked for again: what refuses it would refuse the next one. */
const YOUNG_MS = 5000;

export interface TokenCredentials {
  readonly credentials: CallCredentials;
  /** The verifier takes the token no more. @returns whether the next call brings another */
  readonly renew: () => boolean;
}

/** Read, or made, before the first call, and anew once it is over. @throws ContextError at once, where there is no token */
export async function tokenCredentials(source: TokenSource): Promise<TokenCredentials> {
  let current = await obtain(source);
  let renewing: Promise<Token> | undefined;
  /** Of calls that begin together one asks: a command may ask a person. */
  const valid = async (): Promise<Token> => {
    if (Date.now() < current.renewMs) return current;
    renewing ??= obtain(source).finally(() => {
      renewing = undefined;
    });
    current = await renewing;
    return current;
  };
  return {
    credentials: credentials.createFromMetadataGenerator((_call, callback) => {
      valid().then(
        ({ text }) => {
          const metadata = new Metadata();
          metadata.set("authorization", `Bearer ${text}`);
          callback(null, metadata);
        },
        (error: Error) => callback(error),
      );
    }),
    renew: () => {
      if (Date.now() - current.sinceMs < YOUNG_MS) return false;
      current = { ...current, renewMs: 0 };
      return true;
    },
  };
}

interface Token {
  readonly text: string;
  /** When it was read or made, and when another one is; Unix milliseconds. */
  readonly sinceMs: number;
  readonly renewMs: number;
}

async function obtain({ tokenFile, tokenCommand }: TokenSource): Promise<Token> {
  // Another may be put there at any time: it is small, and read for each call.
  if (tokenFile !== undefined) return { text: checked(tokenFile, readToken(tokenFile)), sinceMs: Date.now(), renewMs: 0 };
  const [program = "", ...args] = tokenCommand ?? [];
  return { ...(await commanded(program, args)), sinceMs: Date.now() };
}

function readToken(path: string): string {
  try {
    const { size } = statSync(path);
    if (size <= MAX_TOKEN_BYTES) return readFileSync(path, "utf8");
  } catch (cause) {
    throw new ContextError(`the token file ${path} cannot be read: ${because(cause)}`, { cause });
  }
  throw new ContextError(`the token file ${path} is longer than any token`);
}

/** What it holds is in no message. */
function checked(from: string, text: string): string {
  const token = text.trim();
  if (token === "" || token.length > MAX_TOKEN_BYTES || !/^[A-Za-z0-9._~+/-]+=*$/.test(token)) throw new ContextError(`${from} gives no bearer token`);
  return token;
}

/** Without a shell. It has the terminal, where there is one, to ask a person; standard output is the token, or an ExecCredential of client.authentication.k8s.io. */
async function commanded(program: string, args: readonly string[]): Promise<Omit<Token, "sinceMs">> {
  const output = await outputOf(program, args);
  if (!output.trimStart().startsWith("{")) {
    const text = checked(`tokenCommand ${program}`, output);
    return { text, renewMs: endOf(text) - SPARE_MS };
  }
  const { token, expirationTimestamp } = statusOf(program, output);
  const text = checked(`tokenCommand ${program}`, typeof token === "string" ? token : "");
  const endsMs = typeof expirationTimestamp === "string" ? Date.parse(expirationTimestamp) : Number.NaN;
  return { text, renewMs: (Number.isNaN(endsMs) ? endOf(text) : endsMs) - SPARE_MS };
}

/** As a JWT says of itself, which decides here only when another one is asked for. @returns Unix milliseconds; infinity: it does not say */
function endOf(token: string): number {
  try {
    const { exp } = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString("utf8")) as { readonly exp?: unknown };
    return typeof exp === "number" ? exp * 1000 : Number.POSITIVE_INFINITY;
  } catch {
    return Number.POSITIVE_INFINITY; // no JWT
  }
}

function outputOf(program: string, args: readonly string[]): Promise<string> {
  const interactive = process.stdin.isTTY === true;
  const info = { apiVersion: "client.authentication.k8s.io/v1", kind: "ExecCredential", spec: { interactive } };
  const env = { ...process.env, KUBERNETES_EXEC_INFO: JSON.stringify(info) };
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => reject(new ContextError(`tokenCommand ${program}: ${why}`));
    const child = spawn(program, args, { stdio: [interactive ? "inherit" : "ignore", "pipe", "inherit"], env });
    // Not spawn's own timeout, which keeps the process waiting when there was no such program.
    setTimeout(() => child.kill(), COMMAND_TIMEOUT_MS).unref();
    const chunks: Buffer[] = [];
    let length = 0;
    child.stdout.on("data", (chunk: Buffer) => {
      length += chunk.length;
      if (length > MAX_OUTPUT_BYTES) child.kill();
      else chunks.push(chunk);
    });
    child.on("error", (error) => fail(because(error)));
    child.on("close", (code, signal) => {
      if (length > MAX_OUTPUT_BYTES) fail("it writes more than any token");
      else if (code !== 0) fail(code === null ? `it was ended by ${signal}, or took too long` : `it ended with ${code}`);
      else resolve(Buffer.concat(chunks).toString("utf8"));
    });
  });
}

function statusOf(program: string, output: string): { readonly token?: unknown; readonly expirationTimestamp?: unknown } {
  try {
    const { kind, status } = JSON.parse(output) as { kind?: unknown; status?: object };
    if (kind === "ExecCredential" && typeof status === "object" && status !== null) return status;
  } catch {
    // Said below: the error may quote the token.
  }
  throw new ContextError(`tokenCommand ${program} gives no token and no ExecCredential with one`);
}
