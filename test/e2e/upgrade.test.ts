/** Verifier and agent of an earlier commit, replaced by today's on the same state: what stood before stands after it, and what comes is found. */
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { buildEarlier, EARLIER_COMMIT, earlierRelease } from "../../deploy/images/earlier.ts";
import { REPOSITORY, STATE_ROOT } from "../../deploy/testbed/paths.ts";
import { drifts, eventually, type FaultBed, logEntries, nodes, startFaultBed, verifyLog, workloads } from "./fault-support.ts";

const CONFIG_FILE = "/etc/nginx/nginx.conf";
const WITHIN_MS = 120_000;

let bed: FaultBed;
/** Which daemons start. */
let dist: string;

beforeAll(async () => {
  await buildEarlier(STATE_ROOT);
  dist = earlierRelease(STATE_ROOT).dist;
  bed = await startFaultBed("e2e-upgrade", {}, { dist: () => dist });
}, 1_800_000);
afterAll(() => bed?.bed.down());

const write = (path: string) => bed.victim("web").exec("/bin/sh", "-c", `echo x >> ${path}`);
const drift = async (path: string) => {
  const found = await eventually(
    `${path} is drift`,
    () => drifts(bed.stack),
    (all) => all.some((each) => each.path === path),
    WITHIN_MS,
  );
  return found.find((each) => each.path === path);
};
const judged = () =>
  eventually(
    "the node is judged",
    () => nodes(bed.stack),
    ([node]) => node?.connected === true && node.verdict !== "unknown",
    WITHIN_MS,
  );

test(`from ${EARLIER_COMMIT.slice(0, 8)}`, { timeout: 600_000 }, async () => {
  const { stack, image } = bed;
  await bed.victim("web").docker("run", "--detach", "--name", "web", image.reference);
  await eventually(
    "the container is judged",
    () => workloads(stack),
    ([web]) => web !== undefined && web.content === "affirming",
    WITHIN_MS,
  );
  await write(CONFIG_FILE);
  const before = await drift(CONFIG_FILE);
  expect(await stack.hullmark("drift", "ack", before?.id ?? "", "-m", "INC-1")).toMatchObject({ code: 0 });
  await verifyLog(stack);
  const [entries, [node]] = [await logEntries(stack), await judged()];

  for (const each of [...stack.agents, stack.verifier]) await each.stop();
  dist = join(REPOSITORY, "dist");
  await stack.verifier.start();
  for (const each of stack.agents) await each.start();

  expect((await judged()).map(({ id, name }) => [id, name])).toEqual([[node?.id, node?.name]]);
  expect((await drifts(stack)).find(({ id }) => id === before?.id)).toMatchObject({ path: CONFIG_FILE, state: "acknowledged" });
  // Continues the one that was remembered, entry by entry.
  await verifyLog(stack);
  expect((await logEntries(stack)).slice(0, entries.length)).toEqual(entries);
  await write("/srv/after");
  await drift("/srv/after");
});
