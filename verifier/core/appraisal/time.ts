import type { Timestamp } from "@bufbuild/protobuf/wkt";

/** Unix milliseconds of a message's time; fractions are kept. The sender may put anything in. */
export function timestampMs({ seconds, nanos }: Timestamp): number {
  return Number(seconds) * 1000 + nanos / 1e6;
}
