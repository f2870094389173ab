/** Of a program that a runtime's exec ran in a container, and that had ended before it could be looked at, the exec's own words name the container: and nobody else's. */
import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Change } from "@hullmark/agent/ports/change-source";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { REPOSITORY, STATE_ROOT } from "../../deploy/testbed/paths.ts";

const [ID, OTHER_ID] = ["a1".repeat(32), "b2".repeat(32)];
const DASH = expect.stringMatching(/\/dash$/);
/** What watches is a process of its own, so that it can be stopped while a program comes and goes. */
const WATCHER = `
import { FanotifyChangeSource } from "@hullmark/agent/adapters/fanotify/fanotify-source";
const [directory] = process.argv.slice(1);
const tell = (told) => console.log(JSON.stringify(told));
const source = new FanotifyChangeSource({ scratchDirectory: directory });
await source.start({ changes: (batch) => batch.forEach(({ path, actor }) => tell({ path: path.toString(), actor })), lost: tell, processStarted: () => {}, failed: (error) => tell(String(error)) });
source.watch("files", directory + "/files");
tell({ path: "ready" });
`;
/** As the runtime does: it lives on while what it ran comes and goes. */
const SCRIPT = `name=$NAME; echo x > files/begun-$name
while [ ! -e go-$name ]; do sleep 0.05; done
$AS /bin/dash -c "echo x > files/ran-$name"
echo x > done-$name
`;

interface Told {
  readonly path: string;
  readonly actor?: Change["actor"];
}

let directory: string;
let watcher: ChildProcess;
const told: Told[] = [];

beforeAll(async () => {
  mkdirSync(STATE_ROOT, { recursive: true });
  directory = mkdtempSync(join(STATE_ROOT, "exec-target-"));
  chmodSync(directory, 0o777);
  mkdirSync(join(directory, "files"));
  chmodSync(join(directory, "files"), 0o777);
  for (const name of ["runc", "crun", "other"]) copyFileSync("/bin/dash", join(directory, name));
  for (const name of ["exec", "create"]) writeFileSync(join(directory, name), SCRIPT);
  watcher = spawn(process.execPath, ["--input-type=module", "--eval", WATCHER, directory], { cwd: REPOSITORY, stdio: ["ignore", "pipe", "inherit"] });
  if (watcher.stdout) createInterface(watcher.stdout).on("line", (line) => told.push(JSON.parse(line) as Told));
  await vi.waitFor(() => expect(told).toContainEqual({ path: "ready" }), { timeout: 60_000 });
}, 90_000);
afterAll(() => {
  watcher?.kill("SIGKILL");
  rmSync(directory, { recursive: true, force: true });
});

/** @returns who is told to have written, by a program that began and ended while nobody looked */
async function writerOf(name: string, program: string, words: readonly string[], { uid = 0, as = "" } = {}): Promise<Told["actor"]> {
  const child = spawn(join(directory, program), words, { cwd: directory, uid, env: { ...process.env, NAME: name, AS: as }, stdio: "inherit" });
  const wait = (seen: () => boolean): Promise<void> => vi.waitFor(() => expect(seen()).toBe(true), { timeout: 60_000, interval: 20 });
  try {
    // What it did itself is told: that it was executed has been seen.
    await wait(() => told.some(({ path, actor }) => path === `begun-${name}` && actor !== undefined));
    watcher.kill("SIGSTOP");
    await wait(() => /^State:\tT/m.test(readFileSync(`/proc/${watcher.pid}/status`, "utf8")));
    writeFileSync(join(directory, `go-${name}`), "");
    await wait(() => existsSync(join(directory, `done-${name}`)));
    watcher.kill("SIGCONT");
    await wait(() => told.some(({ path, actor }) => path === `ran-${name}` && actor !== undefined));
    return told.findLast(({ path, actor }) => path === `ran-${name}` && actor !== undefined)?.actor;
  } finally {
    watcher.kill("SIGCONT");
    child.kill();
  }
}

test("an exec of a runtime's, for one container", async () => {
  for (const program of ["runc", "crun"]) {
    const actor = await writerOf(program, program, ["exec", "--process", "f", "--pid-file", `/run/${OTHER_ID}/pid`, ID]);
    expect(actor).toMatchObject({ executable: DASH, located: true, uid: 0, containerId: ID });
    expect(actor?.entrance).toMatchObject({ pid: actor?.pid, fromHost: true, init: false, from: expect.arrayContaining([program]) });
  }
  // What the runtime becomes on the way is told by the kernel.
  const actor = await writerOf("user", "runc", ["exec", "--process", "f", ID], { as: "setpriv --reuid 7 --clear-groups" });
  expect(actor).toMatchObject({ executable: DASH, located: true, uid: 7, containerId: ID });
}, 120_000);

test.each<[string, string, string[], number?]>([
  ["another command", "runc", ["create", "--process", "f", ID]],
  ["two containers, of which it is for one", "runc", ["exec", "--process", "f", ID, OTHER_ID]],
  ["words that somebody chose to be run", "runc", ["exec", "-t", "web", "sleep", ID]],
  ["another program with a runtime's words", "other", ["exec", "--process", "f", ID]],
  ["somebody who is not root", "runc", ["exec", "--process", "f", ID], 65_534],
])(
  "not %s",
  async (what, program, words, uid) => {
    const actor = await writerOf(what.replaceAll(/\W/g, "-"), program, words, { uid });
    expect(actor).toMatchObject({ executable: DASH, located: false, containerId: "" });
  },
  120_000,
);
