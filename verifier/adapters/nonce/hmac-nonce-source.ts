/**
 * Nonces that carry their own proof: `rand16 ‖ HMAC-SHA-256(K_region, "nonce-v1" ‖ rand16 ‖ length-prefixed session, node, expiry)[0..16]`.
 * What was issued need not be remembered, only what was used.
 */
import { createHmac, createSecretKey, type KeyObject, randomBytes, timingSafeEqual } from "node:crypto";
import { ByteWriter, NONCE_BYTES } from "@hullmark/proto/codec";
import type { Clock } from "../../ports/clock.ts";
import type { NonceScope, NonceSource, NonceVerdict } from "../../ports/nonce-source.ts";

export const REGION_KEY_BYTES = 32;
const DOMAIN = "nonce-v1";
const HALF_BYTES = 16;
const DEFAULT_MAX_USED = 200_000;
/** Longer than any nonce lives. */
const MAX_OVERLAP_MS = 3_600_000;
const MAX_BEFORE = 8;

export interface HmacNonceSourceOptions {
  /** {@link REGION_KEY_BYTES} secret bytes, shared by the verifiers of one region and no other. */
  readonly regionKey: Uint8Array;
  readonly clock: Pick<Clock, "nowMs">;
  /** Used nonces that are remembered at most; beyond it none is accepted until some expire. Default 200,000 (about 30 MB). */
  readonly maxUsed?: number;
}

export class HmacNonceSource implements NonceSource {
  #key: KeyObject;
  /** Those that gave way, the newest first, and until when what they made may live (Unix milliseconds). */
  #before: readonly { readonly key: KeyObject; readonly untilMs: number }[] = [];
  readonly #clock: Pick<Clock, "nowMs">;
  readonly #maxUsed: number;
  /** Hex nonce → expiry, in order of use. */
  readonly #used = new Map<string, number>();

  constructor(options: HmacNonceSourceOptions) {
    this.#key = keyOf(options.regionKey);
    this.#clock = options.clock;
    this.#maxUsed = options.maxUsed ?? DEFAULT_MAX_USED;
  }

  /** Of the key in use: first 16 hex digits of a digest that tells nothing of it. */
  get keyId(): string {
    return createHmac("sha256", this.#key).update("hullmark-key-id").digest("hex").slice(0, 16);
  }

  /** From now on nonces are made with another key; those of the one before are accepted as long as they live, an hour at most. */
  replaceKey(regionKey: Uint8Array): void {
    const nowMs = this.#clock.nowMs();
    this.#before = [{ key: this.#key, untilMs: nowMs + MAX_OVERLAP_MS }, ...this.#before.filter(({ untilMs }) => untilMs > nowMs)].slice(0, MAX_BEFORE);
    this.#key = keyOf(regionKey);
  }

  issue(scope: NonceScope): Buffer {
    const rand = randomBytes(HALF_BYTES);
    return Buffer.concat([rand, this.#mac(this.#key, rand, scope)]);
  }

  redeem(nonce: Uint8Array, scope: NonceScope): NonceVerdict {
    if (nonce.length !== NONCE_BYTES) return "foreign";
    const nowMs = this.#clock.nowMs();
    const keys = [this.#key, ...this.#before.flatMap(({ key, untilMs }) => (nowMs < untilMs && scope.expiresAtMs <= untilMs ? [key] : []))];
    const made = (key: KeyObject): boolean => timingSafeEqual(nonce.subarray(HALF_BYTES), this.#mac(key, nonce.subarray(0, HALF_BYTES), scope));
    if (!keys.some(made)) return "foreign";
    if (nowMs >= scope.expiresAtMs) return "expired";
    const key = Buffer.from(nonce).toString("hex");
    if (this.#used.has(key)) return "used";
    if (this.#used.size >= this.#maxUsed) this.#forgetExpired(nowMs);
    if (this.#used.size >= this.#maxUsed) return "expired";
    this.#used.set(key, scope.expiresAtMs);
    return "ok";
  }

  random(bytes: number): Buffer {
    return randomBytes(bytes);
  }

  #mac(key: KeyObject, rand: Uint8Array, scope: NonceScope): Buffer {
    const expiry = Buffer.alloc(8);
    expiry.writeBigUInt64BE(BigInt(scope.expiresAtMs));
    const message = new ByteWriter(128)
      .fixed(Buffer.from(DOMAIN), DOMAIN.length)
      .fixed(rand, HALF_BYTES)
      .bytes(Buffer.from(scope.session))
      .bytes(Buffer.from(scope.nodeId))
      .bytes(expiry)
      .finish();
    return createHmac("sha256", key).update(message).digest().subarray(0, HALF_BYTES);
  }

  #forgetExpired(nowMs: number): void {
    for (const [key, expiresAtMs] of this.#used) if (nowMs >= expiresAtMs) this.#used.delete(key);
  }
}

function keyOf(bytes: Uint8Array): KeyObject {
  if (bytes.length !== REGION_KEY_BYTES) throw new RangeError(`region key of ${bytes.length} bytes, want ${REGION_KEY_BYTES}`);
  return createSecretKey(bytes);
}
