/** What of the plugin of kubectl needs no cluster: its name, its release, its completion. With one: test/e2e/kubernetes/chart.test.ts. */

import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { expect, test, vi } from "vitest";
import { completions } from "../../cli/kubectl/completion.ts";
import { connectThroughCluster } from "../../cli/kubectl/connect.ts";
import { invocationOf } from "../../cli/kubectl/invocation.ts";
import { kubectlError } from "../../cli/kubectl/kubectl.ts";
import { parseRelease } from "../../cli/kubectl/release.ts";
import { program } from "../../cli/program.ts";

test.each([
  [["node", "/usr/local/bin/hullmark"], "node", "hullmark"],
  [["node", "/usr/local/bin/kubectl-hullmark"], "node", "kubectl-plugin"],
  [["node", "/home/me/bin/kubectl_complete-hullmark"], "node", "kubectl-completion"],
  // From a checkout the link's name is handed on beside the real file's.
  [["node", "/src/cli/main.ts"], "kubectl-hullmark", "kubectl-plugin"],
  [["node", "/kubectl-hullmark/hullmark.js"], "node", "hullmark"],
] as const)("%j is started as what its file is called", (argv, argv0, as) => {
  expect(invocationOf(argv, argv0)).toBe(as);
});

test.each([
  ["hullmark", "hullmark", "hullmark"],
  ["security/hullmark", "security", "hullmark"],
  ["security/prod", "security", "prod-hullmark"],
  ["security/my-hullmark-2", "security", "my-hullmark-2"],
])("the release %s is called as the chart calls it", (text, namespace, name) => {
  expect(parseRelease(text)).toEqual({ namespace, name });
});

test.each(["", "/", "a/b/c", "Upper/x", "a/--kubeconfig=x", "-n", "a/"])("the release %j is none", (text) => {
  expect(() => parseRelease(text)).toThrow("use NAMESPACE/NAME");
});

const complete = async (...words: string[]) =>
  completions(await program("kubectl-completion", words), words)
    .split("\n")
    .map((line) => line.split("\t")[0]);

test("completes commands and options, past the values of those before", async () => {
  expect(await complete("")).toEqual(expect.arrayContaining(["status", "drift", "--namespace", "--help"]));
  expect(await complete("drif")).toEqual(["drift", ":4", ""]);
  expect(await complete("-n", "drift", "drift", "l")).toEqual(["ls", ":4", ""]);
  expect(await complete("drift", "ls", "--out")).toEqual(["--output", ":4", ""]);
  expect(await complete("drift", "ls", "-n", "")).toEqual([":4", ""]);
  expect(await complete("")).not.toEqual(expect.arrayContaining(["up"]));
});

test.each([
  ['Error from server (Forbidden): secrets "x" is forbidden: User "u" cannot get resource', "FORBIDDEN"],
  ["error: You must be logged in to the server (Unauthorized)", "FORBIDDEN"],
  ['Error from server (NotFound): secrets "hullmark-admin" not found', "NOT_FOUND"],
  ['error: context "none" does not exist', "USAGE"],
  ["The connection to the server 10.0.0.1:6443 was refused - did you specify the right host or port?", "UNREACHABLE"],
  ["error: unable to forward port because pod is not running. Current status=Pending", "UNREACHABLE"],
  ["", "UNREACHABLE"],
])("%j is told apart, and what is not known is never taken for wrong usage", (stderr, code) => {
  expect(kubectlError(stderr).code).toBe(code);
});

test("forwards no port for credentials that are none: nobody would end it", async () => {
  const home = mkdtempSync(join(tmpdir(), "hullmark-plugin-"));
  const [broken, forwarded] = [Buffer.from("-----BEGIN NOTHING-----").toString("base64"), join(home, "forwarded")];
  const secret = { metadata: { name: "hullmark-admin" }, data: { "ca.crt": broken, "client.crt": broken, "client.key": broken } };
  const kubectl = `#!/bin/sh
case "$*" in
  *"get secret"*) echo '${JSON.stringify(secret)}' ;;
  *port-forward*) : >${forwarded}; echo "Forwarding from 127.0.0.1:9 -> 9"; exec sleep 5 ;;
  *) echo "{}" ;;
esac
`;
  writeFileSync(join(home, "kubectl"), kubectl, { mode: 0o755 });
  vi.stubEnv("PATH", `${home}${delimiter}${process.env["PATH"]}`);
  try {
    await expect(connectThroughCluster({ release: "hullmark" }, AbortSignal.timeout(30_000), 0)).rejects.toThrow(/PEM/i);
    expect(existsSync(forwarded)).toBe(false);
  } finally {
    vi.unstubAllEnvs();
    rmSync(home, { recursive: true, force: true });
  }
});

test("has nothing of its own that a rotation of keys makes old: keys trust says so, and asks nobody", async () => {
  const said: string[] = [];
  const write = vi.spyOn(process.stdout, "write").mockImplementation((text) => said.push(String(text)) > 0);
  vi.stubEnv("PATH", "");
  try {
    await (await program("kubectl-plugin")).parseAsync(["keys", "trust"], { from: "user" });
  } finally {
    write.mockRestore();
    vi.unstubAllEnvs();
  }
  expect(said.join("")).toMatch(/^nothing to bring up to date: /);
  expect(process.exitCode).toBe(0);
  process.exitCode = undefined;
});
