/** The images that Hullmark ships: what is in them, that they are the same each time, and that released cosign takes what Hullmark signed of them. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type BuiltImage, buildImages } from "../../deploy/images/build.ts";
import { IMAGES } from "../../deploy/images/definitions.ts";
import { publish } from "../../deploy/images/publish.ts";
import { startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { cosign } from "../fakes/cosign.ts";

const execute = promisify(execFile);
const REPOSITORY = new URL("../..", import.meta.url).pathname;
const CACHE = join(process.env["HULLMARK_STATE"] ?? join(REPOSITORY, ".hullmark"), "cache/debian");
const MAX_COMPRESSED_BYTES = 120_000_000;

let home: string;
let bed: Testbed;
let images: readonly BuiltImage[];

const layout = (name: string) => join(home, name);
const blob = (digest: string) => join(layout("first"), "blobs/sha256", digest.slice(7));
const root = (name: string) => join(home, "roots", name);

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "hullmark-images-"));
  bed = await startTestbed({ name: "own-images", parts: { registry: true } });
  images = await buildImages({ output: layout("first"), cache: CACHE });
  for (const { name, layers } of images) {
    mkdirSync(root(name), { recursive: true });
    for (const { digest } of layers) await execute("tar", ["-C", root(name), "-xzf", blob(digest)]);
  }
}, 600_000);

afterAll(async () => {
  await bed?.down();
  if (home) rmSync(home, { recursive: true, force: true });
});

const filesOf = (name: string) =>
  readdirSync(root(name), { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(root(name), join(entry.parentPath, entry.name)));
const run = (name: string, ...args: string[]) => execute("chroot", [root(name), "/usr/bin/node", ...args]);
const program = (name: string) => `/usr/lib/hullmark/${IMAGES.find((each) => each.name === name)?.files[0]}`;

test("a second build has the same bytes, bills of materials included", async () => {
  await buildImages({ output: layout("second"), cache: CACHE });
  for (const file of ["index.json", "oci-layout", ...IMAGES.map(({ name }) => `${name}.spdx.json`)])
    expect(readFileSync(join(layout("second"), file), "utf8"), file).toBe(readFileSync(join(layout("first"), file), "utf8"));
}, 600_000);

describe.each(IMAGES.map(({ name }) => name))("%s", (name) => {
  test("is small, and has no program but Node", () => {
    const compressed = images.find((image) => image.name === name)?.layers.reduce((sum, { size }) => sum + size, 0) ?? Number.POSITIVE_INFINITY;
    expect(compressed).toBeLessThan(MAX_COMPRESSED_BYTES);
    const executables = filesOf(name).filter((file) => {
      const entry = lstatSync(join(root(name), file));
      return entry.isFile() && (entry.mode & 0o111) !== 0;
    });
    expect(executables.filter((file) => !/\.so[.0-9]*$/.test(file))).toEqual(["usr/bin/node"]);
  });

  test("names no folder of the machine that built it", async () => {
    const { stdout } = await execute("grep", ["-rlF", REPOSITORY.replace(/\/$/, ""), root(name)]).catch(() => ({ stdout: "" }));
    expect(stdout).toBe("");
  });

  test("runs by itself: the program starts and the addons load", async () => {
    expect((await run(name, program(name), "--version")).stdout.trim()).toBe("0.1.0");
    for (const addon of filesOf(name).filter((file) => file.endsWith(".node"))) await run(name, "-e", `require("/${addon}")`);
  });

  test("says whom it runs as and from which sources", () => {
    const config = JSON.parse(readFileSync(blob(images.find((image) => image.name === name)?.configDigest ?? ""), "utf8")) as {
      config: { User: string; Labels: Record<string, string> };
    };
    expect(config.config.User).toBe(name === "hullmark-agent" ? "0:0" : "65532:65532");
    expect(config.config.Labels["org.opencontainers.image.revision"]).toMatch(/^[0-9a-f]{40}(-dirty)?$/);
    expect(config.config.Labels["org.opencontainers.image.version"]).toBe("0.1.0");
  });

  test("has a bill of materials that names Node, every Debian package and every library of the lock file in it", () => {
    const bill = JSON.parse(readFileSync(images.find((image) => image.name === name)?.bill ?? "", "utf8")) as {
      packages: { name: string; SPDXID: string }[];
      relationships: { spdxElementId: string; relatedSpdxElement: string }[];
    };
    const named = bill.packages.map((each) => each.name);
    const ids = new Set(bill.packages.map(({ SPDXID }) => SPDXID));
    expect(ids.size).toBe(bill.packages.length);
    for (const { spdxElementId, relatedSpdxElement } of bill.relationships)
      for (const id of [spdxElementId, relatedSpdxElement]) expect(id === "SPDXRef-DOCUMENT" || ids.has(id), id).toBe(true);
    expect(named).toEqual(expect.arrayContaining(["node", "@bufbuild/protobuf", ...readdirSync(join(root(name), "var/lib/dpkg/status.d"))]));
    expect(named).not.toContain("vitest");
  });
});

test("an agent in the image is the one of the release's sums, and its Node is", () => {
  const sums = readFileSync(join(REPOSITORY, "dist/SHA256SUMS"), "utf8").trim().split("\n");
  const places: Readonly<Record<string, string>> = { node: "usr/bin/node" };
  expect(sums).toHaveLength(3);
  for (const line of sums) {
    const [digest, name] = line.split("  ") as [string, string];
    const content = readFileSync(join(root("hullmark-agent"), places[name] ?? `usr/lib/hullmark/${name}`));
    expect(createHash("sha256").update(content).digest("hex"), name).toBe(digest);
  }
});

test("signed and attested with Hullmark, every image passes released cosign", async () => {
  const key = join(home, "release");
  await execute(process.execPath, [join(REPOSITORY, "dist/hullmark.js"), "keygen", "--prefix", key]);
  const registry = `${bed.registry?.host}/ship`;
  const published = await publish(images, { layout: layout("first"), registry, tag: "0.1.0", key: `${key}.key` });
  expect(published).toHaveLength(IMAGES.length);
  const flags = ["--key", `${key}.pub`, "--insecure-ignore-tlog"];
  for (const reference of published) {
    await cosign("v3", home, ["verify", ...flags, reference]);
    await cosign("v3", home, ["verify-attestation", "--type", "spdxjson", ...flags, reference]);
    const { stdout } = await execute(process.execPath, [join(REPOSITORY, "dist/hullmark.js"), "verify", reference, "--key", `release=${key}.pub`]);
    expect(stdout).toContain("release");
  }
  const unsigned = join(home, "other");
  await execute(process.execPath, [join(REPOSITORY, "dist/hullmark.js"), "keygen", "--prefix", unsigned]);
  await expect(cosign("v3", home, ["verify", "--key", `${unsigned}.pub`, ...flags.slice(2), published[0] ?? ""])).rejects.toThrow();
}, 300_000);
