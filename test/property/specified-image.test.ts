/** Which name of an image decides on a container: the node's runtime may know several of one configuration, and its pod's specification asks for one. */
import { create } from "@bufbuild/protobuf";
import { ContainerIdentitySchema } from "@hullmark/proto/v1/attestation";
import { asSpecified, type PodStanding } from "@hullmark/verifier/core/pods/index";
import { describe, expect, test } from "vitest";
import { podContainer, podRecord } from "../fakes/pod-records.ts";

const [ONE, TWO] = ["1", "2"].map((digit) => `sha256:${digit.repeat(64)}`);
const NAMES = [`registry.example/acme/one@${ONE}`, `registry.example/acme/two@${TWO}`, `docker.io/library/nginx@${ONE}`];

const identity = (imageReference: string, repoDigests = NAMES) => create(ContainerIdentitySchema, { id: "c1", imageReference, repoDigests });
const specified = (image: string): PodStanding => ({ kind: "specified", pod: podRecord(), container: podContainer("web", { image }), template: undefined });

describe("a container of which its node tells the first name that its image has", () => {
  const told = "registry.example/acme/one:1";
  test.each<[string, string, string]>([
    ["another of its names", "registry.example/acme/two:1", "registry.example/acme/two:1"],
    ["another of its names and the digest that is told of it", NAMES[1] ?? "", NAMES[1] ?? ""],
    ["another tag of the same name", "registry.example/acme/one:2", "registry.example/acme/one:2"],
    ["one of its names and the digest of another", `registry.example/acme/two@${ONE}`, told],
    ["a name that it does not have there", "registry.example/acme/three:1", told],
    ["what is no name", "registry.example/acme/UPPER CASE", told],
    ["nothing", "", told],
    ["the same", told, told],
  ])("where its pod's specification asks for %s", (_, asked, decides) => {
    expect(asSpecified(identity(told), specified(asked)).imageReference).toBe(decides);
  });

  test("is told by the node's own writing of the name that was asked for", () => {
    expect(asSpecified(identity("docker.io/library/nginx:latest"), specified("nginx")).imageReference).toBe("docker.io/library/nginx:latest");
  });

  test("is judged by what the API server said last while that is too old, and by the node's word where none is known", () => {
    const last = specified("registry.example/acme/two:1");
    const at = (standing: PodStanding | undefined) => asSpecified(identity(told), standing).imageReference;
    expect(at({ kind: "unknown", code: "pods-stale", detail: "", last })).toBe("registry.example/acme/two:1");
    expect([at(undefined), at({ kind: "unknown", code: "pod-pending", detail: "" })]).toEqual([told, told]);
  });

  test("is the same object for the same answer: what was compiled for it is found again", () => {
    const one = identity(told);
    expect(asSpecified(one, specified(told))).toBe(one);
    const renamed = asSpecified(one, specified("registry.example/acme/two:1"));
    expect(asSpecified(one, specified("registry.example/acme/two:1"))).toBe(renamed);
    expect(renamed).toEqual({ ...one, imageReference: "registry.example/acme/two:1" });
  });
});
