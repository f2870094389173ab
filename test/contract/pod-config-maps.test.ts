/** ConfigMaps that variables come from: read by name when a container needs one, never more often than that, and believed only where they are older than the pod. On a real cluster: test/e2e/kubernetes. */
import { ConfigMaps } from "@hullmark/verifier/adapters/kubernetes/pod-config-maps";
import { readPod } from "@hullmark/verifier/adapters/kubernetes/pod-object";
import type { PodContainer, PodRecord } from "@hullmark/verifier/ports/pod-view";
import { expect, test, vi } from "vitest";
import { hurriedClock } from "../fakes/hurried-clock.ts";

type Answer = { readonly status: number; readonly body: unknown } | Error;

const [BEFORE, MADE, AFTER] = ["2026-11-01T09:00:00Z", "2026-11-01T10:00:00Z", "2026-11-01T11:00:00Z"];
const SETTINGS = "/api/v1/namespaces/shop/configmaps/settings";

function pod(name: string, container: object = { envFrom: [{ configMapRef: { name: "settings" } }] }, namespace = "shop"): PodRecord {
  return readPod({
    metadata: { uid: `uid-${name}`, namespace, name, resourceVersion: "1", creationTimestamp: MADE },
    spec: { containers: [{ name: "web", ...container }] },
  }).record;
}
const containerOf = ({ containers: [container] }: PodRecord): PodContainer => {
  if (!container) throw new Error("no container");
  return container;
};

/** @param times of who has set which key, last */
function configMap(data: Readonly<Record<string, string>>, times: Readonly<Record<string, string>>, made = BEFORE) {
  const managedFields = Object.entries(times).map(([key, time]) => ({ time, fieldsV1: { "f:data": { ".": {}, [`f:${key}`]: {} } } }));
  return { status: 200, body: { metadata: { creationTimestamp: made, managedFields }, data } };
}

/** @param answers one after the other, the last for ever */
function reading(...answers: readonly Answer[]) {
  const asked: { path: string; atMs: number }[] = [];
  const problems: string[] = [];
  const unread: unknown[] = [];
  const known: string[][] = [];
  const stop = new AbortController();
  const clock = hurriedClock(1_000_000);
  const configMaps = new ConfigMaps({
    api: {
      async get(path: string) {
        const answer = answers[Math.min(asked.length, answers.length - 1)];
        asked.push({ path, atMs: clock.nowMs() });
        if (answer instanceof Error || !answer) throw answer ?? new Error("none");
        return answer;
      },
    },
    clock,
    onProblem: (error) => {
      problems.push(String(error));
      setImmediate(() => unread.push(configMaps.unread));
    },
    onKnown: (uids) => known.push([...uids].sort()),
  });
  const running = configMaps.run(stop.signal);
  const of = (each: PodRecord, id = each.uid) =>
    Object.fromEntries([...configMaps.of(each, containerOf(each), id)].map(([name, all]) => [name, Object.fromEntries(all)]));
  const end = async (): Promise<void> => {
    stop.abort();
    await running;
  };
  return { configMaps, asked, problems, unread, known, of, end };
}

test("one is read once for all who wait for it, and again for who comes later, at most every ten seconds", async () => {
  const { asked, known, of, end } = reading(configMap({ COLOUR: "blue" }, { COLOUR: BEFORE }));
  const [a, b, c] = [pod("a"), pod("b"), pod("c")];
  expect([of(a), of(b)]).toEqual([{}, {}]);
  await vi.waitFor(() => expect(known).toEqual([["uid-a", "uid-b"]]));
  expect([of(a), of(b)]).toEqual([{ settings: { COLOUR: "blue" } }, { settings: { COLOUR: "blue" } }]);
  // A container of the same pod that is started again may have been given another.
  expect([of(c), of(a, "again")]).toEqual([{}, {}]);
  await vi.waitFor(() => expect(known).toHaveLength(2));
  expect(known[1]).toEqual(["uid-a", "uid-c"]);
  for (let i = 0; i < 100; i++) of(a);
  await end();
  expect(asked.map(({ path }) => path)).toEqual([SETTINGS, SETTINGS]);
  expect((asked[1]?.atMs ?? 0) - (asked[0]?.atMs ?? 0)).toBeGreaterThanOrEqual(10_000);
});

test("nothing is read for a container that has no variable of one", async () => {
  const { asked, of, end } = reading(configMap({}, {}));
  const none = pod("none", {
    env: [
      { name: "A", value: "1" },
      { name: "B", valueFrom: { secretKeyRef: { name: "settings", key: "COLOUR" } } },
    ],
    envFrom: [{ secretRef: { name: "settings" } }],
  });
  expect(of(none)).toEqual({});
  await new Promise((resolve) => setImmediate(resolve));
  await end();
  expect(asked).toEqual([]);
});

test.each<[string, object, boolean]>([
  ["set before the pod was made", configMap({ COLOUR: "blue", OTHER: "1" }, { COLOUR: BEFORE, OTHER: AFTER }), true],
  ["set after", configMap({ COLOUR: "blue" }, { COLOUR: AFTER }), false],
  ["set a minute before, when a kubelet may not have heard of it", configMap({ COLOUR: "blue" }, { COLOUR: "2026-11-01T09:59:00Z" }), false],
  ["set in the same second", configMap({ COLOUR: "blue" }, { COLOUR: MADE }), false],
  ["made in the same second", configMap({ COLOUR: "blue" }, { COLOUR: MADE }, MADE), true],
  ["made after", configMap({ COLOUR: "blue" }, { COLOUR: BEFORE }, AFTER), false],
  ["of nobody's", configMap({ COLOUR: "blue" }, {}), false],
  ["of which it is not said when", configMap({ COLOUR: "blue" }, { COLOUR: "" }), false],
  ["not there any more", configMap({}, { COLOUR: BEFORE }), false],
  ["in a ConfigMap that is not there any more", { status: 404, body: {} }, false],
  ["longer than variables are", configMap({ COLOUR: "b".repeat(65_536) }, { COLOUR: BEFORE }), false],
])("a key counts, or not: %s", async (_, answer, counts) => {
  const { known, of, end, problems } = reading(answer as Answer);
  const one = pod("a", { env: [{ name: "X", valueFrom: { configMapKeyRef: { name: "settings", key: "COLOUR" } } }] });
  of(one);
  await vi.waitFor(() => expect(known).toHaveLength(1));
  expect(of(one)["settings"] ?? {}).toEqual(counts ? { COLOUR: "blue" } : {});
  await end();
  expect(problems).toEqual([]);
});

test("what cannot be read is tried again later and later, and told without what is in it", async () => {
  const answers: Answer[] = [{ status: 403, body: {} }, new Error("reset"), { status: 200, body: { metadata: {}, data: { COLOUR: ["hunter2"] } } }];
  const { configMaps, asked, known, problems, unread, of, end } = reading(...answers, configMap({ COLOUR: "blue" }, { COLOUR: BEFORE }));
  of(pod("a"));
  await vi.waitFor(() => expect(known).toHaveLength(1));
  expect(unread).toEqual(
    ["answers 403 to get configmaps", "", "answers with something else than a ConfigMap"].map((said) => ({
      count: 1,
      problem: said === "" ? "reset" : `the API server ${said}`,
    })),
  );
  expect(configMaps.unread).toBeUndefined();
  await end();
  expect(problems.join()).toContain("403");
  expect(problems.join()).not.toContain("hunter2");
  const times = asked.map(({ atMs }) => atMs);
  const waits = times.slice(1).map((atMs, i) => atMs - (times[i] ?? 0));
  expect(waits).toEqual([...waits].sort((a, b) => a - b));
  expect(waits[0]).toBeGreaterThanOrEqual(2000);
});

test("a pod that goes is forgotten, and of one that starts over and over only so many containers are known", async () => {
  const { configMaps, asked, known, of, end } = reading(configMap({ COLOUR: "blue" }, { COLOUR: BEFORE }));
  const one = pod("a");
  for (let i = 0; i <= 64; i++) of(one, `container-${i}`);
  await vi.waitFor(() => expect(known).toHaveLength(1));
  expect(of(one, "container-64")).toEqual({ settings: { COLOUR: "blue" } });
  configMaps.remove(one);
  of(one, "container-64");
  configMaps.remove(one);
  for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
  await end();
  expect(asked).toHaveLength(1);
});

test("a namespace with names without end keeps no other waiting", async () => {
  const { asked, known, of, end } = reading({ status: 404, body: {} });
  of(pod("many", { envFrom: Array.from({ length: 50 }, (_, i) => ({ configMapRef: { name: `none-${i}`, optional: true } })) }));
  of(pod("other", undefined, "bank"));
  await vi.waitFor(() => expect(known.flat()).toContain("uid-other"));
  await end();
  expect(asked.findIndex(({ path }) => path.includes("/bank/"))).toBeLessThan(3);
});

test("a namespace takes no more than its share of the room, and what ended gives its own back", async () => {
  const { configMaps, known, of, end } = reading(configMap({ COLOUR: "b".repeat(60_000) }, { COLOUR: BEFORE }));
  const [shop, bank] = [Array.from({ length: 200 }, (_, i) => pod(`shop-${i}`)), pod("bank", undefined, "bank")];
  const isKnown = (each: PodRecord, id?: string): boolean => of(each, id)["settings"]?.["COLOUR"] !== undefined;
  for (const each of [...shop, bank]) of(each);
  await vi.waitFor(() => expect(known).toHaveLength(2));
  expect(shop.filter((each) => isKnown(each)).length).toBe(139);
  expect(isKnown(bank)).toBe(true);
  for (const each of shop) configMaps.remove(each);
  // One that starts over and over has the room of a few.
  for (let i = 0; i < 200; i++) of(bank, `again-${i}`);
  for (const each of shop.slice(0, 139)) of(each, "later");
  await vi.waitFor(() => expect(known.length).toBeGreaterThanOrEqual(4));
  expect(shop.slice(0, 139).every((each) => isKnown(each, "later"))).toBe(true);
  await end();
});
