/** The log's key file: made privately, read strictly, understood by Go's note package (see log-verify). */
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogKey, openLogKey } from "@hullmark/verifier/adapters/log-signer/index";
import { openCheckpoint, parseVerifierKey, signCheckpoint } from "@hullmark/verifier/core/transparency/index";
import { afterAll, describe, expect, it } from "vitest";

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
