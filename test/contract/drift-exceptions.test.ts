/** DriftExceptions followed at an API server on a script: what is in force, what is told of each, and when it ends. On a real one: test/e2e/kubernetes/chart.test.ts. */
import { AnswerTooLarge } from "@hullmark/daemon/api-server";
import type { ApiServer } from "@hullmark/verifier/adapters/kubernetes/index";
import { excepting } from "@hullmark/verifier/cluster-exceptions";
import { parseConfig } from "@hullmark/verifier/config";
import { AlertBook } from "@hullmark/verifier/core/alerting/index";
import type { Draft } from "@hullmark/verifier/core/fleet/committer";
import { PolicyHolder, type PolicySource } from "@hullmark/verifier/core/fleet/policy-holder";
import { parsePolicy } from "@hullmark/verifier/core/policy/index";
import type { LogEntry } from "@hullmark/verifier/core/transparency/index";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { webhookRoute } from "../fakes/alert-subjects.ts";

const POLICY = "apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: p }\nspec: { exceptions: { classes: [data] } }\n";
const CONFIG = parseConfig("stateDirectory: /nowhere\nkubernetes: { apiServer: 'https://localhost', exceptions: true }", "test");
const EXPIRES_MS = Date.parse("2026-12-01T00:00:00Z");

interface Patch {
  readonly path: string;
  readonly condition: { readonly status: string; readonly reason: string; readonly observedGeneration: number };
}

type Answer = { readonly status: number; readonly body: unknown } | Error;

let nowMs: number;
let timers: Map<() => void, number>;
let patched: Patch[];
let logged: LogEntry[];
let events: ((event: unknown) => void)[];
let lists: Answer[];
let asked: string[];
let end: (() => Promise<void>) | undefined;
/** How a change of the status at this path ends: 200 as a rule. */
let answer: (path: string) => number | Promise<number>;

const clock = {
  nowMs: () => nowMs,
  after: (delayMs: number, run: () => void) => {
    timers.set(run, nowMs + delayMs);
    return () => void timers.delete(run);
  },
};
/** Lets time pass, and what is due happen. */
async function pass(ms: number): Promise<void> {
  nowMs += ms;
  for (const [run, atMs] of [...timers]) {
    if (atMs > nowMs) continue;
    timers.delete(run);
    run();
  }
  await settle();
}
const settle = () => new Promise((resolve) => setTimeout(resolve, 20));

const api = {
  get: async (path: string) => {
    asked.push(path);
    const answer = lists.shift() ?? { status: 500, body: undefined };
    if (answer instanceof Error) throw answer;
    return answer;
  },
  patch: async (path: string, body: { status: { conditions: Patch["condition"][] } }) => {
    patched.push({ path, condition: body.status.conditions[0] as Patch["condition"] });
    return { status: await answer(path), body: {} };
  },
  async *watch(_: string, signal: AbortSignal) {
    for (;;) {
      const event = await new Promise<unknown>((resolve, reject) => {
        events.push(resolve);
        signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      });
      yield event;
    }
  },
} as unknown as ApiServer;

const exception = (name: string, spec: object = {}, generation = 1, namespace = "shop") => ({
  metadata: { name, namespace, uid: `uid-${name}`, generation, creationTimestamp: "2026-11-26T00:00:00Z" },
  spec: { workload: "cart", paths: ["/etc/app.conf"], expires: "2026-12-01T00:00:00Z", reason: "INC-1", ...spec },
});
const of = (namespace: string, name: string, made = "2026-11-26T00:00:00Z", spec: object = {}) => {
  const one = exception(name, spec);
  return { ...one, metadata: { ...one.metadata, namespace, uid: `uid-${namespace}-${name}`, creationTimestamp: made } };
};
const listed = (...items: object[]) => page(items);
const page = (items: object[], next?: string) => ({ status: 200, body: { metadata: { resourceVersion: "7", ...(next && { continue: next }) }, items } });

let policies: PolicyHolder;
let book: AlertBook;
/** What people were told, in order. */
let told: { readonly status: string; readonly summary: string; readonly nextCommand: string; readonly description: string }[];
/** As the verifier's own tells them. */
const committer = {
  submit: async ({ subjects = [] }: Draft) => {
    const plan = book.plan(subjects, [webhookRoute({ groupBy: [], match: { namespaces: ["shop"], nodes: [], pools: [], kinds: [], nodeRules: [] } })], nowMs);
    book.apply(plan);
    told.push(...plan.commit.notifications.flatMap(({ alerts }) => alerts));
    return { commit: {}, firstLogIndex: 0 };
  },
};
beforeEach(() => {
  nowMs = Date.parse("2026-11-26T00:00:00Z");
  [timers, patched, logged, events, lists, asked, end] = [new Map(), [], [], [], [], [], undefined];
  answer = () => 200;
  const source: PolicySource = { load: () => parsePolicy(POLICY, "p"), watch: () => ({ [Symbol.asyncDispose]: async () => {} }) };
  policies = new PolicyHolder(source);
  [book, told] = [new AlertBook(), []];
  policies.onChange(async (facts) => void logged.push(...facts(nowMs)));
});
afterEach(() => end?.());

async function follow(...answers: Answer[]): Promise<void> {
  lists = answers;
  await start(CONFIG);
}
async function start(config: typeof CONFIG): Promise<void> {
  end = excepting(api, config, { policies, committer, book, clock, logger: pino({ level: "silent" }) });
  await settle();
}
const inForce = (): readonly string[] => policies.current.exceptions.map(({ name }) => name);

test("what is there counts at once, is told so, and stands in the log; what is not allowed is told why", async () => {
  await follow(listed(exception("good"), exception("code", { class: "any" }), exception("wide", { paths: ["/etc/**"] })));
  expect(inForce()).toEqual(["exception shop/good"]);
  expect(patched).toMatchObject([
    { path: "/apis/hullmark.dev/v1/namespaces/shop/driftexceptions/good/status", condition: { status: "True", reason: "Good", observedGeneration: 1 } },
    { condition: { status: "False", reason: "NotAllowed" } },
    { condition: { status: "False", reason: "Refused" } },
  ]);
  expect(logged).toMatchObject([{ type: "policy", fields: { name: "p", exceptions: ["exception shop/good"] } }]);
});

test("no namespace's crowd out another's: in force or not, listed or made while they are followed", async () => {
  const many = Array.from({ length: 300 }, (_, at) => of("aaa", `a${at}`, at < 10 ? "2026-11-26T01:00:00Z" : undefined));
  const refused = Array.from({ length: 300 }, (_, at) => of("bbb", `b${at}`, undefined, { class: "any" }));
  await follow(page(many, "1"), page(refused, "2"), page([of("shop", "good")]));
  expect(asked[2]).toMatch(/limit=100&continue=2$/);
  expect(inForce()).toContain("exception shop/good");
  const ofMany = Array.from({ length: 32 }, (_, at) => `exception aaa/a${at + 10}`);
  expect(inForce().filter((name) => name.startsWith("exception aaa/"))).toEqual(ofMany);
  expect(patched.find(({ path }) => path.includes("/aaa/driftexceptions/a0/"))?.condition).toMatchObject({ status: "False", reason: "TooMany" });
  events.shift()?.({ type: "ADDED", object: of("zoo", "late") });
  await settle();
  expect(inForce()).toContain("exception zoo/late");
  // A place that is free again is the next one's.
  events.shift()?.({ type: "DELETED", object: of("aaa", "a10") });
  await settle();
  expect(inForce().filter((name) => name.startsWith("exception aaa/"))).toEqual([...ofMany.slice(1), "exception aaa/a42"]);
});

test("each is told once, though the watch tells of what was written one by one", async () => {
  await follow(listed(exception("a"), exception("b"), exception("c")));
  expect(patched).toHaveLength(3);
  nowMs += 2_000;
  events.shift()?.({ type: "MODIFIED", object: { ...exception("a"), status: { conditions: [patched[0]?.condition] } } });
  await settle();
  expect(patched).toHaveLength(3);
});

test("of all so many count, in turns over namespaces", async () => {
  const all = Array.from({ length: 40 }, (_, team) => Array.from({ length: 20 }, (_, at) => of(`team-${team}`, `x${at}`))).flat();
  await follow(page([...all, of("zoo", "last", "2026-11-26T05:00:00Z")]));
  expect(inForce()).toHaveLength(256);
  expect(inForce()).toContain("exception zoo/last");
});

test("an answer that is too large is asked for in parts", async () => {
  await follow(new AnswerTooLarge(), new AnswerTooLarge(), page([of("aaa", "large")], "1"), page([of("shop", "good")]));
  expect(asked.map((path) => path.replace(/^.*\?/, ""))).toEqual(["limit=100", "limit=50", "limit=25", "limit=25&continue=1"]);
  expect(inForce()).toEqual(["exception aaa/large", "exception shop/good"]);
});

test("it ends by itself on its day, and is told so once", async () => {
  await follow(listed(exception("good")));
  patched = [];
  const said = { ...exception("good"), status: { conditions: [{ status: "True", reason: "Good", message: "", observedGeneration: 1 }] } };
  events.shift()?.({ type: "MODIFIED", object: said });
  await settle();
  expect(patched).toEqual([]);
  await pass(EXPIRES_MS - nowMs - 1000);
  expect(inForce()).toEqual(["exception shop/good"]);
  await pass(11_000);
  expect(inForce()).toEqual([]);
  expect(patched).toMatchObject([{ condition: { status: "False", reason: "Expired" } }]);
  expect(logged.at(-1)?.fields).not.toHaveProperty("exceptions");
});

test("it goes with its object, and comes with a new one", async () => {
  await follow(listed(exception("good")));
  events.shift()?.({ type: "DELETED", object: exception("good") });
  await settle();
  expect(inForce()).toEqual([]);
  events.shift()?.({ type: "ADDED", object: exception("next") });
  await settle();
  expect(inForce()).toEqual(["exception shop/next"]);
});

test("while the API server cannot be reached nothing new counts, and what was known stays", async () => {
  await follow({ status: 500, body: undefined }, listed(exception("good")));
  expect(inForce()).toEqual([]);
  await pass(6_000);
  expect(inForce()).toEqual(["exception shop/good"]);
});

test("people are reminded once before it ends, over a restart too, and told when it has; what is short-lived or does not count reminds nobody", async () => {
  const short = exception("short", { expires: "2026-11-26T20:00:00Z", workload: "other" });
  await follow(listed(exception("good"), short, exception("code", { class: "any" })));
  await pass(EXPIRES_MS - nowMs - 30 * 3_600_000 - 1000);
  expect(told).toEqual([]);
  await pass(11_000);
  expect(told).toMatchObject([
    {
      status: "firing",
      summary: "MEDIUM shop/cart: /etc/app.conf is excused for a short time only",
      nextCommand: "kubectl --namespace shop describe driftexception good",
      description: expect.stringMatching(
        /^What {3}DriftException good in shop ends at 2026-12-01T00:00:00.000Z, and what it lets differ is drift again: \/etc\/app.conf \(INC-1\)\nSince /,
      ),
    },
  ]);
  await end?.();
  await follow(listed(exception("good")));
  await pass(11_000);
  expect(told).toHaveLength(1);
  await pass(EXPIRES_MS - nowMs);
  await pass(11_000);
  expect(told.map(({ status }) => status)).toEqual(["firing", "resolved"]);
});

test("that it ends soon is over where it was taken away, or lasts longer now", async () => {
  await follow(listed(exception("good"), exception("next", { workload: "web" })));
  await pass(EXPIRES_MS - nowMs - 3_600_000);
  await pass(11_000);
  expect(told.map(({ status }) => status)).toEqual(["firing", "firing"]);
  events.shift()?.({ type: "DELETED", object: exception("good") });
  await settle();
  events.shift()?.({ type: "MODIFIED", object: exception("next", { workload: "web", expires: "2026-12-20T00:00:00Z" }, 2) });
  await settle();
  expect(told.map(({ status }) => status)).toEqual(["firing", "firing", "resolved", "resolved"]);
});

test("where exceptions are switched off, what people were reminded of is over", async () => {
  await follow(listed(exception("good")));
  await pass(EXPIRES_MS - nowMs - 3_600_000);
  await pass(11_000);
  await end?.();
  await start(parseConfig("stateDirectory: /nowhere\nkubernetes: { apiServer: 'https://localhost' }", "test"));
  expect(told.map(({ status }) => status)).toEqual(["firing", "resolved"]);
});

test("a namespace whose webhook gives no answer, or fails, keeps nobody's exceptions from counting and from being told so", async () => {
  const hanging = Promise.withResolvers<number>();
  answer = (path) => (path.includes("/mallory/") ? hanging.promise : path.includes("/quota/") ? 500 : 200);
  const told = () => patched.map(({ path }) => path.split("/")[5]);
  await follow(listed(exception("m", {}, 1, "mallory"), exception("q", {}, 1, "quota"), exception("good")));
  expect(told()).toEqual(["mallory", "quota", "shop"]);
  events.shift()?.({ type: "ADDED", object: exception("next", {}, 1, "late") });
  await settle();
  expect(inForce()).toContain("exception late/next");
  hanging.reject(new Error("no answer"));
  await settle();
  // Both are tried again after all others.
  expect(told().slice(3)).toEqual(["late", "mallory", "quota"]);
});

test("of more namespaces that refuse than are asked at a time each has its turn: one that takes it at last is told", async () => {
  const refusing = Array.from({ length: 30 }, (_, at) => `quota-${at}`);
  answer = () => 500;
  await follow(listed(...refusing.map((namespace) => of(namespace, "x"))));
  for (let look = 0; look < 4; look++) await pass(11_000);
  const turns = () => patched.map(({ path }) => path.split("/")[5]);
  expect(new Set(turns())).toEqual(new Set(refusing));
  patched = [];
  answer = (path) => (path.includes("/quota-29/") ? 200 : 500);
  for (let look = 0; look < 4; look++) await pass(11_000);
  expect(turns().filter((namespace) => namespace === "quota-29")).toHaveLength(1);
  expect(new Set(turns())).toEqual(new Set(refusing));
});

test("what was written into a status comes back by the watch, and has nobody judged anew; what somebody else writes into one is put right within ten seconds", async () => {
  await follow(listed(exception("a"), exception("b")));
  const judging = vi.spyOn(policies, "except");
  for (const name of ["a", "b"]) {
    events.shift()?.({ type: "MODIFIED", object: { ...exception(name), status: { conditions: [patched[0]?.condition] } } });
    await settle();
  }
  const other = { status: "False", reason: "Never", message: "", observedGeneration: 1 };
  events.shift()?.({ type: "MODIFIED", object: { ...exception("b"), status: { conditions: [other] } } });
  await settle();
  expect(judging).not.toHaveBeenCalled();
  expect(patched).toHaveLength(2);
  await pass(11_000);
  expect(patched.slice(2)).toMatchObject([{ path: expect.stringContaining("/driftexceptions/b/"), condition: { status: "True", reason: "Good" } }]);
  events.shift()?.({ type: "MODIFIED", object: exception("a", { expires: "2026-11-27T00:00:00Z", paths: ["/etc/**"] }, 2) });
  await settle();
  expect(inForce()).toEqual(["exception shop/b"]);
});

test("what comes while others are judged is judged with what else has come, all at once", async () => {
  await follow(listed(exception("a")));
  const judging = vi.spyOn(policies, "except");
  const taken = Promise.withResolvers<void>();
  policies.onChange(async () => await taken.promise);
  const names = Array.from({ length: 30 }, (_, at) => `late-${at}`);
  for (const name of names) {
    events.shift()?.({ type: "ADDED", object: exception(name) });
    await new Promise(setImmediate);
  }
  taken.resolve();
  await settle();
  expect(inForce()).toEqual(["a", ...names].map((name) => `exception shop/${name}`));
  expect(judging.mock.calls.length).toBeLessThanOrEqual(2);
});
