import { existsSync } from "node:fs";
import { basename } from "node:path";
import { parseArgs } from "node:util";
import { startTestbed, TestbedError } from "./index.ts";
import { testbedDirectory } from "./paths.ts";
import { isOwned, listTestbeds, readState } from "./state.ts";
import { sweep, sweepDead } from "./sweep.ts";

// node deploy/testbed/main.ts up NAME [--kubernetes] | down NAME | list | sweep: for people and for the watchdog; tests import index.ts.
const { values: options, positionals } = parseArgs({ allowPositionals: true, options: { kubernetes: { type: "boolean", default: false } } });
const [command, name = "dev"] = positionals;

async function main(): Promise<void> {
  if (command === "up") {
    const bed = await startTestbed({
      name,
      parts: options.kubernetes ? { kubernetes: true, registry: true, tpms: 1 } : { engine: true, registry: true, tpms: 1 },
    });
    await bed.keep();
    console.log(JSON.stringify(readState(bed.directory)?.parts, null, 2));
  } else if (command === "down") {
    const directory = testbedDirectory(name);
    const known = existsSync(directory);
    await sweep(directory);
    console.log(known ? `${name} removed` : `${name}: nothing there`);
  } else if (command === "list") {
    for (const directory of listTestbeds()) {
      const state = readState(directory);
      console.log(`${basename(directory)}\t${state && isOwned(state) ? (state.keep ? "kept" : "in use") : "dead"}`);
    }
  } else if (command === "sweep") {
    for (const removed of await sweepDead()) console.log(`${removed} removed`);
  } else {
    console.error("usage: node deploy/testbed/main.ts up NAME [--kubernetes] | down NAME | list | sweep");
    process.exitCode = 2;
  }
}

main().catch((error: unknown) => {
  console.error(error instanceof TestbedError ? error.message : error);
  process.exitCode = 1;
});
