/** A verifier with more nodes than it can serve: simulated, since only then is it known how much it can do. */
import { holds } from "@hullmark/verifier/core/appraisal/appraise-node";
import { type Paced, Pacer, SLICE_MS } from "@hullmark/verifier/core/session/pacer";
import { describe, expect, test } from "vitest";

const INTERVAL_MS = 1000;

class Node implements Paced {
  askedMs = Number.NEGATIVE_INFINITY;
  readonly intervalMs = INTERVAL_MS;
  quotedMs: number | undefined;
  wasVouched = false;
  flips = 0;
  readonly #fleet: Fleet;

  constructor(fleet: Fleet) {
    this.#fleet = fleet;
  }

  vouched(nowMs: number): boolean {
    return holds(this.quotedMs, INTERVAL_MS, nowMs);
  }

  challenge(): void {
    this.askedMs = this.#fleet.nowMs;
    this.#fleet.answers.push({ node: this, askedMs: this.#fleet.nowMs });
  }
}

/** Nodes that answer at once, and one event loop that takes `costMs` for each answer: what is not done delays everything after it. */
class Fleet {
  nowMs = 1_000_000;
  answers: { readonly node: Node; readonly askedMs: number }[] = [];
  nodes: Node[] = [];
  costMs: number;
  asked = 0;
  /** Milliseconds by which others keep the processor from it at every slice. */
  starvedMs = 0;
  #utilisation = 0;
  readonly pacer = new Pacer({ backlog: () => 0, utilisation: () => this.#utilisation });

  constructor(count: number, costMs: number) {
    this.costMs = costMs;
    this.nodes = Array.from({ length: count }, () => new Node(this));
    for (const node of this.nodes) this.pacer.join(node, this.nowMs);
  }

  run(seconds: number): void {
    for (const endMs = this.nowMs + seconds * 1000; this.nowMs < endMs; ) {
      const beganMs = this.nowMs;
      const { answers } = this;
      this.answers = [];
      this.asked += answers.length;
      for (const { node, askedMs } of answers) {
        this.nowMs += this.costMs;
        node.quotedMs = askedMs;
        this.pacer.answered(node, this.nowMs);
      }
      const busyMs = this.nowMs - beganMs;
      this.nowMs = Math.max(this.nowMs, beganMs + SLICE_MS) + this.starvedMs;
      this.#utilisation = busyMs / (this.nowMs - beganMs);
      for (const node of this.nodes) {
        const vouched = node.vouched(this.nowMs);
        if (vouched !== node.wasVouched) node.flips++;
        node.wasVouched = vouched;
      }
      this.pacer.slice(this.nowMs);
    }
  }

  get vouched(): Set<Node> {
    return new Set(this.nodes.filter((node) => node.vouched(this.nowMs)));
  }

  forgetFlips(): void {
    for (const node of this.nodes) node.flips = 0;
    this.asked = 0;
  }

  get flips(): number {
    return this.nodes.reduce((sum, { flips }) => sum + flips, 0);
  }
}

describe("the pacer", () => {
  test("asks everybody once an interval where there is capacity", () => {
    const fleet = new Fleet(100, 1);
    fleet.run(5);
    fleet.forgetFlips();
    fleet.run(30);
    expect(fleet.vouched.size).toBe(100);
    expect(fleet.flips).toBe(0);
    expect(fleet.asked).toBeGreaterThan(100 * 30 * 0.93);
    expect(fleet.pacer.overloaded(fleet.nowMs)).toBe(false);
  });

  test.each([1.5, 3, 10])("under %f times what it can do keeps as many vouched for as it can, the same ones, and says that it leaves others out", (load) => {
    const costMs = 5;
    const capacity = 1000 / costMs;
    const fleet = new Fleet((capacity * load * INTERVAL_MS) / 1000, costMs);
    fleet.run(60);
    fleet.forgetFlips();
    const before = fleet.vouched;
    fleet.run(120);
    // A quote holds for two intervals: more can be vouched for than are asked in one.
    expect(before.size).toBeGreaterThan(1.1 * capacity);
    expect([...before].filter(({ flips }) => flips > 0)).toEqual([]);
    expect(fleet.flips).toBeLessThan(0.02 * fleet.nodes.length + 4);
    expect(fleet.asked / 120).toBeGreaterThan(0.9 * capacity);
    expect(fleet.pacer.overloaded(fleet.nowMs)).toBe(true);
  });

  test("leaves nobody out for a lateness that is not its own", () => {
    const fleet = new Fleet(100, 1);
    fleet.starvedMs = 150;
    fleet.run(5);
    fleet.forgetFlips();
    fleet.run(30);
    expect(fleet.vouched.size).toBe(100);
    expect(fleet.flips).toBe(0);
    expect(fleet.pacer.overloaded(fleet.nowMs)).toBe(false);
  });

  test("asks everybody again at once where the clock was set back: what was asked in the time to come vouches for nobody", () => {
    const fleet = new Fleet(50, 1);
    fleet.run(5);
    fleet.nowMs -= 3_600_000;
    expect(holds(fleet.nowMs + 3_600_000, INTERVAL_MS, fleet.nowMs)).toBe(false);
    expect(fleet.vouched.size).toBe(0);
    fleet.run(2);
    expect(fleet.vouched.size).toBe(50);
  });

  test("takes everybody back when there is capacity again", () => {
    const fleet = new Fleet(1000, 5);
    fleet.run(30);
    expect(fleet.vouched.size).toBeLessThan(500);
    fleet.costMs = 0.2;
    fleet.run(40);
    expect(fleet.vouched.size).toBe(1000);
    expect(fleet.pacer.overloaded(fleet.nowMs)).toBe(false);
  });

  test("one that is asked in between, leaves, or never answers holds up nobody", () => {
    const fleet = new Fleet(50, 1);
    const [silent, gone, busy] = fleet.nodes as [Node, Node, Node];
    silent.challenge = () => {
      silent.askedMs = fleet.nowMs;
    };
    fleet.run(3);
    fleet.pacer.leave(gone);
    fleet.forgetFlips();
    for (let i = 0; i < 20; i++) {
      busy.challenge();
      fleet.run(1);
    }
    expect(fleet.vouched.size).toBe(48);
    expect(fleet.vouched.has(gone)).toBe(false);
    expect(fleet.vouched.has(busy)).toBe(true);
  });

  test("a storage that lags is overload too", () => {
    let waiting = 0;
    const asked: number[] = [];
    const pacer = new Pacer({ backlog: () => waiting, utilisation: () => 1 });
    let nowMs = 0;
    const nodes = Array.from({ length: 500 }, (_, i) => ({
      askedMs: Number.NEGATIVE_INFINITY,
      intervalMs: INTERVAL_MS,
      vouched: () => true,
      challenge() {
        this.askedMs = nowMs;
        asked.push(i);
      },
    }));
    for (const node of nodes) pacer.join(node, nowMs);
    const count = (seconds: number): number => {
      asked.length = 0;
      for (let i = 0; i < (seconds * 1000) / SLICE_MS; i++) {
        nowMs += SLICE_MS;
        pacer.slice(nowMs);
      }
      return asked.length / seconds;
    };
    count(10);
    expect(count(10)).toBeGreaterThan(450);
    waiting = 5000;
    count(5);
    expect(count(5)).toBeLessThan(30);
    waiting = 0;
    count(10);
    expect(count(10)).toBeGreaterThan(450);
  });
});
