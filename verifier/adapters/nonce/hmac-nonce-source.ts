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

export interface HmacNonceSourceOptions {
  /** {@link REGION_KEY_BYTES} secret bytes, shared by the verifiers of one region and no other. */
  readonly regionKey: Uint8Array;
  readonly clock: Pick<Clock, "nowMs">;
  /** Used nonces that are remembered at most; beyond it none is accepted until some expire. Default 200,000 (about 30 MB). */
  readonly maxUsed?: number;
}

export class HmacNonceSource implements NonceSource {
  readonly #key: KeyObject;
  readonly #clock: Pick<Clock, "nowMs">;
  readonly #maxUsed: number;
  /** Hex nonce → expiry, in order of use. */
  readonly #used = new Map<string, number>();

  constructor(options: HmacNonceSourceOptions) {
    if (options.regionKey.length !== REGION_KEY_BYTES) throw new RangeError(`region key of ${options.regionKey.length} bytes, want ${REGION_KEY_BYTES}`);
    this.#key = createSecretKey(options.regionKey);
    this.#clock = options.clock;
    this.#maxUsed = options.maxUsed ?? DEFAULT_MAX_USED;
  }

  issue(scope: NonceScope): Buffer {
    const rand = randomBytes(HALF_BYTES);
    return Buffer.concat([rand, this.#mac(rand, scope)]);
  }

  redeem(nonce: Uint8Array, scope: NonceScope): NonceVerdict {
    if (nonce.length !== NONCE_BYTES) return "foreign";
    if (!timingSafeEqual(nonce.subarray(HALF_BYTES), this.#mac(nonce.subarray(0, HALF_BYTES), scope))) return "foreign";
    const nowMs = this.#clock.nowMs();
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

  #mac(rand: Uint8Array, scope: NonceScope): Buffer {
    const expiry = Buffer.alloc(8);
    expiry.writeBigUInt64BE(BigInt(scope.expiresAtMs));
    const message = new ByteWriter(128)
      .fixed(Buffer.from(DOMAIN), DOMAIN.length)
      .fixed(rand, HALF_BYTES)
      .bytes(Buffer.from(scope.session))
      .bytes(Buffer.from(scope.nodeId))
      .bytes(expiry)
      .finish();
    return createHmac("sha256", this.#key).update(message).digest().subarray(0, HALF_BYTES);
  }

  #forgetExpired(nowMs: number): void {
    for (const [key, expiresAtMs] of this.#used) if (nowMs >= expiresAtMs) this.#used.delete(key);
  }
}
