import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConfigError } from "@hullmark/daemon";
import { loadConfig, parseConfig } from "@hullmark/verifier/config";
import { expect, test } from "vitest";
import { program } from "../fakes/program.ts";

const EXAMPLE = new URL("../../deploy/config/verifier.example.yaml", import.meta.url).pathname;
const MAIN = program("verifier");

function problems(text: string): string[] {
  try {
    parseConfig(text, "v.yaml");
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.message.split("\n");
  }
}

test("the example is valid, and shows the defaults", () => {
  const { verifierId: _id, ...example } = loadConfig(EXAMPLE);
  const { verifierId: _other, ...defaults } = parseConfig("stateDirectory: /var/lib/hullmark/verifier", "v.yaml");
  expect(example).toEqual(defaults);
});

test("the example names every key", () => {
  const text = readFileSync(EXAMPLE, "utf8");
  const walk = (value: unknown): string[] =>
    typeof value === "object" && value !== null && !Array.isArray(value) ? Object.entries(value).flatMap(([key, inner]) => [key, ...walk(inner)]) : [];
  const optional = ["policyFile", "caFile", "dockerConfigFile", "externalUrl", "keyFile", "name", "pkcs11"];
  for (const key of [...walk(parseConfig("stateDirectory: /s", "v.yaml")), ...optional]) expect(text, key).toMatch(new RegExp(`(^|[\\s{#])${key}:`, "m"));
});

test.each([
  ["stateDirectory: /s\nlissten: {}\n", "v.yaml:2:1: unknown key lissten (known: stateDirectory"],
  ["stateDirectory: /s\nlisten:\n  mian: a:1\n", "v.yaml:3:3: unknown key listen.mian (known: main, enrolment, http)"],
  ["region: x\n", "v.yaml:1:1: stateDirectory: is missing"],
  ["stateDirectory: s\n", "v.yaml:1:17: stateDirectory: want an absolute path"],
  ["stateDirectory: /s\nenrolment:\n  allow:\n    - ekSha256: abc\n", "v.yaml:4:17: enrolment.allow.0.ekSha256: want 64 lower-case hex digits"],
  ["stateDirectory: /s\nstateDirectory: /t\n", "v.yaml:2:1: Map keys must be unique"],
  ["stateDirectory: [\n", "v.yaml:2:1: "],
])("%j is refused at its place", (text, message) => {
  expect(problems(text)[0]).toContain(message);
});

test("every mistake is told at once", () => expect(problems("region: A\nlisten: 3\nx: 1\n").length).toBeGreaterThanOrEqual(4));

test("the command checks a configuration without starting anything", () => {
  const directory = mkdtempSync(join(tmpdir(), "hullmark-config-"));
  try {
    const run = (...args: string[]) => spawnSync(process.execPath, [MAIN, ...args], { encoding: "utf8" });
    const file = join(directory, "v.yaml");
    writeFileSync(file, `stateDirectory: ${directory}/state\n`);
    expect(run("--config", file, "--check-config")).toMatchObject({ status: 0, stdout: `${file}: ok\n` });
    writeFileSync(file, "x: 1\n");
    expect(run("--config", file, "--check-config")).toMatchObject({ status: 2, stderr: expect.stringContaining(`${file}:1:1: unknown key x`) });
    writeFileSync(file, `stateDirectory: ${directory}/state\npolicyFile: none-policy.yaml\n`);
    expect(run("--config", file, "--check-config")).toMatchObject({
      status: 2,
      stderr: expect.stringContaining(`${directory}/none-policy.yaml: no such file`),
    });
    expect(run("--config", join(directory, "none.yaml"))).toMatchObject({ status: 2, stderr: expect.stringContaining("none.yaml") });
    expect(run()).toMatchObject({ status: 2, stderr: expect.stringContaining("usage:") });
    expect(run("--help")).toMatchObject({ status: 0, stdout: expect.stringContaining("usage:") });
  } finally {
    rmSync(directory, { recursive: true });
  }
}, 180_000);
