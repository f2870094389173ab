/** An intent counts where a key that the actuator knows has signed it, whichever of the verifier's keys that is, and in no other case. */
import { generateKeyPairSync, sign, verify } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { checkIntent } from "@hullmark/actuator/core/check-intent";
import { intentMessage } from "@hullmark/proto/codec";
import { ActionKind, IntentSchema } from "@hullmark/proto/v1/response";
import fc from "fast-check";
import { expect, test } from "vitest";

const NOW_MS = 1_700_000_000_000;
const identity = { nodeId: "00112233445566aa", region: "eu-1" };
const keys = Array.from({ length: 4 }, () => generateKeyPairSync("ed25519"));
const body = toBinary(
  IntentSchema,
  create(IntentSchema, {
    ...{ id: Buffer.alloc(16, 7), actionId: "A-7K2Q", verifierId: "v1", ...identity, containerId: "c".repeat(64), configDigest: `sha256:${"d".repeat(64)}` },
    ...{ kind: ActionKind.STOP, driftId: "D-7K2Q", issuedAt: timestampFromMs(NOW_MS), expiresAt: timestampFromMs(NOW_MS + 300_000) },
  }),
);
const signedBy = (index: number, message = intentMessage(body)): Buffer => sign(null, message, (keys[index] as (typeof keys)[0]).privateKey);
const knowing = (indexes: readonly number[]) => (message: Uint8Array, signature: Uint8Array) =>
  indexes.some((index) => verify(null, message, (keys[index] as (typeof keys)[0]).publicKey, signature));
const some = fc.uniqueArray(fc.nat(3), { minLength: 0, maxLength: 2 });

test("one or two signatures, one or two keys: it counts where they share one", () => {
  fc.assert(
    fc.property(some, some, (signers, known) => {
      const check = checkIntent({ body, signatures: signers.map((index) => signedBy(index)) }, knowing(known), identity, NOW_MS);
      if (signers.some((index) => known.includes(index))) expect(check).toMatchObject({ ok: true, intent: { actionId: "A-7K2Q" } });
      else expect(check).toEqual({ ok: false, reason: "signature", id: undefined });
    }),
  );
});

test("a signature over anything else, of another length, or one too many, is none", () => {
  const check = (...signatures: Uint8Array[]) => checkIntent({ body, signatures }, knowing([0]), identity, NOW_MS);
  expect(check(signedBy(0, Buffer.from(body)))).toMatchObject({ ok: false, reason: "signature" });
  expect(check(signedBy(0), signedBy(1).subarray(1))).toMatchObject({ ok: false, reason: "malformed" });
  expect(check(signedBy(1), signedBy(2), signedBy(0))).toMatchObject({ ok: false, reason: "malformed" });
  expect(check(signedBy(1), signedBy(0))).toMatchObject({ ok: true });
});
