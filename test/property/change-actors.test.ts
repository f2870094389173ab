/** Who is named for what a measurement found. */
import { DirtySet, entryChange, type KnownActor } from "@hullmark/agent/core/change-actors";
import type { ChangeActor, ChangeEntrance } from "@hullmark/agent/ports/change-source";
import { ActorEntry } from "@hullmark/proto/v1/common";
import { describe, expect, test } from "vitest";

const by = (executable: string, entrance?: ChangeEntrance): ChangeActor => ({
  ...{ pid: 7, executable, located: true, uid: 0, containerId: "c", ancestry: [], entrance },
});
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

describe("how its writer came into the container:", () => {
  const entrance = (of: Partial<ChangeEntrance> = {}): ChangeEntrance => ({
    pid: 50,
    atMs: 1_500,
    from: ["runc", "containerd-shim"],
    fromHost: true,
    init: false,
    ...of,
  });
  const told = (...actors: readonly KnownActor[]) => {
    const set = new DirtySet();
    for (const actor of actors) set.add({ path: Buffer.from("srv/a"), actor, atMs: 2_000 });
    return entryChange(found("srv/a") as never, set).actor;
  };
  const actor = (of: ChangeEntrance | undefined): KnownActor => ({ ...by("/bin/sh", of), container: { name: "default/web-1/web", pid: 40 } });

  test.each([
    ["the main process", entrance({ pid: 40 }), ActorEntry.MAIN],
    ["a main process of which the runtime has not told yet", entrance({ init: true }), ActorEntry.MAIN],
    ["an exec by runc", entrance(), ActorEntry.EXEC],
    ["an exec by crun", entrance({ from: ["crun", "conmon"] }), ActorEntry.EXEC],
    ["somebody on the node", entrance({ from: ["nsenter", "bash", "sshd"] }), ActorEntry.JOINED],
    ["what calls itself a runtime within a container", entrance({ fromHost: false }), ActorEntry.JOINED],
    ["nobody knows whom", entrance({ from: [] }), ActorEntry.JOINED],
  ])("%s", (_, of, entry) => {
    expect(told(actor(of))).toMatchObject({ entry, containerName: "default/web-1/web" });
  });

  test("with the time and by whom, where it is not the main process", () => {
    expect(told(actor(entrance()))).toMatchObject({ enteredAt: { seconds: 1n, nanos: 500_000_000 }, enteredFrom: ["runc", "containerd-shim"] });
    expect(told(actor(entrance({ pid: 40 })))).not.toHaveProperty("enteredAt");
  });

  test("nothing is said of a container that the runtime has not told of, nor where the kernel did not tell", () => {
    expect(told({ ...actor(entrance()), container: undefined })).not.toHaveProperty("entry");
    expect(told(actor(undefined))).not.toHaveProperty("entry");
  });

  test("nothing is said where two of one program wrote within one batch, by two ways", () => {
    expect(told(actor(entrance({ pid: 40 })), actor(entrance()))).not.toHaveProperty("entry");
    expect(told(actor(entrance({ pid: 40 })), actor(entrance()))).toMatchObject({ executable: "/bin/sh" });
    expect(told(actor(entrance()), actor(entrance()))).toMatchObject({ entry: ActorEntry.EXEC });
  });
});
