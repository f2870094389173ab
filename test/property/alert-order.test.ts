/** The last word that a receiver gets of an alert is how it stands, whatever failed, was given up or was tried again. */
import { AlertBook, type AlertSubject, dispatchDue, MAX_ATTEMPTS } from "@hullmark/verifier/core/alerting/index";
import { type AlertNotification, type AlertStatus, type Notifier, NotifierError } from "@hullmark/verifier/ports/notifier";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ALONE, subject, webhookRoute } from "../fakes/alert-subjects.ts";
import { MemoryOutbox } from "../fakes/memory-outbox.ts";

const T0 = 1_790_000_100_000;
const never = new AbortController().signal;

/** A book, its outbox, and a receiver that is well or ill. */
class World {
  readonly book = new AlertBook();
  readonly outbox = new MemoryOutbox();
  /** Path → what was heard of it, in order. */
  readonly heard = new Map<string, AlertStatus[]>();
  error: NotifierError | undefined;
  nowMs = T0;
  readonly #route = webhookRoute({ groupBy: ["incident"] });

  async tell(subjects: readonly AlertSubject[], deadLetters: readonly AlertNotification[] = []): Promise<void> {
    const plan = this.book.plan(subjects, [this.#route], this.nowMs++, [], deadLetters);
    await this.outbox.commitAlerts(plan.commit);
    this.book.apply(plan);
  }

  async deliver(): Promise<void> {
    const notifier: Notifier = {
      ...{ route: "hook", type: "webhook" },
      notify: async ({ alerts }) => {
        if (this.error) throw this.error;
        for (const { path, status } of alerts) this.heard.set(path, [...(this.heard.get(path) ?? []), status]);
        return "";
      },
    };
    await dispatchDue(this.outbox, notifier, { now: () => this.nowMs, random: () => 0.5, leaseMs: 40_000, ...ALONE }, never);
  }

  /** As `hullmark alert retry --dead`. */
  async retryDead(): Promise<void> {
    const dead = await this.outbox.list({ route: undefined, state: "dead" }, 1000);
    for (const { id } of dead) await this.tell([], [(await this.outbox.readDead(id)) as AlertNotification]);
  }

  async settle(): Promise<void> {
    this.error = undefined;
    for (let i = 0; i < 40; i++, this.nowMs += 60_000) await this.deliver();
  }
}

const ILL = new NotifierError("NOTIFY_SERVER_ERROR", "HTTP 500");
const REFUSES = new NotifierError("NOTIFY_REJECTED", "HTTP 410");

describe("the last word", () => {
  it("is the end, where the beginning waited for its next attempt as it came", async () => {
    const world = new World();
    world.error = ILL;
    await world.tell([subject()]);
    for (let i = 0; i < MAX_ATTEMPTS - 2; i++, world.nowMs += 301_000) await world.deliver();
    world.error = undefined;
    await world.tell([subject({ state: "resolved" })]);
    await world.deliver();
    await world.settle();
    expect([...world.heard.values()]).toEqual([["firing", "resolved"]]);
  });

  it("is the beginning, where the end of before waited as it returned", async () => {
    const world = new World();
    await world.tell([subject()]);
    await world.deliver();
    world.error = ILL;
    await world.tell([subject({ state: "resolved" })]);
    for (let i = 0; i < 8; i++, world.nowMs += 301_000) await world.deliver();
    world.error = undefined;
    await world.tell([subject()]);
    await world.deliver();
    await world.settle();
    expect([...world.heard.values()]).toEqual([["firing", "resolved", "firing"]]);
  });

  it.each([
    ["over", "the beginning that was given up is tried again", "resolved"],
    ["there", "the end of before that was given up is tried again", "firing"],
  ] as const)("is that it is %s, where %s", async (now, _what, last) => {
    const world = new World();
    if (now === "there") {
      await world.tell([subject()]);
      await world.deliver();
    }
    world.error = REFUSES;
    await world.tell([subject({ state: now === "there" ? "resolved" : "open" })]);
    await world.deliver();
    world.error = undefined;
    await world.tell([subject({ state: now === "there" ? "open" : "resolved" })]);
    await world.deliver();
    await world.retryDead();
    await world.settle();
    expect([...world.heard.values()].map((heard) => heard.at(-1))).toEqual([last]);
    expect(await world.outbox.counts()).toMatchObject({ pending: 0, dead: 0 });
  });

  it("is how it stands, after any history of faults and retries", async () => {
    const step = fc.record({
      drifts: fc.array(fc.record({ path: fc.integer({ min: 0, max: 2 }), state: fc.constantFrom("open", "resolved", "acknowledged") }), { maxLength: 3 }),
      error: fc.constantFrom(undefined, ILL, REFUSES),
      retry: fc.boolean(),
      waitMs: fc.integer({ min: 0, max: 400_000 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        const world = new World();
        const truth = new Map<string, string>();
        for (const { drifts, error, retry, waitMs } of steps) {
          const subjects = drifts.map(({ path, state }) =>
            subject({ driftId: `D-${path}`, path: Buffer.from(`/${path}`), state: state as AlertSubject["state"] }),
          );
          for (const { path, state } of drifts) truth.set(`/${path}`, state);
          await world.tell(subjects);
          if (retry) await world.retryDead();
          world.error = error;
          await world.deliver();
          world.nowMs += waitMs;
        }
        await world.settle();
        await world.retryDead();
        await world.settle();
        for (const [path, state] of truth) {
          const last = world.heard.get(path)?.at(-1);
          if (state === "resolved") expect(last ?? "resolved", path).toBe("resolved");
          else expect(last, path).toBe("firing");
        }
      }),
    );
  });
});
