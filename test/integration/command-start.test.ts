/** The bundled command loads what a run needs, and a part that is missing is no verdict. */
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { generateKeyPair } from "hullmark/signing/keys";
import { afterAll, expect, test } from "vitest";
import { DEFERRED } from "../../deploy/bundle-plugins.ts";
import { REPOSITORY } from "../../deploy/testbed/paths.ts";

const folder = mkdtempSync(join(tmpdir(), "hullmark-start-"));
const key = join(folder, "key.pub");
writeFileSync(key, generateKeyPair(undefined).publicKey);
const dist = join(REPOSITORY, "dist");
afterAll(() => rmSync(folder, { recursive: true }));

/** @returns its exit code, and what is in the files that it loaded */
function run(...args: string[]) {
  const log = join(folder, "loads");
  writeFileSync(log, "");
  const hook = fileURLToPath(new URL("../fakes/loads.ts", import.meta.url));
  const { status, stdout } = spawnSync(process.execPath, ["--import", hook, join(dist, "hullmark.js"), ...args], {
    env: { PATH: process.env["PATH"], HOME: folder, HULLMARK_LOADS: log },
    encoding: "utf8",
  });
  const files = readFileSync(log, "utf8")
    .split("\n")
    .filter((url) => url.startsWith(`file://${dist}/`));
  const text = files.map((url) => readFileSync(fileURLToPath(url), "utf8")).join("\n");
  const has = Object.fromEntries(Object.entries(MARKS).map(([name, mark]) => [name, text.includes(mark)]));
  return { status, stdout, names: files.map((url) => basename(url)), has };
}

/** Words that are in these libraries only. */
const MARKS = { commander: "commander.unknownOption", grpc: "grpc-node-js/", yaml: "tag:yaml.org,2002:", cel: "comprehensionExpr" } as const;

test("the marks are those of the libraries: what needs them has them", () => {
  expect(run("status").has).toMatchObject({ commander: true, grpc: true });
  expect(run("policy", "lint", key).has).toMatchObject({ yaml: true, cel: true });
});

test("--help loads no command", () => {
  const { status, stdout, has, names } = run("--help");
  expect(status).toBe(0);
  expect(stdout).toContain("verify");
  expect(has).toMatchObject({ commander: true, grpc: false, yaml: false, cel: false });
  expect(names.filter((name) => /^hullmark-(verify|status|drift|policy)-/.test(name))).toEqual([]);
});

test("verify loads neither the verifier's client nor policies", () => {
  const { status, has, names } = run("verify", "--key", key, "127.0.0.1:1/none/here");
  expect(status).toBe(3);
  expect(names.filter((name) => name.startsWith("hullmark-verify-"))).toHaveLength(1);
  expect(has).toMatchObject({ commander: true, grpc: false, yaml: false, cel: false });
  expect(names.filter((name) => /^hullmark-(yaml|condition|x509|cose)\.mjs$/.test(name))).toEqual([]);
});

test.each(DEFERRED)("$out has all that it stands for", async ({ module, out }) => {
  const [whole, part] = (await Promise.all([import(module), import(join(dist, `${out}.mjs`))])) as [object, object];
  const names = Object.keys(whole).filter((name) => /^\w+$/.test(name) && name !== "default");
  expect(names.length).toBeGreaterThan(0);
  expect(Object.keys(part)).toEqual(expect.arrayContaining(names));
});

test("what is loaded late works: YAML with a condition in CEL", () => {
  expect(run("policy", "lint", join(REPOSITORY, "deploy/config/policy.example.yaml")).status).toBe(0);
});

test("a command without its parts cannot tell", () => {
  const alone = join(folder, "alone");
  mkdirSync(alone);
  copyFileSync(join(dist, "hullmark.js"), join(alone, "hullmark.js"));
  const { status, stderr } = spawnSync(process.execPath, [join(alone, "hullmark.js"), "verify", "--key", key, "127.0.0.1:1/none/here"], { encoding: "utf8" });
  expect({ status, stderr }).toEqual({ status: 3, stderr: expect.stringMatching(/^hullmark: an unexpected error.*ERR_MODULE_NOT_FOUND|Cannot find module/s) });
});
