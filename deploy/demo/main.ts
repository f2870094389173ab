import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TestbedError } from "../testbed/index.ts";
import { REPOSITORY, testbedDirectory } from "../testbed/paths.ts";
import { isOwned, readState } from "../testbed/state.ts";
import { sweep, sweepDead } from "../testbed/sweep.ts";
import { Reporter } from "./reporter.ts";
import { SCENARIOS } from "./scenarios.ts";
import { type Stage, setStage } from "./stage.ts";

// npm run demo [-- --keep | --down]: plays every scenario on real parts, then removes them, unless they are to be kept. Interrupted at
// whatever moment, it just ends: the test bed's watchdog removes what there is.

/** The one that is kept. Others have names of their own, so that they may run beside it and beside each other. */
const KEPT = testbedDirectory("demo");
/** How to use the one that is kept. */
const GUIDE = join(KEPT, "use.txt");

async function demo(name: string): Promise<Stage> {
  const started = performance.now();
  const report = new Reporter();
  const stage = await setStage(report, name);
  try {
    for (const scenario of SCENARIOS) {
      report.heading(scenario.title);
      await scenario.play(stage, report);
    }
  } catch (error) {
    await stage.bed.down();
    throw error;
  }
  console.log(`\n${report.steps} steps in ${Math.round((performance.now() - started) / 1000)} s`);
  return stage;
}

async function show(): Promise<void> {
  const { bed } = await demo(`demo-${process.pid.toString(36)}`);
  await new Reporter().step("all removed", () => bed.down());
}

async function keep(): Promise<void> {
  const state = readState(KEPT);
  if (state?.keep && isOwned(state) && existsSync(GUIDE)) {
    console.log(`\nIt is up already.\n${readFileSync(GUIDE, "utf8")}`);
    return;
  }
  const stage = await demo("demo");
  const guide = guideTo(stage);
  writeFileSync(GUIDE, guide);
  await stage.bed.keep();
  console.log(`\n${guide}`);
}

/** What a visitor needs to go on by hand. */
function guideTo({ bed, stack, keys }: Stage): string {
  const host = bed.registry?.host ?? "";
  const lines = [
    "The stack stays up until: npm run demo -- --down",
    "",
    ...(process.env["SUDO_UID"] ? ["  sudo -s   # socket, keys and configuration are root's", ""] : []),
    "  # this engine, not yours",
    `  export DOCKER_HOST=${bed.engine?.dockerHost}`,
    `  export PATH=${REPOSITORY}/node_modules/.bin:$PATH   # hullmark`,
    `  export HULLMARK_CONFIG=${stack.cliConfig}`,
    "  hullmark status; hullmark drift ls; hullmark log verify",
    "",
    "  # an image of your own: build (on this one, or FROM scratch), push, sign, run. Or bring one: docker -H YOURS save IMAGE | docker load",
    `  printf 'FROM ${host}/acme/web:1\\nRUN echo hello >/srv/mine\\n' | docker build -t ${host}/acme/mine:1 -`,
    `  docker push ${host}/acme/mine:1`,
    `  hullmark sign ${host}/acme/mine:1 --key ${keys.privateKey}`,
    `  hullmark verify ${host}/acme/mine:1 --key ${keys.publicKey}`,
    `  docker run -d --name mine ${host}/acme/mine:1`,
    "  hullmark workloads",
    "",
    "  # tamper, then: hullmark drift ls; hullmark drift show ID",
    "  docker exec mine sh -c 'echo tampered >/srv/mine'",
    "  docker exec -d mine /usr/local/bin/hullmark-tool memfd /usr/local/bin/hullmark-tool wait",
    `  # a lower layer, on the host: files below ${bed.engine?.imageStore === "containerd" ? bed.containerd?.root : `${bed.engine?.dataRoot}/overlay2`}`,
    "",
    `  registry        ${host} (plain HTTP, loopback)`,
    `  signing key     ${keys.privateKey} (public: .pub); the policy asks for it below acme/`,
    `  Alertmanager    ${bed.alertmanager?.url}`,
    `  TPM             ${bed.tpms[0]?.tcti}`,
    `  everything is in ${bed.directory}`,
  ];
  return `${lines.join("\n")}\n`;
}

async function down(): Promise<void> {
  const there = existsSync(KEPT);
  await sweep(KEPT);
  await sweepDead();
  console.log(there ? "the demo is removed" : "no demo is kept");
}

const options = process.argv.slice(2);
const action = new Map([
  ["", show],
  ["--keep", keep],
  ["--down", down],
]).get(options.join(" "));
if (!action) {
  console.error("usage: npm run demo [-- --keep | --down]");
  process.exitCode = 2;
} else {
  action().catch((error: unknown) => {
    console.error(error instanceof TestbedError ? error.message : error);
    process.exitCode = 1;
  });
}
