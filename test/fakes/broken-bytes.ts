/** What a parser may be given in place of a valid input. */
import fc from "fast-check";

/** The input with one byte written over, or any bytes at all. */
export function brokenBytes(whole: Buffer, maxLength: number): fc.Arbitrary<Buffer> {
  const oneByte = fc.tuple(fc.nat(whole.length - 1), fc.nat(255)).map(([at, value]) => {
    const bytes = Buffer.from(whole);
    bytes[at] = value;
    return bytes;
  });
  return fc.oneof(
    oneByte,
    fc.uint8Array({ maxLength }).map((bytes) => Buffer.from(bytes)),
  );
}
