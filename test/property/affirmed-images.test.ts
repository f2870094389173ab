/** What is noted of a service's images: every one under which it was affirming, and no other. */
import { Verdict } from "@hullmark/proto/v1/common";
import { affirmedImages, serviceOfContainer } from "@hullmark/verifier/core/fleet/affirmed-images";
import type { Images } from "@hullmark/verifier/core/images/types";
import { NO_ROLLBACK } from "@hullmark/verifier/core/response/rollback";
import type { Sessions } from "@hullmark/verifier/core/session/index";
import { earlierImages } from "@hullmark/verifier/earlier-images";
import type { WorkloadRow } from "@hullmark/verifier/ports/rows";
import type { Store } from "@hullmark/verifier/ports/store";
import fc from "fast-check";
import { expect, test } from "vitest";
import { T0, workload } from "../contract/store-fixtures.ts";

const digest = (n: number): string => `sha256:${String(n).repeat(64)}`;
const pinned = (n: number): string => `registry.example:5000/shop@${digest(n)}`;
const row = (n: number, more: Partial<WorkloadRow> = {}): WorkloadRow =>
  workload("n1", "c1", { configDigest: digest(n), imageId: digest(n), pinnedReference: pinned(n), ...more });

test("any course of verdicts and images: what was affirming is noted, what was not is not", () => {
  const verdict = fc.constantFrom(Verdict.AFFIRMING, Verdict.WARNING, Verdict.CONTRAINDICATED, Verdict.UNKNOWN);
  fc.assert(
    fc.property(fc.array(fc.record({ n: fc.integer({ min: 1, max: 3 }), verdict }), { maxLength: 20 }), (course) => {
      const noted = new Map<string, number>();
      let before: WorkloadRow | undefined;
      for (const [i, each] of course.entries()) {
        const now = row(each.n, { verdict: each.verdict });
        for (const image of affirmedImages(now, before, T0 + i)) noted.set(image.reference, image.affirmedAtMs);
        before = now;
      }
      const affirming = course.filter((each) => each.verdict === Verdict.AFFIRMING);
      expect(new Set(noted.keys())).toEqual(new Set(affirming.map(({ n }) => pinned(n))));
    }),
  );
});

test.each<[string, Partial<WorkloadRow>]>([
  ["of no service", { service: undefined }],
  ["of an image that is not resolved", { pinnedReference: "" }],
  ["of an image that the runtime names by no digest", { imageId: "web:1" }],
  ["of an image by tag", { pinnedReference: "registry.example:5000/shop:1" }],
])("nothing is noted %s", (_name, more) => expect(affirmedImages(row(1, more), undefined, T0)).toEqual([]));

test("a service is what the labels say, on Docker hosts; of two Compose projects it is two", () => {
  const of = (runtime: string, labels: Record<string, string>, name = "web") => serviceOfContainer({ runtime, workload: name, labels });
  expect(of("docker", {})).toBe("web");
  expect(of("docker", { "com.docker.compose.project": "shop" })).toBe("shop/web");
  expect(of("docker", { "com.docker.compose.project": "other" })).toBe("other/web");
  expect(of("containerd", {})).toBeUndefined();
  expect(of("docker", {}, "")).toBeUndefined();
});

test("where a service could go back to is not known while its node is away, or has not told of the container: that is not nowhere", async () => {
  const container = (runtime: string) => ({ identity: { name: "web", workload: "web", labels: {}, runtime }, filesystem: { dialect: "docker" } });
  const ask = (live: unknown) => {
    const sessions = { get: () => live && { live } } as unknown as Sessions;
    const store = { readAffirmedImages: async () => [] } as unknown as Store;
    return earlierImages({ sessions, store, images: {} as unknown as Images })("n1", "c1");
  };
  const told = (containers: Record<string, unknown>) => ({ node: { name: "n" }, memory: { containers: new Map(Object.entries(containers)) } });
  expect(await ask(undefined)).toBeUndefined();
  expect(await ask(told({ c2: container("docker") }))).toBeUndefined();
  expect(await ask(told({ c1: container("docker") }))).toEqual(NO_ROLLBACK);
  expect(await ask(told({ c1: container("containerd") }))).toEqual(NO_ROLLBACK);
});
