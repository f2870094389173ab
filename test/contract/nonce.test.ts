import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { chmod, link, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { HmacNonceSource, loadRegionKey, replaceRegionKey } from "@hullmark/verifier/adapters/nonce/index";
import { describe, expect, it } from "vitest";
import { SoftHsm } from "../fakes/softhsm.ts";

const scope = { session: "s-1", nodeId: "0123456789abcdef", expiresAtMs: 10_000 };

function source(regionKey: Buffer = randomBytes(32), maxUsed?: number) {
  const clock = { now: 1000, nowMs: () => clock.now };
  return { clock, nonces: new HmacNonceSource({ regionKey, clock, ...(maxUsed === undefined ? {} : { maxUsed }) }) };
}

describe("NonceSource", () => {
  it("accepts what it issued, once, in its own scope", () => {
    const { nonces } = source();
    const nonce = nonces.issue(scope);
    expect(nonce).toHaveLength(32);
    for (const other of [{ session: "s-2" }, { nodeId: "0123456789abcdee" }, { expiresAtMs: 10_001 }])
      expect(nonces.redeem(nonce, { ...scope, ...other })).toBe("foreign");
    expect(nonces.redeem(nonce, scope)).toBe("ok");
    expect(nonces.redeem(nonce, scope)).toBe("used");
  });

  it("does not confuse the end of one field with the start of the next", () => {
    const { nonces } = source();
    const nonce = nonces.issue({ ...scope, session: "ab", nodeId: "c" });
    expect(nonces.redeem(nonce, { ...scope, session: "a", nodeId: "bc" })).toBe("foreign");
  });

  it("accepts those of its region's other verifiers, also after a restart, and no other region's", () => {
    const key = randomBytes(32);
    const nonce = source(key).nonces.issue(scope);
    expect(source(key).nonces.redeem(nonce, scope)).toBe("ok");
    expect(source().nonces.redeem(nonce, scope)).toBe("foreign");
  });

  it("refuses every flipped bit, other lengths and expired ones", () => {
    const { nonces, clock } = source();
    const nonce = nonces.issue(scope);
    for (let bit = 0; bit < 256; bit++) {
      const copy = Buffer.from(nonce);
      copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(nonces.redeem(copy, scope)).toBe("foreign");
    }
    for (const bytes of [Buffer.alloc(0), nonce.subarray(0, 31), Buffer.concat([nonce, Buffer.alloc(1)])]) expect(nonces.redeem(bytes, scope)).toBe("foreign");
    clock.now = 10_000;
    expect(nonces.redeem(nonce, scope)).toBe("expired");
  });

  it("a new key invalidates nothing that lives, accepts nothing twice, and the old one makes nothing new", () => {
    const { nonces, clock } = source();
    const [before, spent] = [nonces.issue(scope), nonces.issue(scope)];
    expect(nonces.redeem(spent, scope)).toBe("ok");
    const id = nonces.keyId;
    const next = randomBytes(32);
    nonces.replaceKey(next);
    expect(nonces.keyId).not.toBe(id);
    expect(nonces.redeem(before, scope)).toBe("ok");
    for (const nonce of [before, spent]) expect(nonces.redeem(nonce, scope)).toBe("used");
    const after = nonces.issue(scope);
    expect(source(next).nonces.redeem(after, scope)).toBe("ok");
    const long = { ...scope, expiresAtMs: 3_600_000_000 };
    const stale = nonces.issue(long);
    nonces.replaceKey(randomBytes(32));
    expect(nonces.redeem(stale, long), "longer than any nonce lives").toBe("foreign");
    const short = { ...scope, expiresAtMs: 7_000_000 };
    const late = nonces.issue(short);
    nonces.replaceKey(randomBytes(32));
    clock.now += 3_600_000;
    expect(nonces.redeem(late, short), "the overlap is over").toBe("foreign");
  });

  it("never repeats one", () => {
    const { nonces } = source();
    expect(new Set(Array.from({ length: 5000 }, () => nonces.issue(scope).toString("hex"))).size).toBe(5000);
  });

  it("remembers a bounded number of used ones, and accepts none rather than one twice", () => {
    const { nonces, clock } = source(randomBytes(32), 2);
    const [a, b, c] = [nonces.issue(scope), nonces.issue({ ...scope, expiresAtMs: 5000 }), nonces.issue(scope)];
    expect(nonces.redeem(a, scope)).toBe("ok");
    expect(nonces.redeem(b, { ...scope, expiresAtMs: 5000 })).toBe("ok");
    expect(nonces.redeem(c, scope)).not.toBe("ok");
    clock.now = 5000;
    expect(nonces.redeem(c, scope)).toBe("ok");
    expect(nonces.redeem(a, scope)).toBe("used");
  });
});

describe("region key", () => {
  it("is one key, whichever of several verifiers that start at once makes it", { timeout: 240_000 }, async () => {
    const directory = await mkdtemp(join(tmpdir(), "hullmark-region-"));
    const racer = fileURLToPath(new URL("../fakes/region-key-racer.ts", import.meta.url));
    const racers = Array.from({ length: 4 }, (): ChildProcess => spawn(process.execPath, [racer], { stdio: ["pipe", "pipe", "inherit"] }));
    const ended = racers.map((each) => once(each, "exit"));
    try {
      const lines = racers.map((each) => createInterface({ input: each.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]());
      const answers = async () => await Promise.all(lines.map(async (each) => (await each.next()).value as string | undefined));
      expect(await answers()).toEqual(racers.map(() => "ready"));
      for (let round = 0; round < 50; round++) {
        const path = join(directory, `${round}.key`);
        for (const { stdin } of racers) stdin?.write(`${path}\n`);
        const kept = (await answers()).map((key) => [round, key]);
        expect(kept).toEqual(racers.map(() => [round, expect.stringMatching(/^[0-9a-f]{64}$/)]));
        expect(kept).toEqual(racers.map(() => kept[0]));
        expect((await readFile(path)).toString("hex")).toBe(kept[0]?.[1]);
      }
      expect(await readdir(directory)).toHaveLength(50);
    } finally {
      for (const each of racers) each.kill();
      await Promise.all(ended);
      await rm(directory, { recursive: true });
    }
  });

  it("in a token is derived there, the same after a restart, and on disk is its name alone", async () => {
    const hsm = new SoftHsm();
    const directory = await mkdtemp(join(tmpdir(), "hullmark-region-"));
    const path = join(directory, "region.key");
    try {
      const inFile = await loadRegionKey(path);
      hsm.makeToken("region");
      const token = hsm.open("region", "v1");
      // What is in the file stays until it is replaced.
      expect(await loadRegionKey(path, token)).toEqual(inFile);
      const first = await replaceRegionKey(path, token);
      expect(first).toHaveLength(32);
      expect(first).not.toEqual(inFile);
      expect((await readFile(path, "utf8")).startsWith("pkcs11:object=v1%2Fnonce%2F1;")).toBe(true);
      expect(await loadRegionKey(path, hsm.open("region"))).toEqual(first);
      await expect(loadRegionKey(path)).rejects.toMatchObject({ code: "TOKEN_URI" });
      const second = await replaceRegionKey(path, token);
      expect(second).not.toEqual(first);
      expect(await hsm.labels("region")).toEqual(["v1/nonce/2"]);
      expect((await stat(path)).mode & 0o777).toBe(0o600);

      // Two verifiers that begin at once have one key, and nothing is left of the other.
      await token.drop(await readFile(path, "utf8"));
      await rm(path);
      const [one, other] = await Promise.all(["v1", "v2"].map(async (prefix) => await loadRegionKey(path, hsm.open("region", prefix))));
      expect(one).toEqual(other);
      expect(await hsm.labels("region")).toHaveLength(1);
    } finally {
      await hsm.dispose();
      await rm(directory, { recursive: true });
    }
  });

  it("has one name after a crash while it was made, and no other file is touched", async () => {
    const directory = await mkdtemp(join(tmpdir(), "hullmark-region-"));
    const path = join(directory, "region.key");
    const draft = (hex: string): string => `${path}.${hex.repeat(16)}.new`;
    try {
      const key = await loadRegionKey(path);
      await writeFile(draft("b"), "of another verifier, which makes it now", { mode: 0o600 });
      for (const name of [draft("a"), `${path}.kept`, join(directory, `other.key.${"a".repeat(16)}.new`)]) await link(path, name);
      expect(await loadRegionKey(path)).toEqual(key);
      expect((await readdir(directory)).sort()).toEqual(["other.key.aaaaaaaaaaaaaaaa.new", "region.key", "region.key.bbbbbbbbbbbbbbbb.new", "region.key.kept"]);
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  it("is made once, private, and refused when it is not", async () => {
    const directory = await mkdtemp(join(tmpdir(), "hullmark-region-"));
    const path = join(directory, "region.key");
    try {
      const key = await loadRegionKey(path);
      expect(key).toHaveLength(32);
      expect(await loadRegionKey(path)).toEqual(key);
      expect((await stat(path)).mode & 0o777).toBe(0o600);
      const next = await replaceRegionKey(path);
      expect(next).not.toEqual(key);
      expect(await loadRegionKey(path)).toEqual(next);
      expect((await stat(path)).mode & 0o777).toBe(0o600);
      await chmod(path, 0o640);
      await expect(loadRegionKey(path)).rejects.toThrow("read by others");
      await chmod(path, 0o600);
      await truncate(path, 31);
      await expect(loadRegionKey(path)).rejects.toThrow("31 bytes");
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});
