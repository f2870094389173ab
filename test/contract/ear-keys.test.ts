import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EarKeys } from "@hullmark/verifier/adapters/ear-keys/index";
import type { KeyToken } from "@hullmark/verifier/ports/signing-key";
import { createLocalJWKSet, decodeProtectedHeader, type JSONWebKeySet, jwtVerify } from "jose";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { SoftHsm } from "../fakes/softhsm.ts";

// Each opened token is a thread of its own.
vi.setConfig({ testTimeout: 240_000 });

const DAY_MS = 86_400_000;
const START_MS = Date.UTC(2026, 0, 1);
let directory: string;
let nowMs = START_MS;
let hsm: SoftHsm;
let token: KeyToken | undefined;
const open = () => EarKeys.open({ directory, keyDays: 30, clock: { nowMs: () => nowMs }, token });
const verifies = async (jwt: string, jwks: { keys: readonly object[] }): Promise<boolean> =>
  await jwtVerify(jwt, createLocalJWKSet(jwks as JSONWebKeySet), { currentDate: new Date(nowMs) }).then(
    () => true,
    () => false,
  );

beforeAll(() => {
  hsm = new SoftHsm();
  hsm.makeToken("ear");
});
afterAll(() => hsm?.dispose());
beforeEach(() => {
  directory = join(mkdtempSync(join(tmpdir(), "hullmark-ear-")), "ear-keys");
  nowMs = START_MS;
});
afterEach(() => rmSync(join(directory, ".."), { recursive: true }));

describe.each(["files", "a token"])("keys of Attestation Results in %s", (where) => {
  beforeEach(() => {
    token = where === "files" ? undefined : hsm.open("ear");
  });

  test("sign what the published set verifies, survive a restart, and publish no private half", async () => {
    const keys = await open();
    const jwt = await keys.sign({ a: 1 });
    expect(decodeProtectedHeader(jwt)).toMatchObject({ alg: "ES256", typ: "eat+jwt" });
    expect(await verifies(jwt, keys.jwks())).toBe(true);
    expect(await verifies(`${jwt.slice(0, -4)}AAAA`, keys.jwks())).toBe(false);
    expect(JSON.stringify(keys.jwks())).not.toContain('"d"');
    expect((await open()).jwks()).toEqual(keys.jwks());
    for (const file of readdirSync(directory)) expect(statSync(join(directory, file)).mode & 0o777).toBe(0o600);
  });

  test("rotate with overlap: a set of up to a day's age verifies every result, through five rotations", async () => {
    const keys = await open();
    const kids = new Set<string>();
    let cached = keys.jwks();
    let last: string | undefined;
    for (let hour = 0; hour < 24 * 150; hour += 6) {
      nowMs = START_MS + hour * 3_600_000;
      await keys.rotate();
      const jwt = await keys.sign({ hour });
      kids.add(String(decodeProtectedHeader(jwt).kid));
      expect(await verifies(jwt, cached), `hour ${hour}`).toBe(true);
      if (last) expect(await verifies(last, keys.jwks()), `hour ${hour}`).toBe(true);
      expect(keys.jwks().keys.length).toBeLessThanOrEqual(2);
      last = jwt;
      if (hour % 24 === 18) cached = keys.jwks();
    }
    expect(kids.size).toBe(5);
    expect(readdirSync(directory)).toHaveLength(keys.jwks().keys.length);
  });

  test("replaced by hand: the new one signs, the old one is published until it is retired, and the order of things goes on", async () => {
    const keys = await open();
    const old = await keys.sign({});
    nowMs += 10 * DAY_MS;
    await keys.replace();
    expect(keys.facts().map(({ state }) => state)).toEqual(["in-use", "accepted"]);
    const fresh = await keys.sign({});
    for (const jwt of [old, fresh]) expect(await verifies(jwt, keys.jwks())).toBe(true);
    expect(decodeProtectedHeader(fresh).kid).not.toBe(decodeProtectedHeader(old).kid);
    await keys.retire();
    expect(await verifies(old, keys.jwks())).toBe(false);
    expect(await verifies(fresh, keys.jwks())).toBe(true);
    expect((await open()).jwks()).toEqual(keys.jwks());
    expect(keys.facts()).toHaveLength(1);
  });

  test("replaced while the next is published already: that one is dropped, for it may be known too", async () => {
    const keys = await open();
    nowMs += 29.5 * DAY_MS;
    await keys.rotate();
    expect(keys.jwks().keys).toHaveLength(2);
    const planned = keys.jwks().keys[1];
    await keys.replace();
    expect(keys.jwks().keys).toHaveLength(2);
    expect(keys.jwks().keys).not.toContainEqual(planned);
    expect(await verifies(await keys.sign({}), { keys: keys.jwks().keys.slice(1) })).toBe(true);
  });

  test("a verifier that was away for long has a new key at once, and the old one goes", async () => {
    const first = (await open()).jwks();
    nowMs += 100 * DAY_MS;
    const keys = await open();
    expect(keys.jwks().keys).toHaveLength(2);
    const jwt = await keys.sign({});
    expect(await verifies(jwt, first)).toBe(false);
    nowMs += 2 * DAY_MS;
    await keys.rotate();
    expect(await verifies(jwt, keys.jwks())).toBe(true);
    expect(keys.jwks().keys).toHaveLength(1);
  });

  test("a key that others may read, or that is none, is refused", async () => {
    await open();
    const [file] = readdirSync(directory);
    const path = join(directory, String(file));
    chmodSync(path, 0o644);
    await expect(open()).rejects.toMatchObject({ code: "KEY_PERMISSIONS" });
    chmodSync(path, 0o600);
    writeFileSync(path, "nothing");
    await expect(open()).rejects.toMatchObject({ code: "KEY_MALFORMED" });
  });

  test("what a crash left half written is no key", async () => {
    const keys = await open();
    writeFileSync(join(directory, `${START_MS / 1000 + 1}.pem.4711.new`), "-----BEGIN", { mode: 0o600 });
    expect((await open()).jwks()).toEqual(keys.jwks());
  });
});

test("a key in a token that two files name goes with the last of them", async () => {
  token = hsm.open("ear", "twice");
  await open();
  const [file] = readdirSync(directory);
  writeFileSync(join(directory, `${START_MS / 1000 + 1}.pem`), readFileSync(join(directory, String(file))), { mode: 0o600 });
  nowMs += 2 * DAY_MS;
  const keys = await open();
  expect(readdirSync(directory)).toEqual([`${START_MS / 1000 + 1}.pem`]);
  expect(await verifies(await keys.sign({}), keys.jwks())).toBe(true);
  await keys.replace();
  await keys.retire();
  expect((await hsm.labels("ear")).filter((label) => label.startsWith("twice/"))).toEqual(["twice/ear/2"]);
  token = undefined;
});

test("keys in files give way to keys in a token, which holds no more of them than are published", async () => {
  token = undefined;
  const inFile = await (await open()).sign({});
  token = hsm.open("ear", "moving");
  const keys = await open();
  expect(await verifies(inFile, keys.jwks())).toBe(true);
  nowMs += 10_000;
  await keys.replace();
  const inToken = await keys.sign({});
  for (const jwt of [inFile, inToken]) expect(await verifies(jwt, (await open()).jwks())).toBe(true);
  await keys.retire();
  nowMs += 10_000;
  await keys.replace();
  await keys.retire();
  expect(readdirSync(directory)).toHaveLength(1);
  expect((await hsm.labels("ear")).filter((label) => label.startsWith("moving/"))).toEqual(["moving/ear/2"]);
  token = undefined;
  await expect(open()).rejects.toMatchObject({ code: "TOKEN_URI" });
});
