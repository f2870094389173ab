/** Of several actuators one acts: by a Lease of Kubernetes, in virtual time. */
import { DURATION_MS, type Lease, Lease as LeaseClient, LeaseLost } from "@hullmark/actuator/adapters/kubernetes/lease";
import type { ApiAnswer } from "@hullmark/daemon/api-server";
import { beforeEach, describe, expect, test } from "vitest";

const PATH = "/apis/coordination.k8s.io/v1/namespaces/hullmark/leases";

/** An API server with room for one Lease. */
class LeaseServer {
  spec: Record<string, unknown> | undefined = {};
  version = 1;
  away = false;
  readonly patches: { spec: { holderIdentity: string } }[] = [];

  async get(path: string): Promise<ApiAnswer> {
    this.#reach();
    expect(path).toBe(`${PATH}/actuator`);
    return this.spec ? { status: 200, body: { metadata: { resourceVersion: String(this.version) }, spec: this.spec } } : { status: 404, body: {} };
  }

  async post(path: string): Promise<ApiAnswer> {
    this.#reach();
    expect(path).toBe(PATH);
    if (this.spec) return { status: 409, body: {} };
    this.spec = {};
    return { status: 201, body: {} };
  }

  async patch(path: string, body: unknown, type: string): Promise<ApiAnswer> {
    this.#reach();
    expect([path, type]).toEqual([`${PATH}/actuator`, "application/merge-patch+json"]);
    const { metadata, spec } = body as { metadata: { resourceVersion: string }; spec: { holderIdentity: string } };
    if (metadata.resourceVersion !== String(this.version)) return { status: 409, body: {} };
    this.spec = { ...this.spec, ...spec };
    this.version++;
    this.patches.push({ spec });
    return { status: 200, body: {} };
  }

  #reach(): void {
    if (this.away) throw new Error("away");
  }
}

let server: LeaseServer;
let nowMs: number;
let problems: string[];

beforeEach(() => {
  server = new LeaseServer();
  nowMs = 1000;
  problems = [];
});

/** @param during what happens while it waits; time goes on by what it waits for */
function lease(identity: string, during: (waitedMs: number) => void = () => {}): Lease {
  return new LeaseClient(server, {
    ...{ namespace: "hullmark", name: "actuator", identity, nowMs: () => nowMs, wallMs: () => 1_700_000_000_000 + nowMs },
    wait: async (ms, signal) => {
      // What races with an answer waits for longer than that takes.
      for (let turn = 0; turn < 20; turn++) await Promise.resolve();
      if (signal.aborted) return;
      nowMs += ms;
      during(ms);
    },
    onProblem: (error) => void problems.push(String(error)),
  });
}

const never = new AbortController().signal;
const holder = (): unknown => server.spec?.["holderIdentity"];

test("the first one takes it, and has it made where it is not there", async () => {
  server.spec = undefined;
  expect(await lease("a").acquire(never)).toBe(true);
  expect(server.spec).toMatchObject({
    holderIdentity: "a",
    leaseDurationSeconds: DURATION_MS / 1000,
    leaseTransitions: 1,
    renewTime: expect.stringMatching(/\.\d{6}Z$/),
  });
});

test("another waits while it is renewed, whatever the clocks say, and takes it once it has not changed for its duration", async () => {
  expect(await lease("a").acquire(never)).toBe(true);
  let renewals = 20;
  const began = nowMs;
  const second = lease("b", () => {
    if (renewals-- > 0) server.version++;
  });
  expect(await second.acquire(never)).toBe(true);
  expect(holder()).toBe("b");
  expect(server.spec).toMatchObject({ leaseTransitions: 2 });
  expect(nowMs - began).toBeGreaterThanOrEqual(20 * 2000 + DURATION_MS - 2000);
});

test("what is given back is there for the next at once; what is another's is given back by nobody", async () => {
  const [first, second] = [lease("a"), lease("b")];
  await first.acquire(never);
  await second.release();
  expect(holder()).toBe("a");
  await first.release();
  const began = nowMs;
  expect(await second.acquire(never)).toBe(true);
  expect(nowMs).toBe(began);
});

test("of two that ask at once one gets it", async () => {
  const stop = new AbortController();
  const all = ["a", "b", "c"].map((name) => lease(name, () => void (nowMs > 9000 && stop.abort())).acquire(stop.signal));
  expect((await Promise.all(all)).filter(Boolean)).toHaveLength(1);
});

describe("whoever holds it", () => {
  test("renews it until it is told to end", async () => {
    const stop = new AbortController();
    const subject = lease("a", () => void (nowMs > 61_000 && stop.abort()));
    await subject.acquire(never);
    await subject.hold(stop.signal);
    expect(server.patches.length).toBeGreaterThan(5);
    expect(new Set(server.patches.map(({ spec }) => spec.holderIdentity))).toEqual(new Set(["a"]));
  });

  test("gets over an API server that is away for a moment, and acts no more before another may", async () => {
    const subject = lease("a", () => {
      server.away = nowMs > 20_000 && nowMs < 24_000;
      if (nowMs > 60_000) server.away = true;
    });
    await subject.acquire(never);
    await expect(subject.hold(never)).rejects.toBeInstanceOf(LeaseLost);
    expect(problems.length).toBeGreaterThan(1);
    expect(nowMs).toBeGreaterThan(60_000);
    expect(nowMs).toBeLessThan(60_000 + 2 * 5000 + DURATION_MS);
  });

  test("ends at once where another has taken it", async () => {
    const subject = lease("a", () => {
      server.spec = { holderIdentity: "b" };
      server.version++;
    });
    await subject.acquire(never);
    await expect(subject.hold(never)).rejects.toThrow("another actuator");
  });
});

test("without the right to it nobody acts, and that is told", async () => {
  const stop = new AbortController();
  const forbidden = {
    ...server,
    get: async () => ({ status: 403, body: {} }),
    post: async () => ({ status: 403, body: {} }),
    patch: async () => ({ status: 403, body: {} }),
  };
  const subject = new LeaseClient(forbidden, {
    ...{ namespace: "hullmark", name: "actuator", identity: "a", nowMs: () => nowMs, wallMs: () => nowMs },
    wait: async () => stop.abort(),
    onProblem: (error) => void problems.push(String(error)),
  });
  expect(await subject.acquire(stop.signal)).toBe(false);
  expect(problems[0]).toMatch(/right to get leases/);
});
