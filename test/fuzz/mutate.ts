/** Inputs near valid ones: what gets past a parser's first check. Every choice is fast-check's, so that a failure shrinks and repeats from its seed. */
import fc from "fast-check";
import { expect } from "vitest";

/** Seconds for one target: short in the gate, `HULLMARK_FUZZ_SECONDS=600` for a long run. */
export const FUZZ_SECONDS = Number(process.env["HULLMARK_FUZZ_SECONDS"] ?? 1);

type Edit = (bytes: Buffer) => Buffer;
const INTERESTING = [0, 1, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff];

const edit: fc.Arbitrary<Edit> = fc.oneof(
  fc.tuple(fc.nat(), fc.nat(255)).map(
    ([at, value]): Edit =>
      (bytes) =>
        written(bytes, at, Buffer.of(value)),
  ),
  fc.tuple(fc.nat(), fc.nat(7)).map(
    ([at, bit]): Edit =>
      (bytes) =>
        written(bytes, at, Buffer.of((bytes[at % Math.max(1, bytes.length)] ?? 0) ^ (1 << bit))),
  ),
  fc.tuple(fc.nat(), fc.constantFrom(...INTERESTING), fc.boolean()).map(
    ([at, value, little]): Edit =>
      (bytes) => {
        const word = Buffer.alloc(4);
        if (little) word.writeUInt32LE(value);
        else word.writeUInt32BE(value);
        return written(bytes, at, word);
      },
  ),
  fc.tuple(fc.nat(), fc.nat(64)).map(
    ([at, length]): Edit =>
      (bytes) =>
        Buffer.concat([bytes.subarray(0, at % (bytes.length + 1)), bytes.subarray((at % (bytes.length + 1)) + length)]),
  ),
  fc.tuple(fc.nat(), fc.nat(), fc.nat(96)).map(
    ([to, from, length]): Edit =>
      (bytes) => {
        const at = to % (bytes.length + 1);
        const piece = bytes.subarray(from % (bytes.length + 1), (from % (bytes.length + 1)) + length);
        return Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at)]);
      },
  ),
  fc.uint8Array({ maxLength: 16 }).map(
    (more): Edit =>
      (bytes) =>
        Buffer.concat([bytes, more]),
  ),
);

function written(bytes: Buffer, at: number, what: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  what.copy(copy, at % Math.max(1, copy.length));
  return copy;
}

/** Random bytes, and seeds after up to eight edits. */
export function near(seeds: readonly Buffer[]): fc.Arbitrary<Buffer> {
  const edited = fc
    .tuple(fc.constantFrom(...seeds), fc.array(edit, { minLength: 1, maxLength: 8 }))
    .map(([seed, edits]) => edits.reduce((bytes, change) => change(bytes), seed));
  return fc.oneof({ weight: 9, arbitrary: edited }, { weight: 1, arbitrary: fc.uint8Array({ maxLength: 512 }).map((bytes) => Buffer.from(bytes)) });
}

/** Runs a target for {@link FUZZ_SECONDS}, at least once. @returns how many inputs it took */
export function fuzz<T>(inputs: fc.Arbitrary<T>, target: (input: T) => void): number {
  let runs = 0;
  const count = (input: T): void => {
    runs++;
    target(input);
  };
  fc.assert(fc.property(inputs, count), { numRuns: 2 ** 31 - 1, interruptAfterTimeLimit: FUZZ_SECONDS * 1000, markInterruptAsFailure: false });
  if (FUZZ_SECONDS > 1) console.info(`${expect.getState().currentTestName}: ${runs} inputs in ${FUZZ_SECONDS} s`);
  return runs;
}
