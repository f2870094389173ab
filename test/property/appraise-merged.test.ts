/** A container's one tree against the merged image: what the runtime makes is none of it, everything else that differs is told. */
import { create } from "@bufbuild/protobuf";
import { encodeRecord } from "@hullmark/proto/codec";
import { ContainerConfigurationSchema, FilesystemStateSchema } from "@hullmark/proto/v1/attestation";
import { appraiseMerged } from "@hullmark/verifier/core/appraisal/appraise-merged";
import type { ContainerInput, LayerFinding, ReferenceImage, TreeDifference } from "@hullmark/verifier/core/appraisal/types";
import { LayerTree, MergedTree, RuntimeMade } from "@hullmark/verifier/core/reference-value/index";
import { expect, test } from "vitest";
import { defaultPolicy } from "../../verifier/core/policy/default.ts";
import { containerRules } from "../../verifier/core/policy/match.ts";

const common = { uid: 0, gid: 0, xattrs: [] };
const file = (mode = 0o644, size = 1n): Buffer =>
  encodeRecord({
    type: "f",
    ...common,
    mode,
    size,
    sha256: size === 0n ? Buffer.from("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "hex") : Buffer.alloc(32, 1),
  });
const directory = (mode = 0o755): Buffer => encodeRecord({ type: "d", ...common, mode, opaque: false });

const image = MergedTree.of([
  LayerTree.build([{ path: Buffer.from("etc"), record: directory(), implied: false }]),
  LayerTree.build([
    { path: Buffer.from("etc"), record: directory(), implied: true },
    { path: Buffer.from("etc/conf"), record: file(), implied: false },
  ]),
]);
const reference = {
  merged: (path: Buffer) => image.get(path),
  runtimeMade: (path: Buffer, record: Buffer, _dialect: string, mountDestinations: readonly string[]) =>
    new RuntimeMade({ ofDocker: false, image, mountDestinations, volumes: [], workingDirectory: "" }).has(path, record),
} as unknown as ReferenceImage;

const differs = (path: string, expected: Buffer | undefined, observed: Buffer | undefined): TreeDifference => ({
  ...{ path: Buffer.from(path), expected, observed },
  ...{ actor: undefined, changedAtMs: undefined },
});

function told(finding: LayerFinding | undefined) {
  const subject = { imageReference: "i", containerName: "c", workload: "w", labels: {}, nodeName: "n" };
  const state = {
    configuration: create(ContainerConfigurationSchema, { mounts: [{ destination: "/mnt/volume", declared: true }] }),
    filesystem: create(FilesystemStateSchema, { dialect: "containerd" }),
  };
  const input = {
    state,
    layerFindings: new Map(finding && [["merged", finding]]),
    rules: containerRules(defaultPolicy(), subject),
  } as unknown as ContainerInput;
  const { findings, unknown } = appraiseMerged(input, reference);
  return { findings: findings.map(({ kind, path, layerIndex }) => `${kind} ${path.toString()} ${layerIndex}`), unknown: unknown.map(({ code }) => code) };
}
const differences = (...all: TreeDifference[]): LayerFinding => ({ kind: "differences", differences: all, truncated: false });

test("what the runtime makes to mount over is no drift, and is where it has another form", () => {
  const made = [differs("mnt", undefined, directory()), differs("mnt/volume", undefined, directory()), differs("etc/hosts", undefined, file(0o755, 0n))];
  expect(told(differences(...made, differs("proc", undefined, directory())))).toEqual({ findings: [], unknown: [] });
  expect(told(differences(differs("mnt", undefined, directory(0o777)))).findings).toEqual(["added /mnt -1"]);
  expect(told(differences(differs("etc/hosts", undefined, file(0o755)))).findings).toEqual(["added /etc/hosts -1"]);
});

test("of directories that were added the topmost is told, with every file, also below what the runtime made", () => {
  const added = [differs("a", undefined, directory()), differs("a/b", undefined, directory()), differs("a/b/c", undefined, file())];
  expect(told(differences(...added)).findings).toEqual(["added /a -1", "added /a/b/c -1"]);
  const below = [differs("mnt", undefined, directory()), differs("mnt/other", undefined, directory())];
  expect(told(differences(...below)).findings).toEqual(["added /mnt/other -1"]);
});

test("a file of the image names the layer that it is of, and none is told in a path that policy lets change", () => {
  expect(told(differences(differs("etc/conf", file(), file(0o600)), differs("etc/conf", file(), undefined))).findings).toEqual([
    "mode /etc/conf 1",
    "removed /etc/conf 1",
  ]);
  expect(told(differences(differs("tmp/x", undefined, file()))).findings).toEqual([]);
});

test("nothing is taken for good that was not compared to its end", () => {
  expect(told(undefined)).toEqual({ findings: [], unknown: ["layer-comparing"] });
  expect(told({ kind: "pending" })).toEqual({ findings: [], unknown: ["layer-comparing"] });
  expect(told({ kind: "differences", differences: [differs("tmp/x", undefined, file())], truncated: true })).toEqual({
    findings: [],
    unknown: ["many-findings"],
  });
  expect(told({ kind: "differences", differences: [], truncated: true })).toEqual({ findings: ["replaced  -1"], unknown: [] });
});
