import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { program, STATE_ROOT } from "../testbed/paths.ts";
import { findByEnvironment, identify } from "../testbed/process-identity.ts";

// node deploy/testing/leftovers.ts [BEFORE] : names what test beds left on this machine and fails when there is anything. What a kept
// test bed (npm run demo -- --keep) holds is not counted, nor what stands in the file BEFORE: the output of a run before the tests,
// since another checkout whose processes were killed may have left what only whoever knows of it can take away.

/** Random ids of test beds that are meant to be there. */
function kept(): { id: string; interfaces: readonly string[] }[] {
  const run = `${STATE_ROOT}/run`;
  if (!existsSync(run)) return [];
  return readdirSync(run).flatMap((name) => {
    try {
      const state = JSON.parse(readFileSync(`${run}/${name}/testbed.json`, "utf8")) as {
        id: string;
        keep: boolean;
        bridges: string[];
        links?: string[];
        owner: { pid: number; startTicks: string };
      };
      return state.keep || identify(state.owner.pid)?.startTicks === state.owner.startTicks
        ? [{ id: state.id, interfaces: [...state.bridges, ...(state.links ?? [])] }]
        : [];
    } catch {
      return [];
    }
  });
}

/** Empty when the process is gone. */
function environmentOf(pid: number): Buffer {
  try {
    return readFileSync(`/proc/${pid}/environ`);
  } catch {
    return Buffer.alloc(0);
  }
}

const expected = kept();
const ownState = Buffer.from(STATE_ROOT);
const found: string[] = [];
for (const process_ of findByEnvironment("HULLMARK_TESTBED=")) {
  const environment = environmentOf(process_.pid);
  if (expected.some((bed) => environment.includes(bed.id)) || !environment.includes(ownState)) continue;
  found.push(`process ${process_.pid} ${readFileSync(`/proc/${process_.pid}/cmdline`, "latin1").replaceAll("\0", " ")}`);
}
for (const line of readFileSync("/proc/self/mountinfo", "utf8").split("\n")) if (line.includes(`${STATE_ROOT}/`)) found.push(`mount ${line}`);
const links = JSON.parse(execFileSync(program("ip"), ["-json", "link", "show"], { encoding: "utf8" })) as { ifname?: string }[];
for (const { ifname } of links) {
  const id = /^h[mk]([0-9a-f]{10})$/.exec(ifname ?? "")?.[1];
  if (id === undefined || expected.some((bed) => bed.interfaces.includes(ifname ?? ""))) continue;
  // A test bed of another checkout: its processes live, and name another state folder.
  const others = findByEnvironment(`HULLMARK_TESTBED=${id}`)
    .map(({ pid }) => environmentOf(pid))
    .filter((environment) => environment.length > 0 && !environment.includes(ownState));
  if (others.length === 0) found.push(`interface ${ifname}`);
}
const [before] = process.argv.slice(2);
const known = new Set(before === undefined ? [] : readFileSync(before, "utf8").split("\n"));
const left = found.filter((line) => !known.has(line));
for (const line of left) console.log(line);
process.exitCode = left.length === 0 ? 0 : 1;
