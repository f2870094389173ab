import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { DIALECT_VERSION } from "../../verifier/core/reference-value/index.ts";
import { replayStack } from "../fakes/replay-against.ts";

interface Vectors {
  readonly dialectVersions: typeof DIALECT_VERSION;
  readonly vectors: readonly { readonly name: string; readonly layers: readonly string[]; readonly docker: readonly string[] | string; readonly containerd: readonly string[] | string }[];
}
const { dialectVersions, vectors } = JSON.parse(readFileSync(new URL("replay/replay.json", import.meta.url), "utf8")) as Vectors;

describe("roots that real engines' layer directories have", () => {
  it("were taken with the present dialect versions", () => expect(dialectVersions).toEqual(DIALECT_VERSION));

  it.each(vectors.map((vector) => [vector.name, vector] as const))("%s", (_, vector) => {
    const layers = vector.layers.map((layer) => gunzipSync(Buffer.from(layer, "base64")));
    for (const dialect of ["docker", "containerd"] as const) {
      const trees = replayStack(layers, dialect);
      expect("unextractable" in trees ? trees.unextractable.code : trees.map(({ root }) => root.toString("hex"))).toEqual(vector[dialect]);
    }
  });
});
