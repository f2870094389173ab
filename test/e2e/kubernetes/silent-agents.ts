/** The node of a pod that is to go does not capture it: its agent stands still, is killed, or has what captures taken from it. What is done then is what policy says, and people read why there is no capture. */
import { readdirSync, readFileSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { isAlive } from "../../../deploy/testbed/process-identity.ts";
import { eventually, logEntries } from "../fault-support.ts";
import { LONG } from "../long.ts";
import { type Acting, type KubernetesPod, type ToldAction, WITHIN_MS } from "./acting.ts";
import type { CapturingBed } from "./evictions.ts";
import { podSpec } from "./workloads.ts";

/** Rules of the policy; what is named `evict-*` has time enough to be captured. */
export const SILENT = `
      - name: silent
        select: { workloads: ["default/silent-*"] }
        ladder: { low: [evict], medium: [evict], high: [evict], critical: [evict] }
        capture: { patience: 10s }
      - name: evidence
        select: { workloads: ["default/evidence-*"] }
        ladder: { low: [evict], medium: [evict], high: [evict], critical: [evict] }
        capture: { patience: 45s, missed: leave }
`;

const APPS = ["evict-unwatched", "evict-unsealed", "evict-died", "silent-cart", "evidence-cart"] as const;
type App = (typeof APPS)[number];
/** How often what comes to nothing is tried on one container. */
const ATTEMPTS = 3;

interface Captured extends ToldAction {
  readonly drift: string;
  readonly capture: { readonly complete: boolean; readonly processes: number } | null;
  readonly captureMissed: string | null;
  readonly captureProblem: string | null;
}

interface ToldIncident {
  readonly timeline: readonly { readonly what: string; readonly detail: string; readonly actionId: string | null }[];
}

/** Declares the tests. @param of the bed, once it is up @param actingOf whoever acts, once it runs */
export function silentAgents(of: () => CapturingBed, actingOf: () => Acting): void {
  let acting: Acting;
  /** Where the node keeps captures. */
  let store: string;
  const pods = new Map<App, KubernetesPod>();

  beforeAll(async () => {
    acting = actingOf();
    store = join(of().stack.directory, "agent-0", "captures");
    const deployment = (app: App): object => ({
      ...{ apiVersion: "apps/v1", kind: "Deployment", metadata: { name: app } },
      spec: { replicas: 1, selector: { matchLabels: { app } }, template: { metadata: { labels: { app } }, spec: podSpec(of().image) } },
    });
    await acting.apply(...APPS.map(deployment));
    for (const app of APPS) for (const pod of await acting.clean(app, 1)) pods.set(app, pod);
  });

  afterAll(() => acting.kubectl("delete", ...APPS.map((app) => `deployment/${app}`), "--ignore-not-found", "--wait=false"));

  const podOf = (app: App): { readonly name: string; readonly uid: string } => pods.get(app)?.metadata ?? { name: "", uid: "" };
  const agent = () => {
    const [only] = of().stack.agents;
    if (!only) throw new Error("no agent");
    return only;
  };
  const told = async (app: App): Promise<readonly Captured[]> => (await acting.told(podOf(app).name)) as readonly Captured[];
  const toldSo = (app: App, what: string, is: (action: Captured) => boolean): Promise<Captured> =>
    eventually(
      `the action on ${app} is ${what}`,
      async () => (await told(app)).find(is),
      (found) => found !== undefined,
      WITHIN_MS,
    ).then((found) => found as Captured);
  const isDone = ({ state }: ToldAction): boolean => state === "done";
  /** Nothing but whole captures. */
  const halfWritten = (): string[] => readdirSync(store).filter((name) => !name.endsWith(".age"));
  const kept = (action: string): string[] => readdirSync(store).filter((name) => name.startsWith(`${action}.`));

  /** The processes that the agent has started; it starts each from its main thread. */
  function children(): number[] {
    const { pid } = agent().daemon().process;
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).map(Number);
  }

  /** Signals, before it has done its work, the next process that the agent captures by. It is gone after the test. @param flag by which it is known @param more at the same time */
  async function signalled(flag: string, signal: NodeJS.Signals, more: () => void = () => undefined): Promise<number> {
    const untilMs = Date.now() + WITHIN_MS;
    while (Date.now() < untilMs) {
      for (const pid of children()) {
        if (!commandLine(pid).includes(flag)) continue;
        process.kill(pid, signal);
        more();
        onTestFinished(() => void (commandLine(pid).includes(flag) && process.kill(pid, "SIGKILL")));
        return pid;
      }
      await delay(1);
    }
    throw new Error(`the agent has started no ${flag}`);
  }

  function commandLine(pid: number): string {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "latin1");
    } catch {
      return ""; // it has ended
    }
  }

  /** What people read of it, by every command that tells of actions. */
  async function pagesOf({ id, drift }: Captured): Promise<{ readonly drift: string; readonly incident: string; readonly timeline: ToldIncident["timeline"] }> {
    const { stack } = of();
    const { stdout: page } = await stack.hullmark("drift", "show", drift);
    const [incident = ""] = /I-\w+/.exec(page) ?? [];
    const { timeline } = await stack.json<ToldIncident>("incident", "show", incident);
    return {
      drift: page,
      incident: (await stack.hullmark("incident", "show", incident)).stdout,
      timeline: timeline.filter(({ actionId }) => actionId === id),
    };
  }

  async function replaced(app: App): Promise<void> {
    expect((await acting.clean(app, 1)).map(({ metadata }) => metadata.uid)).not.toContain(podOf(app).uid);
    expect(await acting.events(podOf(app).uid)).toContainEqual(expect.objectContaining({ reason: "Evicted" }));
    expect((await told(app)).filter(isDone)).toHaveLength(1);
  }

  test("what looks at processes stands still: it is ended, the files are captured without them, and that it is not all is told", {
    timeout: 600_000,
  }, async () => {
    acting.logsOnFailure();
    const stopped = signalled("--capture-processes", "SIGSTOP");
    await acting.write(podOf("evict-unwatched").name);
    await stopped;
    const done = await toldSo("evict-unwatched", "done", isDone);
    expect(done).toMatchObject({ capture: { complete: false, processes: 0 }, captureMissed: null });
    expect((await pagesOf(done)).incident).toMatch(/ evicted \S+ \(A-\w+\), captured before in part/);
    expect(halfWritten()).toEqual([]);
    await replaced("evict-unwatched");
  });

  test("what seals is killed, as for its memory: the pod goes without a capture, and everything that tells of it says so and why", {
    timeout: 600_000,
  }, async () => {
    acting.logsOnFailure();
    const killed = signalled("--capture-seal", "SIGKILL");
    await acting.write(podOf("evict-unsealed").name);
    await killed;
    const done = await toldSo("evict-unsealed", "done", isDone);
    const problem = "it could not be sealed: its process was ended by SIGKILL";
    expect(done).toMatchObject({ capture: null, captureMissed: "not-taken", captureProblem: problem });
    const { drift, incident, timeline } = await pagesOf(done);
    for (const page of [drift, incident]) expect(page).toContain(`nothing captured before: not-taken (${problem})`);
    expect(timeline).toContainEqual(expect.objectContaining({ what: "captured", detail: `capture missed: not-taken (${problem})` }));
    const entries = (await logEntries(of().stack)).filter((each) => each["id"] === done.id && each["captureMissed"] === "not-taken");
    expect(entries[0]).toMatchObject({ captureProblem: problem });
    expect([halfWritten(), kept(done.id)]).toEqual([[], []]);
    const { code, stderr } = await of().stack.hullmark("capture", "get", done.id, "-m", "INC-1");
    expect([code, stderr]).toEqual([3, expect.stringMatching(/captured/)]);
    await replaced("evict-unsealed");
  });

  if (LONG)
    test("where policy leaves what is not captured, the pod stays, it is tried three times, and people are told why", { timeout: 600_000 }, async () => {
      acting.logsOnFailure();
      const { name, uid } = podOf("evidence-cart");
      const killing = (async () => {
        const pids = new Set<number>();
        while (pids.size < ATTEMPTS) pids.add(await signalled("--capture-seal", "SIGKILL"));
      })();
      await acting.write(name);
      await killing;
      const failed = await eventually(
        "it is given up",
        () => told("evidence-cart"),
        (all) => all.filter(({ state, reason }) => state === "failed" && reason === "capture").length === ATTEMPTS,
        WITHIN_MS,
      );
      for (const each of failed) expect(each).toMatchObject({ capture: null, captureMissed: "not-taken" });
      const [newest] = failed;
      if (!newest) throw new Error("no action");
      expect((await pagesOf(newest)).incident).toMatch(/Failed +to evict default\/\S+ on \S+: capture, nothing captured before: not-taken/);
      expect(await acting.podsOf("evidence-cart")).toMatchObject([{ metadata: { uid }, status: { phase: "Running" } }]);
      expect(halfWritten()).toEqual([]);
    });

  if (LONG)
    test("the agent stands still: nothing is done while nobody hears of its node, that nothing was captured is told meanwhile, and no limit is used up; when it goes on the pod goes, and what it captured is known", {
      timeout: 900_000,
    }, async () => {
      acting.logsOnFailure();
      const { name, uid } = podOf("silent-cart");
      const { pid } = agent().daemon().process;
      onTestFinished(() => void process.kill(pid, "SIGCONT"));
      const stopped = signalled("--capture-seal", "SIGSTOP", () => process.kill(pid, "SIGSTOP"));
      await acting.write(name);
      const sealing = await stopped;
      const waits = await toldSo("silent-cart", "held back without a capture", ({ captureMissed }) => captureMissed !== null);
      expect(waits).toMatchObject({ state: "capturing", captureMissed: "not-answered", capture: null });
      const { held } = await of().stack.json<{ held: Record<string, number> }>("action", "ls");
      expect(held["node-not-attested"]).toBeGreaterThan(0);
      expect(held).not.toHaveProperty("breaker");
      const { drift, incident, timeline } = await pagesOf(waits);
      for (const page of [drift, incident]) expect(page).toMatch(/Held +back: to evict default\/\S+ on \S+, nothing captured before: not-answered \(A-\w+\)/);
      expect(timeline).toContainEqual(expect.objectContaining({ what: "captured", detail: "capture missed: not-answered" }));
      expect(await acting.podsOf("silent-cart")).toMatchObject([{ metadata: { uid }, status: { phase: "Running" } }]);
      for (const each of [pid, sealing]) process.kill(each, "SIGCONT");
      await toldSo("silent-cart", "done", isDone);
      // It comes after the time was over, or again when the node connects anew.
      const late = await toldSo("silent-cart", "captured all the same", ({ capture }) => capture !== null);
      expect(late).toMatchObject({ id: waits.id, captureMissed: null });
      expect(kept(late.id)).toHaveLength(1);
      expect(halfWritten()).toEqual([]);
      await replaced("silent-cart");
    });

  if (LONG)
    test("the agent is killed while it captures: started again it leaves nothing half-written, captures the pod once more, and that goes; what was kept long enough is gone, and that is told who fetches it", {
      timeout: 900_000,
    }, async () => {
      acting.logsOnFailure();
      const [earlier] = (await told("evict-unwatched")).filter(isDone);
      const [old = ""] = kept(earlier?.id ?? "");
      await agent().stop();
      await agent().start("capture-sealed");
      await acting.clean("evict-died", 1);
      const { process: dying } = agent().daemon();
      await acting.write(podOf("evict-died").name);
      // A place that is not passed would leave it running.
      await eventually(
        "it dies",
        async () => isAlive(dying),
        (alive) => !alive,
        WITHIN_MS,
      );
      expect(
        halfWritten()
          .map((name) => name.slice(32))
          .sort(),
      ).toEqual([".attempts", ".new"]);
      utimesSync(join(store, old), 1, 1);
      await agent().start();
      const done = await toldSo("evict-died", "done", isDone);
      expect(done).toMatchObject({ capture: { complete: true }, captureMissed: null });
      expect([halfWritten(), kept(done.id).length, kept(earlier?.id ?? "")]).toEqual([[], 1, []]);
      const { code, stderr } = await of().stack.hullmark("capture", "get", earlier?.id ?? "", "-m", "INC-1");
      expect([code, stderr]).toEqual([3, expect.stringContaining("does not keep it any more")]);
      await replaced("evict-died");
    });
}
