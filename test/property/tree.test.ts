/** The native tree against the naive one: random trees on a real filesystem, random changes, by every way of noticing them. */
import { chmodSync, existsSync, linkSync, lstatSync, mkdirSync, mkdtempSync, realpathSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, relative } from "node:path";
import { LiveTree } from "@hullmark/native";
import { commonBits, type PatriciaTree, pathKey, type TreePosition } from "@hullmark/proto/codec";
import fc from "fast-check";
import { expect, test } from "vitest";
import { naiveRecords, treeOf } from "../native/tree-support.ts";

const NAMES = ["a", "b", "c", "é", "x y", "\n"];
const path = fc.array(fc.constantFrom(...NAMES), { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/"));
const content = fc.oneof(
  fc.string({ maxLength: 20 }),
  fc.integer({ min: 0, max: 300_000 }).map((n) => "z".repeat(n)),
);

type Step =
  | { readonly kind: "write"; readonly path: string; readonly content: string }
  | { readonly kind: "mkdir" | "remove" | "symlink"; readonly path: string }
  | { readonly kind: "chmod"; readonly path: string; readonly mode: number }
  | { readonly kind: "rename" | "link"; readonly path: string; readonly to: string };
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant("write" as const), path, content }),
  fc.record({ kind: fc.constantFrom("mkdir" as const, "remove" as const, "symlink" as const), path }),
  fc.record({ kind: fc.constant("chmod" as const), path, mode: fc.integer({ min: 0o400, max: 0o7777 }) }),
  fc.record({ kind: fc.constantFrom("rename" as const, "link" as const), path, to: path }),
);

/** A path as a change source names it: through no symlink. */
function named(root: string, path: string): string {
  const parent = dirname(join(root, path));
  return existsSync(parent) ? relative(root, join(realpathSync(parent), basename(path))) : path;
}

/** Does a step where it makes sense. @returns the paths that a change source would name */
function apply(root: string, step: Step): string[] {
  const before = named(root, step.path);
  const paths = tryStep(root, step);
  // A write goes through a symlink to what it points to.
  const full = join(root, step.path);
  const target = step.kind === "write" && existsSync(full) ? [relative(root, realpathSync(full))] : [];
  return [before, ...target, ...paths.map((path) => named(root, path))];
}

function tryStep(root: string, step: Step): string[] {
  const full = join(root, step.path);
  try {
    if (step.kind === "write" || step.kind === "mkdir" || step.kind === "symlink") mkdirSync(dirname(full), { recursive: true });
    switch (step.kind) {
      case "write":
        writeFileSync(full, step.content);
        break;
      case "mkdir":
        mkdirSync(full, { recursive: true });
        break;
      case "remove":
        rmSync(full, { recursive: true, force: true });
        break;
      case "symlink":
        symlinkSync("a/b", full);
        break;
      case "chmod":
        if (!lstatSync(full).isSymbolicLink()) chmodSync(full, step.mode);
        break;
      case "rename":
        renameSync(full, join(root, step.to));
        return [step.path, step.to];
      case "link":
        linkSync(full, join(root, step.to));
        return [step.to];
    }
  } catch (error) {
    // A file where a directory is wanted, a directory in the way, nothing there: the step changed nothing, or only made parents.
    // rmSync names ELOOP by its text only.
    const { code, message } = error as NodeJS.ErrnoException;
    if (!/^E(NOENT|NOTDIR|ISDIR|EXIST|NOTEMPTY|INVAL|PERM|LOOP)$/.test(code ?? "") && !message.includes("Too many levels of symbolic links")) throw error;
  }
  return [step.path];
}

async function withTree(check: (root: string, tree: LiveTree) => Promise<void>): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), "hullmark-tree-"));
  const tree = new LiveTree(root, { threads: 2 });
  try {
    await check(root, tree);
  } finally {
    tree.close();
    rmSync(root, { recursive: true, force: true });
  }
}

/** Roots, leaves, reported changes; and that the trie's every position is the same. */
function assertSame(root: string, tree: LiveTree): Map<string, string> {
  const records = naiveRecords(root);
  const oracle = treeOf(records);
  const hex = new Map([...records].map(([path, record]) => [path, record.toString("hex")]));
  const { entries, truncated } = tree.entries({ maxEntries: 10_000 });
  expect(truncated).toBe(false);
  expect(new Map(entries.map(({ path, record }) => [path.toString("latin1"), record.toString("hex")]))).toEqual(hex);
  expect(tree.root()).toEqual(oracle.root());
  expect(tree.size).toBe(oracle.size);
  for (const [path, record] of records) expect(tree.get(Buffer.from(path, "latin1"))).toEqual(record);
  assertSamePositions(tree, oracle, Buffer.alloc(32), 0);
  return hex;
}

function assertSamePositions(tree: LiveTree, oracle: PatriciaTree, key: Buffer, bits: number): void {
  const expected = oracle.descend(key, bits);
  const actual = tree.descend(key, bits) as TreePosition;
  if (expected.kind !== "node") {
    expect(actual).toMatchObject(expected);
    return;
  }
  if (actual.kind !== "node") throw new Error(`got ${actual.kind}, want a node`);
  expect({ ...actual, prefix: undefined }).toEqual({ ...expected, prefix: undefined });
  const prefix = Buffer.concat([actual.prefix, Buffer.alloc(32)]).subarray(0, 32);
  const wanted = Buffer.concat([expected.prefix, Buffer.alloc(32)]).subarray(0, 32);
  expect(commonBits(prefix, wanted)).toBeGreaterThanOrEqual(expected.bitlen);
  for (const bit of [0, 1]) {
    const below = Buffer.from(prefix);
    const mask = 0x80 >> (expected.bitlen & 7);
    below[expected.bitlen >> 3] = ((below[expected.bitlen >> 3] ?? 0) & ~mask) | (bit ? mask : 0);
    assertSamePositions(tree, oracle, below, expected.bitlen + 1);
  }
}

function difference(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): Map<string, [string | undefined, string | undefined]> {
  const changes = new Map<string, [string | undefined, string | undefined]>();
  for (const path of new Set([...before.keys(), ...after.keys()])) {
    if (before.get(path) !== after.get(path)) changes.set(path, [before.get(path), after.get(path)]);
  }
  return changes;
}

test.for(["measure", "rescan", "update"] as const)(
  "after random changes, %s agrees with the naive measurer and reports exactly the difference",
  async (how) => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), fc.array(fc.array(step, { minLength: 1, maxLength: 8 }), { maxLength: 4 }), async (first, rounds) => {
        await withTree(async (root, tree) => {
          for (const each of first) apply(root, each);
          await tree.measure();
          let before = assertSame(root, tree);
          for (const round of rounds) {
            const touched = round.flatMap((each) => apply(root, each));
            const report = await (how === "update" ? tree.update(touched.map((path) => Buffer.from(path))) : tree[how]());
            const after = assertSame(root, tree);
            const reported = new Map(
              report.changes.map(({ path, before, after }) => [path.toString("latin1"), [before?.toString("hex"), after?.toString("hex")]]),
            );
            expect(reported).toEqual(difference(before, after));
            expect(report.claims).toEqual([]);
            before = after;
          }
        });
      }),
      { numRuns: 150 },
    );
  },
);

test("inserting and erasing side by side rehashes each with its own prefix", async () => {
  await withTree(async (root, tree) => {
    const round = (steps: readonly Step[]) => tree.update(steps.flatMap((each) => apply(root, each)).map((path) => Buffer.from(path)));
    apply(root, { kind: "write", path: "c/\n/a", content: "" });
    await tree.measure();
    await round([
      { kind: "write", path: "b/b", content: "" },
      { kind: "write", path: "\n/\n/b/\n", content: "" },
    ]);
    await round([{ kind: "mkdir", path: "a/\n" }]);
    await round([{ kind: "rename", path: "c", to: "x y" }]);
    assertSame(root, tree);
  });
});

test("positions are asked for at any depth of any key", async () => {
  await fc.assert(
    fc.asyncProperty(fc.uniqueArray(path, { maxLength: 30 }), fc.array(fc.tuple(path, fc.integer({ min: 0, max: 256 }))), async (paths, queries) => {
      await withTree(async (root, tree) => {
        for (const each of paths) if (!existsSync(join(root, each))) apply(root, { kind: "write", path: each, content: each });
        await tree.measure();
        const oracle = treeOf(naiveRecords(root));
        for (const [path, bits] of queries) {
          const key = pathKey(Buffer.from(path));
          const expected = oracle.descend(key, bits);
          const actual = tree.descend(key, bits);
          expect(actual.kind).toBe(expected.kind);
          if (actual.kind !== "empty" && expected.kind !== "empty") expect(actual.hash).toEqual(expected.hash);
        }
      });
    }),
    { numRuns: 30 },
  );
});
