/** docs/training-lab.md, done as it stands: each block of commands in one shell on a real Docker Engine, what it prints against the block after it. The document alone has the commands. */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freePort } from "../../deploy/testbed/http-service.ts";
import { startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { program, REPOSITORY } from "../../deploy/testbed/paths.ts";
import { acceptanceImage } from "./images/acceptance.ts";
import { loadPrograms } from "./images/programs.ts";
import { pushImage } from "./images/push.ts";

interface Step {
  readonly heading: string;
  readonly commands: string;
  /** Lines that are printed, in this order and with any others between them; `…` stands for any characters. */
  readonly printed: readonly string[];
}

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

interface Ran {
  readonly code: number | null;
  readonly text: string;
}

/** In the lab's directory. */
function sh(script: string, more: Readonly<Record<string, string>> = {}): Promise<Ran> {
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

function steps(markdown: string): readonly Step[] {
  const found: Step[] = [];
  let heading = "Before all";
  for (const [, title, language, body = ""] of markdown.matchAll(/^## ([^\n]*)$|^```(\w+)\n(.*?)^```$/gms)) {
    const before = found.at(-1);
    if (title !== undefined) heading = title;
    else if (language === "sh") found.push({ heading, commands: body, printed: [] });
    else if (language === "text" && before) found[found.length - 1] = { ...before, printed: body.trimEnd().split("\n") };
    else throw new Error(`a block that is neither run nor held against anything: ${language}`);
  }
  return found;
}

function missing(printed: readonly string[], text: string): string | undefined {
  const lines = text.split("\n");
  for (const line of printed) {
    const parts = line.split("…").map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    const at = lines.findIndex((each) => new RegExp(`^${parts.join(".*")}$`).test(each.trimEnd()));
    if (at < 0) return line;
    lines.splice(0, at + 1);
  }
  return undefined;
}

const outputOf = (step: number): string => join(bed.directory, `lab-${step}.out`);

test("every block of the training lab does what it says", { timeout: 900_000 }, async () => {
  const markdown = readFileSync(join(REPOSITORY, "docs/training-lab.md"), "utf8");
  const all = steps(markdown);
  expect(all.length).toBeGreaterThan(10);
  // One shell, as the reader has: what a block sets, the next has. A command that says so by 1 or more (`drift ls`) does not end it.
  const script = all.map(({ commands }, i) => `{\n${commands}\n} > ${outputOf(i)} 2>&1`).join("\n");
  const { code, text } = await sh(`set -u\n${script}`, { IMAGE: image, REGISTRY: bed.registry?.host ?? "", PAGER_PORT: String(await freePort()) });
  const outputs = all.map((_step, i) => (existsSync(outputOf(i)) ? readFileSync(outputOf(i), "utf8") : "(not reached)"));
  for (const [i, { heading, printed }] of all.entries()) expect(missing(printed, outputs[i] ?? ""), `${heading}\n${outputs[i]}`).toBeUndefined();
  expect({ code, text }, outputs.at(-1)).toEqual({ code: 0, text: "" });
  for (const output of outputs) expect(output).not.toMatch(/command not found|^hullmark: /m);
  expect(readdirSync(join(bed.directory, "lab"))).toEqual([]);
  expect(existsSync(state)).toBe(false);
});
