/** Policies of namespaces followed at an API server on a script: what is in force, what is told of each, what a restart knows. On a real one: test/e2e/kubernetes/chart.test.ts. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ApiServer } from "@hullmark/verifier/adapters/kubernetes/index";
import { keptTeams, tightening } from "@hullmark/verifier/cluster-teams";
import { parseConfig, type VerifierConfig } from "@hullmark/verifier/config";
import { PolicyHolder, type PolicySource } from "@hullmark/verifier/core/fleet/policy-holder";
import { parsePolicy } from "@hullmark/verifier/core/policy/index";
import { containerRules } from "@hullmark/verifier/core/policy/match";
import type { LogEntry } from "@hullmark/verifier/core/transparency/index";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

const POLICY = "apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: p }\nspec: { rules: [{ name: all, allow: { args: true, env: [A] } }] }\n";

interface Condition {
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration: number;
}

let home: string;
let config: VerifierConfig;
let policies: PolicyHolder;
let logged: LogEntry[];
let patched: { path: string; condition: Condition }[];
let asked: string[];
/** Paths of statuses that the API server does not take. */
let refuses: RegExp;
let lists: { status: number; body: unknown }[];
let tell: ((event: unknown) => void) | undefined;
let timers: Set<() => void>;
let end: (() => Promise<void>) | undefined;

const api = {
  get: async (path: string) => {
    asked.push(path);
    return lists.shift() ?? { status: 500, body: undefined };
  },
  patch: async (path: string, body: { status: { conditions: Condition[] } }) => {
    patched.push({ path, condition: body.status.conditions[0] as Condition });
    return { status: refuses.exec(path) ? 422 : 200, body: {} };
  },
  async *watch(path: string, signal: AbortSignal) {
    asked.push(path);
    for (;;)
      yield await new Promise<unknown>((resolve, reject) => {
        tell = resolve;
        signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      });
  },
} as unknown as ApiServer;

const clock = {
  nowMs: () => 0,
  after: (_: number, run: () => void) => {
    timers.add(run);
    return () => void timers.delete(run);
  },
};
const source: PolicySource = { load: () => parsePolicy(POLICY, "p"), watch: () => ({ [Symbol.asyncDispose]: async () => {} }) };
const object = (namespace: string, spec: object, generation = 1, conditions: readonly Condition[] = []) => ({
  metadata: { name: "hullmark", namespace, uid: `uid-${namespace}`, generation, creationTimestamp: "2026-11-26T00:00:00Z" },
  ...{ spec, status: { conditions } },
});
const listed = (...items: object[]) => ({ status: 200, body: { metadata: { resourceVersion: "7" }, items } });
const narrow = { rules: [{ name: "web", allow: { args: false } }] };

function restarted(): PolicyHolder {
  const holder = new PolicyHolder(source);
  holder.onChange(async (facts) => void logged.push(...facts(0)));
  return holder;
}
/** Whether a container of the namespace may be started with other arguments. */
const mayArgs = (namespace: string, holder = policies): boolean =>
  containerRules(holder.current, { imageReference: "i", containerName: `${namespace}/p/c`, workload: `${namespace}/w`, labels: {}, nodeName: "n" }).allow.args;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "hullmark-teams-"));
  config = parseConfig(
    `stateDirectory: ${home}\nkubernetes: { apiServer: 'https://localhost', policy: { namespace: hullmark, name: hullmark, teams: true } }`,
    "test",
  );
  [logged, patched, asked, lists, tell, timers, end] = [[], [], [], [], undefined, new Set(), undefined];
  policies = restarted();
  refuses = /^$/;
});
afterEach(async () => {
  await end?.();
  rmSync(home, { recursive: true });
});

/** A limit for machines that have other things to do. */
const soon = (holds: () => void): Promise<void> => vi.waitFor(holds, { timeout: 30_000, interval: 10 });

async function follow(...answers: { status: number; body: unknown }[]): Promise<void> {
  lists = answers;
  end = tightening(api, config, { policies, clock, logger: pino({ level: "silent" }) });
  await soon(() => expect(lists).toEqual([]));
}
const event = async (type: string, changed: object): Promise<void> => {
  await soon(() => expect(tell).toBeDefined());
  const next = tell;
  tell = undefined;
  next?.({ type, object: changed });
};

test("what is there counts in its namespace, is told so, and stands in the log; the cluster's own is none of them", async () => {
  await follow(listed(object("shop", narrow), object("loose", { alerts: {} }), object("hullmark", { intervals: { heartbeat: "7s" } })));
  await soon(() => expect(patched).toHaveLength(2));
  expect([mayArgs("shop"), mayArgs("loose"), mayArgs("other"), mayArgs("hullmark")]).toEqual([false, true, true, true]);
  expect(patched).toEqual([
    {
      path: "/apis/hullmark.dev/v1/namespaces/shop/attestationpolicies/hullmark/status",
      condition: expect.objectContaining({ status: "True", reason: "Good", message: "", observedGeneration: 1 }),
    },
    {
      path: "/apis/hullmark.dev/v1/namespaces/loose/attestationpolicies/hullmark/status",
      condition: expect.objectContaining({ status: "False", reason: "Refused", message: "spec.alerts: only the cluster's policy may say this" }),
    },
  ]);
  expect(logged.at(-1)).toMatchObject({ type: "policy", fields: { name: "p", namespaces: ["shop"] } });
  expect(asked[0]).toBe("/apis/hullmark.dev/v1/attestationpolicies?fieldSelector=metadata.name%3Dhullmark&limit=2");
});

test("what somebody writes into a status that is no status keeps nobody's policy from being in force", async () => {
  const said = { status: "True", reason: "Good", message: "", observedGeneration: 2 ** 63 };
  await follow(listed(object("mallory", narrow, 1, [said]), object("shop", narrow)));
  await soon(() => expect(patched).toHaveLength(2));
  expect([mayArgs("shop"), mayArgs("mallory")]).toEqual([false, false]);
  expect(patched.map(({ condition }) => condition)).toMatchObject([1, 1].map((observedGeneration) => ({ status: "True", observedGeneration })));
  // So it is of what changes later.
  await event("MODIFIED", object("mallory", narrow, 2, [said]));
  await event("MODIFIED", object("shop", { rules: [] }, 2));
  await soon(() => expect(mayArgs("shop")).toBe(true));
});

test("a status that the API server does not take keeps nobody else from being told, and nobody's changes from being followed", async () => {
  refuses = /namespaces\/mallory\//;
  await follow(listed(object("mallory", narrow), object("shop", narrow)));
  await soon(() => expect(patched.map(({ path }) => path.split("/")[5])).toEqual(["mallory", "shop"]));
  await event("MODIFIED", object("shop", { rules: [] }, 2));
  await soon(() => expect(mayArgs("shop")).toBe(true));
  // Asked for once, and watched since.
  expect(asked.filter((path) => path.includes("limit="))).toHaveLength(1);
});

test("what would loosen does nothing, and that is told with it", async () => {
  await follow(listed(object("shop", { rules: [{ name: "web", allow: { privileged: true, env: ["A", "LD_PRELOAD"] } }] })));
  await soon(() => expect(patched).toHaveLength(1));
  expect(patched[0]?.condition).toMatchObject({ status: "True", reason: "InPart" });
  expect(patched[0]?.condition.message.split("\n")).toEqual([
    "spec.rules[0].allow.privileged: has no effect: no rule of the cluster's policy allows it",
    `spec.rules[0].allow.env: "LD_PRELOAD" has no effect: no rule of the cluster's policy allows it`,
  ]);
});

test("with a mistake it is refused, and the one before stays in force, across restarts too", async () => {
  await follow(listed(object("shop", narrow)));
  await soon(() => expect(mayArgs("shop")).toBe(false));
  const bad = object("shop", { rules: [{ nonsense: 1 }] }, 2);
  await event("MODIFIED", bad);
  await soon(() => expect(patched.at(-1)?.condition).toMatchObject({ status: "False", observedGeneration: 2 }));
  expect(mayArgs("shop")).toBe(false);
  await end?.();
  policies = restarted();
  await keptTeams(config, policies);
  await follow(listed(bad));
  await soon(() => expect(patched).toHaveLength(3));
  expect(mayArgs("shop")).toBe(false);
});

test("it goes with its object, and comes with a new one", async () => {
  await follow(listed(object("shop", narrow)));
  await soon(() => expect(mayArgs("shop")).toBe(false));
  await event("DELETED", object("shop", narrow));
  await soon(() => expect(mayArgs("shop")).toBe(true));
  expect(logged.at(-1)?.fields).not.toHaveProperty("namespaces");
  await event("ADDED", object("next", narrow));
  await soon(() => expect(mayArgs("next")).toBe(false));
});

test("a restart while the API server is away loosens nothing", async () => {
  await follow(listed(object("shop", narrow)));
  await soon(() => expect(patched).toHaveLength(1));
  await end?.();
  policies = restarted();
  expect(mayArgs("shop")).toBe(true);
  await keptTeams(config, policies);
  expect(mayArgs("shop")).toBe(false);
  await follow({ status: 503, body: undefined });
  // The pause before it is asked again, and the look by the clock.
  await soon(() => expect(timers.size).toBe(2));
  const before = asked.length;
  for (const run of [...timers]) run();
  await soon(() => expect(asked.length).toBeGreaterThan(before));
  expect(mayArgs("shop")).toBe(false);
  expect(JSON.parse(readFileSync(join(home, "team-policies.json"), "utf8"))).toEqual([{ namespace: "shop", spec: narrow }]);
});

test("what is kept and cannot be read is told, not taken for none", async () => {
  writeFileSync(join(home, "team-policies.json"), "[{");
  await expect(keptTeams(config, policies)).rejects.toThrow();
});

test("a status that says so already is not written again", async () => {
  const said = { status: "True", reason: "Good", message: "", observedGeneration: 1 };
  await follow(listed(object("shop", narrow, 1, [said])));
  await soon(() => expect(mayArgs("shop")).toBe(false));
  await event("MODIFIED", object("shop", { rules: [] }, 2, [said]));
  await soon(() => expect(patched).toMatchObject([{ condition: { status: "True", observedGeneration: 2 } }]));
});
