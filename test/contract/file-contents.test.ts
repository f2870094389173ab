/** What leaves a node: files of a real directory, measured and read by the addon; the verifier that asks is the adversary. */
import { hash } from "node:crypto";
import { linkSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { nativeContent } from "@hullmark/agent/adapters/tree/native-content";
import { nativeMeasurer } from "@hullmark/agent/adapters/tree/native-measurer";
import { pathRule } from "@hullmark/agent/core/content-rules";
import { FileContents } from "@hullmark/agent/core/file-contents";
import type { MeasuredTree } from "@hullmark/agent/ports/tree-measurer";
import { ContentRefusal, ContentRequestSchema } from "@hullmark/proto/v1/attestation";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

const never = new AbortController().signal;
const RULES = { allow: ["/etc/**", "/srv/*"], deny: ["/etc/private/**"], maxBytes: 64, hourly: 20 };
const BUDGET = { maxEntries: 1000, maxBytes: 1_000_000, maxMillis: 60_000 };

let outside: string;
let root: string;
let tree: MeasuredTree;
let nowMs = 0;
let logged: { message: string; fields: object }[] = [];

beforeEach(async () => {
  outside = mkdtempSync(join(tmpdir(), "hullmark-contents-"));
  root = join(outside, "upper");
  for (const path of ["etc/private", "etc/app", "srv/deep", "usr"]) mkdirSync(join(root, path), { recursive: true });
  for (const path of ["etc/app.conf", "etc/app/a", "etc/private/b", "srv/c", "srv/deep/d", "usr/e", "etc/SHADOW-", "etc/app/Server.KEY", "etc/app/.env"])
    writeFileSync(join(root, path), `of ${path}\n`);
  writeFileSync(join(root, "etc/large"), "x".repeat(65));
  writeFileSync(join(root, "etc/pem.txt"), "-----BEGIN OPENSSH PRIVATE KEY-----\n");
  writeFileSync(join(outside, "secret"), "of etc/app.conf\n");
  tree = await nativeMeasurer().open(root, { kind: "upper", excluded: [], budget: BUDGET });
  await tree.measure(never);
  nowMs = 0;
  logged = [];
});
afterEach(() => {
  tree.close();
  rmSync(outside, { recursive: true });
});

function contents(rules: typeof RULES | "none" = RULES): FileContents {
  return new FileContents({
    ...{ rules: rules === "none" ? undefined : rules, reader: nativeContent, clock: { nowMs: () => nowMs } },
    place: async (containerId, layerId) => (containerId === "c" && layerId === "" ? { root, tree } : undefined),
    log: (message, fields) => logged.push({ message, fields }),
  });
}

const digestOf = (path: string): Buffer => hash("sha256", readFileSync(join(root, path)), "buffer");

/** Text, or the name of the refusal. */
async function asked(path: string, { sha256 = digestOf(path), from = contents(), containerId = "c", layerId = "" } = {}): Promise<string> {
  const request = create(ContentRequestSchema, { id: 1n, containerId, layerId, path: Buffer.from(path), sha256, requestedBy: "ann", reason: "INC-1" });
  const { content, refusal } = await from.answer(request);
  return content ? Buffer.from(content).toString() : (ContentRefusal[refusal ?? 0] ?? "");
}

describe("the configuration of the node decides", () => {
  test("nothing leaves it where nothing is allowed", async () => {
    const from = contents("none");
    expect(from.enabled).toBe(false);
    for (const path of ["etc/app.conf", "srv/c"]) expect(await asked(path, { from })).toBe("NOT_ALLOWED");
  });

  test("what is allowed and not denied leaves it, and who asked why is in its own log", async () => {
    expect(await asked("etc/app.conf")).toBe("of etc/app.conf\n");
    expect(await asked("srv/c")).toBe("of srv/c\n");
    for (const path of ["etc/private/b", "srv/deep/d", "usr/e"]) expect(await asked(path), path).toBe("NOT_ALLOWED");
    expect(logged[0]).toMatchObject({
      message: "content of a file was handed out",
      fields: { path: "etc/app.conf", requestedBy: "ann", reason: "INC-1", bytes: 16 },
    });
    expect(logged[2]).toMatchObject({ message: "content of a file was refused", fields: { path: "etc/private/b", refusal: "NOT_ALLOWED" } });
  });

  test("names of secrets stay, whatever is allowed, in any case of letters; so does a private key under another name", async () => {
    const from = contents({ ...RULES, allow: ["**"], deny: [] });
    expect(await asked("usr/e", { from })).toBe("of usr/e\n");
    for (const path of ["etc/SHADOW-", "etc/app/Server.KEY", "etc/app/.env", "etc/pem.txt"]) expect(await asked(path, { from }), path).toBe("SECRET");
  });

  test.each([
    ...["/etc/shadow", "/run/secrets/db", "/var/run/secrets/kubernetes.io/serviceaccount/token", "/root/.ssh/authorized_keys", "/home/a/.aws/config"],
    ...["/app/.env", "/app/.env.local", "/.env", "/etc/ssl/private/a", "/tls.key", "/a/b/id_rsa", "/x/API_TOKENS", "/opt/Secrets/a/b", "/data/passwords.txt"],
    // What editors leave beside a secret is one too.
    ...["/app/.env~", "/app/.env-prod", "/app/prod.env.bak", "/etc/tls/server.pem.old", "/etc/tls/server.key~", "/root/.config/containers/auth.json"],
  ])("%s is a secret by its name", (path) => {
    expect(pathRule({ allow: ["**"], deny: [] })(Buffer.from(path))).toBe("secret");
  });

  test.each(["/etc/passwd", "/etc/nginx/nginx.conf", "/usr/bin/env", "/app/keys.md", "/srv/environment"])("%s is none", (path) => {
    expect(pathRule({ allow: ["**"], deny: [] })(Buffer.from(path))).toBe("allowed");
  });

  test("no more in an hour than it says, whoever asks", async () => {
    const from = contents({ ...RULES, hourly: 2 });
    expect([await asked("etc/app.conf", { from }), await asked("srv/c", { from }), await asked("srv/c", { from })]).toEqual([
      "of etc/app.conf\n",
      "of srv/c\n",
      "TOO_MANY",
    ]);
    nowMs = 3_600_000;
    expect(await asked("srv/c", { from })).toBe("of srv/c\n");
  });
});

describe("a verifier that was taken over, or a container that helps it", () => {
  test("gets nothing that was not measured as changed, nor of another container or layer", async () => {
    writeFileSync(join(root, "etc/later"), "later");
    expect(await asked("etc/later")).toBe("CHANGED");
    expect(await asked("etc/app.conf", { containerId: "other" })).toBe("CHANGED");
    expect(await asked("etc/app.conf", { layerId: "layer" })).toBe("CHANGED");
    expect(await asked("etc/app.conf", { sha256: Buffer.alloc(32) })).toBe("CHANGED");
    expect(await asked("etc/app.conf", { sha256: Buffer.alloc(0) })).toBe("CHANGED");
  });

  test.each(["../secret", "etc/../../secret", "/etc/app.conf", "etc//app.conf", "etc/./app.conf", "", "etc/app.conf\0", "etc"])(
    "gets nothing by the path %j",
    async (path) => {
      expect(await asked(path, { sha256: digestOf("etc/app.conf") })).toMatch(/^(NOT_ALLOWED|CHANGED)$/);
    },
  );

  test("cannot push what it got out of the node's log by what it is refused", async () => {
    const from = contents();
    expect(await asked("etc/app.conf", { from })).toBe("of etc/app.conf\n");
    for (let i = 0; i < 2000; i++) expect(await asked("usr/e", { from })).toBe("NOT_ALLOWED");
    expect(logged.length).toBeLessThanOrEqual(101);
    expect(logged.at(-1)).toMatchObject({ message: expect.stringContaining("no more of it is written in this hour"), fields: { refusal: "NOT_ALLOWED" } });
    // What leaves the node is written all the same, with how many were not.
    expect(await asked("srv/c", { from })).toBe("of srv/c\n");
    expect(logged.at(-1)).toMatchObject({ message: "content of a file was handed out", fields: { path: "srv/c", unwritten: 1900 } });
    nowMs = 3_600_000;
    await asked("usr/e", { from });
    expect(logged.at(-1)).toEqual({ message: "content of a file was refused", fields: expect.not.objectContaining({ unwritten: expect.anything() }) });
  });

  test("gets nothing through a link that took a file's place, or a directory's, even to the very same content", async () => {
    const sha256 = digestOf("etc/app.conf");
    renameSync(join(root, "etc/app.conf"), join(root, "gone"));
    symlinkSync("../../secret", join(root, "etc/app.conf"));
    expect(await asked("etc/app.conf", { sha256 })).toBe("CHANGED");
    const inner = digestOf("etc/app/a");
    renameSync(join(root, "etc/app"), join(outside, "app"));
    symlinkSync("../../app", join(root, "etc/app"));
    expect(await asked("etc/app/a", { sha256: inner })).toBe("CHANGED");
  });

  test("gets nothing that has changed since, is larger than allowed, or has another name", async () => {
    expect(await asked("etc/large")).toBe("TOO_LARGE");
    linkSync(join(root, "srv/c"), join(root, "usr/c"));
    expect(await asked("srv/c")).toBe("OTHER_NAMES");
    const sha256 = digestOf("etc/app.conf");
    writeFileSync(join(root, "etc/app.conf"), "of etc/app.con!\n");
    expect(await asked("etc/app.conf", { sha256 })).toBe("CHANGED");
  });
});
