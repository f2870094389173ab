/** The log's key file: made privately, read strictly, understood by Go's note package (see log-verify). */
import { chmodSync, copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkpointToKeep } from "@hullmark/agent/core/checkpoint";
import { createLogKey, type InToken, LogKeys, openLogKey } from "@hullmark/verifier/adapters/log-signer/index";
import {
  encodeLogEntry,
  HistoryWatch,
  openCheckpoint,
  parseVerifierKey,
  parseVerifierKeys,
  signCheckpoint,
  TransparencyLog,
} from "@hullmark/verifier/core/transparency/index";
import type { NoteSigner } from "@hullmark/verifier/ports/signer";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MemoryLogStore } from "../fakes/memory-log-store.ts";
import { testNoteSigner } from "../fakes/note-signer.ts";
import { SoftHsm } from "../fakes/softhsm.ts";

const scratch = mkdtempSync(join(tmpdir(), "hullmark-key-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
const root = Buffer.alloc(32, 7);

describe("log signer", () => {
  it("makes a key once, mode 0600, and signs with it again after a restart", async () => {
    const file = join(scratch, "log.key");
    const made = createLogKey(file, "log.example/eu-1");
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(() => createLogKey(file, "log.example/eu-1")).toThrow(/EEXIST/);
    const opened = openLogKey(file);
    expect(opened.verifierKey).toBe(made.verifierKey);
    const note = await signCheckpoint(5, root, opened);
    expect(openCheckpoint(note, parseVerifierKey(made.verifierKey))).toEqual({ origin: "log.example/eu-1", size: 5, root });
    expect(JSON.stringify(opened)).not.toContain("PRIVATE");
  });

  it("opens the private key of Go's note documentation", () => {
    const file = join(scratch, "go.key");
    writeFileSync(file, "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz\n", { mode: 0o600 });
    expect(openLogKey(file).verifierKey).toBe("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
  });

  it("refuses a missing, open, linked or altered key file", () => {
    const file = join(scratch, "other.key");
    createLogKey(file, "log.example/eu-2");
    const good = readFileSync(file, "utf8");
    expect(() => openLogKey(join(scratch, "absent"))).toThrow(/KEY_MISSING/);
    symlinkSync(file, join(scratch, "link"));
    expect(() => openLogKey(join(scratch, "link"))).toThrow(/KEY_MISSING/);
    chmodSync(file, 0o640);
    expect(() => openLogKey(file)).toThrow(/KEY_PERMISSIONS/);
    chmodSync(file, 0o600);
    for (const bad of [good.replace("eu-2", "eu-3"), good.slice(0, 40), "", `${good}x`, good.replace("PRIVATE", "PUBLIC"), "x".repeat(5000)]) {
      writeFileSync(file, bad);
      expect(() => openLogKey(file), bad).toThrow(/KEY_MALFORMED/);
    }
    expect(() => createLogKey(join(scratch, "new"), "bad name")).toThrow(/KEY_MALFORMED/);
  });
});

let hsm: SoftHsm;
beforeAll(() => {
  hsm = new SoftHsm();
  hsm.makeToken("log");
});
afterAll(() => hsm?.dispose());

describe.each(["files", "a token"])("the keys of one log in %s", (where) => {
  let inToken: InToken | undefined;
  const folder = mkdtempSync(join(scratch, "keys-"));
  beforeAll(() => {
    inToken = where === "files" ? undefined : { token: hsm.open("log"), as: "log" };
  });
  const checkpoint = async (keys: LogKeys) => {
    const [present, ...others] = keys.signing;
    return await signCheckpoint(5, root, present as NonNullable<typeof present>, ...others);
  };

  it("overlap: both sign until the old one is retired, and its line is kept where its key is not", async () => {
    const file = join(folder, "rotated.key");
    const keys = await LogKeys.open(file, "log.example/eu-1", inToken);
    const [first] = keys.signing.map(({ verifierKey }) => verifierKey);
    const secret = readFileSync(file, "utf8");
    await keys.rotate();
    const [second, old] = keys.signing.map(({ verifierKey }) => verifierKey);
    expect(old).toBe(first);
    const note = await checkpoint(keys);
    for (const line of [first, second]) expect(openCheckpoint(note, parseVerifierKey(line ?? ""))).toMatchObject({ size: 5 });
    await expect(keys.rotate()).rejects.toThrow(/not retired/);
    expect((await LogKeys.open(file, "another", inToken)).signing.map(({ verifierKey }) => verifierKey)).toEqual([second, first]);
    await keys.retire();
    await keys.retire();
    expect(() => openCheckpoint("", parseVerifierKeys(`${second}\n${first}\n`))).toThrow(/BAD_NOTE/);
    const alone = await checkpoint(keys);
    expect(openCheckpoint(alone, parseVerifierKeys(`${first}\n${second}\n`))).toMatchObject({ size: 5 });
    expect(() => openCheckpoint(alone, parseVerifierKey(first ?? ""))).toThrow(/UNKNOWN_KEY/);
    expect(keys.past).toEqual([first]);
    expect(await LogKeys.open(file, "another", inToken)).toMatchObject({ past: [first] });
    for (const name of [file, `${file}.past`]) expect(readFileSync(name, "utf8")).not.toContain(secret.trim());
    expect(existsSync(`${file}.old`)).toBe(false);
  });

  it("a rotation or retirement that was cut short is not begun, or is done again", async () => {
    const file = join(folder, "cut.key");
    const keys = await LogKeys.open(file, "log.example/eu-1", inToken);
    const lines = (opened: LogKeys) => opened.signing.map(({ verifierKey }) => verifierKey);
    const [first] = lines(keys);
    writeFileSync(`${file}.next`, "PRIVATE", { mode: 0o600 });
    expect(lines(await LogKeys.open(file, "", inToken))).toEqual([first]);
    // The old one stands aside, and nothing is in its place yet.
    copyFileSync(file, `${file}.old`);
    const reopened = await LogKeys.open(file, "", inToken);
    expect(lines(reopened)).toEqual([first]);
    await reopened.rotate();
    expect(lines(reopened)).toHaveLength(2);
    // Its line is written down, and its key not yet gone.
    writeFileSync(`${file}.past`, `${first}\n`);
    const again = await LogKeys.open(file, "", inToken);
    expect(lines(again)).toHaveLength(2);
    await again.retire();
    expect(again.past).toEqual([first]);
    expect(lines(again)).toHaveLength(1);
  });

  it("a checkpoint by a key that was retired still convicts a log that went back, and no log that did not", async () => {
    const keys = await LogKeys.open(join(folder, "history.key"), "log.example/eu-1", inToken);
    const entries = ["a", "b", "c"].map((name) => encodeLogEntry({ type: "admin", timeMs: 1_790_000_000_000, fields: { name } }));
    const [whole, shorter] = [new MemoryLogStore(), new MemoryLogStore()];
    const [log, older] = [await TransparencyLog.open(whole, keys), await TransparencyLog.open(shorter, keys)];
    await log.append(entries);
    await older.append(entries.slice(0, 2));
    const { note } = await log.publish();
    await keys.rotate();
    await log.append(entries);
    const { note: both } = await log.publish();
    await keys.retire();
    for (const [held, now] of [
      [note, log],
      [both, log],
    ] as const)
      expect(await new HistoryWatch(now, 0).show("node", held)).toBe("continued");
    for (const held of [note, both]) expect(await new HistoryWatch(older, 0).show("node", held)).toBe("contradicted");
    // The stored checkpoint is still its own, whichever of the keys has signed it.
    await (await TransparencyLog.open(whole, keys)).check();
    expect(await new HistoryWatch(log, 0).show("node", await signCheckpoint(9, root, testNoteSigner("log.example/eu-1")))).toBe("unsigned");
  });

  it("an agent keeps no shorter checkpoint through a rotation, and goes on with one by the new key", async () => {
    const [old, next, stranger] = ["old", "next", "stranger"].map((seed) => testNoteSigner("log.example/eu-1", seed)) as [NoteSigner, NoteSigner, NoteSigner];
    const by = (size: number, ...signers: [NoteSigner, ...NoteSigner[]]) => signCheckpoint(size, root, ...signers);
    const held = await by(10, old);
    expect(checkpointToKeep(held, await by(9, next, old))).toBe(held);
    const both = await by(11, next, old);
    expect(checkpointToKeep(held, both)).toBe(both);
    expect(checkpointToKeep(both, await by(10, next))).toBe(both);
    const alone = await by(12, next);
    expect(checkpointToKeep(both, alone)).toBe(alone);
    // A log that was begun anew: nothing of the old one binds it.
    const anew = await by(1, stranger);
    expect(checkpointToKeep(alone, anew)).toBe(anew);
  });
});

it("a log's key in a file gives way to one in a token, of which the file says which it is", async () => {
  const file = join(scratch, "moving.key");
  const old = (await LogKeys.open(file, "log.example/eu-1")).signing[0]?.verifierKey;
  const inToken = { token: hsm.open("log", "moving"), as: "log" };
  const keys = await LogKeys.open(file, "", inToken);
  await keys.rotate();
  expect(keys.signing.map(({ verifierKey }) => verifierKey)[1]).toBe(old);
  await keys.retire();
  await keys.rotate();
  await keys.retire();
  expect((await hsm.labels("log")).filter((label) => label.startsWith("moving/"))).toEqual(["moving/log/2"]);
  expect((await LogKeys.open(file, "", inToken)).signing[0]?.verifierKey).toBe(keys.signing[0]?.verifierKey);
  await expect(LogKeys.open(file, "")).rejects.toMatchObject({ code: "TOKEN_URI" });
  // Another name, or another key under the same label: neither is this one.
  const text = readFileSync(file, "utf8");
  for (const bad of [text.replace("eu-1", "eu-2"), text.replace(/\+[0-9a-f]{8}\+/, "+00000000+"), text.replace("pkcs11:", "pkcs12:")]) {
    writeFileSync(file, bad);
    await expect(LogKeys.open(file, "", inToken), bad).rejects.toMatchObject({ code: "KEY_MALFORMED" });
  }
});
