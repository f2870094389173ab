/** The published vectors of what a quote commits to: a node's agent in another language makes the same bytes. */
import { readFileSync } from "node:fs";
import { encodeQuoteBinding, type QuoteBinding, quoteExtraData } from "@hullmark/proto/codec";
import { expect, test } from "vitest";

interface Vector {
  readonly name: string;
  readonly binding: Readonly<Record<keyof QuoteBinding, string>>;
  readonly bytes: string;
  readonly extraData: string;
}
const { bindings } = JSON.parse(readFileSync(new URL("quote-binding.json", import.meta.url), "utf8")) as { bindings: Vector[] };
const hex = (text: string): Buffer => Buffer.from(text, "hex");

function bindingOf({ binding: told }: Vector): QuoteBinding {
  return {
    verifierId: told.verifierId,
    region: told.region,
    nonce: hex(told.nonce),
    spkiSha256: hex(told.spkiSha256),
    tlsExporter: hex(told.tlsExporter),
    nodeId: told.nodeId,
    bootId: told.bootId,
    seq: BigInt(told.seq),
    evidenceDigest: hex(told.evidenceDigest),
    stateRoot: hex(told.stateRoot),
    imaCount: BigInt(told.imaCount),
    imaAggregate: hex(told.imaAggregate),
    eventLogSha256: hex(told.eventLogSha256),
    policyDigest: hex(told.policyDigest),
  };
}

test.for(bindings)("$name", (vector) => {
  expect(encodeQuoteBinding(bindingOf(vector)).toString("hex")).toBe(vector.bytes);
  expect(quoteExtraData(bindingOf(vector)).toString("hex")).toBe(vector.extraData);
});

test("no two of them commit to the same", () => {
  expect(new Set(bindings.map(({ extraData }) => extraData)).size).toBe(bindings.length);
  expect(bindings.length).toBeGreaterThan(5);
});
