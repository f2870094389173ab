/** What a container may use of the machine's devices, out of the runtime's configuration. */
import { describe, expect, test } from "vitest";
import { givenDevices, parseOciSpec } from "../../agent/core/oci-spec.ts";

type Rule = { readonly allow: boolean; readonly type?: string; readonly major?: number; readonly minor?: number; readonly access?: string };
type Node = { readonly path: string; readonly type: string; readonly major: number; readonly minor: number };

function given(rules: readonly Rule[], devices: readonly Node[] = []): string[] {
  const spec = parseOciSpec(JSON.stringify({ process: {}, linux: { devices, resources: { devices: rules } } }));
  if (!spec) throw new Error("not a configuration");
  return givenDevices(spec);
}
const char = (major: number, minor: number, access = "rwm"): Rule => ({ allow: true, type: "c", major, minor, access });
const NOTHING: Rule = { allow: false, access: "rwm" };

describe("given by default", () => {
  test("is nothing beyond what Docker allows every container", () => {
    const fuse: Rule = { allow: false, type: "c", major: 10, minor: 229, access: "rwm" };
    expect(given([NOTHING, char(1, 5), char(1, 3), char(1, 9), char(1, 8), char(5, 0), char(5, 1), fuse])).toEqual([]);
  });

  test("is nothing beyond what containerd allows every container, making any node included", () => {
    const any = (type: string): Rule => ({ allow: true, type, access: "m" });
    const numbers: [number, number][] = [
      [1, 3],
      [1, 8],
      [1, 7],
      [5, 0],
      [1, 5],
      [1, 9],
      [5, 1],
      [5, 2],
      [10, 200],
    ];
    const terminals: Rule = { allow: true, type: "c", major: 136, access: "rwm" };
    expect(given([NOTHING, any("c"), any("b"), terminals, ...numbers.map(([major, minor]) => char(major, minor))])).toEqual([]);
  });
});

describe("beyond", () => {
  test.each<[Rule, string[]]>([
    [{ allow: true, type: "b", access: "rwm" }, ["/dev/block/*:*"]],
    [{ allow: true, type: "b", major: 8, minor: -1, access: "r" }, ["/dev/block/8:*"]],
    [{ allow: true, type: "c", major: 1, minor: 1, access: "rw" }, ["/dev/char/1:1"]],
    [{ allow: true, type: "c", major: 1, access: "rw" }, ["/dev/char/1:*"]],
    [{ allow: true, type: "b", major: 1, minor: 3 }, ["/dev/block/1:3"]],
    [{ allow: true, type: "a", access: "rwm" }, ["/dev/block/*:*", "/dev/char/*:*"]],
    [{ allow: true }, ["/dev/block/*:*", "/dev/char/*:*"]],
  ])("%j", (rule, expected) => {
    expect(given([NOTHING, rule])).toEqual(expected);
  });

  test("a disk that is named like a standard device is told by its number, /dev/fuse is standard", () => {
    const named = (path: string, type: string, major: number, minor: number): Node => ({ path, type, major, minor });
    expect(given([NOTHING, { ...char(8, 0), type: "b" }], [named("/dev/null", "b", 8, 0)])).toEqual(["/dev/block/8:0"]);
    expect(given([NOTHING, char(10, 229)], [named("/dev/fuse", "c", 10, 229)])).toEqual([]);
  });

  test("a node that is made is told by its path, its own rule not once more", () => {
    const fuse = { path: "/dev/fuse0", type: "c", major: 10, minor: 229 };
    expect(given([NOTHING, char(10, 229)], [fuse])).toEqual(["/dev/fuse0"]);
    expect(given([NOTHING, { ...char(10, 229), type: "b" }], [fuse])).toEqual(["/dev/fuse0", "/dev/block/10:229"]);
  });
});
