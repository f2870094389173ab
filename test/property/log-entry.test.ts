/** Entries, notes and checkpoints: canonical forms, and every altered byte refused. */
import { adminFact } from "@hullmark/verifier/core/fleet/log-facts";
import {
  canonicalJson,
  decodeLogEntry,
  encodeLogEntry,
  formatCheckpoint,
  formatVerifierKey,
  hashLeaf,
  type LogEntry,
  openCheckpoint,
  openNote,
  parseCheckpoint,
  parseVerifierKey,
  signCheckpoint,
  signNote,
  TransparencyError,
} from "@hullmark/verifier/core/transparency/index";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { testNoteSigner } from "../fakes/note-signer.ts";

const text = fc.string({ unit: "binary", maxLength: 40 });
const value = fc.letrec((tie) => ({
  value: fc.oneof({ maxDepth: 4 }, text, fc.maxSafeInteger(), fc.boolean(), fc.constant(null), fc.array(tie("value"), { maxLength: 4 }), tie("object")),
  object: fc.dictionary(
    text.filter((name) => name !== "__proto__"),
    tie("value"),
    { maxKeys: 5, noNullPrototype: true },
  ),
})).object;

describe("log entries", () => {
  it("are read back as written, and are one byte string for the same facts", () => {
    fc.assert(
      fc.property(value, fc.integer({ min: 0, max: 253_402_300_799_999 }), (fields, timeMs) => {
        const { type: _type, time: _time, ...rest } = fields as Record<string, never>;
        const entry: LogEntry = { type: "verdict", timeMs, fields: rest };
        const bytes = encodeLogEntry(entry);
        expect(encodeLogEntry({ ...entry, fields: Object.fromEntries(Object.entries(rest).reverse()) })).toEqual(bytes);
        const back = decodeLogEntry(bytes);
        expect(back.timeMs).toBe(timeMs);
        expect(encodeLogEntry(back)).toEqual(bytes);
      }),
    );
  });

  it("say what an admin did, whatever its particulars are called", () => {
    const fact = adminFact("person-revoked", 1_790_000_000_000, { action: "node-allowed", by: "ada" });
    expect(JSON.parse(encodeLogEntry(fact).toString("utf8"))).toMatchObject({ type: "admin", action: "person-revoked", by: "ada" });
  });

  it("have the form that docs/log.md shows", () => {
    const bytes = encodeLogEntry({ type: "policy", timeMs: 1_790_000_000_000, fields: { name: "näme\n", digest: "sha256:00", list: [3, null, true] } });
    expect(bytes.toString()).toBe('{"digest":"sha256:00","list":[3,null,true],"name":"näme\\n","time":"2026-09-21T14:13:20.000Z","type":"policy"}');
  });

  it("refuse what has no canonical form", () => {
    for (const bad of [1.5, Number.NaN, -0, 2 ** 60, undefined, () => 1, "\ud800", new Date(0), new Map()]) {
      expect(() => canonicalJson({ bad }), String(bad)).toThrow(TransparencyError);
    }
    expect(() => encodeLogEntry({ type: "start", timeMs: 0, fields: { type: "x" } })).toThrow(TransparencyError);
    expect(() => encodeLogEntry({ type: "start", timeMs: 0, fields: { big: "x".repeat(65_536) } })).toThrow(TransparencyError);
    const forms = [
      '{"time":"1970-01-01T00:00:00.000Z","type":"start"} ',
      '{"type":"start","time":"1970-01-01T00:00:00.000Z"}',
      '{"time":"1970-01-01T00:00:00Z","type":"start"}',
    ];
    forms.push('{"time":"1970-01-01T00:00:00.000Z","type":"unheard"}', '{"a":1,"a":1,"time":"1970-01-01T00:00:00.000Z","type":"start"}', "[]", "null", "\xff");
    for (const form of forms) expect(() => decodeLogEntry(Buffer.from(form, "latin1")), form).toThrow(TransparencyError);
  });
});

describe("signed notes", () => {
  // The example of golang.org/x/mod/sumdb/note's documentation.
  const peter = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
  const message =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

  it("opens the example of Go's note package", () => {
    expect(openNote(message, [parseVerifierKey(peter)])).toMatchObject({ signedBy: ["PeterNeumann"] });
    expect(() => openNote(message.replace("answer", "Answer"), [parseVerifierKey(peter)])).toThrow(/BAD_SIGNATURE/);
  });

  it("opens with any of several signatures, ignores those of strangers, rejects a bad one by a known key", async () => {
    const [a, b] = [testNoteSigner("a.example", "a"), testNoteSigner("b.example", "b")];
    const note = await signNote("hello\n", a);
    const second = (await signNote("hello\n", b)).split("\n\n")[1] as string;
    expect(openNote(note + second, [parseVerifierKey(b.verifierKey)]).signedBy).toEqual(["b.example"]);
    expect(openNote(note + second, [parseVerifierKey(a.verifierKey), parseVerifierKey(b.verifierKey)]).signedBy).toEqual(["a.example", "b.example"]);
    expect(() => openNote(note, [parseVerifierKey(b.verifierKey)])).toThrow(/UNKNOWN_KEY/);
    const forged = (await signNote("other\n", b)).split("\n\n")[1] as string;
    expect(() => openNote(note + forged, [parseVerifierKey(a.verifierKey), parseVerifierKey(b.verifierKey)])).toThrow(/BAD_SIGNATURE/);
    const impostor = testNoteSigner("a.example", "not a");
    expect(() => openNote(note, [parseVerifierKey(impostor.verifierKey)])).toThrow(/UNKNOWN_KEY/);
    await expect(signNote("no newline", a)).rejects.toThrow(/BAD_NOTE/);
    await expect(signNote("bell\x07\n", a)).rejects.toThrow(/BAD_NOTE/);
  });

  it("refuses keys that are not what they say", () => {
    const { verifierKey } = testNoteSigner("a.example", "a");
    expect(parseVerifierKey(` ${verifierKey}\n`).name).toBe("a.example");
    for (const bad of [
      "",
      "a+b",
      verifierKey.replace("a.example", "b.example"),
      `PRIVATE+KEY+${verifierKey}`,
      verifierKey.slice(0, -4),
      verifierKey.replace("+A", "+B"),
    ]) {
      expect(() => parseVerifierKey(bad), bad).toThrow(/BAD_KEY/);
    }
    for (const name of ["", "a b", "a+b", "a\tb", "\u3000"]) expect(() => formatVerifierKey(name, Buffer.alloc(32)), name).toThrow(/BAD_KEY/);
  });

  it("never opens a checkpoint in which any bit is another", async () => {
    const signer = testNoteSigner();
    const key = parseVerifierKey(signer.verifierKey);
    const note = Buffer.from(await signCheckpoint(3, hashLeaf(Buffer.from("x")), signer));
    expect(openCheckpoint(note.toString(), key).size).toBe(3);
    for (let bit = 0; bit < note.length * 8; bit++) {
      const copy = Buffer.from(note);
      copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(() => openCheckpoint(copy.toString(), key), `bit ${bit}`).toThrow(TransparencyError);
    }
  });

  it("reads only well-formed checkpoints", () => {
    const root = hashLeaf(Buffer.from("x"));
    expect(parseCheckpoint(`${formatCheckpoint({ origin: "o", size: 1, root })}extension\n`)).toEqual({ origin: "o", size: 1, root });
    const b64 = root.toString("base64");
    for (const bad of [
      `o\n01\n${b64}\n`,
      `o\n-1\n${b64}\n`,
      `o\n1\n${b64}`,
      `\n1\n${b64}\n`,
      `o\n1\nAAAA\n`,
      `o\n0\n${b64}\n`,
      `o\n9007199254740993\n${b64}\n`,
      `o\n1e3\n${b64}\n`,
      `o\n1\n${b64}\n\nx\n`,
    ]) {
      expect(() => parseCheckpoint(bad), JSON.stringify(bad)).toThrow(/BAD_CHECKPOINT/);
    }
  });
});
