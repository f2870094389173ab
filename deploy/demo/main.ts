import { existsSync } from "node:fs";
import { TestbedError } from "../testbed/index.ts";
import { REPOSITORY, testbedDirectory } from "../testbed/paths.ts";
import { sweep } from "../testbed/sweep.ts";
import { Reporter } from "./reporter.ts";
import { SCENARIOS } from "./scenarios.ts";
import { DEMO, type Stage, setStage } from "./stage.ts";

// npm run demo [-- --keep | --down]: plays every scenario on real parts, then removes them, unless they are to be kept.

async function demo(keep: boolean): Promise<void> {
  const started = performance.now();
  const report = new Reporter();
  await sweep(testbedDirectory(DEMO));
  const stage = await setStage(report, keep);
  const stop = (signal: NodeJS.Signals): void => {
    stage.bed.down().finally(() => process.exit(signal === "SIGINT" ? 130 : 143));
  };
  process.once("SIGINT", stop);
  process.once("SIGTERM", stop);
  try {
    for (const scenario of SCENARIOS) {
      report.heading(scenario.title);
      await scenario.play(stage, report);
    }
  } catch (error) {
    await stage.bed.down();
    throw error;
  }
  if (keep) explain(stage);
  else await report.step("all removed", () => stage.bed.down());
  console.log(`\n${report.steps} steps in ${Math.round((performance.now() - started) / 1000)} s`);
}

/** What a visitor needs to go on by hand. */
function explain(stage: Stage): void {
  const host = stage.bed.registry?.host ?? "";
  const lines = [
    "",
    "The stack stays up until: npm run demo -- --down",
    "",
    "  # this engine, not yours",
    `  export DOCKER_HOST=${stage.bed.engine?.dockerHost}`,
    `  export PATH=${REPOSITORY}/node_modules/.bin:$PATH   # hullmark`,
    `  export HULLMARK_CONFIG=${stage.stack.cliConfig}`,
    "  hullmark status; hullmark drift ls",
    "",
    "  # an image of your own: push, sign, run",
    `  docker tag IMAGE ${host}/acme/mine:1 && docker push ${host}/acme/mine:1`,
    `  hullmark sign ${host}/acme/mine:1 --key ${stage.keys.privateKey}`,
    `  docker run -d --name mine ${host}/acme/mine:1`,
    "",
    "  # tamper",
    "  docker exec web sh -c 'echo x >>/etc/nginx/nginx.conf'",
    `  docker exec web /usr/local/bin/hullmark-tool memfd /usr/local/bin/hello`,
    `  # a lower layer, on the host: files below ${stage.bed.engine?.dataRoot}/overlay2`,
    "",
    `  registry        ${host} (plain HTTP, loopback)`,
    `  signing key     ${stage.keys.privateKey} (public: .pub)`,
    `  Alertmanager    ${stage.bed.alertmanager?.url}`,
    `  TPM             ${stage.bed.tpms[0]?.tcti}`,
    `  everything is in ${stage.bed.directory}`,
  ];
  console.log(lines.join("\n"));
}

async function down(): Promise<void> {
  const there = existsSync(testbedDirectory(DEMO));
  await sweep(testbedDirectory(DEMO));
  console.log(there ? "the demo is removed" : "no demo is running");
}

const options = process.argv.slice(2);
const known = options.every((option) => option === "--keep" || option === "--down");
if (!known || options.length > 1) {
  console.error("usage: npm run demo [-- --keep | --down]");
  process.exitCode = 2;
} else {
  const action = options[0] === "--down" ? down() : demo(options[0] === "--keep");
  action.catch((error: unknown) => {
    console.error(error instanceof TestbedError ? error.message : error);
    process.exitCode = 1;
  });
}
