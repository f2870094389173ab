/** How the command finds its verifier, and what it says where it cannot. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadContext } from "hullmark/connection/context";
import { ContextError } from "hullmark/connection/context-error";
import { afterAll, expect, test } from "vitest";

const folder = mkdtempSync(join(tmpdir(), "hullmark-context-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const context = "{ address: 'v:7443', caFile: ca.crt, certFile: /etc/client.crt, keyFile: client.key, logKeyFile: log.pub }";

function written(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

function failure(path: string, name?: string): string {
  try {
    loadContext(path, name);
  } catch (error) {
    if (error instanceof ContextError) return error.message;
    throw error;
  }
  return "";
}

test("relative files start at the configuration", () => {
  const path = written("two.yaml", `currentContext: a\ncontexts:\n  a: ${context}\n  b: ${context.replace("v:", "w:")}\n`);
  expect(loadContext(path, undefined)).toMatchObject({
    name: "a",
    caFile: join(folder, "ca.crt"),
    certFile: "/etc/client.crt",
    logKeyFile: join(folder, "log.pub"),
  });
  expect(loadContext(path, "b")).toMatchObject({ name: "b", address: "w:7443" });
  expect(failure(path, "c")).toContain('no context "c" (there are: a, b)');
});

test("what is wrong with a configuration is said, and what to do", () => {
  expect(failure(join(folder, "absent.yaml"))).toMatch(/absent\.yaml is not there: .*sudo hullmark up.*--config/);
  expect(failure(written("broken.yaml", "contexts: [\n"))).toContain("broken.yaml is not YAML");
  expect(failure(written("unknown.yaml", "currentContext: a\ncontexts: {}\nextra: 1\n"))).toContain("extra");
  expect(failure(written("address.yaml", `currentContext: a\ncontexts:\n  a: ${context.replace("v:7443", "v")}\n`))).toContain("address: want host:port");
  expect(failure(folder)).toContain("cannot be read: it is a directory");
});

test("what is root's to read is said to be", () => {
  const path = written("roots.yaml", `currentContext: a\ncontexts:\n  a: ${context}\n`);
  chmodSync(path, 0);
  const isRoot = process.getuid?.() === 0;
  if (isRoot) process.seteuid?.(65_534);
  try {
    expect(failure(path)).toContain("sudo hullmark");
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
});
