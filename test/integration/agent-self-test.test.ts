/** What the agent says of the rights that it was started with: `--self-test`, and the claim that its Evidence carries (test/property/appraise-node.test.ts). */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { REPOSITORY, STATE_ROOT } from "../../deploy/testbed/paths.ts";

let home: string;
beforeAll(() => {
  mkdirSync(STATE_ROOT, { recursive: true });
  home = mkdtempSync(join(STATE_ROOT, "self-test-"));
  const verifier = `{ address: "localhost:1", enrolmentAddress: "localhost:2", caFile: ${home}/ca.crt }`;
  writeFileSync(join(home, "agent.yaml"), `nodeName: w-1\nstateDirectory: ${home}/state\nverifier: ${verifier}\ntpm: { tcti: none }\n`);
});
afterAll(() => rmSync(home, { recursive: true }));

/** @param without capabilities that are taken from it, as setpriv(1) names them */
function selfTest(...without: string[]): unknown {
  const bounded = without.length > 0 ? ["setpriv", "--bounding-set", without.map((name) => `-${name}`).join()] : [];
  const [program = "", ...args] = [...bounded, process.execPath, join(REPOSITORY, "agent/main.ts"), "--config", join(home, "agent.yaml"), "--self-test"];
  return JSON.parse(execFileSync(program, args, { encoding: "utf8" }));
}

test("with every right it lacks none, and fanotify is used", () => {
  expect(selfTest()).toEqual({ changes: "fanotify", declined: null, missingCapabilities: [] });
});

test("what it lacks is named, and where fanotify cannot be had, why", () => {
  expect(selfTest("sys_ptrace", "dac_read_search")).toMatchObject({ changes: "fanotify", missingCapabilities: ["CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE"] });
  expect(selfTest("sys_admin")).toEqual({ changes: "chokidar", declined: expect.stringContaining("not permitted"), missingCapabilities: ["CAP_SYS_ADMIN"] });
});
