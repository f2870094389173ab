import { readFileSync } from "node:fs";
import { loadConfig, parseConfig } from "@hullmark/agent/config";
import { ConfigError } from "@hullmark/daemon";
import { expect, test } from "vitest";

const EXAMPLE = new URL("../../deploy/config/agent.example.yaml", import.meta.url).pathname;
const REQUIRED =
  "stateDirectory: /var/lib/hullmark/agent\nverifier: { address: verifier.example:7443, enrolmentAddress: verifier.example:7444, caFile: /etc/hullmark/ca.crt }\n";

function problems(text: string): string {
  try {
    parseConfig(text, "a.yaml");
    return "";
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.message;
  }
}

test("the example is valid, and shows the defaults", () => {
  const { nodeName: _name, joinTokenFile, ...example } = loadConfig(EXAMPLE);
  const { nodeName: _host, ...defaults } = parseConfig(REQUIRED, "a.yaml");
  expect(example).toEqual(defaults);
  expect(joinTokenFile).toBeDefined();
});

test("an agent may be told to look at no containers, and at none it does only then", () => {
  expect(parseConfig(`${REQUIRED}runtime: { none: true }\n`, "a.yaml").runtime).toEqual({ none: true });
  expect(parseConfig(`${REQUIRED}runtime: {}\n`, "a.yaml").runtime).toEqual({ docker: { socket: "/var/run/docker.sock" } });
});

test("the example names every key", () => {
  const text = readFileSync(EXAMPLE, "utf8");
  const walk = (value: unknown): string[] =>
    typeof value === "object" && value !== null && !Array.isArray(value) ? Object.entries(value).flatMap(([key, inner]) => [key, ...walk(inner)]) : [];
  for (const key of [...walk(parseConfig(REQUIRED, "a.yaml")), "joinTokenFile"]) expect(text, key).toMatch(new RegExp(`^ *${key}:`, "m"));
});

test("every key of the example has a comment above it", () => {
  const lines = readFileSync(EXAMPLE, "utf8").split("\n");
  for (const [index, line] of lines.entries()) if (/^ *\w+: \S/.test(line)) expect(lines[index - 1], line).toMatch(/^ *#/);
});

test.each([
  [`${REQUIRED}sources: x\n`, "a.yaml:3:1: unknown key sources (known: nodeName"],
  [`${REQUIRED}tpm: { pcrs: [24] }\n`, "a.yaml:3:15: tpm.pcrs.0"],
  [REQUIRED.replace("/var", "var"), "a.yaml:1:17: stateDirectory"],
  ["verifier: 3\n", "verifier"],
  [`${REQUIRED}runtime: { none: true, docker: {} }\n`, "one of docker, cri and none"],
  [`${REQUIRED}runtime: { none: false }\n`, "runtime.none"],
])("%j is refused at its place", (text, message) => {
  expect(problems(text)).toContain(message);
});

test.each([
  ["/nowhere/agent.yaml", "/nowhere/agent.yaml: no such file (name the configuration with --config)"],
  ["/etc", "/etc: is a folder (name the file in it with --config)"],
])("%s cannot be read, and the message says what to do", (file, message) => {
  expect(() => loadConfig(file)).toThrow(message);
});
