/** Running code from every place but the image's layers is drift of its own kind, and none where policy allows code from there. */
import { create } from "@bufbuild/protobuf";
import { CodePlace, CodeSetSchema } from "@hullmark/proto/v1/attestation";
import { expect, test } from "vitest";
import { appraiseCode } from "../../verifier/core/appraisal/appraise-code.ts";
import type { ContainerState, ReferenceImage } from "../../verifier/core/appraisal/types.ts";
import { UpperEntries } from "../../verifier/core/appraisal/upper-entries.ts";
import { defaultPolicy } from "../../verifier/core/policy/default.ts";
import { containerRules } from "../../verifier/core/policy/match.ts";

const EMPTY_IMAGE = { merged: () => undefined } as unknown as ReferenceImage;

function kinds(place: CodePlace, allowed: readonly "volume"[] = []): string[] {
  const policy = defaultPolicy();
  const rules = policy.rules.map((rule) => ({ ...rule, allow: { ...rule.allow, code: allowed } }));
  const subject = { imageReference: "i", containerName: "c", workload: "w", labels: {}, nodeName: "n" };
  const code = create(CodeSetSchema, { objects: [{ place, path: Buffer.from("/data/tool"), sha256: Buffer.alloc(32, 7), mainExecutable: true, pid: 1 }] });
  const state = { configuration: { mounts: [] }, code, upper: UpperEntries.EMPTY } as unknown as ContainerState;
  return appraiseCode(state, EMPTY_IMAGE, containerRules({ ...policy, rules }, subject)).findings.map(({ kind }) => kind);
}

test.each([
  [CodePlace.UPPER, "code-upper"],
  [CodePlace.VOLUME, "code-volume"],
  [CodePlace.TMPFS, "code-tmpfs"],
  [CodePlace.MEMFD, "code-memfd"],
  [CodePlace.DELETED, "code-deleted"],
  [CodePlace.UNKNOWN, "code-unknown"],
  [CodePlace.UNSPECIFIED, "code-unknown"],
  // Said to be of a layer, under a path that no layer has.
  [CodePlace.LAYER, "code-unknown"],
])("of place %i it is %s", (place, kind) => expect(kinds(place)).toEqual([kind]));

test("code from volumes is none where policy allows it, and that allows no other", () => {
  expect(kinds(CodePlace.VOLUME, ["volume"])).toEqual([]);
  expect(kinds(CodePlace.DELETED, ["volume"])).toEqual(["code-deleted"]);
});
