/** What holds an action back, and what comes after it, with agent, verifier and actuator as processes of their own on a real engine. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { RESPONSE_FAILPOINTS } from "@hullmark/verifier/core/response/index";
import { afterAll, beforeAll, expect, test } from "vitest";
import { isAlive } from "../../deploy/testbed/process-identity.ts";
import { alertsOf, HttpReceiver } from "../fakes/http-receiver.ts";
import { drifts, eventually, type FaultBed, logEntries, nodes, startFaultBed, verifyLog, workloads } from "./fault-support.ts";
import { HostActuator, type ToldAction } from "./host-actuator.ts";

/** How many change at once: when one of them is stopped there are a hundred still. */
const CROWD = 102;
/** Of as many containers, by policy and by the host's own configuration, where neither says a number: 2 in a hundred. */
const ALLOWED = 2;
/** Of them stay, as what limits are counted of. */
const ROOM = 40;
const SETTLE_MS = 120_000;
const HOUR_MS = 3_600_000;
/** How many are started, written to or removed at once: more go no faster. */
const FEW = 6;

interface PolicyOptions {
  readonly name: string;
  /** Empty: nobody says any. */
  readonly mode?: "" | "mode: enforce";
  /** Lines of `response` before its rules. */
  readonly limits?: string;
  readonly rules: readonly string[];
}

const policyOf = ({ name, mode = "mode: enforce", limits = "hourlyPercent: 100, pause: 1m", rules }: PolicyOptions): string => `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: ${name} }
spec:
  ${mode}
  intervals: { quote: 10s, rescan: 1m, heartbeat: 1s }
  severities: { owner: low }
  alerts: { routes: [{ name: page, type: webhook, url: "${pager.url}", minSeverity: info }] }
  response: { ${limits}${limits === "" ? "" : ", "}rules: [${rules.join(", ")}] }
`;
const all = (rung: string): string => `{ low: ${rung}, medium: ${rung}, high: ${rung}, critical: ${rung} }`;
const rule = (name: string, ladder: string, more = ""): string => `{ name: ${name}, select: { containers: ["${name}*"] }, ladder: ${ladder}${more} }`;

const RULES = [
  rule("tier", "{ low: [stop], medium: [isolate], high: [recreate], critical: [stop] }"),
  rule("again", all("[recreate, stop]")),
  rule("later", all("[isolate, stop]"), ", escalateAfter: 1m"),
  rule("asked", all("[recreate]"), ", approvals: 2"),
  rule("recreate", all("[recreate]")),
  rule("isolate", all("[isolate]")),
  rule("stop", all("[stop]")),
];
const CROWDED = [rule("crowd", all("[stop]"))];
const INSTALLED: PolicyOptions = { name: "installed", mode: "", limits: "", rules: CROWDED };

let faults: FaultBed;
let actuator: HostActuator;
/** What of `again` and `later` was done first. */
let begun: { readonly again: ToldAction; readonly later: ToldAction };
/** Whoever is told of everything. */
const pager = new HttpReceiver();

beforeAll(async () => {
  await pager.start();
  faults = await startFaultBed("ladder", {}, { policy: policyOf(INSTALLED) });
  // With the limits of an actuator of which nobody said any.
  actuator = await HostActuator.start(faults);
});

afterAll(async () => {
  await actuator?.stop();
  await faults?.bed.down();
  await pager[Symbol.asyncDispose]();
});

async function setPolicy(options: PolicyOptions): Promise<void> {
  writeFileSync(faults.stack.policyPath, policyOf(options));
  await eventually(
    `policy ${options.name} is in force`,
    () => faults.stack.json<{ policy: { name: string } }>("status"),
    ({ policy }) => policy.name === options.name,
    SETTLE_MS,
  );
}
const write = (name: string): Promise<string> => faults.victim(name).sh("echo x >> /etc/nginx/nginx.conf");
const running = async (): Promise<readonly string[]> => (await faults.victim("any").docker("ps", "--quiet", "--no-trunc")).split("\n");
async function byFew(names: readonly string[], work: (name: string) => Promise<unknown>): Promise<void> {
  for (let i = 0; i < names.length; i += FEW) await Promise.all(names.slice(i, i + FEW).map(work));
}
/** @param count how many; undefined: some */
const holds = (why: string, count?: number) =>
  eventually(
    `${count ?? "some"} are held back: ${why}`,
    () => actuator.told(),
    ({ held }) => (count === undefined ? (held[why] ?? 0) > 0 : held[why] === count),
    SETTLE_MS,
  );

test("a hundred containers change at once: as installed nothing is done; enforced, with the limits as shipped, two are stopped, and people are paged once that they changed, and once that the others wait", {
  timeout: 900_000,
}, async () => {
  actuator.logsOnFailure();
  const { stack } = faults;
  const names = Array.from({ length: CROWD }, (_, i) => `crowd-${i}`);
  const hand = faults.victim("crowd");
  await byFew(names, (name) => hand.docker("run", "-d", "--name", name, "--stop-signal", "SIGKILL", faults.image.reference, "sleep", "3600"));
  const judged = async (verdict: string) =>
    (await workloads(stack)).filter((each) => each.container.name.startsWith("crowd-") && (each.content === verdict || each.verdict === verdict)).length;
  const allAre = (verdict: string) =>
    eventually(
      `all are ${verdict}`,
      () => judged(verdict),
      (count) => count === CROWD,
      SETTLE_MS,
    );
  await allAre("affirming");
  const before = await running();
  expect(before).toHaveLength(CROWD);
  await byFew(names, write);
  await allAre("contraindicated");

  expect(await actuator.told()).toEqual({ actions: [], held: {}, paused: null });
  expect(await running()).toEqual(before);

  await setPolicy({ name: "enforced", limits: "", rules: CROWDED });
  await holds("breaker", CROWD - ALLOWED);
  const isDone = ({ actions }: Awaited<ReturnType<typeof actuator.told>>): boolean => actions.every(({ state }) => state === "done");
  const { actions } = await eventually("what is allowed is done", () => actuator.told(), isDone, SETTLE_MS);
  expect(actions).toHaveLength(ALLOWED);
  const left = before.filter((id) => !actions.some(({ container }) => container.id === id));
  expect(left).toHaveLength(CROWD - ALLOWED);
  await eventually(
    "people are paged",
    async () => alertsOf(pager, "breaker"),
    ({ length }) => length > 0,
    SETTLE_MS,
  );

  expect(alertsOf(pager).map(({ kind, status, severity }) => [kind, status, severity])).toEqual([
    ["content", "firing", "medium"],
    ["breaker", "firing", "critical"],
  ]);

  await setPolicy({ name: "ladder", rules: RULES });
  await byFew([...left.slice(ROOM), ...actions.map(({ container }) => container.id)], (id) => hand.docker("rm", "-f", id));
  await actuator.restart({ limits: { pauseSeconds: 1, hourlyPercent: 100 } });
});

test("each severity has a rung of its own, and what is no more than a warning is told alone", async () => {
  actuator.logsOnFailure();
  const names = ["tier-low", "tier-medium", "tier-high", "tier-critical", "again", "later"];
  const [low = "", medium = "", high, critical = "", again, later] = await Promise.all(names.map((name) => actuator.run(name)));
  await Promise.all([
    faults.victim("tier-low").sh("chown 33:33 /etc/passwd"),
    faults.victim("tier-high").sh("echo x >> /usr/bin/curl"),
    faults.victim("tier-critical").sh("chmod u+s /usr/bin/perl"),
    ...["tier-medium", "again", "later"].map(write),
  ]);

  // They climb further once their minute is over.
  begun = { again: await actuator.done("again", "recreate"), later: await actuator.done("later", "isolate") };
  expect([begun.again.container.id, begun.later.container.id]).toEqual([again, later]);
  await actuator.clean("again");
  await write("again");
  expect(await actuator.done("tier-medium", "isolate")).toMatchObject({ container: { id: medium } });
  expect(await actuator.done("tier-high", "recreate")).toMatchObject({ container: { id: high } });
  expect(await actuator.done("tier-critical", "stop")).toMatchObject({ container: { id: critical } });
  const networks = "{{.State.Running}} {{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}";
  const state = (id: string) => faults.victim("tier").docker("inspect", "--format", networks, id);
  expect(await state(medium)).toBe("true none");
  expect(await state(critical)).toMatch(/^false /);
  expect(await actuator.clean("tier-high")).not.toBe(high);
  const found = await eventually(
    "the least is told",
    () => drifts(faults.stack),
    (every) => every.some(({ container }) => container.id === low),
    SETTLE_MS,
  );
  expect(found.find(({ container }) => container.id === low)).toMatchObject({ kind: "owner", state: "open" });
  expect(await actuator.toldOf("tier-low")).toEqual([]);
  expect(await state(low)).toBe("true bridge");
  await holds("cooling-down");
  await holds("isolated");
});

test("two people must say yes: the same one twice does not count, nor does one who may not", async () => {
  actuator.logsOnFailure();
  const { stack } = faults;
  const person = async (name: string, role: string) => {
    const directory = join(stack.directory, name);
    expect(await stack.hullmark("person", "add", name, "--role", role, "--dir", directory)).toMatchObject({ code: 0 });
    return (...args: string[]) => stack.hullmark("--config", join(directory, "config.yaml"), ...args);
  };
  const [eva, bob] = [await person("eva", "approver"), await person("bob", "responder")];
  const id = await actuator.run("asked");
  await write("asked");
  const [awaiting] = await eventually(
    "it is asked for",
    () => actuator.toldOf("asked"),
    ([told]) => told?.state === "awaiting",
    SETTLE_MS,
  );
  const action = awaiting?.id ?? "";

  expect((await bob("action", "approve", action)).code).not.toBe(0);
  expect(await eva("action", "approve", action)).toMatchObject({ code: 0 });
  expect(await eva("action", "approve", action)).toMatchObject({ code: 3, stderr: expect.stringContaining("you have approved it already") });
  expect(await actuator.toldOf("asked")).toMatchObject([{ id: action, state: "awaiting" }]);
  expect(await running()).toContain(id);

  expect(await stack.hullmark("action", "approve", action)).toMatchObject({ code: 0 });
  expect(await actuator.done("asked", "recreate")).toMatchObject({ id: action, container: { id } });
  const approved = async () => (await logEntries(stack)).filter((each) => each.type === "action" && each["id"] === action);
  const told = await eventually("the log tells", approved, (entries) => entries.some(({ state }) => state === "done"), SETTLE_MS);
  expect(told.at(-1)).toMatchObject({ approvals: ["eva", "admin"] });
});

test("drift that returned to a service took the next rung, and so did time over what is isolated", async () => {
  actuator.logsOnFailure();
  const { again, later } = begun;
  const [returned, climbed] = [await actuator.done("again", "stop"), await actuator.done("later", "stop")];
  expect(returned).toMatchObject({ container: { id: again.newContainerId } });
  expect(climbed).toMatchObject({ container: { id: later.container.id }, drift: later.drift });
  expect(Date.parse(climbed.createdAt) - Date.parse(later.createdAt)).toBeGreaterThanOrEqual(60_000);
  const left = await running();
  for (const id of [again.container.id, again.newContainerId, later.container.id]) expect(left).not.toContain(id);
  expect((await actuator.toldOf("again")).map(({ kind }) => kind)).toEqual(["stop", "recreate"]);
});

test("a freeze and a pause each hold a running verifier, killed or not; what is wrong still is answered when they end", { timeout: 400_000 }, async () => {
  actuator.logsOnFailure();
  const { stack } = faults;
  const frozen = await actuator.run("stop-frozen");
  const freeze = (untilMs: number): string => {
    const [from, until] = [Date.now() - HOUR_MS, untilMs].map((ms) => new Date(ms).toISOString());
    return `hourlyPercent: 100, pause: 1m, freezes: [{ reason: sale, from: ${from}, until: ${until} }]`;
  };
  await setPolicy({ name: "frozen", limits: freeze(Date.now() + HOUR_MS), rules: RULES });
  await write("stop-frozen");
  await holds("frozen", 1);
  await stack.verifier.kill();
  await stack.verifier.start();
  await holds("frozen", 1);
  expect(await actuator.toldOf("stop-frozen")).toEqual([]);
  const untilMs = Date.now() + 8_000;
  await setPolicy({ name: "ending", limits: freeze(untilMs), rules: RULES });
  const done = await actuator.done("stop-frozen", "stop");
  expect(Date.parse(done.createdAt)).toBeGreaterThanOrEqual(untilMs);
  expect(await running()).not.toContain(frozen);
  await setPolicy({ name: "thawed", rules: RULES });

  const paused = await actuator.run("stop-paused");
  expect(await stack.hullmark("action", "pause", "-m", "INC-1")).toMatchObject({ code: 0 });
  await write("stop-paused");
  await holds("paused", 1);
  await stack.verifier.kill();
  await stack.verifier.start();
  expect((await holds("paused", 1)).paused).toMatchObject({ by: "admin", reason: "INC-1" });
  expect(await actuator.toldOf("stop-paused")).toEqual([]);
  expect(await running()).toContain(paused);
  expect(await stack.hullmark("action", "resume", "-m", "INC-1 is over")).toMatchObject({ code: 0 });
  expect(await actuator.done("stop-paused", "stop")).toMatchObject({ container: { id: paused } });
});

test("nothing is done on a node that went silent, with its stream open or gone; what is wrong still is answered when it is back", {
  timeout: 400_000,
}, async () => {
  actuator.logsOnFailure();
  const { stack } = faults;
  const [agent] = stack.agents;
  if (!agent) throw new Error("no agent");
  const id = await actuator.run("stop-silent");
  expect(await stack.hullmark("action", "pause", "-m", "to see it wait")).toMatchObject({ code: 0 });
  await write("stop-silent");
  await holds("paused", 1);
  const becomes = (reason: string) =>
    eventually(
      `the node is ${reason}`,
      () => nodes(stack),
      ([node]) => node?.verdict === "unknown" && node.reasons.some(({ code }) => code === reason),
      SETTLE_MS,
    );
  const { pid } = agent.daemon().process;
  process.kill(pid, "SIGSTOP");
  try {
    await becomes("stale");
    expect(await stack.hullmark("action", "resume", "-m", "go on")).toMatchObject({ code: 0 });
    await holds("node-not-attested");
    expect(await actuator.toldOf("stop-silent")).toEqual([]);
  } finally {
    await agent.kill();
  }
  await becomes("unreachable");
  await holds("node-not-attested");
  expect(await actuator.toldOf("stop-silent")).toEqual([]);
  expect(await running()).toContain(id);
  await agent.start();
  expect(await actuator.done("stop-silent", "stop")).toMatchObject({ container: { id } });
});

/** Each step of deciding and settling, of one kind of action after the other: they take as long as all the rest. */
const KINDS = ["recreate", "isolate", "stop"] as const;
test.each(RESPONSE_FAILPOINTS.map((failpoint, i) => ({ failpoint, kind: KINDS[i % KINDS.length] ?? "stop" })))(
  "the verifier is killed at $failpoint of $kind, and started again: it is done, once",
  { timeout: 400_000 },
  async ({ failpoint, kind }) => {
    actuator.logsOnFailure();
    const { verifier } = faults.stack;
    const name = `${kind}-${failpoint}`;
    const id = await actuator.run(name);
    await verifier.stop();
    await verifier.start(failpoint);
    const { process: dying } = verifier.daemon();
    await write(name);
    // A place that is not passed would leave it running.
    await eventually(
      "it dies",
      async () => isAlive(dying),
      (alive) => !alive,
      SETTLE_MS,
    );
    await verifier.start();
    expect(await actuator.done(name, kind)).toMatchObject({ container: { id } });
    if (kind === "recreate") expect(await actuator.clean(name)).not.toBe(id);
    expect(await actuator.toldOf(name)).toHaveLength(1);
    expect((await faults.victim(name).docker("ps", "--all", "--quiet", "--filter", `name=^${name}`)).split("\n")).toHaveLength(kind === "recreate" ? 2 : 1);
    await faults.victim(name).docker("rm", "-f", id);
  },
);

test("where policy gives its limits up the host keeps to its own, as shipped", { timeout: 400_000 }, async () => {
  actuator.logsOnFailure();
  const before = await running();
  await actuator.restart();
  await setPolicy({ name: "unlimited", rules: CROWDED });
  const refused = async () => (await actuator.told()).actions.filter(({ state, reason }) => state === "refused" && reason === "breaker");
  // As many are asked for as policy's hour has left.
  await eventually("the host refuses", refused, ({ length }) => length >= ROOM / 4, SETTLE_MS);
  expect(await running()).toEqual(before);
  await verifyLog(faults.stack);
});

test("a policy that does nothing, tried on the hours past: as many actions are on record as the log has, and it would have taken none", async () => {
  actuator.logsOnFailure();
  const { stack } = faults;
  await setPolicy(INSTALLED);
  const issued = async () => new Set((await logEntries(stack)).filter(({ type, state }) => type === "action" && state === "issued").map(({ id }) => id)).size;
  const both = async () => [(await actuator.told()).actions.filter(({ issuedAt }) => issuedAt !== null).length, await issued()];
  const [done] = await eventually("the log has them", both, ([told, logged]) => told === logged, SETTLE_MS);
  const { code, stdout, stderr } = await stack.hullmark("policy", "simulate", stack.policyPath, "--since", "2h", "--output", "json");
  // It is not all that could be known: the log does not begin so long ago.
  expect(code, stderr).toBe(3);
  expect(JSON.parse(stdout)).toMatchObject({ actions: [], sum: { actionsRecorded: done, actionsBefore: 0, actionsAfter: 0 } });
});
