/** `hullmark diff` on a real registry: the same twice, the same packed otherwise, and all that can differ. */
import { diffCommand } from "hullmark/commands/diff";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { runCommand } from "../fakes/command-run.ts";
import { type PushedImage, pushImage, pushIndex } from "../fakes/images.ts";

let bed: Testbed;
beforeAll(async () => {
  bed = await startTestbed({ name: "image-diff", parts: { registry: true } });
});
afterAll(async () => {
  await bed?.down();
});

const diff = (...args: string[]) => runCommand(diffCommand, args, { DOCKER_CONFIG: "/nonexistent" });

const push = (name: string, layers: readonly Readonly<Record<string, string>>[], dialect: "oci" | "docker" = "oci") =>
  pushImage(`${bed.registry?.host}/diff/${name}`, { layers, dialect });
const named = ({ repository, manifestDigest }: PushedImage) => `${repository}@${manifestDigest}`;
const BASE = { "etc/os-release": "ID=one\n", "usr/share/doc/readme": "read me\n" };

test("one image under two names is identical, by another kind of manifest it is packed otherwise", async () => {
  const one = await push("one", [BASE, { "app/run": "1" }]);
  const same = await push("same", [BASE, { "app/run": "1" }]);
  expect(await diff(named(one), named(same))).toMatchObject({ code: 0, err: "", out: expect.stringContaining("identical: one and the same manifest") });
  const docker = await push("docker", [BASE, { "app/run": "1" }], "docker");
  expect(await diff(named(one), named(docker))).toMatchObject({ code: 0, out: expect.stringContaining("packed otherwise") });
});

test("the same entries in another order of tar are packed otherwise, and the layer is named", async () => {
  const one = await push("order", [BASE, { "app/a": "1", "app/b": "2" }]);
  const other = await push("reordered", [BASE, { "app/b": "2", "app/a": "1" }]);
  const { code, out } = await diff(named(one), named(other), "-o", "json");
  expect(code).toBe(0);
  expect(JSON.parse(out)).toMatchObject({ verdict: "repacked", sharedLayers: 1, repackedLayers: [2], files: [], configuration: [] });
});

test("each file that differs is named with its fields and the build step on either side", async () => {
  const one = await push("before", [BASE, { "app/run": "1", "app/old\u001b[2J": "x", "app/same": "s" }]);
  const other = await push("after", [BASE, { "app/run": "22", "app/new": "y", "app/same": "s" }]);
  const { code, out } = await diff(named(one), named(other));
  expect(code).toBe(1);
  expect(out).toContain("~ /app/run\n    sha256 ");
  expect(out).toContain("    size 1 → 2\n    by layer 2 (COPY app/run app/old\\x1b[2J app/same / # 1)");
  expect(out).toContain("+ /app/new\n    type file\n    mode 0644\n    owner 0:0\n    by layer 2");
  expect(out).toContain("- /app/old\\x1b[2J\n");
  expect(out).not.toContain("app/same\n");
  expect(out).not.toContain("\u001b");
  expect(out).toContain("different: 1 files changed, 1 added, 1 removed, 0 settings\n1 of 2 layers are shared from the lowest on");
  const json = JSON.parse((await diff(named(one), named(other), "-o", "json", "--limit", "1")).out);
  expect(json).toMatchObject({ verdict: "different", counts: { added: 1, removed: 1, changed: 1 }, filesLeftOut: 2 });
  expect(json.files).toHaveLength(1);
});

test("a later layer that puts a file back as it was leaves no difference", async () => {
  const one = await push("plain", [BASE]);
  const other = await push("detour", [BASE, { "etc/os-release": "ID=two\n" }, { "etc/os-release": "ID=one\n" }]);
  expect(JSON.parse((await diff(named(one), named(other), "-o", "json")).out)).toMatchObject({ verdict: "repacked", counts: { changed: 0 } });
});

test("an index wants a platform, what is not there cannot be told, and a wrong limit is usage", async () => {
  const index = await pushIndex(`${bed.registry?.host}/diff/index`, "1", ["amd64", "arm64"]);
  const reference = `${index.repository}@${index.digest}`;
  expect(await diff(reference, reference)).toMatchObject({ code: 2, out: "", err: expect.stringContaining("--platform os/arch") });
  expect(await diff(reference, reference, "--platform", "linux/arm64")).toMatchObject({ code: 0 });
  const [amd, arm] = index.images.map(named);
  const { code, out } = await diff(amd ?? "", arm ?? "");
  expect(code).toBe(1);
  expect(out).toContain("~ configuration  platform linux/amd64 → linux/arm64");
  expect(await diff(reference, `${index.repository}:none`, "--platform", "linux/amd64")).toMatchObject({ code: 3, out: "" });
  expect(await diff(reference, reference, "--limit", "-1")).toMatchObject({ code: 2 });
});
