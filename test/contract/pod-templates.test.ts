/** Templates that pods were made of: each read once, whatever the API server answers, and forgotten with the last pod. On a real one: test/e2e/kubernetes. */
import { readPod } from "@hullmark/verifier/adapters/kubernetes/pod-object";
import { PodTemplates } from "@hullmark/verifier/adapters/kubernetes/pod-templates";
import { expect, test, vi } from "vitest";
import { hurriedClock } from "../fakes/hurried-clock.ts";

const owner = (kind: string, name: string) => [{ kind, name, uid: `uid-${name}`, controller: true }];
const record = (name: string, ownerReferences: readonly object[], labels: object = {}) =>
  readPod({
    metadata: { uid: `uid-${name}`, namespace: "shop", name, resourceVersion: "1", ownerReferences, labels },
    spec: { containers: [{ name: "web" }] },
  }).record;
const ofReplicaSet = (name: string) => record(name, owner("ReplicaSet", "cart-5d8f"), { "pod-template-hash": "5d8f" });
const template = { spec: { containers: [{ name: "web" }], initContainers: [{ name: "prepare" }] } };
const REPLICA_SET = "/apis/apps/v1/namespaces/shop/replicasets/cart-5d8f";
const replicaSet = { status: 200, body: { metadata: { uid: "uid-cart-5d8f" }, spec: { template } } };

/** @param answers by path: one after the other, the last for ever */
function reading(answers: Readonly<Record<string, readonly ({ status: number; body: unknown } | Error)[]>>) {
  const asked: string[] = [];
  const problems: string[] = [];
  const known: string[][] = [];
  const stop = new AbortController();
  const clock = hurriedClock(0);
  const templates = new PodTemplates({
    api: {
      async get(path: string) {
        const all = answers[path] ?? [{ status: 404, body: {} }];
        const answer = all[Math.min(asked.filter((each) => each === path).length, all.length - 1)];
        asked.push(path);
        if (answer instanceof Error || !answer) throw answer ?? new Error("none");
        return answer;
      },
    },
    clock,
    onProblem: (error) => problems.push(String(error)),
    onKnown: (uids) => known.push([...uids].sort()),
  });
  const running = templates.run(stop.signal);
  const end = async (): Promise<void> => {
    stop.abort();
    await running;
  };
  return { templates, asked, problems, pausesMs: clock.pausesMs, known, end };
}

test("one is read once for all its pods, and told to those that waited", async () => {
  const { templates, asked, known, end } = reading({ [REPLICA_SET]: [replicaSet] });
  const [a, b] = [ofReplicaSet("a"), ofReplicaSet("b")];
  templates.add(a);
  templates.add(b);
  expect(templates.of(a)).toBe("pending");
  await vi.waitFor(() => expect(known).toEqual([["uid-a", "uid-b"]]));
  templates.add(ofReplicaSet("c"));
  expect(templates.of(ofReplicaSet("c"))).toEqual(new Set(["web", "prepare"]));
  await end();
  expect(asked).toEqual([REPLICA_SET]);
});

test("one is forgotten with its last pod", async () => {
  const { templates, asked, known, end } = reading({ [REPLICA_SET]: [replicaSet] });
  const pod = ofReplicaSet("a");
  templates.add(pod);
  await vi.waitFor(() => expect(known).toHaveLength(1));
  templates.remove(pod);
  expect(templates.of(pod)).toBeUndefined();
  templates.add(pod);
  await vi.waitFor(() => expect(known).toHaveLength(2));
  await end();
  expect(asked).toHaveLength(2);
});

test("whoever may change a pod may name a template at each change: the one before is forgotten, and only the last is asked for", async () => {
  const revision = (name: string) => record("store-0", owner("StatefulSet", "store"), { "controller-revision-hash": name });
  const { templates, asked, known, end } = reading({});
  const names = Array.from({ length: 50 }, (_, at) => `store-${at}`);
  let before = revision("store");
  templates.add(before);
  await vi.waitFor(() => expect(known).toHaveLength(1));
  for (const name of names) {
    const now = revision(name);
    templates.add(now, before);
    await Promise.resolve();
    expect(templates.of(before)).toBeUndefined();
    before = now;
  }
  expect(templates.of(before)).toBe("pending");
  await vi.waitFor(() => expect(known).toHaveLength(2));
  await end();
  expect(asked.map((path) => path.replace(/^.*\//, ""))).toEqual(["store", "store-49"]);
});

test("one whose pod changed in something else is not read again", async () => {
  const { templates, asked, known, end } = reading({ [REPLICA_SET]: [replicaSet] });
  const pod = ofReplicaSet("a");
  templates.add(pod);
  await vi.waitFor(() => expect(known).toHaveLength(1));
  templates.add(ofReplicaSet("a"), pod);
  expect(templates.of(pod)).toEqual(new Set(["web", "prepare"]));
  await end();
  expect(asked).toHaveLength(1);
});

test("those of StatefulSets and DaemonSets are what they keep of the pod's revision, of Jobs the Job", async () => {
  const revision = (uid: string) => ({
    status: 200,
    body: { metadata: { uid: "any", ownerReferences: [{ uid, controller: true }] }, data: { spec: { template } } },
  });
  const { templates, known, end } = reading({
    "/apis/apps/v1/namespaces/shop/controllerrevisions/store-7f": [revision("uid-store")],
    "/apis/apps/v1/namespaces/shop/controllerrevisions/each-9c": [revision("uid-each")],
    "/apis/batch/v1/namespaces/shop/jobs/once": [{ status: 200, body: { metadata: { uid: "uid-once" }, spec: { template } } }],
  });
  const pods = [
    record("store-0", owner("StatefulSet", "store"), { "controller-revision-hash": "store-7f" }),
    record("each-x", owner("DaemonSet", "each"), { "controller-revision-hash": "9c" }),
    record("once-x", owner("Job", "once")),
  ];
  for (const pod of pods) templates.add(pod);
  await vi.waitFor(() => expect(known).toHaveLength(3));
  await end();
  for (const pod of pods) expect(templates.of(pod)).toEqual(new Set(["web", "prepare"]));
});

test.each<[string, object]>([
  ["that is gone", { status: 404, body: {} }],
  ["of another owner by that name", { status: 200, body: { metadata: { uid: "other" }, spec: { template } } }],
])("one %s says nothing", async (_, answer) => {
  const { templates, known, end } = reading({ [REPLICA_SET]: [answer as typeof replicaSet] });
  templates.add(ofReplicaSet("a"));
  await vi.waitFor(() => expect(known).toEqual([["uid-a"]]));
  await end();
  expect(templates.of(ofReplicaSet("a"))).toBeUndefined();
});

test("nothing is taken for read while the API server refuses or answers nonsense: pauses grow, and what is asked after it is not held up", async () => {
  const broken = [new Error("reset"), { status: 403, body: {} }, { status: 200, body: { kind: "ReplicaSet" } }, replicaSet];
  const job = "/apis/batch/v1/namespaces/shop/jobs/once";
  const { templates, asked, problems, pausesMs, known, end } = reading({
    [REPLICA_SET]: broken,
    [job]: [{ status: 200, body: { metadata: { uid: "uid-once" }, spec: { template } } }],
  });
  templates.add(ofReplicaSet("a"));
  templates.add(record("once-x", owner("Job", "once")));
  await vi.waitFor(() => expect(known).toHaveLength(2));
  await end();
  expect(asked.slice(0, 2)).toEqual([REPLICA_SET, job]);
  expect(problems).toHaveLength(3);
  expect(problems[1]).toContain("403");
  expect(pausesMs).toEqual([1000, 1000, 1000, 1000, 3000]);
});

test("whoever makes pods of revisions that cannot be read holds up nobody else's: what is new goes first, and what failed comes again in its own time", async () => {
  const revisions = Array.from({ length: 50 }, (_, at) => `bad-${at}`);
  const nonsense = { status: 200, body: { metadata: { uid: "x" }, data: "nonsense" } };
  const path = (name: string): string => `/apis/apps/v1/namespaces/shop/controllerrevisions/${name}`;
  const answers = Object.fromEntries(revisions.map((name) => [path(name), [nonsense]]));
  const { templates, asked, problems, known, end } = reading({ ...answers, [REPLICA_SET]: [replicaSet] });
  for (const name of revisions) templates.add(record(`pod-${name}`, owner("StatefulSet", "bad"), { "controller-revision-hash": name }));
  await vi.waitFor(() => expect(problems.length).toBeGreaterThan(200));
  const before = asked.length;
  templates.add(ofReplicaSet("a"));
  await vi.waitFor(() => expect(known).toEqual([["uid-a"]]));
  await end();
  expect(asked.indexOf(REPLICA_SET) - before).toBeLessThanOrEqual(1);
  const times = revisions.map((name) => asked.filter((each) => each === path(name)).length);
  expect(Math.max(...times) - Math.min(...times)).toBeLessThanOrEqual(1);
});

test("a pod alone, and one of a ReplicaSet that anybody may change, have none", () => {
  for (const pod of [record("a", []), record("a", owner("ReplicaSet", "plain"))]) expect(pod.template).toBeUndefined();
});
