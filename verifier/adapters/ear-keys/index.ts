/**
 * The keys of Attestation Results: ECDSA P-256, one a file (PKCS #8, mode 0600) named by the second from which it signs. Rotation needs nobody: the next key is
 * published a day before it signs, and the last one for a day after, so that no relying party meets a key that its cached set lacks.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, hash, type KeyObject } from "node:crypto";
import { closeSync, constants, fstatSync, fsyncSync, linkSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { calculateJwkThumbprint, exportJWK, type JWK, SignJWT } from "jose";
import type { Clock } from "../../ports/clock.ts";
import type { EarSigner } from "../../ports/ear-signer.ts";
import type { OwnKeyFact } from "../../ports/own-key.ts";
import { SignerError } from "../../ports/signer.ts";

const DAY_MS = 86_400_000;
const OVERLAP_MS = DAY_MS;
const MAX_KEY_FILE_BYTES = 4096;
const FILE = /^(\d{1,12})\.pem$/;

interface Key {
  readonly file: string;
  readonly fromMs: number;
  readonly privateKey: KeyObject;
  readonly id: string;
  readonly jwk: JWK & { readonly kid: string };
}

export interface EarKeysOptions {
  /** Made where it is missing, mode 0700. */
  readonly directory: string;
  /** Days that a key signs: 2..366. */
  readonly keyDays: number;
  readonly clock: Pick<Clock, "nowMs">;
}

export class EarKeys implements EarSigner {
  readonly #options: EarKeysOptions;
  /** By the time from which they sign. */
  #keys: Key[] = [];

  private constructor(options: EarKeysOptions) {
    this.#options = options;
  }

  /** @throws SignerError KEY_PERMISSIONS, KEY_MALFORMED; the system's errors */
  static async open(options: EarKeysOptions): Promise<EarKeys> {
    mkdirSync(options.directory, { recursive: true, mode: 0o700 });
    const keys = new EarKeys(options);
    const files = readdirSync(options.directory).filter((name) => FILE.test(name));
    keys.#keys = (await Promise.all(files.map((name) => readKey(join(options.directory, name), Number(FILE.exec(name)?.[1]) * 1000)))).sort(
      (a, b) => a.fromMs - b.fromMs,
    );
    await keys.rotate();
    return keys;
  }

  async sign(claims: Readonly<Record<string, unknown>>): Promise<string> {
    await this.rotate();
    const { privateKey, jwk } = this.#active();
    return await new SignJWT({ ...claims }).setProtectedHeader({ alg: "ES256", typ: "eat+jwt", kid: jwk.kid }).sign(privateKey);
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
      const made = await makeKey(this.#options.directory, planned > nowMs ? planned : Math.floor(nowMs / 1000) * 1000);
      if (!this.#keys.some((key) => key.fromMs === made.fromMs)) this.#keys = [...this.#keys, made];
    }
    const over = this.#keys.filter((_, i) => {
      const next = this.#keys[i + 1];
      return next !== undefined && nowMs >= next.fromMs + OVERLAP_MS;
    });
    this.#drop((key) => over.includes(key));
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
    this.#drop(({ fromMs }) => fromMs > active.fromMs);
    const secondMs = Math.floor(this.#options.clock.nowMs() / 1000) * 1000;
    this.#keys = [...this.#keys, await makeKey(this.#options.directory, Math.max(secondMs, active.fromMs + 1000))];
  }

  /** Those that gave way are published no more, so that what they signed verifies nowhere once sets are fetched anew. Durable; idempotent. */
  retire(): void {
    const active = this.#active();
    this.#drop(({ fromMs }) => fromMs < active.fromMs);
  }

  #drop(which: (key: Key) => boolean): void {
    for (const { file } of this.#keys.filter(which)) rmSync(file, { force: true });
    this.#keys = this.#keys.filter((key) => !which(key));
  }

  #active(): Key {
    const nowMs = this.#options.clock.nowMs();
    const active = this.#keys.findLast(({ fromMs }) => fromMs <= nowMs) ?? this.#keys[0];
    if (!active) throw new SignerError("KEY_MISSING", "there is no key for Attestation Results");
    return active;
  }
}

/** Durable on return. Where another call was faster, that one's key. */
async function makeKey(directory: string, fromMs: number): Promise<Key> {
  const file = join(directory, `${fromMs / 1000}.pem`);
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const draft = `${file}.${process.pid}.new`;
  const fd = openSync(draft, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW, 0o600);
  try {
    writeFileSync(fd, privateKey.export({ type: "pkcs8", format: "pem" }));
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
  return await readKey(file, fromMs);
}

async function readKey(file: string, fromMs: number): Promise<Key> {
  const fd = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW);
  let pem: string;
  try {
    const { mode, size } = fstatSync(fd);
    if ((mode & 0o077) !== 0) throw new SignerError("KEY_PERMISSIONS", `${file} may be read by others: chmod 600`);
    if (size > MAX_KEY_FILE_BYTES) throw new SignerError("KEY_MALFORMED", `${file} has ${size} bytes`);
    pem = readFileSync(fd, "utf8");
  } finally {
    closeSync(fd);
  }
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey(pem);
  } catch (cause) {
    throw new SignerError("KEY_MALFORMED", `${file} holds no private key`, { cause });
  }
  if (privateKey.asymmetricKeyDetails?.namedCurve !== "prime256v1") throw new SignerError("KEY_MALFORMED", `${file} is no P-256 key`);
  const publicKey = createPublicKey(privateKey);
  const jwk = await exportJWK(publicKey);
  const kid = await calculateJwkThumbprint(jwk);
  const id = hash("sha256", publicKey.export({ type: "spki", format: "der" })).slice(0, 16);
  return { file, fromMs, privateKey, id, jwk: { ...jwk, kid, alg: "ES256", use: "sig" } };
}
