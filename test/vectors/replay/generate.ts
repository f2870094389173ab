/**
 * Writes replay.json: layer tars and the roots that replay gives them in each dialect. Run it only when
 * test/integration/replay-engines.test.ts has just passed: what real engines extracted is what the vectors stand for.
 *
 *   node test/vectors/replay/generate.ts
 */
import { writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { type Dialect, DIALECT_VERSION } from "../../../verifier/core/reference-value/index.ts";
import { randomStack } from "../../fakes/random-layers.ts";
import { replayStack } from "../../fakes/replay-against.ts";
import { REPLAY_CASES } from "../../fakes/replay-cases.ts";

const RANDOM = 20;

function expected(layers: readonly Buffer[], dialect: Dialect): string[] | string {
  const trees = replayStack(layers, dialect);
  return "unextractable" in trees ? trees.unextractable.code : trees.map(({ root }) => root.toString("hex"));
}

const random = Array.from({ length: RANDOM }, (_, i) => randomStack(i + 1, 0.5, (layers) => !("unextractable" in replayStack(layers, "containerd"))));
const vectors = [...REPLAY_CASES, ...random].map(({ name, layers }) => ({
  name,
  layers: layers.map((layer) => gzipSync(layer, { level: 9 }).toString("base64")),
  docker: expected(layers, "docker"),
  containerd: expected(layers, "containerd"),
}));
const source = "test/fakes/replay-cases.ts and random-layers.ts, extracted by Docker 20.10.24 (overlay2, native diff) and containerd 1.6.20 (overlayfs) on Linux 6.18, ext4";
writeFileSync(new URL("replay.json", import.meta.url), `${JSON.stringify({ source, dialectVersions: DIALECT_VERSION, vectors }, null, 1)}\n`);
