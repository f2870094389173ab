/** What every spool promises, and what the one on disk does when its files are not what it left. */
import { randomBytes } from "node:crypto";
import { appendFileSync, cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FileSpool } from "@hullmark/agent/adapters/file-spool/file-spool";
import type { Spool } from "@hullmark/agent/ports/spool";
import { CHAIN_START, evidenceDigest } from "@hullmark/proto/codec";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

let directory: string;
let opened: FileSpool[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-spool-"));
  opened = [];
});
afterEach(() => {
  for (const spool of opened) {
    try {
      spool.close();
    } catch {
      // Closed by the test already.
    }
  }
  rmSync(directory, { recursive: true });
});

function open(at = join(directory, "spool"), maxBytes?: number, bootId = "boot-1"): FileSpool {
  const spool = new FileSpool({ directory: at, bootId, ...(maxBytes === undefined ? {} : { maxBytes }) });
  opened.push(spool);
  return spool;
}

/** Appends the next Evidence; the content is not looked at by a spool. */
function append(spool: Spool, body = randomBytes(100)): bigint {
  const seq = spool.head().seq + 1n;
  expect(spool.append({ seq, body }, evidenceDigest(body))).toBe(true);
  return seq;
}

const seqs = (spool: Spool, after = 0n): bigint[] => spool.after(after).map(({ seq }) => seq);
/** A file of the spool by its name's beginning: Evidence is in a file named after the chain. */
function file(prefix: string): string {
  const at = join(directory, "spool");
  const found = readdirSync(at).filter((name) => name.startsWith(prefix));
  expect(found).toHaveLength(1);
  return join(at, found[0] as string);
}

describe("a spool", () => {
  test("starts with an own chain at its start", () => {
    const head = open().head();
    expect(head.chainId).toHaveLength(16);
    expect(head).toMatchObject({ seq: 0n, digest: CHAIN_START });
    expect(open(join(directory, "other")).head().chainId.equals(head.chainId)).toBe(false);
  });

  test("gives back in order what is not acknowledged, as it was written", () => {
    const spool = open();
    const bodies = [randomBytes(1), randomBytes(5000), randomBytes(0)];
    for (const body of bodies) append(spool, body);
    expect(spool.head()).toMatchObject({ seq: 3n, digest: evidenceDigest(bodies[2] as Buffer) });
    expect(spool.after(0n).map(({ body }) => body)).toEqual(bodies);
    expect(seqs(spool, 1n)).toEqual([2n, 3n]);
    spool.acknowledge(2n);
    expect(seqs(spool)).toEqual([3n]);
    spool.acknowledge(1n);
    expect(seqs(spool)).toEqual([3n]);
    spool.acknowledge(99n);
    expect(seqs(spool)).toEqual([]);
    expect(spool.head().seq).toBe(3n);
  });

  test("refuses a number that is not the next", () => {
    const spool = open();
    append(spool);
    for (const seq of [0n, 1n, 3n]) expect(() => spool.append({ seq, body: randomBytes(1) }, CHAIN_START)).toThrow(RangeError);
    expect(seqs(spool)).toEqual([1n]);
  });

  test("refuses at its bound and writes nothing; acknowledging makes room, restarting starts another chain", () => {
    const spool = open(undefined, 1000);
    const body = randomBytes(300);
    append(spool, body);
    append(spool, body);
    const { chainId } = spool.head();
    const size = statSync(file("evidence")).size;
    expect(spool.append({ seq: 3n, body: randomBytes(400) }, CHAIN_START)).toBe(false);
    expect(statSync(file("evidence")).size).toBe(size);
    expect(spool.head().seq).toBe(2n);
    spool.acknowledge(1n);
    append(spool, body);
    expect(seqs(spool)).toEqual([2n, 3n]);
    expect(spool.restart()).toBe(2);
    expect(spool.head()).toMatchObject({ seq: 0n, digest: CHAIN_START });
    expect(spool.head().chainId.equals(chainId)).toBe(false);
    expect(append(spool, body)).toBe(1n);
  });

  test("survives the death of its process at any moment: no close, the same again", () => {
    const spool = open();
    for (let i = 0; i < 5; i++) append(spool);
    spool.acknowledge(2n);
    const again = open();
    expect(again.head()).toEqual(spool.head());
    // What was acknowledged may come again: the verifier knows it and says so.
    expect(seqs(again, 2n)).toEqual([3n, 4n, 5n]);
    expect(again.after(2n)).toEqual(spool.after(2n));
    append(again);
    expect(open().head()).toEqual(again.head());
  });

  test("remembers where the chain stands when everything is acknowledged, and after a restart", () => {
    const spool = open();
    append(spool);
    append(spool);
    spool.acknowledge(2n);
    const again = open();
    expect(again.head()).toEqual(spool.head());
    expect(seqs(again)).toEqual([]);
    again.restart();
    const last = open();
    expect(last.head()).toEqual(again.head());
    expect(last.head().seq).toBe(0n);
  });

  test("keeps its file within its bound and a little, however much passes through", () => {
    const spool = open(undefined, 8 << 20);
    const body = randomBytes(1 << 20);
    append(spool, body);
    for (let i = 0; i < 40; i++) {
      const seq = append(spool, body);
      // One is always left, so that the file is never simply empty.
      spool.acknowledge(seq - 1n);
    }
    expect(statSync(file("evidence")).size).toBeLessThan(8 << 20);
    expect(seqs(open())).toContain(spool.head().seq);
  });
});

describe("a spool whose files were cut or damaged", () => {
  function filled(count = 4): FileSpool {
    const spool = open();
    for (let i = 0; i < count; i++) append(spool);
    return spool;
  }
  const FRAME = 144;

  test.each([1, 3, 4, 43, 44, 45, FRAME - 1])("a torn frame at the end, cut after %i bytes, is cut off and written anew", (kept) => {
    filled(4);
    truncateSync(file("evidence"), 3 * FRAME + kept);
    // The head file is as old as the last opening: the frames say where the chain stands.
    const spool = open();
    expect(spool.head().seq).toBe(3n);
    expect(statSync(file("evidence")).size).toBe(3 * FRAME);
    append(spool);
    expect(seqs(open())).toEqual([1n, 2n, 3n, 4n]);
  });

  test("garbage at the end is cut off", () => {
    filled(2);
    appendFileSync(file("evidence"), randomBytes(1000));
    expect(seqs(open())).toEqual([1n, 2n]);
  });

  test("a frame whose bytes do not have their digest ends what is taken up", () => {
    filled(4);
    const data = readFileSync(file("evidence"));
    data[2 * FRAME + 60] = (data[2 * FRAME + 60] as number) ^ 1;
    writeFileSync(file("evidence"), data);
    const spool = open();
    expect(seqs(spool)).toEqual([1n, 2n]);
    expect(spool.head().seq).toBe(2n);
  });

  test("frames out of order or of a number that is there already are not taken up", () => {
    filled(3);
    const data = readFileSync(file("evidence"));
    const frame = (i: number): Buffer => data.subarray(i * FRAME, (i + 1) * FRAME);
    writeFileSync(file("evidence"), Buffer.concat([frame(0), frame(2)]));
    expect(seqs(open())).toEqual([1n]);
    writeFileSync(file("evidence"), Buffer.concat([frame(0), frame(0)]));
    expect(seqs(open())).toEqual([1n]);
  });

  test.each([
    ["frames that the head says were there", (frames: Buffer) => frames.subarray(0, 2 * FRAME)],
    ["the frames that follow the head", (frames: Buffer) => Buffer.concat([frames.subarray(0, 4), Buffer.alloc(8, 9), frames.subarray(12)])],
  ])("a lack of %s begins another chain: their numbers may be known already", (_name, damage) => {
    const spool = filled(4);
    // Opening writes the head down.
    const { chainId } = open().head();
    writeFileSync(file("evidence"), damage(readFileSync(file("evidence"))));
    const again = open();
    expect(again.head()).toMatchObject({ seq: 0n, digest: CHAIN_START });
    expect(again.head().chainId.equals(chainId)).toBe(false);
    expect(seqs(again)).toEqual([]);
    expect(spool.head().seq).toBe(4n);
  });

  test("another boot begins another chain: what of the old one reached the disk is not known", () => {
    const { chainId } = filled(3).head();
    const again = open(undefined, undefined, "boot-2");
    expect(again.head().seq).toBe(0n);
    expect(again.head().chainId.equals(chainId)).toBe(false);
    expect(append(again)).toBe(1n);
    expect(open(undefined, undefined, "boot-2").head()).toEqual(again.head());
  });

  test("a crash between the head and the compaction sends again what was acknowledged, and nothing else", () => {
    const spool = filled(3);
    cpSync(file("evidence"), join(directory, "before"));
    spool.acknowledge(3n);
    const head = spool.head();
    cpSync(join(directory, "before"), file("evidence"));
    const again = open();
    expect(again.head()).toEqual(head);
    expect(seqs(again)).toEqual([1n, 2n, 3n]);
    again.acknowledge(3n);
    expect(append(again)).toBe(4n);
    expect(seqs(open(), 3n)).toEqual([4n]);
  });

  test("a crash at the start of another chain leaves the old one or the new one, never the one's name on the other's frames", () => {
    const spool = filled(3);
    const old = { head: spool.head(), path: file("evidence"), bytes: readFileSync(file("evidence")) };
    cpSync(file("head.json"), join(directory, "head"));
    spool.restart();
    append(spool);
    const restarted = spool.head();
    // The new head was written, the old frames not yet removed.
    writeFileSync(old.path, old.bytes);
    const again = open();
    expect(again.head()).toEqual(restarted);
    expect(seqs(again)).toEqual([1n]);
    // The new head was not written yet.
    rmSync(file("evidence"));
    writeFileSync(old.path, old.bytes);
    cpSync(join(directory, "head"), file("head.json"));
    expect(open().head()).toEqual(old.head);
    expect(seqs(open())).toEqual([1n, 2n, 3n]);
  });

  test.each(["", "{", "null", '{"chainId":"00","seq":"1","digest":"00"}', '{"chainId":"zz","seq":"-1"}'])(
    "a head file %j begins another chain, which frames of the old one do not join",
    (text) => {
      const before = filled(3).head();
      writeFileSync(file("head.json"), text);
      const spool = open();
      expect(spool.head().chainId.equals(before.chainId)).toBe(false);
      expect(spool.head().seq === 0n ? seqs(spool) : []).toEqual([]);
      expect(spool.head().seq).toBe(0n);
    },
  );

  test("a length that reaches beyond the file, or into the frame's own header, is an end", () => {
    filled(1);
    const header = Buffer.alloc(44);
    for (const length of [0xffffffff, 0, 39]) {
      header.writeUInt32BE(length);
      writeFileSync(file("evidence"), Buffer.concat([readFileSync(file("evidence")).subarray(0, FRAME), header]));
      expect(seqs(open())).toEqual([1n]);
    }
  });
});
