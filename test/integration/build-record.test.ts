/** `hullmark build-record`: what goes into a real build is written down, attested on a real registry, and meets a policy that asks for it. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { attestCommand } from "hullmark/commands/attest";
import { buildRecordCommand } from "hullmark/commands/build-record";
import { keygenCommand } from "hullmark/commands/keygen";
import { policyCommand } from "hullmark/commands/policy";
import { policyExplainCommand } from "hullmark/commands/policy-explain";
import { signCommand } from "hullmark/commands/sign";
import { buildRecordSchema } from "hullmark/record/record-schema";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { runCommand } from "../fakes/command-run.ts";
import { pushImage } from "../fakes/images.ts";

const BUILDER = "https://builder.example/pilot";
const BASE_HEX = "c0ffee00".repeat(8);
const LOCK = {
  lockfileVersion: 3,
  packages: {
    "": { name: "app", version: "1.0.0" },
    "node_modules/@scope/left": { version: "1.2.3", integrity: `sha512-${Buffer.alloc(64, 7).toString("base64")}` },
    "node_modules/a/node_modules/b": { version: "2.0.0", integrity: `sha1-${Buffer.alloc(20, 9).toString("base64")}` },
    "node_modules/linked": { link: true },
  },
};

let home: string;
let sources: string;
const git = (...args: string[]) =>
  execFileSync("git", ["-C", sources, "-c", "user.name=t", "-c", "user.email=t@example.org", ...args], { encoding: "utf8" }).trim();

beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), "hullmark-build-"));
});
afterAll(() => rmSync(home, { recursive: true, force: true }));

beforeEach(() => {
  sources = mkdtempSync(join(home, "src-"));
  git("init", "--quiet", "--initial-branch=main");
  git("remote", "add", "origin", "git@git.example:acme/shop.git");
  writeFileSync(join(sources, "package-lock.json"), JSON.stringify(LOCK));
  writeFileSync(
    join(sources, "go.sum"),
    `example.org/mod v1.0.0 h1:${Buffer.alloc(32, 3).toString("base64")}\nexample.org/mod v1.0.0/go.mod h1:${Buffer.alloc(32, 4).toString("base64")}\n`,
  );
  git("add", ".");
  git("commit", "--quiet", "-m", "one");
});

const run = (make: Parameters<typeof runCommand>[0], args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  runCommand(make, args, { PATH: process.env["PATH"], HOME: home, DOCKER_CONFIG: home, ...env }, Date.now);

const out = () => join(sources, "record.json");
const record = (more: readonly string[], words: readonly string[], env = {}) =>
  run(buildRecordCommand, ["--out", out(), "--builder", BUILDER, "-C", sources, ...more, "--", ...words], env);
/** Read as the published schema says, which knows every member. */
const written = () => {
  const record: unknown = JSON.parse(readFileSync(out(), "utf8"));
  return buildRecordSchema.parse(record);
};

describe("the record", () => {
  test("holds source, command, tools, bases, locked packages and times", async () => {
    const done = await record(
      [
        "--tool",
        "git",
        "--tool",
        "node=node --version",
        "--base",
        `registry.example/base:1@sha256:${BASE_HEX}`,
        "--approval",
        "jo: https://review.example/7",
        "--env",
        "MODE",
      ],
      ["node", "-e", "require('fs').writeFileSync('built', process.env.MODE)"],
      { MODE: "release" },
    );
    expect(done).toMatchObject({ code: 0, err: "" });
    expect(readFileSync(join(sources, "built"), "utf8")).toBe("release");
    const { buildDefinition, runDetails } = written();
    expect(buildDefinition).toMatchObject({
      buildType: "https://hullmark.dev/build-record/v1",
      externalParameters: { command: ["node", "-e", expect.any(String)], environment: { MODE: "release" } },
      internalParameters: { workingTree: "clean", approvals: ["jo: https://review.example/7"] },
    });
    const status = readFileSync("/proc/self/status", "latin1");
    expect(buildDefinition.internalParameters.privileges).toMatchObject({
      user: process.geteuid?.(),
      noNewPrivileges: /^NoNewPrivs:\t1$/m.test(status),
    });
    expect(buildDefinition.internalParameters.privileges?.capabilities.includes("SYS_ADMIN")).toBe(
      ((BigInt(`0x${/^CapEff:\t(\w+)/m.exec(status)?.[1]}`) >> 21n) & 1n) === 1n,
    );
    expect(buildDefinition.resolvedDependencies).toEqual([
      { uri: "git+https://git.example/acme/shop@refs/heads/main", digest: { gitCommit: git("rev-parse", "HEAD") } },
      { uri: `pkg:oci/base@sha256%3A${BASE_HEX}?repository_url=registry.example%2Fbase`, digest: { sha256: BASE_HEX } },
      { uri: "file:package-lock.json", digest: { sha256: expect.stringMatching(/^[0-9a-f]{64}$/) } },
      { uri: "pkg:npm/%40scope/left@1.2.3", digest: { sha512: "07".repeat(64) } },
      { uri: "pkg:npm/b@2.0.0", digest: { sha1: "09".repeat(20) } },
      { uri: "file:go.sum", digest: { sha256: expect.any(String) } },
      { uri: "pkg:golang/example.org/mod@v1.0.0", digest: { dirHash: "03".repeat(32) } },
    ]);
    expect(runDetails.builder).toEqual({
      id: BUILDER,
      version: { git: execFileSync("git", ["--version"], { encoding: "utf8" }).trim(), node: expect.stringMatching(/^v\d/) },
    });
    expect(Date.parse(runDetails.metadata.finishedOn)).toBeGreaterThanOrEqual(Date.parse(runDetails.metadata.startedOn));
  });

  test("has no secret: of variables that sound like one, of named ones, in words, after options, in URLs", async () => {
    const secrets = { NPM_TOKEN: "tok-12345678", PLAIN: "hidden-value-1", MODE: "with tok-12345678 in it" };
    const words = [
      "node",
      "-e",
      "0",
      "tok-12345678",
      "x=hidden-value-1",
      "--password",
      "open sesame",
      "--api-key=k",
      "DB_PASSWORD=p",
      "https://jo:pw@host.example/x",
    ];
    expect(await record(["--secret", "PLAIN", "--env", "NPM_TOKEN", "--env", "MODE", "--approval", "by hidden-value-1"], words, secrets)).toMatchObject({
      code: 0,
    });
    const text = readFileSync(out(), "utf8");
    for (const secret of ["tok-12345678", "hidden-value-1", "open sesame", "jo:pw"]) expect(text).not.toContain(secret);
    expect(written().buildDefinition.externalParameters).toEqual({
      command: [
        "node",
        "-e",
        "0",
        "[redacted]",
        "x=[redacted]",
        "--password",
        "[redacted]",
        "--api-key=[redacted]",
        "DB_PASSWORD=[redacted]",
        "https://[redacted]@host.example/x",
      ],
      environment: { NPM_TOKEN: "[redacted]", MODE: "with [redacted] in it" },
    });
  });

  test("is not written where the command fails, or changes what it was locked to", async () => {
    expect(await record([], ["node", "-e", "process.exit(7)"])).toMatchObject({ code: 1, err: expect.stringContaining("ended with 7") });
    expect(await record([], ["node", "-e", "require('fs').appendFileSync('go.sum', '\\n')"])).toMatchObject({
      code: 3,
      err: expect.stringContaining("changed while"),
    });
    expect(await record([], ["/none/such"])).toMatchObject({ code: 2 });
    expect(() => readFileSync(out())).toThrow("ENOENT");
  });

  test("names no commit for sources that differ from it, and only where that is allowed", async () => {
    writeFileSync(join(sources, "new"), "x");
    expect(await record([], ["node", "-e", "0"])).toMatchObject({ code: 2, err: expect.stringContaining("--allow-changed") });
    expect(await record(["--allow-changed"], ["node", "-e", "0"])).toMatchObject({ code: 0 });
    expect(written().buildDefinition.resolvedDependencies[0]).toEqual({ uri: "git+https://git.example/acme/shop@refs/heads/main", digest: {} });
    expect(written().buildDefinition.internalParameters.workingTree).toBe("changed");
  });

  test("of the build before is no change of the sources", async () => {
    expect(await record([], ["node", "-e", "0"])).toMatchObject({ code: 0 });
    expect(await record([], ["node", "-e", "0"])).toMatchObject({ code: 0 });
  });

  test("says what is wrong with its options", async () => {
    for (const [options, said] of [
      [["--base", "registry.example/base:1"], "want host/name@sha256"],
      [["--tool", "no-such-tool"], "says no version"],
      [["--lock", "none.lock"], "cannot be read"],
    ] as const) {
      const { code, err } = await record(options, ["node", "-e", "0"]);
      expect(code).toBe(options[0] === "--lock" ? 3 : 2);
      expect(err).toContain(said);
    }
    mkdirSync(join(sources, "sub"));
    writeFileSync(join(sources, "sub", "package-lock.json"), "{");
    git("add", ".");
    git("commit", "--quiet", "-m", "two");
    expect(await run(buildRecordCommand, ["--out", out(), "--builder", BUILDER, "-C", join(sources, "sub"), "--", "node", "-e", "0"])).toMatchObject({
      code: 3,
    });
  });
});

describe("attested on a registry", () => {
  let bed: Testbed;
  beforeAll(async () => {
    bed = await startTestbed({ name: "build-record", parts: { registry: true } });
  });
  afterAll(async () => {
    await bed?.down();
  });

  test("meets the policy that asks for source, tools, base and dependencies, and no other", async () => {
    expect(await run(keygenCommand, ["--prefix", join(home, "ci")])).toMatchObject({ code: 0 });
    expect(await record(["--tool", "node=node --version", "--base", `registry.example/base@sha256:${BASE_HEX}`], ["node", "-e", "0"])).toMatchObject({
      code: 0,
    });
    const { repository, manifestDigest } = await pushImage(`${bed.registry?.host}/build/app`, { layers: [{ "app/run": "1" }] });
    const image = `${repository}@${manifestDigest}`;
    expect(await run(attestCommand, [image, "--predicate", out(), "--type", "slsaprovenance1", "--key", join(home, "ci.key")])).toMatchObject({
      code: 0,
      err: "",
    });
    expect(await run(signCommand, [image, "--key", join(home, "ci.key")])).toMatchObject({ code: 0, err: "" });
    const [, major] = /^v(\d+)/.exec(process.version) ?? [];
    const policy = (tool: string, base: string) => `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: pilot }
spec:
  builders: [{ id: "${BUILDER}", level: 1 }]
  authorities: [{ name: ci, keyFile: ${join(home, "ci.pub")} }]
  rules:
    - name: built
      require:
        build:
          authorities: [ci]
          sources: ["https://git.example/acme/shop"]
          refs: ["refs/heads/main"]
          builders: ["${BUILDER}"]
          tools: { node: "${tool}" }
          bases: ["sha256:${base}"]
          dependencies: true
`;
    const explain = async (text: string) => {
      writeFileSync(join(home, "policy.yaml"), text);
      return run(policyExplainCommand, [join(home, "policy.yaml"), image]);
    };
    const met = await explain(policy(`v${major}.*`, BASE_HEX));
    expect(met.code, met.out).toBe(0);
    expect(await explain(policy("v1.*", BASE_HEX))).toMatchObject({ code: 1, out: expect.stringContaining("node") });
    expect(await explain(policy(`v${major}.*`, "ab".repeat(32)))).toMatchObject({ code: 1 });

    const pilot = async (tool: string, source = "https://git.example/acme/*") => {
      const asked = ["--authority-key", join(home, "ci.pub"), "--source", source, "--tool", `node=${tool}`, "--base", `sha256:${BASE_HEX}`];
      const begun = await run((io) => policyCommand({ ...io, exit: (code) => io.exit(code as 0) }, io), ["init", "--profile", "pilot", ...asked]);
      expect(begun).toMatchObject({ code: 0, err: "" });
      return begun.out;
    };
    expect(await explain(await pilot(`v${major}.*`))).toMatchObject({ code: 0 });
    expect(await explain(await pilot("v1.*"))).toMatchObject({ code: 1, out: expect.stringContaining("node") });
    expect(await explain(await pilot(`v${major}.*`, "https://git.example/other/*"))).toMatchObject({ code: 1, out: expect.stringContaining("was built from") });
    // Widened by a line each; what was asked before stays.
    const wider = (await pilot(`v${major}.*`)).replace("commit: true", 'commit: true\n          dependencies: true\n          refs: ["refs/heads/main"]');
    expect(await explain(wider)).toMatchObject({ code: 0 });
  });
});
