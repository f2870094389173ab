import { CodeHistory } from "@hullmark/agent/core/code-set";
import type { CodePlaceName, InspectedCode, InspectedContainer, InspectedPrivilege } from "@hullmark/agent/ports/process-inspector";
import fc from "fast-check";
import { expect, test } from "vitest";

const code: fc.Arbitrary<InspectedCode> = fc.record({
  place: fc.constantFrom<CodePlaceName>("layer", "upper", "memfd", "deleted"),
  path: fc.constantFrom("/bin/a", "/lib/b", "/memfd:c").map((path) => Buffer.from(path)),
  sha256: fc.option(
    fc.nat(3).map((n) => Buffer.alloc(32, n)),
    { nil: undefined },
  ),
  main: fc.boolean(),
  pid: fc.nat(5),
  uid: fc.constant(0),
  ancestry: fc.constant(["init"]),
});
const privilege: fc.Arbitrary<InspectedPrivilege> = fc.record({
  path: fc.constantFrom("/bin/a", "/bin/b").map((path) => Buffer.from(path)),
  capabilities: fc.subarray(["NET_ADMIN", "SYS_ADMIN"], { minLength: 1 }),
  pid: fc.nat(5),
  uid: fc.constant(0),
  ancestry: fc.constant(["init"]),
});
const container: fc.Arbitrary<InspectedContainer> = fc.record({
  code: fc.array(code, { maxLength: 5 }),
  privileges: fc.array(privilege, { maxLength: 2 }),
  processes: fc.nat(5),
  claims: fc.array(fc.constant({ code: "unmeasurable", detail: "process 7: EACCES" }), { maxLength: 1 }),
});

test("an answer that comes again is told as the same one looked at anew would be", () => {
  const looks = fc.tuple(fc.array(container, { minLength: 1, maxLength: 4 }), fc.array(fc.nat(3), { minLength: 1, maxLength: 12 }));
  fc.assert(
    fc.property(looks, ([containers, order]) => {
      const known = new CodeHistory();
      const anew = new CodeHistory();
      for (const [atMs, index] of order.entries()) {
        const inspected = containers[index % containers.length] as InspectedContainer;
        expect(Buffer.from(known.serialize(inspected, atMs))).toEqual(Buffer.from(anew.serialize({ ...inspected }, atMs)));
      }
    }),
  );
});
