/** Learning what a workload writes: never code, never wider than what was seen allows, and nothing that was written from outside. */
import { compileGlob } from "@hullmark/proto/codec";
import { learnFrom, together, usesOf } from "@hullmark/verifier/core/fleet/workload-baselines";
import { classify } from "@hullmark/verifier/core/learning/classes";
import { generalise, LEAST_INSTANCES } from "@hullmark/verifier/core/learning/generalise";
import { learn } from "@hullmark/verifier/core/learning/learn";
import { isCodePath } from "@hullmark/verifier/core/policy/code-paths";
import { defaultPolicy, learnedClasses, mutableClassesFor } from "@hullmark/verifier/core/policy/index";
import type { BaselineRow, DriftRow } from "@hullmark/verifier/ports/rows";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { actor, drift, upper, workload } from "../contract/store-fixtures.ts";

/** A file that the container wrote, as data. */
const wrote = (path: string, more: Partial<DriftRow> = {}): DriftRow =>
  drift(1, {
    ...{ path: Buffer.from(path), place: "upper", kind: "added", executable: false, mappedBy: [], differences: [] },
    ...{ containerId: "c1", containerName: "shop/web-7d9f8b6c5d-x2k4q/app", workload: "shop/web", actor },
    ...more,
  });
const learned = (...drifts: DriftRow[]) => learn(drifts).groups.flatMap(({ paths }) => paths.map(({ class: kind, pattern }) => `${kind} ${pattern}`));
const leftOut = (...drifts: DriftRow[]) => learn(drifts).leftOut.map(({ path, why }) => `${path}: ${why}`);

describe("classes", () => {
  test.each([
    ["/var/log/app/access.log", "log"],
    ["/srv/app/logs/2026/out.txt", "log"],
    ["/opt/shop/server.log.3.gz", "log"],
    ["/var/cache/nginx/3/1f/9ab", "cache"],
    ["/home/app/.cache/fontconfig/x", "cache"],
    ["/var/lib/app/app.pid", "runtime"],
    ["/srv/app/server.sock", "runtime"],
    ["/var/lib/mysql/ibdata1", "database"],
    ["/var/lib/app/app.db-wal", "database"],
    ["/srv/app/tmp/upload", "temporary"],
    ["/etc/nginx/conf.d/default.conf", "configuration"],
    ["/srv/app/settings.json", "configuration"],
    ["/srv/app/cache/answer.json", "cache"],
    // However a workload names it: programs take all of such a directory, or of such an ending.
    ["/etc/nginx/conf.d/1.log.conf", "configuration"],
    ["/usr/local/etc/php/conf.d/1.log.ini", "configuration"],
    ["/etc/app/cache/x", "configuration"],
    ["/opt/app/config/app.db", "configuration"],
    ["/srv/app/data/server.properties", "configuration"],
    ["/srv/app/1.log.json", "configuration"],
  ])("%s is %s", (path, is) => expect(classify(Buffer.from(path))).toEqual({ ok: true, is }));

  test.each([
    "/usr/bin/x.log",
    "/lib/x86_64-linux-gnu/cache/libc.so.6",
    "/var/log/app/libx.so",
    "/var/cache/app/libx.so.1.2.3",
    "/var/cache/app/run.py",
    "/var/cache/app/run.py~",
    "/var/cache/app/run.php.bak",
    "/var/cache/twig/a.php",
    "/srv/app/tmp/hook.sh",
    "/srv/app/node_modules/x/data.json",
    "/srv/app/plugins/cache/x.bin",
    "/var/spool/cron/crontabs/root",
    "/etc/cron.d/job",
    "/etc/ld.so.preload",
    "/etc/ld.so.conf.d/x.conf",
    "/etc/passwd",
    "/etc/sudoers.d/app",
    "/etc/PAM.d/sshd",
    "/home/app/.ssh/authorized_keys",
    "/home/app/.bashrc",
    "/root/.cache/x",
    "/etc/nsswitch.conf",
    "/srv/app/.env",
  ])("%s is nothing to learn", (path) => {
    expect(isCodePath(Buffer.from(path)), path).toBe(true);
    expect(classify(Buffer.from(path))).toMatchObject({ ok: false });
  });

  test("what has no class, no plain name, or too long a one", () => {
    for (const path of [
      Buffer.from("/srv/app/thing"),
      Buffer.from([0x2f, 0x6c, 0xff]),
      Buffer.from("/var/log/a\nb.log"),
      Buffer.from(`/var/log/${"a".repeat(1100)}.log`),
    ])
      expect(classify(path)).toMatchObject({ ok: false });
  });
});

describe("patterns", () => {
  test("numbers, dates, hexadecimal words and pods' names open where several were seen, and only what differed", () => {
    const patterns = (...paths: string[]) => generalise(paths).map(({ pattern, seen }) => `${pattern} ${seen}`);
    expect(patterns("/var/log/app/1.log", "/var/log/app/2.log")).toEqual(["/var/log/app/1.log 1", "/var/log/app/2.log 1"]);
    expect(patterns("/var/log/app/1.log", "/var/log/app/2.log", "/var/log/app/31.log")).toEqual(["/var/log/app/*.log 3"]);
    expect(patterns(...["24", "25", "26"].map((day) => `/var/log/app/2026-11-${day}.log`))).toEqual(["/var/log/app/2026-11-*.log 3"]);
    expect(patterns(...["x2k4q", "zz9bc", "4k2lm"].map((pod) => `/var/log/app/web-7d9f8b6c5d-${pod}.log`))).toEqual(["/var/log/app/web-*.log 3"]);
    expect(patterns(...["a1", "b2", "c3"].map((hex) => `/var/cache/nginx/${hex.repeat(16)}`))).toEqual(["/var/cache/nginx/* 3"]);
    expect(patterns(...["a", "b", "c"].map((name) => `/var/log/app/${name}.log`))).toHaveLength(3);
    // A directory of its own is the least that is named in full.
    expect(patterns(...[1, 2, 3].map((n) => `/data/${n}.db`))).toHaveLength(3);
    expect(patterns(...[1, 2, 3].map((n) => `/srv/${n}/app/x.db`))).toHaveLength(3);
    expect(patterns("/var/log/a*/x?.log")).toEqual(["/var/log/a\\*/x\\?.log 1"]);
  });

  const word = fc.stringMatching(/^[a-z0-9._*?\\-]{1,12}$/).filter((each) => each !== "." && each !== "..");
  const paths = fc.uniqueArray(
    fc
      .tuple(fc.constantFrom("/var/log/app/", "/var/cache/x1/", "/data/"), fc.array(fc.oneof(word, fc.nat(30).map(String)), { minLength: 1, maxLength: 3 }))
      .map(([top, rest]) => top + rest.join("/")),
    { minLength: 1, maxLength: 30 },
  );

  test("cover each path that was seen, at its depth; what is open stays in one name and has two directories and several instances", () => {
    fc.assert(
      fc.property(paths, (seen) => {
        const patterns = generalise(seen);
        for (const path of seen)
          expect(
            patterns.some(({ pattern }) => compileGlob(pattern)(Buffer.from(path))),
            path,
          ).toBe(true);
        for (const { pattern, seen: times } of patterns) {
          const plain = pattern.replaceAll(/\\./gs, "_");
          expect(plain).not.toMatch(/\*\*|\?/);
          expect(compileGlob(pattern)(Buffer.from(`${plain.replaceAll("*", "1")}/deeper`))).toBe(false);
          if (!plain.includes("*")) continue;
          expect(times).toBeGreaterThanOrEqual(LEAST_INSTANCES);
          expect(plain.split("/").slice(1, 3).join("/")).not.toContain("*");
        }
        expect(patterns.reduce((sum, each) => sum + each.seen, 0)).toBe(seen.length);
      }),
    );
  });
});

test("is what the container wrote as data; executables, what runs, what came from outside and what is no content is not", () => {
  const log = (n: number) => `/var/log/app/${n}.log`;
  expect(learned(wrote(log(1)), wrote(log(2)), wrote(log(3)), wrote("/etc/app.json"))).toEqual(["log /var/log/app/*.log", "configuration /etc/app.json"]);
  // Configuration is told one by one, however much of it there is.
  expect(learned(...[1, 2, 3].map((n) => wrote(`/etc/app/${n}.conf`)))).toHaveLength(3);
  expect(learned(...[1, 2, 3].map((n) => wrote(`/etc/nginx/conf.d/${n}.log.conf`)))).toHaveLength(3);
  const refused: [string, Partial<DriftRow>][] = [
    ["can be executed", { executable: true }],
    ["can be executed", { executable: undefined }],
    ["a process runs", { mappedBy: ["1 /x"] }],
    ["only content", { kind: "mode" }],
    ["only content", { kind: "setuid" }],
    ["outside the container", { actor: { ...actor, containerId: "" } }],
    ["outside the container", { actor: { ...actor, containerId: "c2" } }],
    ["no plain file", { differences: [{ field: "type", expected: "absent", observed: "symlink" }] }],
  ];
  for (const [why, more] of refused) {
    expect(learned(wrote(log(1), more)), why).toEqual([]);
    expect(leftOut(wrote(log(1), more))).toEqual([expect.stringContaining(why)]);
  }
  // Once executable, or mapped, in this time is enough; in whatever order.
  expect(learned(wrote(log(1)), wrote(log(1), { executable: true }))).toEqual([]);
  expect(learned(wrote(log(1)), wrote(log(1), { place: "process", kind: "code-upper" }))).toEqual([]);
  for (const place of ["layer", "configuration", "mount", "bind"]) expect(learn([wrote(log(1), { place })])).toEqual({ groups: [], leftOut: [] });
  // Nobody was seen writing it: a source of changes without attribution.
  expect(learned(wrote(log(1), { actor: undefined }))).toHaveLength(1);
});

test("what is approved lets just that be, in this container of this workload, and never what is code", () => {
  const [group] = learn([1, 2, 3].map((n) => wrote(`/var/cache/app/${n}`))).groups;
  const row = { id: "shop/web@1", state: "approved", learned: [group] } as unknown as BaselineRow;
  const policy = (state: BaselineRow["state"]) => ({ ...defaultPolicy(), mutable: [], exceptions: learnedClasses([{ ...row, state }]) });
  const may = (
    path: string,
    { executable = false, containerName = "shop/web-1-a/app", workload = "shop/web", state = "approved" as BaselineRow["state"] } = {},
  ) => mutableClassesFor(policy(state), { containerName, workload, imageReference: "x", labels: {}, nodeName: "w" })(Buffer.from(path), executable);
  expect(may("/var/cache/app/99")).toBe(true);
  expect(may("/var/cache/app/99", { executable: true })).toBe(false);
  expect(may("/var/cache/app/99", { state: "proposed" })).toBe(false);
  expect(may("/var/cache/app/99", { state: "expired" })).toBe(false);
  expect(may("/var/cache/app/99", { workload: "shop/cart" })).toBe(false);
  expect(may("/var/cache/app/99", { containerName: "shop/web-1-a/sidecar" })).toBe(false);
  expect(may("/var/cache/app/9/9")).toBe(false);
  // The pattern has no ending: what an interpreter would load is not meant all the same.
  for (const name of ["app.conf", "app.ini", "app.toml"]) expect(may(`/var/cache/app/${name}`), name).toBe(false);
  for (const name of ["x.py", "x.so", "x.so.1", "x.php", "x.js", "crontab"]) expect(may(`/var/cache/app/${name}`), name).toBe(false);
});

test("configuration is let be only where it was named in full, and somebody approved that", () => {
  const groups = learn([wrote("/etc/nginx/conf.d/default.conf")]).groups;
  const exceptions = learnedClasses([{ id: "shop/web@1", state: "approved", learned: groups } as unknown as BaselineRow]);
  const may = mutableClassesFor(
    { ...defaultPolicy(), mutable: [], exceptions },
    {
      containerName: "shop/web-1-a/app",
      workload: "shop/web",
      imageReference: "x",
      labels: {},
      nodeName: "w",
    },
  );
  expect(may(Buffer.from("/etc/nginx/conf.d/default.conf"), false)).toBe(true);
  expect(may(Buffer.from("/etc/nginx/conf.d/other.conf"), false)).toBe(false);
});

test("nothing is learned of what is too much to be looked at whole: what came first may be what tells that it ran", async () => {
  const endless = {
    listDrifts: async (_filter: object, { limit }: { limit: number }) => Array.from({ length: limit }, (_, i) => wrote(`/var/log/app/${i}.log`)),
  };
  await expect(learnFrom(endless as never, "shop/web", 0, () => true)).rejects.toMatchObject({ code: "TOO_MANY" });
});

test("the next version takes over what covers a file of what runs, in its container, and nothing else", async () => {
  const pattern = (glob: string) => ({ pattern: glob, class: "log", seen: 3, example: "/x" });
  const group = { select: { workloads: ["shop/web"], containers: ["shop/*/app"] }, paths: [pattern("/var/log/app/*.log"), pattern("/var/log/old/*.log")] };
  const row = { id: "shop/web@1", workload: "shop/web", state: "approved", learned: [group] } as unknown as BaselineRow;
  const at = (id: string, containerName: string, name: string) => workload("n1", id, { containerName, workload: name });
  const memory = (id: string, ...uppers: ReturnType<typeof upper>[]) => ({ id, parts: {}, upper: uppers });
  const uses = await usesOf(
    {
      listWorkloads: async (_filter, { after }) =>
        after === "" ? [at("a", "shop/web-1/app", "shop/web"), at("b", "shop/web-1/side", "shop/web"), at("c", "shop/cart-1/app", "shop/cart")] : [],
      readMemory: async () =>
        ({
          containers: [
            memory(
              "a",
              upper("var/log/app/1.log", "x", { changedAtMs: 7 }),
              upper("var/log/app/2.log", "x", { changedAtMs: 9 }),
              upper("var/log/old/gone.log", ""),
            ),
            memory("b", upper("var/log/old/1.log", "x")),
            memory("c", upper("var/log/old/2.log", "x")),
          ],
        }) as never,
    },
    [row],
  );
  expect(uses.get("shop/web@1")).toEqual({ paths: 2, lastChangedMs: 9, patterns: new Set(["/var/log/app/*.log"]) });
  const news = { ...group, paths: [pattern("/var/log/app/*.log"), pattern("/var/log/new/1.log")] };
  expect(together([news], [row], uses).flatMap(({ paths }) => paths.map((each) => each.pattern))).toEqual(["/var/log/app/*.log", "/var/log/new/1.log"]);
  expect(together([], [row], new Map())).toEqual([]);
});
