/**
 * Five real services under load: no false alarm, every planted attack found, no growth of memory. HULLMARK_SOAK_MINUTES (default 20)
 * says how long; `npm run soak -- --hours 24` is the day's run.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { tail } from "../../deploy/stack/stack.ts";
import { engineDump } from "./engine-dump.ts";
import { Soak } from "./soak.ts";
import { setStage } from "./stage.ts";

const MINUTES = Number(process.env["HULLMARK_SOAK_MINUTES"] ?? 20);
const FOUND_LIMIT_MS = 10_000;
/** A quarter is what garbage that is not collected yet makes of a minute's median. */
const GROWTH_LIMIT = 1.25;
/** 80 MB. */
const AGENT_LIMIT_MIB = 76;
const LOG_LINES = 60;

test(`five services for ${MINUTES} minutes: nothing but what was planted`, async () => {
  expect(MINUTES, "HULLMARK_SOAK_MINUTES").toBeGreaterThan(0);
  const stage = await setStage("soak");
  const soak = new Soak(stage);
  try {
    await soak.run(MINUTES * 60_000);
    const report = soak.report();
    const state = process.env["HULLMARK_STATE"] ?? join(import.meta.dirname, "../../.hullmark");
    mkdirSync(join(state, "soak"), { recursive: true });
    writeFileSync(join(state, "soak", "report.json"), JSON.stringify(report, null, 2));
    console.log(soak.summary(), "\n\n", soak.problems.join("\n\n"));
    expect(soak.problems.length, "problems, told above").toBe(0);
    expect(report.attacks.length, "attacks planted").toBeGreaterThan(0);
    for (const { name, container, foundMs } of report.attacks) expect(foundMs, `${name} in ${container}: found after`).toBeLessThan(FOUND_LIMIT_MS);
    if (report.growth) {
      expect(report.agentMiB, "agent: memory in the last minute").toBeLessThan(AGENT_LIMIT_MIB);
      expect(report.growth.agent, "agent: memory at the end over memory after two minutes").toBeLessThan(GROWTH_LIMIT);
      expect(report.growth.verifier, "verifier: memory at the end over memory after two minutes").toBeLessThan(GROWTH_LIMIT);
    }
  } catch (error) {
    console.log([...stage.hands.overdue, await engineDump(stage.bed)].join("\n\n"));
    for (const name of ["agent-0", "verifier", "dockerd"]) console.log(`${name}:\n${tail(join(stage.bed.directory, `${name}.log`), LOG_LINES)}`);
    throw error;
  } finally {
    soak.close();
    await stage.stack.stop();
    await stage.bed.down();
  }
});
