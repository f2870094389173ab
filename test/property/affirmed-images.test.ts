/** What is noted of a service's images: every one under which it was affirming, and no other. */
import { Verdict } from "@hullmark/proto/v1/common";
import { podTargets } from "@hullmark/verifier/cluster-pods";
import { affirmedImages, affirmedRevisions, containerOfRevision, serviceOfContainer } from "@hullmark/verifier/core/fleet/affirmed-images";
import type { Images } from "@hullmark/verifier/core/images/types";
import { NO_ROLLBACK } from "@hullmark/verifier/core/response/rollback";
import type { Sessions } from "@hullmark/verifier/core/session/index";
import { earlierImages } from "@hullmark/verifier/earlier-images";
import type { WorkloadRow } from "@hullmark/verifier/ports/rows";
import type { Store } from "@hullmark/verifier/ports/store";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { T0, workload } from "../contract/store-fixtures.ts";
import { podContainer, podRecord } from "../fakes/pod-records.ts";

const digest = (n: number): string => `sha256:${String(n).repeat(64)}`;
const REPOSITORY = "registry.example:5000/shop";
const pinned = (n: number): string => `${REPOSITORY}@${digest(n)}`;
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

test("of a pod it is a container of a revision by the API server's word, and of nothing else", () => {
  const origin = { owner: { kind: "ReplicaSet", name: "cart-1", uid: "u" }, workload: "Deployment/cart", revision: "cart-1" } as const;
  const inRevision = containerOfRevision(podRecord({ origin }), "web");
  expect(inRevision).toEqual({ workload: "shop/Deployment/cart", revision: "cart-1", container: "web" });
  // A debugging container is of no revision.
  for (const [pod, name] of [
    [podRecord({ origin }), "look"],
    [podRecord({ origin }), "other"],
    [podRecord(), "web"],
    [undefined, "web"],
  ] as const)
    expect(containerOfRevision(pod, name)).toBeUndefined();
  const now = row(1, { service: undefined, inRevision });
  expect(affirmedRevisions(now, undefined, T0)).toEqual([
    { configDigest: digest(1), imageId: digest(1), reference: pinned(1), ...inRevision, affirmedAtMs: T0 },
  ]);
  expect(affirmedImages(now, undefined, T0)).toEqual([]);
  expect(affirmedRevisions(now, now, T0)).toEqual([]);
  expect(affirmedRevisions(row(1, { ...now, verdict: Verdict.CONTRAINDICATED }), undefined, T0)).toEqual([]);
  expect(affirmedRevisions(row(2, { ...now, configDigest: digest(2) }), now, T0)).toHaveLength(2);
});

describe("what a pod's workload could go back to", () => {
  const origin = { owner: { kind: "ReplicaSet", name: "cart-3", uid: "u-3" }, workload: "Deployment/cart", revision: "cart-3" } as const;
  const affirmed = (n: number, container = "web") => ({
    ...{
      workload: "shop/Deployment/cart",
      revision: `cart-${n}`,
      container,
      configDigest: digest(n),
      imageId: digest(n),
      reference: pinned(n),
      affirmedAtMs: T0 + n,
    },
  });
  /** @param statuses of images by their digests: what policy makes of them now */
  /** @param answers what is missing of an image whose registry is not waited for any more, by its digest */
  const ask = async (
    statuses: Readonly<Record<string, string>>,
    rows: readonly ReturnType<typeof affirmed>[],
    pod = podRecord({ origin }),
    answers: Readonly<Record<string, string>> = {},
  ) => {
    const identity = {
      name: "shop/cart/web",
      workload: "shop/cart",
      labels: {},
      runtime: "containerd",
      pod: { uid: "u1", namespace: "shop", name: "cart", container: "web" },
    };
    const live = { node: { name: "n1" }, memory: { containers: new Map([["c1", { identity, filesystem: { dialect: "containerd" } }]]) } };
    const images = {
      view: ({ configDigest, containerName }: { configDigest: string; containerName: string }) => ({
        ...{
          configDigest,
          lookingUp: statuses[configDigest] === "unknown" && !answers[configDigest],
          image: { missing: answers[configDigest] ?? "resolving" },
        },
        provenance: { status: statuses[configDigest], required: !containerName.endsWith("/side") },
      }),
    } as unknown as Images;
    const store = { readAffirmedRevisions: async (workload: string) => rows.filter((each) => each.workload === workload) } as unknown as Store;
    const sessions = { get: () => ({ live }) } as unknown as Sessions;
    const found = await earlierImages({ images, store, sessions, pods: { get: () => pod }, vulnerabilities: { all: () => [] } })("n1", "c1");
    return found?.rollout && { ...found.rollout, revisions: found.rollout.revisions.map(({ name, standing }) => `${name} ${standing}`) };
  };

  test("is every revision that was affirming, as policy has each of its images now", async () => {
    const statuses = { [digest(1)]: "revoked", [digest(2)]: "signed", [digest(4)]: "unknown" };
    expect(await ask(statuses, [affirmed(4), affirmed(2), affirmed(1)])).toEqual({
      ...{ owner: origin.owner, revision: "cart-3", container: "web" },
      revisions: ["cart-4 looking-up", "cart-2 verified", "cart-1 not-verified"],
    });
  });

  test("and says whether a registry has answered: what is deleted there is not verified, of what it is silent about nothing is known", async () => {
    const statuses = { [digest(2)]: "unknown", [digest(4)]: "unknown" };
    const answers = { [digest(2)]: "registry-unreachable", [digest(4)]: "no-reference" };
    expect((await ask(statuses, [affirmed(4), affirmed(2)], undefined, answers))?.revisions).toEqual(["cart-4 not-verified", "cart-2 unknown"]);
  });

  test("and with all of its containers: one that is not trusted is enough, one that no rule wants signed is none", async () => {
    const side = (n: number, of: number) => ({ ...affirmed(of, "side"), revision: `cart-${n}` });
    const signed = { [digest(1)]: "signed", [digest(5)]: "unsigned", [digest(6)]: "revoked" };
    expect((await ask(signed, [affirmed(1), side(1, 5)]))?.revisions).toEqual(["cart-1 verified"]);
    expect((await ask(signed, [affirmed(1), side(1, 6)]))?.revisions).toEqual(["cart-1 not-verified"]);
  });

  test("is nothing for a pod that nothing makes by revisions", async () => {
    expect(await ask({}, [affirmed(1)], podRecord())).toBeUndefined();
  });
});

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
    const images = { view: () => ({ configDigest: "" }) } as unknown as Images;
    return earlierImages({ sessions, store, images, vulnerabilities: { all: () => [] } })("n1", "c1");
  };
  const told = (containers: Record<string, unknown>) => ({ node: { name: "n" }, memory: { containers: new Map(Object.entries(containers)) } });
  expect(await ask(undefined)).toBeUndefined();
  expect(await ask(told({ c2: container("docker") }))).toBeUndefined();
  expect(await ask(told({ c1: container("docker") }))).toEqual(NO_ROLLBACK);
  expect(await ask(told({ c1: container("containerd") }))).toEqual(NO_ROLLBACK);
});

test("only the API server's own digest, which the verifier has looked up itself, bears out what a node says of a pod's image", () => {
  const told = { pod: { namespace: "shop", name: "cart", uid: "u1", container: "web" }, imageId: digest(1), repoDigests: [pinned(1), pinned(2)] };
  const kubernetes = { cluster: "prod" } as NonNullable<Parameters<typeof podTargets>[0]["kubernetes"]>;
  const named = (image: string, more: Partial<WorkloadRow> = {}, mirror = false) => {
    const pods = { get: () => podRecord({ mirror, containers: [podContainer("web", { image })], running: [{ name: "web", id: "c1", sinceMs: T0 }] }) };
    const found = podTargets(
      { kubernetes },
      () => told,
      pods,
    )(row(1, { containerName: "shop/cart/web", imageReference: `${REPOSITORY}:1`, manifestDigest: digest(3), pinnedReference: pinned(4), ...more }));
    return typeof found === "object" && found.named === true;
  };
  expect([named(`${REPOSITORY}@${digest(3)}`), named(`${REPOSITORY}:1@${digest(4)}`)]).toEqual([true, true]);
  expect(named(`nginx@${digest(3)}`, { imageReference: "docker.io/library/nginx:1", pinnedReference: `docker.io/library/nginx@${digest(3)}` })).toBe(true);
  // Under the name of another repository, which the node chose, it is unsigned, or by the wrong key, though it is the very same.
  const elsewhere = { imageReference: "r.example/anybody/web:1", pinnedReference: `r.example/anybody/web@${digest(3)}` };
  for (const more of [elsewhere, { imageReference: elsewhere.imageReference }, { pinnedReference: elsewhere.pinnedReference }])
    expect(named(`${REPOSITORY}@${digest(3)}`, more)).toBe(false);
  // By the node's word alone, by a tag, not looked up, of the node's own files.
  expect([named(pinned(1)), named(pinned(2)), named(`${REPOSITORY}:1`), named(""), named(`${REPOSITORY}@${digest(3)}`, {}, true)]).toEqual(
    Array(5).fill(false),
  );
  expect(named(`${REPOSITORY}@`, { manifestDigest: "", pinnedReference: "" })).toBe(false);
});

test("a pod is named to an actuator once the API server tells that this very container runs in it: sooner it would be refused", () => {
  const told = { pod: { namespace: "shop", name: "cart", uid: "u1", container: "web" }, imageId: digest(1), repoDigests: [pinned(1)] };
  const kubernetes = { cluster: "prod" } as NonNullable<Parameters<typeof podTargets>[0]["kubernetes"]>;
  const of = (running: readonly string[] | undefined, ending: readonly string[] = []) => {
    const pods = { get: () => running && podRecord({ running: running.map((id) => ({ name: "web", id, sinceMs: T0 })), ending }) };
    return podTargets({ kubernetes }, () => told, pods)(row(1, { containerName: "shop/cart/web" }));
  };
  expect(of(["c1"])).toMatchObject({ cluster: "prod", uid: "u1", container: "web", imageDigests: [digest(1)] });
  expect(of(["c1"])).not.toHaveProperty("ending");
  expect([of([]), of(["c0"]), of([], ["c0"])]).toEqual([undefined, undefined, undefined]);
  expect(of([], ["c1"])).toMatchObject({ uid: "u1", ending: true });
  // Of a pod that it does not know it says nothing.
  expect(of(undefined)).toMatchObject({ uid: "u1" });
  expect(podTargets({ kubernetes: undefined }, () => told)(row(1, { containerName: "shop/cart/web" }))).toBe("none");
});
