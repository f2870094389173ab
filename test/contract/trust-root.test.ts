/** `hullmark policy trust-root`: a sigstore trust root out of a TUF repository, followed through its rotations; what is older, altered, expired or another's changes nothing. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadPolicyFile } from "@hullmark/verifier/adapters/policy-file/index";
import { policyTrustRootCommand } from "hullmark/commands/policy-trust-root";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { runCommand } from "../fakes/command-run.ts";
import { TestSigstore } from "../fakes/sigstore/index.ts";
import { TufKey, TufRepository } from "../fakes/tuf-repository.ts";

let sigstore: TestSigstore;
/** A trust root, and the same in other words. */
let first: string;
let second: string;
let folder: string;
let repository: TufRepository;
let key: TufKey;

beforeAll(async () => {
  sigstore = await TestSigstore.create();
  first = sigstore.trustedRoot();
  second = JSON.stringify(JSON.parse(first), null, 1);
  expect(second).not.toBe(first);
});
afterAll(() => sigstore?.close());
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "hullmark-tuf-"));
  repository = await new TufRepository().start();
  key = new TufKey();
  writeFileSync(join(folder, "root.json"), repository.root(1, key));
  repository.publish(1, key, first);
});
afterEach(async () => {
  await repository.close();
  rmSync(folder, { recursive: true });
});

const out = () => join(folder, "trusted_root.json");
const written = () => (existsSync(out()) ? readFileSync(out(), "utf8") : undefined);
const update = (...more: string[]) => runCommand(policyTrustRootCommand, [out(), "--url", repository.url, ...more], {}, Date.now);
const begin = () => update("--root", join(folder, "root.json"));

test("is fetched by a pinned root, taken over where it is new, and usable in a policy", async () => {
  expect(await begin()).toMatchObject({ code: 0, err: "", out: `${out()} written\n` });
  expect(written()).toBe(first);
  expect(await update()).toMatchObject({ code: 0, out: `${out()} is up to date\n` });
  repository.publish(2, key, second);
  expect(await update()).toMatchObject({ code: 0, out: `${out()} written\n` });
  expect(written()).toBe(second);
  const policy = join(folder, "policy.yaml");
  writeFileSync(policy, "apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: p }\nspec: { trustRoots: [{ name: r, file: trusted_root.json }] }\n");
  expect(loadPolicyFile(policy).parsed).toMatchObject({ ok: true });
});

test("follows roots that their predecessors signed, and no others", async () => {
  await begin();
  const [next, stranger] = [new TufKey(), new TufKey()];
  repository.root(2, stranger);
  repository.publish(2, stranger, second);
  expect(await update()).toMatchObject({ code: 3, out: "" });
  expect(written()).toBe(first);
  repository.root(2, next, [key, next]);
  repository.publish(2, next, second);
  expect(await update()).toMatchObject({ code: 0 });
  expect(written()).toBe(second);
  // The old key has no say any more.
  repository.publish(3, key, first);
  expect(await update()).toMatchObject({ code: 3 });
  expect(written()).toBe(second);
});

test("never goes back, and is not taken from what has expired", async () => {
  repository.publish(5, key, second);
  await begin();
  repository.publish(4, key, first);
  expect(await update()).toMatchObject({ code: 3, err: expect.stringContaining(repository.url) });
  repository.publish(6, key, first, { days: -1 });
  expect(await update()).toMatchObject({ code: 3, err: expect.stringMatching(/expired/i) });
  expect(written()).toBe(second);
});

test("must be what the metadata says: altered, of another kind, not named or too large changes nothing", async () => {
  await begin();
  repository.publish(2, key, second);
  const [path] = [...repository.files.keys()].filter((name) => name.startsWith("targets/") && repository.files.get(name) === second);
  repository.files.set(path ?? "", second.replace("1", "2"));
  expect(await update()).toMatchObject({ code: 3 });
  repository.publish(3, key, '{"mediaType":"application/json"}');
  expect(await update()).toMatchObject({ code: 3, err: expect.stringContaining("no trusted_root.json") });
  repository.publish(4, key, second, { name: "other.json" });
  expect(await update()).toMatchObject({ code: 3, err: expect.stringContaining("names no target") });
  repository.publish(5, key, "x".repeat((1 << 20) + 1));
  expect(await update()).toMatchObject({ code: 3, err: expect.stringContaining("limit") });
  expect(written()).toBe(first);
  expect(await update("--target", "../root.json")).toMatchObject({ code: 3 });
});

test("says what is missing, and where a repository does not answer leaves what is there", async () => {
  expect(await update()).toMatchObject({ code: 2, err: expect.stringContaining("--root") });
  expect(await update("--root", join(folder, "none.json"))).toMatchObject({ code: 3, err: expect.stringContaining("cannot be read") });
  expect(await runCommand(policyTrustRootCommand, [out(), "--url", "ftp://x", "--root", join(folder, "root.json")], {})).toMatchObject({ code: 2 });
  for (const wrong of ["{", new TufRepository().root(1, new TufKey())]) {
    writeFileSync(join(folder, "wrong.json"), wrong);
    expect(await update("--root", join(folder, "wrong.json"))).toMatchObject({ code: 3 });
  }
  expect(written()).toBe(undefined);
  for (const url of [repository.url.replace("://", "://ann:s3cret@"), repository.url.replace("://", "://ann@"), "ftp://ann:s3cret@x", "s3cret"]) {
    const refused = await runCommand(policyTrustRootCommand, [out(), "--url", url, "--root", join(folder, "root.json")], {});
    expect(refused).toMatchObject({ code: 2, err: expect.stringContaining("without user and password") });
    expect(refused.err).not.toMatch(/ann|s3cret/);
  }
  expect(await begin()).toMatchObject({ code: 0 });
  // A root beside the one by which it goes on would be none that counts.
  expect(await begin()).toMatchObject({ code: 2, err: expect.stringContaining(`remove ${out()}.tuf`) });
  rmSync(`${out()}.tuf`, { recursive: true });
  expect(await begin()).toMatchObject({ code: 0, out: `${out()} is up to date\n` });
  expect(readdirSync(`${out()}.tuf`).filter((name) => name.endsWith(".new"))).toEqual([]);
  repository.files.delete("timestamp.json");
  expect(await update()).toMatchObject({ code: 3 });
  expect(written()).toBe(first);
});
