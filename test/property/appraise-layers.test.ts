import { expect, test } from "vitest";
import { appraiseLayers } from "../../verifier/core/appraisal/appraise-layers.ts";
import type { ContainerInput, ReferenceImage } from "../../verifier/core/appraisal/types.ts";

const root = Buffer.alloc(32, 7);
const reference = { layers: [{ diffId: "sha256:a", roots: new Map([["docker", root]]), history: "" }], runtimeLayerRoots: [] } as unknown as ReferenceImage;

function input(layers: number, claims: readonly string[]): ContainerInput {
  const filesystem = {
    layers: Array.from({ length: layers }, (_, i) => ({ id: `l${i}`, root, runtimeMade: false })),
    claims: claims.map((code) => ({ code, detail: "" })),
  };
  const rules = { severity: (_place: unknown, _kind: unknown, builtIn: unknown) => builtIn };
  return { state: { filesystem }, rules, layerFindings: new Map() } as unknown as ContainerInput;
}

test("too few layers are drift, unless the node says itself that it has not measured them: then another claim bars the verdict", () => {
  expect(appraiseLayers(input(0, []), reference).findings.map(({ kind }) => kind)).toEqual(["replaced"]);
  for (const code of ["measuring", "vanished", "unmeasurable"]) expect(appraiseLayers(input(0, [code]), reference).findings).toEqual([]);
});

test("too many layers are drift whatever the node claims", () => {
  expect(appraiseLayers(input(2, ["measuring"]), reference).findings.map(({ kind }) => kind)).toEqual(["replaced"]);
});

test("the image's own layers are none", () => {
  expect(appraiseLayers(input(1, []), reference)).toEqual({ findings: [], unknown: [] });
});
