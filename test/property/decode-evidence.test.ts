/** Evidence decoded one after the other is what each would be by itself, whatever is shared with the report before. */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type EvidenceBody, EvidenceBodySchema } from "@hullmark/proto/v1/attestation";
import { EvidenceDecoder } from "@hullmark/verifier/core/appraisal/decode-evidence";
import fc from "fast-check";
import { describe, expect, test } from "vitest";

const bytes = fc.uint8Array({ maxLength: 6 });
const container = fc.record({
  id: fc.constantFrom("a", "b", "c"),
  identity: fc.option(bytes, { nil: undefined }),
  filesystem: fc.option(bytes, { nil: undefined }),
  upperReset: fc.boolean(),
  upperChanges: fc.array(fc.record({ path: bytes, record: bytes, inode: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }) }), { maxLength: 2 }),
});
const report = fc.record({
  seq: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  previousDigest: bytes,
  full: fc.boolean(),
  node: bytes,
  containers: fc.array(container, { maxLength: 4 }),
  removedContainers: fc.array(fc.string(), { maxLength: 2 }),
  layers: fc.array(fc.record({ id: fc.string(), root: bytes }), { maxLength: 2 }),
  stateRoot: bytes,
});

const encode = (init: object): Uint8Array => toBinary(EvidenceBodySchema, create(EvidenceBodySchema, init));
/** Fields in another order than ours, and one that this version does not know. */
function otherwise(body: Uint8Array): Uint8Array {
  const { containers, ...others } = fromBinary(EvidenceBodySchema, body);
  return Buffer.concat([encode({ containers }), encode({ ...others, $typeName: undefined, containers: [] }), Buffer.from([0xa2, 0x06, 1, 7])]);
}
const plain = (body: EvidenceBody): EvidenceBody => structuredClone(body);

describe("decoding one Evidence after the other", () => {
  test("gives what each is by itself", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(report, fc.boolean(), fc.boolean()), { minLength: 1, maxLength: 6 }), (reports) => {
        const decoder = new EvidenceDecoder();
        let before: Uint8Array | undefined;
        for (const [init, again, reordered] of reports) {
          const body = again && before ? before : reordered ? otherwise(encode(init)) : encode(init);
          expect(plain(decoder.decode(Buffer.from(body)))).toEqual(plain(fromBinary(EvidenceBodySchema, body)));
          before = body;
        }
      }),
      { numRuns: 500 },
    );
  });

  test("keeps the object of a container that a full report repeats, and makes a new one of any that differs in a byte", () => {
    const decoder = new EvidenceDecoder();
    const of = (code: number) => encode({ seq: BigInt(code), full: true, containers: [{ id: "a" }, { id: "b", code: Buffer.from([code]) }] });
    const first = decoder.decode(of(1));
    const second = decoder.decode(of(2));
    expect(second.containers[0]).toBe(first.containers[0]);
    expect(second.containers[1]).not.toBe(first.containers[1]);
    expect(second.seq).toBe(2n);
  });

  test("holds no message in memory through the containers that it keeps", () => {
    const body = encode({ full: true, containers: [{ id: "a", identity: Buffer.alloc(100) }], node: Buffer.alloc(1_000_000) });
    const { containers } = new EvidenceDecoder().decode(body);
    expect(containers[0]?.identity?.buffer.byteLength).toBeLessThan(200);
  });

  test("refuses a field of another wire type, and what ends before its time", () => {
    const good = encode({ seq: 1n, full: true, containers: [{ id: "a" }] });
    for (const bad of [Buffer.of(0x0a, 1, 0), Buffer.of(0x38, 1), Buffer.of(0x3d, 0, 0, 0, 0), good.subarray(0, -1), Buffer.of(0x3a, 5, 0), Buffer.of(0x3b)])
      expect(() => new EvidenceDecoder().decode(bad)).toThrow();
  });
});
