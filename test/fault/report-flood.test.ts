/** Reports are written at most so many a round whatever the verdicts do, what is held back comes in a later one, and at rest nothing is asked. */
import type { ApiAnswer, ApiServer } from "@hullmark/daemon/api-server";
import { Verdict } from "@hullmark/proto/v1/common";
import { reporting } from "@hullmark/verifier/cluster-reports";
import type { VerifierConfig } from "@hullmark/verifier/config";
import { EventBus } from "@hullmark/verifier/core/fleet/events";
import type { WorkloadRow } from "@hullmark/verifier/ports/rows";
import pino from "pino";
import { afterEach, expect, test } from "vitest";

/** Of docs/kubernetes.md: 40 a minute. */
const WRITES_A_ROUND = 20;
const ROUND_MS = 30_000;
const REPORTS = "/apis/openreports.io/v1alpha1/";
const CONFIG = { kubernetes: { reports: { name: "hullmark", owner: "hullmark-reports" } } } as unknown as VerifierConfig;

const workload = (namespace: string, verdict: Verdict, openDrifts = 0): WorkloadRow =>
  ({
    ...{ containerName: `${namespace}/pod/web`, verdict, nodeId: "n1", containerId: namespace, workload: `${namespace}/web`, imageReference: "acme/web" },
    ...{ openDrifts, reasons: [] },
  }) as unknown as WorkloadRow;

/** What an API server holds of reports, by its paths; anything else that it is asked fails the test. */
class Reports {
  readonly standing = new Map<string, { summary: { fail: number; pass: number } }>();
  /** Method and path, of writes alone. */
  writes: string[] = [];
  calls = 0;
  /** Whether a write to this namespace is refused. */
  refuses: (namespace: string) => boolean = () => false;
  /** What a write to this namespace waits for before it fails, as where a webhook gives no answer. */
  hangs: (namespace: string) => Promise<void> | undefined = () => undefined;

  async get(path: string): Promise<ApiAnswer> {
    this.calls++;
    if (path.startsWith("/apis/rbac.authorization.k8s.io/v1/clusterroles/")) return { status: 200, body: { metadata: { uid: "1" } } };
    if (!path.startsWith(`${REPORTS}reports?`)) throw new Error(`asked for ${path}`);
    const items = [...this.standing.keys()].map((namespace) => ({ metadata: { name: "hullmark", namespace } }));
    return { status: 200, body: { metadata: {}, items } };
  }

  async patch(path: string, body: unknown): Promise<ApiAnswer> {
    return this.#write("PATCH", path, (namespace) => this.standing.set(namespace, body as never));
  }

  async delete(path: string): Promise<ApiAnswer> {
    return this.#write("DELETE", path, (namespace) => this.standing.delete(namespace));
  }

  async #write(method: string, path: string, take: (namespace: string) => void): Promise<ApiAnswer> {
    this.calls++;
    const [, namespace] = new RegExp(`^${REPORTS}namespaces/([^/]+)/reports/hullmark(?:\\?.*)?$`).exec(path) ?? [];
    if (namespace === undefined) throw new Error(`${method} of ${path}`);
    this.writes.push(`${method} ${namespace}`);
    const hanging = this.hangs(namespace);
    if (hanging) {
      await hanging;
      throw new DOMException("no answer", "TimeoutError");
    }
    if (this.refuses(namespace)) return { status: 403, body: { message: "no" } };
    take(namespace);
    return { status: 200, body: {} };
  }
}

let end: (() => Promise<void>) | undefined;
afterEach(async () => await end?.());

function start(api: Reports) {
  const rows = new Map<string, WorkloadRow>();
  const events = new EventBus();
  let waiting: { delayMs: number; run: () => void } | undefined;
  end = reporting(api as unknown as ApiServer, CONFIG, {
    events,
    store: { listWorkloads: async (_filter, { after }) => (after === "" ? [...rows.values()] : []) },
    nodes: () => [],
    policy: () => "p",
    clock: {
      nowMs: () => 0,
      after: (delayMs, run) => {
        waiting = { delayMs, run };
        return () => {};
      },
    },
    logger: pino({ enabled: false }),
  });
  return {
    judge: (namespaces: Iterable<string>, verdict: Verdict, openDrifts?: number): void => {
      const workloads = [...namespaces].map((namespace) => workload(namespace, verdict, openDrifts));
      for (const row of workloads) rows.set(row.containerId, row);
      events.publish({ workloads });
    },
    forget: (namespaces: Iterable<string>): void => {
      const removedWorkloads = [...namespaces].map((containerId) => ({ nodeId: "n1", containerId }));
      for (const { containerId } of removedWorkloads) rows.delete(containerId);
      events.publish({ removedWorkloads });
    },
    /** Lets a round's time pass. @returns what was written in it */
    round: async (): Promise<readonly string[]> => {
      const due = waiting;
      if (!due) throw new Error("no round is due");
      expect(due.delayMs).toBe(ROUND_MS);
      waiting = undefined;
      api.writes = [];
      due.run();
      await expect.poll(() => waiting !== undefined).toBe(true);
      return api.writes;
    },
  };
}

const NAMESPACES = Array.from({ length: 50 }, (_, i) => `team-${i}`);

test("of fifty namespaces whose verdicts change at once, twenty are written a round, each once, and then nothing is asked", async () => {
  const api = new Reports();
  const { judge, forget, round } = start(api);
  judge(NAMESPACES, Verdict.AFFIRMING);
  const written = [await round(), await round(), await round()];
  expect(written.map(({ length }) => length)).toEqual([WRITES_A_ROUND, WRITES_A_ROUND, 10]);
  expect(new Set(written.flat())).toEqual(new Set(NAMESPACES.map((namespace) => `PATCH ${namespace}`)));
  const { calls } = api;
  // Rows that come again for their times alone.
  judge(NAMESPACES, Verdict.AFFIRMING);
  expect(await round()).toEqual([]);
  expect(api.calls).toBe(calls);
  forget(NAMESPACES);
  const removed = [await round(), await round(), await round()];
  expect(removed.map(({ length }) => length)).toEqual([WRITES_A_ROUND, WRITES_A_ROUND, 10]);
  expect(api.standing.size).toBe(0);
});

test("while every verdict flaps, no round writes more, every namespace has its turn, and in the end each report says what is", async () => {
  const api = new Reports();
  const { judge, round } = start(api);
  const written: string[] = [];
  for (let i = 0; i < 10; i++) {
    for (let flap = 0; flap < 5; flap++) judge(NAMESPACES, flap % 2 === 0 ? Verdict.CONTRAINDICATED : Verdict.AFFIRMING, i);
    const now = await round();
    expect(now.length).toBe(WRITES_A_ROUND);
    written.push(...now);
  }
  // Two hundred writes of fifty: who comes first in a round may be one ahead.
  for (const namespace of NAMESPACES) expect(written.filter((each) => each === `PATCH ${namespace}`).length, namespace).toBeGreaterThanOrEqual(3);
  judge(NAMESPACES, Verdict.CONTRAINDICATED);
  while ((await round()).length > 0);
  expect([...api.standing.values()].map(({ summary }) => summary.fail)).toEqual(NAMESPACES.map(() => 1));
});

test("one workload that flaps is one write a round, however often", async () => {
  const api = new Reports();
  const { judge, round } = start(api);
  for (let i = 0; i < 3; i++) {
    for (let flap = 0; flap < 21; flap++) judge(["shop"], (flap + i) % 2 === 0 ? Verdict.CONTRAINDICATED : Verdict.AFFIRMING);
    expect(await round()).toEqual(["PATCH shop"]);
  }
});

test("an API server that refuses is asked for a few writes a round, and has all of them once it takes them", async () => {
  const api = new Reports();
  const { judge, round } = start(api);
  api.refuses = () => true;
  judge(NAMESPACES, Verdict.CONTRAINDICATED);
  for (let i = 0; i < 8; i++) expect((await round()).length).toBeLessThan(WRITES_A_ROUND);
  expect(api.standing.size).toBe(0);
  api.refuses = () => false;
  while ((await round()).length > 0);
  expect(api.standing.size).toBe(NAMESPACES.length);
});

test("a namespace that refuses its report, by a webhook or a quota, costs no other a round", async () => {
  const api = new Reports();
  const { judge, round } = start(api);
  api.refuses = (namespace) => namespace === "team-0";
  judge(NAMESPACES, Verdict.CONTRAINDICATED);
  for (let i = 0; i < 3; i++) await round();
  expect(new Set(api.standing.keys())).toEqual(new Set(NAMESPACES.slice(1)));
  // It is tried again and again, alone; what comes meanwhile goes first.
  expect(await round()).toEqual(["PATCH team-0"]);
  judge(["team-7"], Verdict.AFFIRMING);
  expect(await round()).toEqual(["PATCH team-7", "PATCH team-0"]);
});

test("while more namespaces refuse than a round writes, one whose verdict changes has its report in the next", async () => {
  const api = new Reports();
  const { judge, round } = start(api);
  api.refuses = (namespace) => namespace !== "team-49";
  judge(NAMESPACES, Verdict.CONTRAINDICATED);
  for (let i = 0; i < 8; i++) await round();
  const summary = () => api.standing.get("team-49")?.summary;
  expect(summary()).toMatchObject({ fail: 1 });
  judge(["team-49"], Verdict.AFFIRMING);
  expect((await round())[0]).toBe("PATCH team-49");
  expect(summary()).toMatchObject({ pass: 1 });
});

test("a namespace in which a write hangs holds up no other's", async () => {
  const api = new Reports();
  const { judge, round } = start(api);
  const gaveUp = Promise.withResolvers<void>();
  api.hangs = (namespace) => (namespace === "team-0" ? gaveUp.promise : undefined);
  judge(NAMESPACES.slice(0, WRITES_A_ROUND), Verdict.CONTRAINDICATED);
  const first = round();
  try {
    await expect.poll(() => api.standing.size, { timeout: 5000 }).toBe(WRITES_A_ROUND - 1);
  } finally {
    gaveUp.resolve();
    await first;
  }
});

test("namespaces that refuse have turns of their own while all others flap", async () => {
  const api = new Reports();
  const { judge, round } = start(api);
  api.refuses = (namespace) => namespace === "team-0";
  judge(NAMESPACES, Verdict.CONTRAINDICATED);
  for (let i = 0; i < 3; i++) await round();
  const others = NAMESPACES.slice(1);
  judge(others, Verdict.AFFIRMING);
  await round();
  api.refuses = () => false;
  judge(others, Verdict.CONTRAINDICATED);
  await round();
  expect(api.standing.has("team-0")).toBe(true);
});
