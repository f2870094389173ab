/** However a flood comes, no more enrolments begin than the limits let, and one address leaves room for the others. */
import { EnrolmentRate } from "@hullmark/verifier/core/enrolment/rate";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

const PER_SECOND = 8;
const BURST = 160;

describe("the rate of enrolments", () => {
  it("is never more than the limit, for all and for each address, over any stretch of time", () => {
    const attempts = fc.array(fc.record({ waitMs: fc.oneof(fc.constant(0), fc.nat(400), fc.nat(60_000)), address: fc.nat(5) }), { maxLength: 600 });
    fc.assert(
      fc.property(attempts, (all) => {
        const rate = new EnrolmentRate(PER_SECOND);
        let nowMs = 1_000_000;
        const taken: { readonly atMs: number; readonly address: number }[] = [];
        for (const { waitMs, address } of all) {
          nowMs += waitMs;
          if (rate.take(`10.0.0.${address}:${nowMs % 60_000}`, nowMs) === "ok") taken.push({ atMs: nowMs, address });
        }
        // By how many the busiest stretch of time exceeds what it may hold.
        const within = (of: typeof taken, perSecond: number, burst: number): void => {
          let excess = Number.NEGATIVE_INFINITY;
          for (const [i, from] of of.entries())
            for (let to = i; to < of.length; to++) excess = Math.max(excess, to - i + 1 - burst - (perSecond * ((of[to]?.atMs ?? 0) - from.atMs)) / 1000);
          expect(excess).toBeLessThanOrEqual(1e-6);
        };
        within(taken, PER_SECOND, BURST);
        for (let address = 0; address <= 5; address++)
          within(
            taken.filter((each) => each.address === address),
            PER_SECOND / 4,
            BURST / 2,
          );
      }),
      { numRuns: 50 },
    );
  });

  it("serves a node that asks now and then while one address floods for an hour", () => {
    const rate = new EnrolmentRate(PER_SECOND);
    let flooded = 0;
    for (let second = 0; second < 3600; second++) {
      for (let i = 0; i < 50; i++) if (rate.take(`192.0.2.1:${i}`, second * 1000) === "ok") flooded++;
      expect(rate.take(`198.51.100.${second % 200}:7`, second * 1000)).toBe("ok");
    }
    expect(flooded).toBeLessThanOrEqual(BURST / 2 + (3600 * PER_SECOND) / 4);
    expect(rate.take("192.0.2.1:1", 3_599_000)).toBe("rate-of-address");
  });

  it("counts an address whatever its port, IPv6 by its /64, and IPv4 written as IPv6 as IPv4", () => {
    const same = [
      ["192.0.2.1:1", "192.0.2.1:65535", "::ffff:192.0.2.1:80", "[::ffff:192.0.2.1]:81"],
      ["[2001:db8:1:2::1]:1", "[2001:db8:1:2:3:4:5:6]:2", "2001:db8:1:2::9:3"],
      ["[::1]:1", "[::2]:1"],
    ];
    for (const peers of same) {
      const rate = new EnrolmentRate(1);
      for (let i = 0; i < 10; i++) expect(rate.take(peers[i % peers.length] as string, 0)).toBe("ok");
      for (const peer of peers) expect(rate.take(peer, 0), peer).toBe("rate-of-address");
      expect(rate.take("[2001:db8:1:3::1]:1", 0)).toBe("ok");
    }
  });

  it("is not raised by a clock that goes back, nor by more addresses than are kept", () => {
    const rate = new EnrolmentRate(1);
    let taken = 0;
    for (let i = 0; i < 10_000; i++) if (rate.take(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}:1`, 1000 - (i % 3)) === "ok") taken++;
    // One second's worth a step back and forth adds at most what the clock went forward.
    expect(taken).toBeLessThanOrEqual(20 + 10);
  });
});
