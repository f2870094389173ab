/** What the TPM's counters and firmware say of a boot beside the one before. */
import { TrustLevel } from "@hullmark/proto/v1/common";
import { defaultPolicy } from "@hullmark/verifier/core/policy/default";
import { BootWatch } from "@hullmark/verifier/core/session/boot-evidence";
import type { QuotedBy } from "@hullmark/verifier/ports/rows";
import fc from "fast-check";
import { describe, expect, test } from "vitest";

const NODE = { name: "n", trustLevel: TrustLevel.TPM };
const FIRST: QuotedBy = { bootId: "b1", akSha256: "k1", resetCount: 5, restartCount: 2, firmware: "1a" };
const NO_LOG = Buffer.alloc(0);

/** Codes after these quotes, one after the other; the watch is read from its row before each, as after a restart of the verifier. */
function told(...quotes: readonly (Partial<QuotedBy> & { readonly uncleared?: boolean })[]): string[] {
  let watch = new BootWatch(undefined);
  for (const { uncleared, ...quote } of quotes) {
    watch = new BootWatch(watch.row);
    watch.quoted({ id: "n", uncleared }, { ...FIRST, ...quote }, NO_LOG, []);
  }
  return watch.appraise(defaultPolicy(), NODE).warnings.map(({ code }) => code);
}

describe("a boot beside the one before", () => {
  test("a reset under the boot id of before is told until that is another", () => {
    expect(told({}, {})).toEqual([]);
    expect(told({}, { resetCount: 6, restartCount: 0 })).toEqual(["tpm-reset"]);
    expect(told({}, { resetCount: 6 }, { resetCount: 6 })).toEqual(["tpm-reset"]);
    expect(told({}, { resetCount: 6 }, { bootId: "b2", resetCount: 7 })).toEqual([]);
  });

  test("a machine that starts or wakes up is told of nothing, and so is a TPM that was cleared", () => {
    expect(told({}, { bootId: "b2", resetCount: 6, restartCount: 0 })).toEqual([]);
    expect(told({}, { restartCount: 3 })).toEqual([]);
    const cleared = { akSha256: "k2", resetCount: 0, restartCount: 0 };
    expect(told({}, cleared)).toEqual([]);
    expect(told({ resetCount: 0, restartCount: 0 }, cleared)).toEqual([]);
    for (const resetCount of [0, 1, 5]) expect(told({}, { ...cleared, bootId: "b2", resetCount, restartCount: 2 })).toEqual([]);
  });

  test("another key, as whoever takes the one before away has it, hides neither a reset nor a kernel that another one started", () => {
    expect(told({}, { akSha256: "k2", resetCount: 6 })).toEqual(["tpm-reset"]);
    expect(told({}, { akSha256: "k2", bootId: "b2", uncleared: true })).toEqual(["kexec"]);
    expect(told({}, { akSha256: "k2", bootId: "b2", uncleared: true }, { akSha256: "k2", bootId: "b2" })).toEqual(["kexec"]);
    expect(told({}, { akSha256: "k2", bootId: "b2", resetCount: 6, uncleared: true })).toEqual([]);
  });

  test("a kernel that another one started is told until the machine is reset", () => {
    expect(told({}, { bootId: "b2" })).toEqual(["kexec"]);
    expect(told({}, { bootId: "b2" }, { bootId: "b2" })).toEqual(["kexec"]);
    expect(told({}, { bootId: "b2" }, { bootId: "b3", resetCount: 6 })).toEqual([]);
  });

  test("other firmware is told until the boot after", () => {
    expect(told({}, { bootId: "b2", resetCount: 6, firmware: "1b" })).toEqual(["tpm-firmware"]);
    expect(told({}, { bootId: "b2", resetCount: 6, firmware: "1b" }, { bootId: "b2", resetCount: 6, firmware: "1b" })).toEqual(["tpm-firmware"]);
    expect(told({}, { bootId: "b2", resetCount: 6, firmware: "1b" }, { bootId: "b3", resetCount: 7, firmware: "1b" })).toEqual([]);
    // A row of a verifier that did not keep it.
    expect(told({ firmware: undefined }, { bootId: "b2", resetCount: 6 })).toEqual([]);
  });

  test("where nothing changes the row is the same object: it is written where it changes", () => {
    fc.assert(
      fc.property(fc.nat(3), fc.nat(3), fc.constantFrom("b1", "b2"), (resetCount, restartCount, bootId) => {
        const watch = new BootWatch(undefined);
        watch.quoted({ id: "n" }, FIRST, NO_LOG, []);
        const quotedBy = { ...FIRST, resetCount: FIRST.resetCount + resetCount, restartCount: FIRST.restartCount + restartCount, bootId };
        watch.quoted({ id: "n" }, quotedBy, NO_LOG, []);
        const { row } = watch;
        watch.quoted({ id: "n" }, { ...quotedBy }, NO_LOG, []);
        expect(watch.row).toBe(row);
      }),
    );
  });
});
