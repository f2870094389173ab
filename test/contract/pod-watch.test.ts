/** Following the cluster's pods when the API server answers badly, ends its watches or forgets. On a real one: test/e2e/kubernetes. */
import { AnswerTooLarge, WatchRefused } from "@hullmark/daemon/api-server";
import { PodWatch } from "@hullmark/verifier/adapters/kubernetes/index";
import { expect, test, vi } from "vitest";
import { hurriedClock } from "../fakes/hurried-clock.ts";
import { podContainer } from "../fakes/pod-records.ts";

interface PodFields {
  readonly uid?: string;
  readonly mirrorOf?: string;
  readonly node?: string;
  readonly version?: number;
  /** A variable of the label `tier`, with this value. */
  readonly tier?: string;
}

const TIER = { name: "TIER", valueFrom: { fieldRef: { fieldPath: "metadata.labels['tier']" } } };
const pod = (name: string, { uid = `uid-${name}`, mirrorOf, node = "n1", version = 1, tier }: PodFields = {}) => ({
  metadata: {
    ...{ uid, name, namespace: "shop", resourceVersion: `${version}` },
    ...(tier === undefined ? {} : { labels: { tier } }),
    ...(mirrorOf === undefined ? {} : { annotations: { "kubernetes.io/config.mirror": mirrorOf } }),
  },
  spec: {
    nodeName: node,
    containers: [{ name: "web", ...(tier === undefined ? {} : { env: [TIER] }) }],
    initContainers: [{ name: "prepare" }],
    ephemeralContainers: [{ name: "look" }],
  },
});
const page = (version: number, items: readonly unknown[], next?: string) => ({
  status: 200,
  body: { metadata: { resourceVersion: `${version}`, ...(next === undefined ? {} : { continue: next }) }, items },
});
const event = (type: string, object: unknown) => ({ type, object });
const refused = (status: number) => new WatchRefused(status);
const bookmark = (version: number) => event("BOOKMARK", { metadata: { resourceVersion: `${version}` } });

interface Followed {
  readonly view: PodWatch;
  readonly asked: readonly string[];
  readonly problems: readonly string[];
  readonly pausesMs: readonly number[];
  readonly told: readonly string[][];
  /** As the view said of itself each time that something was told. */
  readonly followedMs: readonly (number | undefined)[];
}

/** Each list is answered by the next of `lists`, each watch by the next of `watches`; when they are used up it is stopped. One millisecond a call. */
async function follow(lists: readonly (object | Error)[], watches: readonly (readonly unknown[] | Error)[]): Promise<Followed> {
  const stop = new AbortController();
  const [gets, streams] = [[...lists], [...watches]];
  const [asked, problems, pausesMs, told] = [[] as string[], [] as string[], [] as number[], [] as string[][]];
  const followedMs: (number | undefined)[] = [];
  let nowMs = 1000;
  const end = () => {
    stop.abort();
    return new Error("ended");
  };
  const api = {
    async get(path: string) {
      asked.push(path);
      nowMs++;
      const next = gets.shift() ?? end();
      if (next instanceof Error) throw next;
      return next as { status: number; body: unknown };
    },
    async *watch(path: string, _signal: AbortSignal, begun: () => void) {
      asked.push(path);
      nowMs++;
      const next = streams.shift() ?? end();
      if (next instanceof Error) throw next;
      begun();
      yield* next;
    },
  };
  const clock = {
    nowMs: () => nowMs,
    after: (delayMs: number, run: () => void) => {
      pausesMs.push(delayMs);
      queueMicrotask(run);
      return () => {};
    },
  };
  const view = new PodWatch({ api, clock, onProblem: (error) => problems.push(String(error)) });
  view.onChange((uids) => {
    told.push([...uids].sort());
    followedMs.push(view.followedMs);
  });
  await view.run(stop.signal);
  return { view, asked, problems, pausesMs, told, followedMs };
}

test("pods are listed in pages, and followed from the list's version on", async () => {
  const { view, asked, told } = await follow(
    [page(7, [pod("a")], "more/1"), page(7, [pod("b")])],
    [[event("ADDED", pod("c", { version: 8 })), event("DELETED", pod("a", { version: 9 })), bookmark(20)], []],
  );
  expect(asked.map((path) => path.replace(/^\/api\/v1\/pods\?/, ""))).toEqual([
    "limit=100",
    "limit=100&continue=more%2F1",
    "watch=1&allowWatchBookmarks=true&timeoutSeconds=60&resourceVersion=7",
    "watch=1&allowWatchBookmarks=true&timeoutSeconds=60&resourceVersion=20",
    "watch=1&allowWatchBookmarks=true&timeoutSeconds=60&resourceVersion=20",
  ]);
  expect(told).toEqual([["uid-a", "uid-b"], ["uid-c"], ["uid-a"]]);
  expect([view.get("uid-a"), view.get("uid-b")?.name, view.get("uid-c")?.name]).toEqual([undefined, "b", "c"]);
  expect(view.get("uid-c")).toEqual({
    ...{ uid: "uid-c", namespace: "shop", name: "c", nodeName: "n1", running: [], ending: [], mirror: false },
    containers: [podContainer("web"), podContainer("prepare", { role: "init" }), podContainer("look", { role: "ephemeral" })],
    ...{ hostNamespaces: [], hostAliases: [], groups: [], fields: new Map(), madeMs: Number.NaN },
  });
});

test("a static pod is found by the kubelet's own uid, and never in the place of a pod that has that uid", async () => {
  const { view } = await follow(
    [page(7, [pod("fixed", { uid: "mirror-1", mirrorOf: "static" }), pod("real", { uid: "real" }), pod("liar", { uid: "liar", mirrorOf: "real" })])],
    [[event("DELETED", pod("fixed", { uid: "mirror-1", mirrorOf: "static" })), event("ADDED", pod("fixed", { uid: "mirror-2", mirrorOf: "static" }))]],
  );
  expect(view.get("static")).toMatchObject({ name: "fixed", mirror: true });
  expect(view.get("real")).toMatchObject({ name: "real", mirror: false });
  expect([view.get("mirror-1"), view.get("mirror-2"), view.get("liar")]).toEqual([undefined, undefined, undefined]);
});

test.each<[string, readonly unknown[] | Error]>([
  ["in the stream", [event("ERROR", { code: 410 })]],
  ["at once", refused(410)],
])("a version that is forgotten, said %s, is a reason to list again; what went meanwhile is told", async (_, forgotten) => {
  const { view, told, problems } = await follow([page(7, [pod("a"), pod("b")]), page(30, [pod("b"), pod("c", { version: 25 })])], [forgotten, []]);
  expect(told).toEqual([
    ["uid-a", "uid-b"],
    ["uid-a", "uid-c"],
  ]);
  expect(view.get("uid-a")).toBeUndefined();
  expect(problems).toHaveLength(1);
});

test("a broken watch is taken up where it was, without a list; pauses grow, and what was known stays with its age", async () => {
  const broken = new Error("reset");
  const { view, asked, pausesMs } = await follow([page(7, [pod("a")])], [broken, broken, broken, refused(503), broken, broken, broken]);
  expect(asked.filter((path) => path.includes("limit"))).toHaveLength(1);
  expect(pausesMs).toEqual([1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
  expect(view.get("uid-a")?.name).toBe("a");
  expect(view.heardMs).toBe(1000);
});

test("it is followed from where a watch has begun, over the end that was asked for, until one breaks or is refused", async () => {
  const added = (name: string, version: number) => event("ADDED", pod(name, { version }));
  const watches = [[added("b", 8)], [added("c", 9)], new Error("reset"), [added("d", 10)], refused(503), [added("e", 11)]];
  const { view, followedMs } = await follow([page(7, [pod("a")])], watches);
  expect(followedMs).toEqual([undefined, 1002, 1002, 1005, 1007]);
  expect(view.followedMs).toBeUndefined();
});

test("a list that fails says nothing; a page that is too large is asked for at once in smaller ones, and of a pod that is by itself people are told", async () => {
  const { view, asked, problems } = await follow([new AnswerTooLarge(), { status: 403, body: {} }, page(7, [{ kind: "Pod" }])], []);
  expect(view.heardMs).toBeUndefined();
  expect(asked.map((path) => path.replace(/^.*\?/, ""))).toEqual(["limit=100", "limit=50", "limit=50", "limit=50"]);
  expect(problems).toHaveLength(2);
  expect(problems[0]).toContain("403");
  const alone = await follow([...Array.from({ length: 7 }, () => new AnswerTooLarge()), page(7, [])], []);
  expect(alone.asked.flatMap((path) => /[?]limit=(\d+)/.exec(path)?.[1] ?? [])).toEqual(["100", "50", "25", "12", "6", "3", "1", "1"]);
  expect(alone.problems[0]).toContain("an answer of more than");
});

test("a list is asked for in small pages only where an answer was too large, and until one has come whole", async () => {
  const reset = new Error("connect ECONNREFUSED");
  const { asked } = await follow([reset, reset, new AnswerTooLarge(), page(7, [pod("a")], "more"), page(7, [pod("b")]), page(9, [])], [refused(410)]);
  const lists = asked.filter((path) => path.includes("limit"));
  expect(lists.map((path) => path.replace(/^.*\?/, ""))).toEqual(["limit=100", "limit=100", "limit=100", "limit=50", "limit=50&continue=more", "limit=100"]);
});

test("after it the next asks for twice as many, not for whole pages at once: large pods are large in the next list too", async () => {
  const large = new AnswerTooLarge();
  const lists = [large, large, large, page(7, [pod("a")]), page(8, []), page(9, []), page(10, []), page(11, [])];
  const { asked } = await follow(lists, [refused(410), refused(410), refused(410), refused(410)]);
  const limits = asked.filter((path) => path.includes("limit")).map((path) => Number(path.replace(/^.*limit=/, "")));
  expect(limits).toEqual([100, 50, 25, 12, 24, 48, 96, 100]);
});

test("a list that ends half way leaves what was known before", async () => {
  const { view } = await follow([page(7, [pod("a")]), page(9, [pod("b")], "more"), new Error("reset")], [refused(410)]);
  expect([view.get("uid-a")?.name, view.get("uid-b")]).toEqual(["a", undefined]);
});

test("a field has every value since the pod was made, if it was followed from there on without a gap", async () => {
  const valuesOf = async (lists: readonly object[], watches: readonly (readonly unknown[])[]) =>
    (await follow(lists, watches)).view.get("uid-a")?.fields.get("metadata.labels['tier']");
  const [made, changed] = [event("ADDED", pod("a", { tier: "gold", version: 8 })), event("MODIFIED", pod("a", { tier: "iron", version: 9 }))];
  expect(await valuesOf([page(7, [])], [[made, changed]])).toEqual(["gold", "iron"]);
  expect(await valuesOf([page(7, [pod("a", { tier: "gold" })])], [[changed]])).toBeUndefined();
  // Listed again: nothing happened to it meanwhile, or who knows what.
  const forgotten = event("ERROR", { code: 410 });
  const again = (version: number) => [page(7, []), page(30, [pod("a", { tier: "iron", version })])];
  expect(await valuesOf(again(9), [[made, changed, forgotten], []])).toEqual(["gold", "iron"]);
  expect(await valuesOf(again(11), [[made, changed, forgotten], []])).toBeUndefined();
  expect(await valuesOf([page(7, [])], [[made, event("DELETED", pod("a", { tier: "gold", version: 9 })), event("ADDED", pod("a", { tier: "tin" }))]])).toEqual([
    "tin",
  ]);
});

test.each(["watched", "listed again", "deleted"])("of a pod whose labels name another template, the one before is forgotten: %s", async (how) => {
  const stop = new AbortController();
  const of = (hash: string, version: number) => {
    const raw = pod("a", { version });
    const ownerReferences = [{ kind: "StatefulSet", name: "store", uid: "uid-store", controller: true }];
    return { ...raw, metadata: { ...raw.metadata, ownerReferences, labels: { "controller-revision-hash": hash } } };
  };
  const lists = [page(7, [of("one", 7)]), page(9, [of("two", 9)])];
  const changed = { watched: event("MODIFIED", of("two", 9)), "listed again": event("ERROR", {}), deleted: event("DELETED", of("two", 9)) }[how];
  const known = Promise.withResolvers<void>();
  const revision = {
    metadata: { uid: "any", ownerReferences: [{ uid: "uid-store", controller: true }] },
    data: { spec: { template: { spec: { containers: [{ name: "web" }] } } } },
  };
  const view = new PodWatch({
    api: {
      get: async (path: string) => (path.startsWith("/api/v1/pods?") ? (lists.shift() ?? page(9, [])) : { status: 200, body: revision }),
      async *watch() {
        await known.promise;
        yield changed;
        await new Promise((resolve) => stop.signal.addEventListener("abort", resolve));
      },
    },
    ...{ clock: hurriedClock(0), onProblem: () => {}, templates: true },
  });
  const running = view.run(stop.signal);
  const first = await vi.waitFor(() => view.get("uid-a") ?? expect.unreachable());
  await vi.waitFor(() => expect(view.templateOf(first)).toEqual(new Set(["web"])));
  known.resolve();
  await vi.waitFor(() => expect(view.templateOf(first)).toBeUndefined());
  stop.abort();
  await running;
});
