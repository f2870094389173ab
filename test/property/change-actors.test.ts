/** Who is named for what a measurement found. */
import { DirtySet, entryChange } from "@hullmark/agent/core/change-actors";
import type { ChangeActor } from "@hullmark/agent/ports/change-source";
import { describe, expect, test } from "vitest";

const by = (executable: string): ChangeActor => ({ pid: 7, executable, located: true, uid: 0, containerId: "c", ancestry: [] });
const event = (path: string, executable: string | undefined, atMs = 1_000) => ({
  path: Buffer.from(path),
  actor: executable === undefined ? undefined : by(executable),
  atMs,
});
const found = (path: string) => ({ path: Buffer.from(path), before: undefined, after: Buffer.from("record"), inode: 9n });

function setOf(...events: readonly ReturnType<typeof event>[]): DirtySet {
  const set = new DirtySet();
  for (const each of events) set.add(each);
  return set;
}

function named(path: string, dirty: DirtySet, later?: DirtySet): string | undefined {
  return entryChange(found(path) as never, dirty, later).actor?.executable;
}

describe("a file is laid to", () => {
  test("whoever its own event names", () => {
    expect(named("srv/a", setOf(event("srv/a", "/bin/one"), event("srv", "/bin/two")))).toBe("/bin/one");
  });

  test("nobody, where only its directory's event came: another may have made it since", () => {
    const change = entryChange(found("srv/a") as never, setOf(event("srv", "/bin/one")));
    expect(change.actor).toBeUndefined();
    expect(change.changedAt).toBeDefined();
  });

  test("whoever an event names that came while the directory was walked", () => {
    expect(named("srv/a", setOf(event("srv", "/bin/one")), setOf(event("srv/a", "/bin/two")))).toBe("/bin/two");
  });

  test("nobody, where two wrote it within one batch", () => {
    expect(named("srv/a", setOf(event("srv/a", "/bin/one"), event("srv/a", "/bin/two")))).toBeUndefined();
  });
});
