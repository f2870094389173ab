/** An intent counts where a key that the actuator knows has signed it, whichever of the verifier's keys that is, and in no other case. */
import { generateKeyPairSync, sign, verify } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { checkIntent } from "@hullmark/actuator/core/check-intent";
import { intentMessage } from "@hullmark/proto/codec";
import { ActionKind, type Intent, IntentSchema, NodeMark } from "@hullmark/proto/v1/response";
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

const AT = { issuedAt: timestampFromMs(NOW_MS), expiresAt: timestampFromMs(NOW_MS + 300_000) };
const onNode = { id: Buffer.alloc(16, 7), actionId: "A-7K2Q", verifierId: "v1", ...identity, kind: ActionKind.MARK_NODE, driftId: "D-7K2Q", ...AT };
const target = { nodeId: "ffeeddccbbaa9988", name: "w-07", marks: [NodeMark.LABEL, NodeMark.CORDON], reason: "boot" };
type Fields = Partial<Omit<Intent, "node" | "$typeName">> & { readonly node?: Partial<Omit<NonNullable<Intent["node"]>, "$typeName">> | undefined };
const checked = (fields: Fields) => {
  const bytes = toBinary(IntentSchema, create(IntentSchema, { ...onNode, node: target, ...fields }));
  return checkIntent({ body: bytes, signatures: [signedBy(0, intentMessage(bytes))] }, knowing([0]), identity, NOW_MS);
};

test("an intent about a node names that node and no container; a lift says no reason", () => {
  expect(checked({})).toMatchObject({ ok: true, intent: { containerId: "", node: target } });
  expect(checked({ kind: ActionKind.LIFT_NODE, node: { ...target, reason: "" } })).toMatchObject({ ok: true, intent: { node: { marks: target.marks } } });
});

test.each<[string, Fields]>([
  ["its own node", { node: { ...target, nodeId: identity.nodeId } }],
  ["a container as well", { containerId: "c".repeat(64) }],
  ["an image as well", { configDigest: `sha256:${"d".repeat(64)}` }],
  ["owners as well", { owners: ["compose"] }],
  ["no node", { node: undefined }],
  ["a stop of a node", { kind: ActionKind.STOP }],
  ["a stop of a container and a node", { kind: ActionKind.STOP, containerId: "c".repeat(64), configDigest: `sha256:${"d".repeat(64)}` }],
  ["a name that reads as an option", { node: { ...target, name: "-w-07" } }],
  ["a name with a path", { node: { ...target, name: "w/07" } }],
  ["a name with a line end", { node: { ...target, name: "w-07\n" } }],
  ["no mark", { node: { ...target, marks: [] } }],
  ["a mark twice", { node: { ...target, marks: [NodeMark.TAINT, NodeMark.TAINT] } }],
  ["marks in another order", { node: { ...target, marks: [NodeMark.CORDON, NodeMark.LABEL] } }],
  ["an unknown mark", { node: { ...target, marks: [9 as NodeMark] } }],
  ["no reason", { node: { ...target, reason: "" } }],
  ["a reason that is no code", { node: { ...target, reason: "$(id)" } }],
  ["a lift with a reason", { kind: ActionKind.LIFT_NODE }],
])("about a node with %s: it is malformed", (_name, fields) => expect(checked(fields)).toEqual({ ok: false, reason: "malformed", id: undefined }));
