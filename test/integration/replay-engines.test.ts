import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { run } from "../../deploy/testbed/run.ts";
import { type LayerTree, MergedTree } from "../../verifier/core/reference-value/index.ts";
import { busyboxLayer, debianLayer } from "../fakes/debian-layers.ts";
import { containerdExtractor, dockerExtractor, type LayerExtractor } from "../fakes/engine-layers.ts";
import { randomStack } from "../fakes/random-layers.ts";
import { disagreements, replayStack } from "../fakes/replay-against.ts";
import { REPLAY_CASES, type ReplayCase } from "../fakes/replay-cases.ts";
import { directory, file, opaque, symlink, tar, whiteout } from "../fakes/tar-writer.ts";

const RANDOM_STACKS = Number(process.env["HULLMARK_REPLAY_STACKS"] ?? 20);
const SEED = Number(process.env["HULLMARK_REPLAY_SEED"] ?? 1);

const WALKER = fileURLToPath(new URL("../fakes/walk-overlay.ts", import.meta.url));

let bed: Testbed;
const engines: { docker: LayerExtractor | undefined; containerd: LayerExtractor | undefined } = { docker: undefined, containerd: undefined };

beforeAll(async () => {
  bed = await startTestbed({ name: "replay", parts: { engine: true } });
  if (!bed.engine || !bed.containerd) throw new Error("no engine");
  engines.docker = dockerExtractor(bed.engine);
  engines.containerd = containerdExtractor(bed.containerd);
});
afterAll(() => bed?.down());

for (const dialect of ["docker", "containerd"] as const) {
  /** Counted so that the suite fails when the corpus shrinks or everything is refused. */
  const counts = { layers: 0, refused: 0 };
  const compare = async ({ name, layers }: ReplayCase): Promise<void> => {
    const extracted = await (engines[dialect] as LayerExtractor).extract(layers, name);
    if ("refused" in extracted) counts.refused++;
    else counts.layers += extracted.directories.length;
    expect(disagreements(layers, dialect, extracted)).toEqual([]);
  };

  describe(`layers extracted by ${dialect} have exactly the replayed records`, () => {
    it.concurrent.each(REPLAY_CASES.map((each) => [each.name, each] as const))("%s", (_, each) => compare(each), 60_000);

    it.concurrent.each(Array.from({ length: RANDOM_STACKS }, (_, i) => SEED + i))(
      "random stack of seed %i",
      (seed) => compare(randomStack(seed, (seed % 4) / 3, (layers) => !("unextractable" in replayStack(layers, dialect)))),
      60_000,
    );

    it("a Debian base with layers on it", async () => {
      const onTop = tar(
        file("etc/motd", "hello\n"),
        whiteout("etc/debian_version"),
        opaque("usr/share/doc"),
        file("usr/local/bin/x/y", "z", { mode: 0o4755 }),
        directory("srv", 0o1777),
      );
      await compare({ name: "debian", layers: [await debianLayer(), onTop, tar(symlink("bin/mysh", "sh"), file("var/run/nested/pid", "1"))] });
    }, 400_000);

    it("busybox", () => compare({ name: "busybox", layers: [busyboxLayer(), tar(file("etc/passwd", "root:x:0:0::/:/bin/sh\n"))] }));

    it("and there were enough of them", () => {
      expect(counts.layers).toBeGreaterThan(150);
      expect(counts.refused).toBeGreaterThan(20);
    });
  });
}

describe("the merged view is what the kernel mounts", () => {
  const stacks = [
    ...REPLAY_CASES,
    ...Array.from({ length: RANDOM_STACKS }, (_, i) => randomStack(SEED + i, 0.2, (layers) => !("unextractable" in replayStack(layers, "docker")))),
  ];
  const mountable = stacks.filter(({ layers }) => layers.length > 1 && !("unextractable" in replayStack(layers, "docker")));

  it.concurrent.each(mountable.map((each) => [each.name, each] as const))(
    "%s",
    async (name, { layers }) => {
      const extracted = await (engines.docker as LayerExtractor).extract(layers, `merged-${name}`);
      if ("refused" in extracted) throw new Error(extracted.refused);
      const mountPoint = mkdtempSync(join(bed.directory, "merged-"));
      const lower = extracted.directories.toReversed().join(":");
      const printed = await run(["unshare", "--mount", process.execPath, WALKER, lower, mountPoint]);
      const seen = new Map(JSON.parse(printed) as [string, string][]);
      const merged = MergedTree.of(replayStack(layers, "docker") as LayerTree[]);
      expect(new Map([...merged.entries()].map(({ path, record }) => [path.toString("hex"), record.toString("hex")]))).toEqual(seen);
    },
    60_000,
  );
});
