/**
 * The keys of Attestation Results: ECDSA P-256, one a file (PKCS #8, or the URI of one in a token; mode 0600) named by the second from which it signs. Rotation needs nobody: the next key is
 * published a day before it signs, and the last one for a day after, so that no relying party meets a key that its cached set lacks.
 */
import { createPublicKey, generateKeyPairSync, hash } from "node:crypto";
import { closeSync, constants, fstatSync, fsyncSync, linkSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { calculateJwkThumbprint, exportJWK, type JWK } from "jose";
import { isTokenKey, openStoredKey, rawSignature } from "../../core/keys/signing-key.ts";
import type { Clock } from "../../ports/clock.ts";
import type { EarSigner } from "../../ports/ear-signer.ts";
import type { OwnKeyFact } from "../../ports/own-key.ts";
import { SignerError } from "../../ports/signer.ts";
import type { KeyToken, SigningKey } from "../../ports/signing-key.ts";

const DAY_MS = 86_400_000;
const OVERLAP_MS = DAY_MS;
const MAX_KEY_FILE_BYTES = 4096;
const COORDINATE_BYTES = 32;
const FILE = /^(\d{1,12})\.pem$/;

interface Key {
  readonly file: string;
  readonly fromMs: number;
  readonly key: SigningKey;
  /** As its file has it. */
  readonly stored: string;
  readonly id: string;
  readonly jwk: JWK & { readonly kid: string };
}

export interface EarKeysOptions {
  /** Made where it is missing, mode 0700. */
  readonly directory: string;
  /** Days that a key signs: 2..366. */
  readonly keyDays: number;
  readonly clock: Pick<Clock, "nowMs">;
  /** Where new keys are made. undefined: in the directory's files. */
  readonly token?: KeyToken | undefined;
}

export class EarKeys implements EarSigner {
  readonly #options: EarKeysOptions;
  /** By the time from which they sign. */
  #keys: Key[] = [];

  private constructor(options: EarKeysOptions) {
    this.#options = options;
  }

  /** @throws SignerError; the system's errors */
  static async open(options: EarKeysOptions): Promise<EarKeys> {
    mkdirSync(options.directory, { recursive: true, mode: 0o700 });
    const keys = new EarKeys(options);
    const files = readdirSync(options.directory).filter((name) => FILE.test(name));
    keys.#keys = (await Promise.all(files.map((name) => readKey(options, Number(FILE.exec(name)?.[1]) * 1000)))).sort((a, b) => a.fromMs - b.fromMs);
    await keys.rotate();
    return keys;
  }

  async sign(claims: Readonly<Record<string, unknown>>): Promise<string> {
    await this.rotate();
    const { key, jwk } = this.#active();
    // RFC 7515, 5.1, in a few lines: jose signs with keys in memory alone.
    const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
    const signed = `${encode({ alg: "ES256", typ: "eat+jwt", kid: jwk.kid })}.${encode(claims)}`;
    return `${signed}.${rawSignature(await key.sign(Buffer.from(signed)), COORDINATE_BYTES).toString("base64url")}`;
  }

  jwks(): { readonly keys: readonly JWK[] } {
    return { keys: this.#keys.map(({ jwk }) => jwk) };
  }

  /** Makes the next key where its time to be published has come, and forgets those whose results are over. Idempotent. */
  async rotate(): Promise<void> {
    const nowMs = this.#options.clock.nowMs();
    const lifeMs = this.#options.keyDays * DAY_MS;
    const newest = this.#keys.at(-1);
    if (!newest || nowMs >= newest.fromMs + lifeMs - OVERLAP_MS) {
      const planned = newest ? newest.fromMs + lifeMs : 0;
      const made = await makeKey(this.#options, newest, planned > nowMs ? planned : Math.floor(nowMs / 1000) * 1000);
      if (!this.#keys.some((key) => key.fromMs === made.fromMs)) this.#keys = [...this.#keys, made];
    }
    const over = this.#keys.filter((_, i) => {
      const next = this.#keys[i + 1];
      return next !== undefined && nowMs >= next.fromMs + OVERLAP_MS;
    });
    await this.#drop((key) => over.includes(key));
  }

  /** What there is, the key in use first; the one that is published and signs later is not among them. */
  facts(): readonly OwnKeyFact[] {
    const active = this.#active();
    return this.#keys
      .filter(({ fromMs }) => fromMs <= active.fromMs)
      .reverse()
      .map(({ fromMs, id }) => ({ id, madeAtMs: fromMs, state: fromMs === active.fromMs ? "in-use" : "accepted" }));
  }

  /** A new key signs at once, and one that was to follow is dropped; the one before stays published. Durable. @throws the system's errors */
  async replace(): Promise<void> {
    const active = this.#active();
    const newest = this.#keys.at(-1);
    await this.#drop(({ fromMs }) => fromMs > active.fromMs);
    const secondMs = Math.floor(this.#options.clock.nowMs() / 1000) * 1000;
    this.#keys = [...this.#keys, await makeKey(this.#options, newest, Math.max(secondMs, active.fromMs + 1000))];
  }

  /** Those that gave way are published no more, so that what they signed verifies nowhere once sets are fetched anew. Durable; idempotent. */
  async retire(): Promise<void> {
    const active = this.#active();
    await this.#drop(({ fromMs }) => fromMs < active.fromMs);
  }

  async #drop(which: (key: Key) => boolean): Promise<void> {
    const dropped = this.#keys.filter(which);
    for (const { file } of dropped) rmSync(file, { force: true });
    this.#keys = this.#keys.filter((key) => !which(key));
    // Two calls that met in two seconds took the same key of the token into two files: it goes with the last of them.
    const kept = new Set(this.#keys.map(({ stored }) => stored));
    for (const { stored } of dropped) if (isTokenKey(stored) && !kept.has(stored)) await this.#options.token?.drop(stored);
  }

  #active(): Key {
    const nowMs = this.#options.clock.nowMs();
    const active = this.#keys.findLast(({ fromMs }) => fromMs <= nowMs) ?? this.#keys[0];
    if (!active) throw new SignerError("KEY_MISSING", "there is no key for Attestation Results");
    return active;
  }
}

/** Durable on return. Where another call was faster, that one's key. @param before the one that it follows */
async function makeKey(options: EarKeysOptions, before: Key | undefined, fromMs: number): Promise<Key> {
  const file = fileOf(options, fromMs);
  const stored = await newKey(options, before?.stored);
  const draft = `${file}.${process.pid}.new`;
  const fd = openSync(draft, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW, 0o600);
  try {
    writeFileSync(fd, stored);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  try {
    linkSync(draft, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    rmSync(draft);
  }
  return await readKey(options, fromMs);
}

async function newKey({ token }: EarKeysOptions, before: string | undefined): Promise<string> {
  if (token) return await token.make("p256", "ear", before !== undefined && isTokenKey(before) ? before : undefined);
  return generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ type: "pkcs8", format: "pem" }).toString();
}

function fileOf({ directory }: EarKeysOptions, fromMs: number): string {
  return join(directory, `${fromMs / 1000}.pem`);
}

async function readKey(options: EarKeysOptions, fromMs: number): Promise<Key> {
  const file = fileOf(options, fromMs);
  const fd = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW);
  let stored: string;
  try {
    const { mode, size } = fstatSync(fd);
    if ((mode & 0o077) !== 0) throw new SignerError("KEY_PERMISSIONS", `${file} may be read by others: chmod 600`);
    if (size > MAX_KEY_FILE_BYTES) throw new SignerError("KEY_MALFORMED", `${file} has ${size} bytes`);
    stored = readFileSync(fd, "utf8");
  } finally {
    closeSync(fd);
  }
  const key = await openStoredKey(stored, file, options.token);
  const publicKey = createPublicKey({ key: key.spki, format: "der", type: "spki" });
  if (publicKey.asymmetricKeyDetails?.namedCurve !== "prime256v1") throw new SignerError("KEY_MALFORMED", `${file} is no P-256 key`);
  const jwk = await exportJWK(publicKey);
  const kid = await calculateJwkThumbprint(jwk);
  return { file, fromMs, key, stored, id: hash("sha256", key.spki).slice(0, 16), jwk: { ...jwk, kid, alg: "ES256", use: "sig" } };
}
