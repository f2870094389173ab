/** Containers joined with the API server's pods: what is told at once, what after a while, what never, and that silence never makes anything green. */
import type { ContainerIdentity } from "@hullmark/proto/v1/attestation";
import { readPod } from "@hullmark/verifier/adapters/kubernetes/pod-object";
import { PodJoin, type Told, unseenContainers } from "@hullmark/verifier/core/pods/index";
import type { PodConfigMaps, PodContainer, PodRecord, PodTemplateNames } from "@hullmark/verifier/ports/pod-view";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { podRecord as record } from "../fakes/pod-records.ts";

const GRACE_MS = 30_000;
const MAX_AGE_MS = 180_000;

class View {
  heardMs: number | undefined = 0;
  followedMs: number | undefined = 0;
  readonly pods = new Map<string, PodRecord>();
  template: PodTemplateNames;
  readonly configMaps: PodConfigMaps = new Map([["settings", new Map([["COLOUR", "blue"]])]]);
  /** Whose ConfigMaps were asked for. */
  readonly askedFor: string[] = [];

  constructor(...pods: readonly PodRecord[]) {
    for (const pod of pods) this.pods.set(pod.uid, pod);
  }
  all(): Iterable<PodRecord> {
    return this.pods.values();
  }
  get(uid: string): PodRecord | undefined {
    return this.pods.get(uid);
  }
  templateOf(): PodTemplateNames {
    return this.template;
  }
  configMapsOf(pod: PodRecord, container: PodContainer, containerId: string): PodConfigMaps {
    this.askedFor.push(`${pod.name}/${container.name} ${containerId}`);
    return this.configMaps;
  }
  onChange(): void {}
}

const join = (view: View): PodJoin => new PodJoin(view, { graceMs: GRACE_MS, maxAgeMs: MAX_AGE_MS });

const identity = (container = "web", uid = "u1", name = "cart", id = `${uid}-${container}`): ContainerIdentity =>
  ({ id, pod: { namespace: "shop", name, uid, container, ownerKind: "", ownerName: "" } }) as unknown as ContainerIdentity;

const said = (joined: PodJoin, each: ContainerIdentity, nowMs: number): string | undefined => {
  const standing = joined.standing(each, "n1", nowMs);
  if (!standing) return undefined;
  return standing.kind === "unknown" ? standing.code : standing.kind === "contradicted" ? standing.drift : `specified ${standing.container?.role ?? "sandbox"}`;
};

describe("a container of a pod", () => {
  test("stands in its specification, or is the sandbox", () => {
    const joined = join(new View(record()));
    expect(["web", "look", ""].map((name) => said(joined, identity(name), 0))).toEqual(["specified container", "specified ephemeral", "specified sandbox"]);
  });

  test("is told with the ConfigMaps of its variables, which are asked for no container that the API server does not have on this node", () => {
    const view = new View(record());
    const joined = join(view);
    expect(joined.standing(identity(), "n1", 0)).toMatchObject({ kind: "specified", configMaps: view.configMaps });
    for (const each of [identity("miner"), identity(""), identity("web", "u2"), identity("web", "u1", "other")]) joined.standing(each, "n1", 0);
    joined.standing(identity(), "n2", 0);
    expect(view.askedFor).toEqual(["cart/web u1-web"]);
  });

  test("what is no container of a pod is not judged by pods", () => {
    expect(said(join(new View()), { id: "x" } as ContainerIdentity, 0)).toBeUndefined();
  });

  test.each<[string, View, ContainerIdentity, string, string]>([
    ["no pod has its uid", new View(), identity(), "no-pod", "none"],
    ["the uid is another pod's", new View(record()), identity("web", "u1", "other"), "no-pod", "that uid is of shop/cart"],
    ["the pod is another node's", new View(record({ nodeName: "n2" })), identity(), "no-pod", "scheduled to n2"],
    ["the pod is on no node", new View(record({ nodeName: "" })), identity(), "no-pod", "not scheduled to any node"],
    ["the specification has none of that name", new View(record()), identity("miner"), "injected-container", "miner"],
  ])("is drift where %s, after the time that both may take", (_, view, each, drift, observed) => {
    const joined = join(view);
    expect(said(joined, each, 0)).toBe("pod-pending");
    expect(said(joined, each, GRACE_MS - 1)).toBe("pod-pending");
    expect(said(joined, each, GRACE_MS)).toBe(drift);
    expect(joined.standing(each, "n1", GRACE_MS + 1)).toMatchObject({ observed });
  });

  test("that comes before its pod, or stays after it for a moment, is no drift", () => {
    const view = new View();
    const joined = join(view);
    expect(said(joined, identity(), 0)).toBe("pod-pending");
    view.pods.set("u1", record());
    expect(said(joined, identity(), GRACE_MS - 1)).toBe("specified container");
    view.pods.delete("u1");
    expect(said(joined, identity(), GRACE_MS + 5)).toBe("pod-pending");
    expect(said(joined, identity(), 2 * GRACE_MS + 5)).toBe("no-pod");
  });
});

describe("an API server that is away", () => {
  test("leaves what is known for a while, then nothing, and never what was found", () => {
    const view = new View(record());
    const joined = join(view);
    const miner = identity("miner");
    said(joined, miner, 0);
    expect([said(joined, identity(), GRACE_MS), said(joined, miner, GRACE_MS)]).toEqual(["specified container", "injected-container"]);
    expect(said(joined, identity(), MAX_AGE_MS)).toBe("specified container");
    expect([said(joined, identity(), MAX_AGE_MS + 1), said(joined, miner, MAX_AGE_MS + 1)]).toEqual(["pods-stale", "injected-container"]);
    // A container that starts meanwhile is not drift for that the API server could not tell of its pod.
    const late = identity("web", "u2");
    expect([said(joined, late, MAX_AGE_MS + 2), said(joined, late, MAX_AGE_MS + 2 + 2 * GRACE_MS)]).toEqual(["pods-stale", "pods-stale"]);
    view.heardMs = 2 * MAX_AGE_MS;
    expect(said(joined, late, 2 * MAX_AGE_MS)).toBe("pod-pending");
  });

  test("has not told of the pods that were made since it is not followed: time begins once it is again", () => {
    const view = new View();
    const joined = join(view);
    const [before, late] = [identity(), identity("web", "u2")];
    joined.due(0);
    expect(said(joined, before, 0)).toBe("pod-pending");
    view.followedMs = undefined;
    expect([said(joined, before, 2 * GRACE_MS), said(joined, late, 2 * GRACE_MS)]).toEqual(["pod-pending", "pod-pending"]);
    expect(joined.due(3 * GRACE_MS)).toEqual([]);
    view.followedMs = 3 * GRACE_MS;
    expect([said(joined, before, 4 * GRACE_MS - 1), said(joined, late, 4 * GRACE_MS - 1)]).toEqual(["pod-pending", "pod-pending"]);
    expect(joined.due(4 * GRACE_MS)).toEqual([before.id, late.id]);
    expect(said(joined, before, 4 * GRACE_MS)).toBe("no-pod");
    view.pods.set("u2", record({ uid: "u2" }));
    expect(said(joined, late, 4 * GRACE_MS)).toBe("specified container");
    // What was told stands, whatever the API server does.
    view.followedMs = undefined;
    expect(said(joined, before, 5 * GRACE_MS)).toBe("no-pod");
  });

  test("that never answered says nothing at all", () => {
    const view = new View(record());
    view.heardMs = undefined;
    expect(said(join(view), identity(), 0)).toBe("pods-stale");
  });
});

test("time alone: exactly those are due whose standing would differ", () => {
  const uid = fc.constantFrom("u1", "u2", "u3");
  const step = fc.oneof(
    fc.record({ kind: fc.constant("judge" as const), uid, container: fc.constantFrom("web", "miner", "") }),
    fc.record({ kind: fc.constant("pass" as const), ms: fc.constantFrom(1, 1_000, GRACE_MS - 1, GRACE_MS, MAX_AGE_MS) }),
    fc.record({ kind: fc.constant("hear" as const), pods: fc.subarray(["u1", "u2"]) }),
    fc.record({ kind: fc.constant("break" as const) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const view = new View();
      const joined = join(view);
      const shown = new Map<string, [ContainerIdentity, string | undefined]>();
      let nowMs = 0;
      const judge = (each: ContainerIdentity): void => void shown.set(each.id, [each, said(joined, each, nowMs)]);
      for (const each of steps) {
        if (each.kind === "judge") judge(identity(each.container, each.uid));
        else if (each.kind === "pass") nowMs += each.ms;
        else if (each.kind === "break") view.followedMs = undefined;
        else {
          const changed = new Set(["u1", "u2"].filter((name) => view.pods.has(name) !== each.pods.includes(name)));
          for (const name of changed) each.pods.includes(name) ? view.pods.set(name, record({ uid: name })) : view.pods.delete(name);
          view.heardMs = nowMs;
          view.followedMs ??= nowMs;
          for (const id of joined.ofPods(changed)) judge((shown.get(id) as [ContainerIdentity, string])[0]);
        }
        for (const id of joined.due(nowMs)) judge((shown.get(id) as [ContainerIdentity, string])[0]);
        // Asking again, as the appraisal of everything does, changes nothing that is shown.
        for (const [id, [asked, before]] of shown) expect([id, said(joined, asked, nowMs)]).toEqual([id, before]);
        const known = view.heardMs !== undefined && nowMs - view.heardMs <= MAX_AGE_MS;
        if (!known) for (const [, [, standing]] of shown) expect(standing).not.toMatch(/^specified/);
      }
    }),
    { numRuns: 300 },
  );
});

describe("what runs by the API server's word", () => {
  const running = (id: string, sinceMs = 0) => ({ name: `c-${id}`, id, sinceMs });
  const told = (nodes: Readonly<Record<string, Told>>) => (nodeName: string) => nodes[nodeName];
  const names = (pods: readonly PodRecord[], nodes: Readonly<Record<string, Told>>, untilMs = 10) =>
    unseenContainers(pods, told(nodes), untilMs).map(({ name, nodeName, agent }) => `${name} ${nodeName} ${agent}`);

  test("is told of by its node's agent, or else unseen", () => {
    const pod = record({ running: [running("a"), running("b")] });
    expect(names([pod], { n1: new Set(["a", "b"]) })).toEqual([]);
    expect(names([pod], { n1: new Set(["b", "x"]) })).toEqual(["shop/cart/c-a n1 true"]);
    expect(names([pod], {})).toEqual(["shop/cart/c-a n1 false", "shop/cart/c-b n1 false"]);
    // Another node's agent is no witness.
    expect(names([pod], { n1: new Set(), n2: new Set(["a", "b"]) })).toHaveLength(2);
  });

  test("is not missed where the agent is away, nor before it had time to tell", () => {
    expect(names([record({ running: [running("a")] })], { n1: "away" })).toEqual([]);
    expect(names([record({ running: [running("a", 10), running("b", 9)] })], {})).toEqual(["shop/cart/c-b n1 false"]);
    expect(names([record()], {})).toEqual([]);
  });

  test("is read out of every kind of status, but not of a pod that is being deleted", () => {
    const status = (kind: string, state: object, containerID = "containerd://abc") => ({ [kind]: [{ name: "web", containerID, state }] });
    const whole = (more: object, metadata: object = {}) =>
      readPod({ metadata: { uid: "u", namespace: "shop", name: "cart", resourceVersion: "1", ...metadata }, spec: {}, ...more }).record;
    const read = (more: object, metadata?: object) => whole(more, metadata).running;
    const runs = { running: { startedAt: "2026-11-26T00:00:00Z" } };
    for (const kind of ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"])
      expect(read({ status: status(kind, runs) })).toEqual([{ name: "web", id: "abc", sinceMs: Date.parse("2026-11-26T00:00:00Z") }]);
    expect(read({ status: status("containerStatuses", { waiting: {} }) })).toEqual([]);
    expect(read({ status: status("containerStatuses", { terminated: { exitCode: 0 } }) })).toEqual([]);
    expect(read({ status: status("containerStatuses", runs, "") })).toEqual([]);
    const [running, deleted] = [{ status: status("containerStatuses", runs) }, { deletionTimestamp: "2026-11-26T00:00:00Z" }];
    expect([read(running, deleted), whole(running, deleted).ending, whole(running).ending]).toEqual([[], ["abc"], []]);
    expect(read({})).toEqual([]);
  });
});
