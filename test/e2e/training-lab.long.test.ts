/** docs/training-lab.md, done as it stands: each block of commands in one shell on a real Docker Engine, what it prints against the block after it. The document alone has the commands. */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freePort } from "../../deploy/testbed/http-service.ts";
import { startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { program, REPOSITORY } from "../../deploy/testbed/paths.ts";
import { acceptanceImage } from "./images/acceptance.ts";
import { loadPrograms } from "./images/programs.ts";
import { pushImage } from "./images/push.ts";
import { assertDone, doLab, type LabRun } from "./lab.ts";

/** It waits for what it has to see: whatever does not come ends it, and the test says where. */
const LAB_SECONDS = 600;

let bed: Testbed;
let state: string;
let image: string;

beforeAll(async () => {
  bed = await startTestbed({ name: "training-lab", parts: { engine: true, registry: true } });
  state = join(bed.directory, "host/state");
  image = (await pushImage(bed.registry?.host ?? "", "acme/web", "1", acceptanceImage(await loadPrograms()))).reference;
});
afterAll(async () => {
  if (state && existsSync(join(state, "host.json"))) await sh("hullmark down");
  await bed?.down();
});

/** What a host of one's own brings along: the command and docker in PATH, and how this engine is reached. */
function environment(): Readonly<Record<string, string>> {
  const programs = join(bed.directory, "programs");
  mkdirSync(programs, { recursive: true });
  const { engine, registry } = bed;
  const own = { up: `--no-systemd --docker-socket ${engine?.socketPath} --registry-plain-http ${registry?.host} --state ${state}`, down: `--state ${state}` };
  const cases = Object.entries(own).map(([name, options]) => `${name}) shift; set -- ${name} ${options} "$@" ;;`);
  writeFileSync(
    join(programs, "hullmark"),
    `#!/bin/sh\ncase $1 in\n${cases.join("\n")}\nesac\nexec ${process.execPath} ${join(REPOSITORY, "dist/hullmark.js")} "$@"\n`,
    { mode: 0o755 },
  );
  return {
    PATH: [programs, dirname(process.execPath), dirname(program("docker")), process.env["PATH"] ?? ""].join(":"),
    DOCKER_HOST: engine?.dockerHost ?? "",
    HULLMARK_CONFIG: join(bed.directory, "etc/hullmark/config.yaml"),
    HOME: bed.directory,
  };
}

/** In the lab's directory. */
function sh(script: string, more: Readonly<Record<string, string>> = {}): Promise<LabRun> {
  const directory = join(bed.directory, "lab");
  mkdirSync(directory, { recursive: true });
  const [file = "", ...args] = bed.wrap(["/usr/bin/timeout", `${LAB_SECONDS}`, "/bin/bash", "-c", `cd "$0" && ${script}`, directory]);
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { cwd: directory, env: { ...process.env, ...environment(), ...more }, stdio: ["ignore", "pipe", "pipe"] });
    let text = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (text += chunk.toString()));
    child.on("error", reject);
    // Not `close`: what the lab starts in the background may hold the pipes.
    child.on("exit", (code) => resolve({ code, text }));
  });
}

test("every block of the training lab does what it says", { timeout: 900_000 }, async () => {
  const more = { IMAGE: image, REGISTRY: bed.registry?.host ?? "", PAGER_PORT: String(await freePort()) };
  assertDone(await doLab("docs/training-lab.md", join(bed.directory, "blocks"), (script) => sh(script, more)));
  expect(readdirSync(join(bed.directory, "lab"))).toEqual([]);
  expect(existsSync(state)).toBe(false);
});
