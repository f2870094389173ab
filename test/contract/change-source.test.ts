import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ChokidarSource } from "../../agent/adapters/chokidar/chokidar-source.ts";
import { FanotifyChangeSource } from "../../agent/adapters/fanotify/fanotify-source.ts";
import { openChangeSource } from "../../agent/change-sources.ts";
import type { Change, ChangeSource } from "../../agent/ports/change-source.ts";
import { STATE_ROOT } from "../../deploy/testbed/paths.ts";
import { type ScratchOverlay, scratchOverlay } from "../fakes/scratch-overlay.ts";

const SOURCES: readonly (readonly [name: string, open: () => ChangeSource])[] = [
  ["fanotify", () => new FanotifyChangeSource({ scratchDirectory: STATE_ROOT })],
  ["chokidar", () => new ChokidarSource()],
];

/** Script in the overlay → paths below the upper directory that must be told. */
const EVERY_SOURCE: Readonly<Record<string, readonly [script: string, ...paths: string[]]>> = {
  "a new file": ["echo x > new", "new"],
  "a file of the layer, written in place": ["echo x >> etc/conf", "etc/conf"],
  "a file of the layer, replaced": ["echo x > etc/tmp; mv etc/tmp etc/conf", "etc/conf"],
  "a deletion, which becomes a whiteout": ["rm etc/conf", "etc/conf"],
  "a change of mode": ["chmod u+s bin/tool", "bin/tool"],
  "a directory with a file below it": ["mkdir -p a/b; echo x > a/b/c", "a"],
  "a rename": ["echo x > one; sleep 0.3; mv one two", "one", "two"],
  "a name with newline, space and control bytes": ["echo x > $'odd\\n \\x01name'", "odd\n \x01name"],
  "a symbolic link": ["ln -s /etc/passwd link", "link"],
};

/** What a source that calls itself complete must tell too. */
const COMPLETE: typeof EVERY_SOURCE = {
  "a name that is not UTF-8": ["echo x > $'\\xff\\xfe'", "\xff\xfe"],
  "a file that came and went": ["echo x > gone; rm gone", "gone"],
  "a new file in a new directory": ["mkdir n; echo x > n/f", "n/f"],
  "an extended attribute": ["setfattr -n trusted.hullmark -v 1 bin/tool", "bin/tool"],
  "a change of owner": ["chown 7:7 bin/tool", "bin/tool"],
  "another name of a layer's file": ["ln bin/tool bin/second", "bin/second"],
  "a write to a file that stays open": ["exec 5>>log; sleep 0.2; echo x >&5; exec 5>&-", "log"],
  "the parts of a directory that was moved": ["mkdir -p m/n; sleep 0.2; mv m moved; echo x > moved/n/f", "m", "moved", "moved/n/f"],
  "a path beyond PATH_MAX": [
    `name=$(printf 'd%.0s' {1..200}); for i in {1..30}; do mkdir $name; cd $name; done; echo x > leaf`,
    `${`${"d".repeat(200)}/`.repeat(30)}leaf`,
  ],
};

describe.each(SOURCES)("%s", (_name, open) => {
  let overlay: ScratchOverlay;
  let source: ChangeSource;
  let seen: Change[];
  let failures: string[];
  let more: (() => void) | undefined;

  beforeEach(async () => {
    mkdirSync(STATE_ROOT, { recursive: true });
    overlay = await scratchOverlay("mkdir etc bin; echo x > etc/conf; echo x > bin/tool");
    source = open();
    seen = [];
    failures = [];
    await source.start({
      changes: (batch) => {
        seen.push(...batch);
        more?.();
      },
      lost: (detail) => failures.push(detail),
      processStarted: () => {},
      failed: (error) => failures.push(error.message),
    });
    source.watch("upper/one", overlay.upper);
    await ready();
  });
  afterEach(async () => {
    await source.stop();
    await overlay.close();
  });

  /** inotify has to walk first: told once a change is. */
  async function ready(): Promise<void> {
    if (source.capabilities.complete) return;
    for (let i = 0; !seen.some(({ path }) => path.toString().startsWith("ready")); i++) {
      await overlay.run(`echo x > ready${i}; sleep 0.1`);
    }
  }

  async function told(watchId: string, path: string): Promise<Change> {
    for (;;) {
      const found = seen.find((change) => change.watchId === watchId && change.path.toString("latin1") === Buffer.from(path, "latin1").toString("latin1"));
      if (found) return found;
      await new Promise<void>((resolve) => {
        more = resolve;
      });
    }
  }

  const cases = Object.entries(open().capabilities.complete ? { ...EVERY_SOURCE, ...COMPLETE } : EVERY_SOURCE);
  it.each(cases)("tells of %s", async (_what, [script, ...paths]) => {
    await overlay.run(script);
    for (const path of paths) {
      const { atMs } = await told("upper/one", path);
      expect(Math.abs(Date.now() - atMs)).toBeLessThan(60_000);
    }
    expect(failures).toEqual([]);
  });

  it("names the actor only where it claims attribution", async () => {
    await overlay.run("dd if=/dev/zero of=by-dd bs=1 count=1 2>/dev/null");
    const { actor } = await told("upper/one", "by-dd");
    if (source.capabilities.attribution) expect(actor).toMatchObject({ executable: expect.stringMatching(/\/dd$/), uid: 0, containerId: "" });
    else expect(actor).toBeUndefined();
  });

  it("tells directories apart, and is silent about one that is no longer watched", async () => {
    const other = await scratchOverlay(":");
    try {
      source.watch("upper/two", other.upper);
      for (let i = 0; !seen.some(({ watchId }) => watchId === "upper/two"); i++) await other.run(`echo x > second${i}; sleep 0.1`);
      source.unwatch("upper/one");
      await new Promise((resolve) => setTimeout(resolve, 100));
      await overlay.run("echo x > unseen");
      await other.run("echo x > barrier");
      await told("upper/two", "barrier");
      expect(seen.filter(({ path }) => path.toString() === "unseen")).toEqual([]);
      expect(seen.filter(({ watchId, path }) => watchId === "upper/one" && path.toString().startsWith("second"))).toEqual([]);
    } finally {
      await other.close();
    }
  });

  it("watches a directory that is not there without failing", async () => {
    source.watch("upper/absent", `${overlay.upper}-absent`);
    await overlay.run("echo x > after");
    await told("upper/one", "after");
    expect(failures).toEqual([]);
  });

  it("tells of edits in a layer's directory, or says that it does not see everything", async () => {
    expect(source.capabilities.complete).toBe(source.capabilities.kind === "fanotify");
    if (!source.capabilities.complete) return;
    source.watch("layer", overlay.lower);
    await overlay.run(`echo x >> ${overlay.lower}/etc/conf`);
    await told("layer", "etc/conf");
  });
});

it("is fanotify where its self-test passes, else chokidar, and why is told; one that is asked for by name is not replaced", async () => {
  mkdirSync(STATE_ROOT, { recursive: true });
  const absent = join(STATE_ROOT, "absent");
  const declined: string[] = [];
  const kind = async (choice: "auto" | "fanotify" | "chokidar", directory: string): Promise<string> =>
    (await openChangeSource(choice, directory, (reason) => declined.push(reason))).capabilities.kind;
  expect(await kind("auto", STATE_ROOT)).toBe("fanotify");
  expect(await kind("chokidar", STATE_ROOT)).toBe("chokidar");
  expect(await kind("fanotify", absent)).toBe("fanotify");
  expect(declined).toEqual([]);
  expect(await kind("auto", absent)).toBe("chokidar");
  expect(declined).toEqual([expect.stringContaining("mkdtemp")]);
});
