/** Parts that die, hang and come back: what is not known is never green, and becomes green again without anyone acting. */
import { connect } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, onTestFailed, test } from "vitest";
import { tail } from "../../deploy/stack/stack.ts";
import type { Daemon } from "../../deploy/testbed/run.ts";
import { holdingThread } from "../fakes/fault-tool.ts";
import { believed, drifts, engineOf, eventually, type FaultBed, nodes, startFaultBed, type ToldDrift, type ToldNode, workloads } from "./fault-support.ts";
import { inMounts } from "./scenarios.ts";

const SETTLE_MS = 60_000;
/** What the promise says: an attester that cannot know is shown as unknown within this time. */
const UNKNOWN_WITHIN_MS = 30_000;

let faults: FaultBed;

beforeAll(async () => {
  faults = await startFaultBed("unknowns", {});
  await faults.victim("web").docker("run", "-d", "--name", "web", faults.image.reference);
  await greenAgain();
});
afterAll(() => faults?.bed.down());

function logsOnFailure(): void {
  onTestFailed(() => {
    for (const name of ["agent-0", "verifier"]) console.error(`--- ${name}\n${tail(join(faults.bed.directory, `${name}.log`), 40)}`);
  });
}

async function node(): Promise<ToldNode> {
  const [first] = await nodes(faults.stack);
  if (!first) throw new Error("no node");
  return first;
}

async function unknownFor(reason: string): Promise<void> {
  const { reasons } = await eventually(`unknown: ${reason}`, node, ({ verdict }) => verdict === "unknown", UNKNOWN_WITHIN_MS);
  expect(reasons.map(({ code }) => code)).toContain(reason);
  expect((await workloads(faults.stack)).filter(believed)).toEqual([]);
}

async function greenAgain(): Promise<void> {
  await eventually("the node is believed", node, believed, SETTLE_MS);
  await eventually(
    "its container is believed",
    () => workloads(faults.stack),
    ([web]) => web !== undefined && believed(web),
    SETTLE_MS,
  );
}

/** Stops a program without ending it, for as long as `meanwhile` takes. */
async function suspended({ process: { pid } }: Daemon, meanwhile: () => Promise<void>): Promise<void> {
  process.kill(pid, "SIGSTOP");
  try {
    await meanwhile();
  } finally {
    process.kill(pid, "SIGCONT");
  }
}

/** TPM2_Shutdown(CLEAR), which an orderly end of the node sends: without it this emulator forgets how late it was. */
async function shutDownTpm(socketPath: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const socket = connect(socketPath).once("error", reject);
    socket.once("data", () => socket.end(resolve));
    socket.write(Buffer.from("80010000000c000001450000", "hex"));
  });
}

test("the engine hangs, and goes on", async () => {
  logsOnFailure();
  await suspended(engineOf(faults.bed).daemon(), () => unknownFor("runtime-unreachable"));
  await greenAgain();
});

test("the TPM hangs, and goes on", async () => {
  logsOnFailure();
  const [tpm] = faults.bed.tpms;
  if (!tpm) throw new Error("no TPM");
  await suspended(tpm.daemon(), () => unknownFor("quote-stale"));
  await greenAgain();
});

test("the change source hangs, and goes on", async () => {
  logsOnFailure();
  const [agent] = faults.stack.agents;
  if (!agent) throw new Error("no agent");
  await holdingThread(agent.daemon().process.pid, "fanotify", () => unknownFor("change-source-dead"));
  await greenAgain();
});

test("the node goes down, TPM and all, and comes back", async () => {
  logsOnFailure();
  const [tpm] = faults.bed.tpms;
  const [agent] = faults.stack.agents;
  if (!tpm || !agent) throw new Error("no TPM, no agent");
  await agent.stop();
  await unknownFor("unreachable");
  await shutDownTpm(tpm.socketPath);
  await tpm.stop();
  await tpm.start();
  await agent.start();
  await greenAgain();
});

test("the verifier is gone and comes back: nothing old is believed at once", async () => {
  logsOnFailure();
  const [agent] = faults.stack.agents;
  await agent?.kill();
  await faults.stack.verifier.kill();
  await faults.stack.verifier.start();
  await unknownFor("unreachable");
  await agent?.start();
  await greenAgain();
});

test("a container that makes more than can be told is itself unknown, and takes the word from nobody", async () => {
  logsOnFailure();
  const [agent] = faults.stack.agents;
  await faults.victim("calm").docker("run", "-d", "--name", "calm", faults.image.reference);
  // 14 directories of 250 letters, and 6,000 files below the last.
  const deep = "d=$(printf %0250d 0); cd /srv; for i in $(seq 14); do mkdir $d; cd $d; done; for i in $(seq 6000); do : > f$i; done";
  // The whole state at once is what does not fit.
  await agent?.kill();
  await faults.victim("web").sh(deep);
  await agent?.start();
  const named = async (name: string) => (await workloads(faults.stack)).find(({ container }) => container.name === name);
  await eventually(
    "the other container is believed",
    () => named("calm"),
    (calm) => calm !== undefined && believed(calm),
    SETTLE_MS,
  );
  await eventually(
    "the one is unknown",
    () => named("web"),
    (web) => web?.verdict === "unknown",
    SETTLE_MS,
  );
  await faults.victim("calm").sh("echo x >> /etc/passwd");
  await eventually(
    "its drift is told",
    () => named("calm"),
    (calm) => calm?.verdict === "contraindicated",
    SETTLE_MS,
  );
});

test("a container that changes its root while nobody looks is not believed by what it shows then", async () => {
  logsOnFailure();
  const [agent] = faults.stack.agents;
  const mover = faults.victim("mover");
  await mover.docker("run", "-d", "--name", "mover", faults.image.reference);
  const told = async () => (await workloads(faults.stack)).find(({ container }) => container.name === "mover");
  await eventually("it is believed", told, (each) => each !== undefined && believed(each), SETTLE_MS);
  await agent?.kill();
  // An overlay of its own, whose layer the container chooses, in the place of the runtime's.
  const overlay = "mount -t tmpfs none /srv && cd /srv && mkdir low up work new && mkdir low/old && cp -a /bin /lib* low/";
  await inMounts(
    mover,
    `${overlay} && mount -t overlay -o lowerdir=/srv/low,upperdir=/srv/up,workdir=/srv/work none new && cd new && pivot_root . old && umount -l /old`,
  );
  await agent?.start();
  const isRoot = ({ path, kind, container }: ToldDrift): boolean => path === "/" && kind === "undeclared-mount" && container.name === "mover";
  await eventually(
    "its other root is told",
    () => drifts(faults.stack),
    (all) => all.some(isRoot),
    SETTLE_MS,
  );
  expect((await told())?.verdict).toBe("contraindicated");
  await mover.docker("rm", "--force", "mover");
});

test("the TPM loses its power", async () => {
  logsOnFailure();
  await faults.bed.tpms[0]?.kill();
  await unknownFor("tpm");
});
