import { Recent } from "@hullmark/verifier/core/provenance/recent";
import { expect, test } from "vitest";

test("keeps what is asked for, forgets what was not asked for longest, and keeps no failure", () => {
  const recent = new Recent<string>(2);
  const made: string[] = [];
  const get = (key: string) =>
    recent.get(key, () => {
      made.push(key);
      return `${key}!`;
    });
  expect(["a", "b", "a", "c", "a", "b"].map(get)).toEqual(["a!", "b!", "a!", "c!", "a!", "b!"]);
  expect(made).toEqual(["a", "b", "c", "b"]);
  expect(() =>
    recent.get("d", () => {
      throw new Error("bad");
    }),
  ).toThrow("bad");
  expect(recent.get("d", () => "good")).toBe("good");
});
