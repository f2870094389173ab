import { type ExpectedDrift, isExpected, saysExpected } from "../../test/e2e/expected-drift.ts";
import { SCENARIOS as ATTACKS, type Scenario as Attack, CANARY, DockerVictim, plantCanary, removeCanary } from "../../test/e2e/scenarios.ts";
import { playQuotes } from "./quotes.ts";
import type { Reporter } from "./reporter.ts";
import type { Stage } from "./stage.ts";
import { until } from "./until.ts";

/** One thing that the demo shows. Throws when it did not happen as it should. */
export interface Scenario {
  readonly title: string;
  play(stage: Stage, report: Reporter): Promise<void>;
}

interface Drift {
  readonly id: string;
  readonly kind: string;
  readonly state: string;
  readonly path: string;
  readonly summary: string;
  readonly differences: readonly { readonly field: string; readonly expected: string; readonly observed: string }[];
  readonly origin: { readonly place: string; readonly layerIndex: number };
  readonly actor: { readonly executable: string } | null;
  readonly changedAt: string | null;
  readonly committedAt: string;
  readonly alertedAt: string | null;
}

const FOUND_WITHIN_MS = 20_000;

async function openDrifts(stage: Stage, container: string): Promise<Drift[]> {
  const { drifts } = await stage.stack.json<{ drifts: Drift[] }>("drift", "ls", "--container", container);
  return drifts;
}

async function start(stage: Stage, name: string, options: readonly string[] = []): Promise<DockerVictim> {
  const victim = new DockerVictim(name, stage.programs, stage.bed.engine?.dockerHost ?? "", (argv) => stage.bed.wrap(argv));
  await victim.docker("run", "-d", "--name", name, ...options, stage.image.reference);
  const look = async (): Promise<string> =>
    (await stage.stack.json<{ container: { name: string }; verdict: string }[]>("workloads")).find(({ container }) => container.name === name)?.verdict ??
    "unknown";
  const verdict = await until(look, (seen) => seen !== "unknown", 60_000);
  if (verdict === "unknown") throw new Error(`${name} was not judged within a minute: ${(await stage.stack.hullmark("workloads", "--unknown")).stdout}`);
  return victim;
}

/** Times from the kernel's event, or where none told from the attack, to the record and the alert. */
function timing({ changedAt, committedAt, alertedAt }: Drift, attackedMs: number): string {
  const sinceMs = changedAt === null ? attackedMs : Date.parse(changedAt);
  const after = (time: string): string => `${((Date.parse(time) - sinceMs) / 1000).toFixed(2)} s`;
  return `, recorded after ${after(committedAt)}${alertedAt === null ? "" : `, told after ${after(alertedAt)}`}`;
}

function line(drift: Drift, attackedMs: number): string {
  const path = drift.path.length > 60 ? `${drift.path.slice(0, 30)}…${drift.path.slice(-20)}` : drift.path;
  const layer = drift.origin.layerIndex >= 0 ? `, layer ${drift.origin.layerIndex}` : "";
  const who = drift.actor?.executable ? ` by ${drift.actor.executable}` : "";
  return `${[drift.kind, path].filter(Boolean).join(" ")} (${drift.origin.place}${layer})${who}${timing(drift, attackedMs)}\n  ${drift.summary}`;
}

async function playAttack(stage: Stage, report: Reporter, attack: Attack, shared: DockerVictim): Promise<void> {
  if (attack.expected.length === 0) return await playHarmless(stage, report, attack, shared);
  // What a container is started with is seen from its start on.
  let attackedMs = Date.now();
  const victim = attack.runOptions ? await start(stage, "configured", attack.runOptions) : shared;
  let found: readonly Drift[] = [];
  await report.step(attack.name, async () => {
    if (!attack.runOptions) attackedMs = Date.now();
    await attack.attack(victim);
    found = await told(stage, victim, attack.expected, attackedMs);
  });
  for (const drift of found) report.detail(line(drift, attackedMs));
  await attack.restore?.(victim);
}

/** What is no drift. That it is seen, and the agent alive, a change after it shows, which is one. */
async function playHarmless(stage: Stage, report: Reporter, { name, attack }: Attack, victim: DockerVictim): Promise<void> {
  const before = new Set((await openDrifts(stage, victim.container)).map(({ id }) => id));
  await report.step(
    name,
    async () => {
      await attack(victim);
      const sinceMs = Date.now();
      await plantCanary(victim);
      await told(stage, victim, [CANARY], sinceMs);
      const alarms = (await openDrifts(stage, victim.container)).filter((drift) => !before.has(drift.id) && !isExpected(drift, CANARY));
      if (alarms.length > 0) throw new Error(`a false alarm: ${alarms.map((drift) => line(drift, sinceMs)).join("\n")}`);
    },
    () => "no drift, as it should be, while a file made after it was told",
  );
  await removeCanary(victim);
  const left = await until(
    () => openDrifts(stage, victim.container),
    (seen) => !seen.some((drift) => isExpected(drift, CANARY)),
    FOUND_WITHIN_MS,
  );
  if (left.some((drift) => isExpected(drift, CANARY))) throw new Error("the file that was removed again is still told");
}

/** Waits until all that is expected is found as it should be, and an alert sent. @returns these. @throws Error where it is not */
async function told(stage: Stage, { container, programs }: DockerVictim, expected: readonly ExpectedDrift[], sinceMs: number): Promise<readonly Drift[]> {
  const tells = (drift: Drift, each: ExpectedDrift): boolean => isExpected(drift, each) && saysExpected(drift, each, programs) && drift.alertedAt !== null;
  const complete = (seen: readonly Drift[]): boolean => expected.every((each) => seen.some((drift) => tells(drift, each)));
  const seen = await until(() => openDrifts(stage, container), complete, FOUND_WITHIN_MS);
  if (!complete(seen)) {
    const wanted = expected.map((each) => ({ ...each, differences: each.differences?.(programs) }));
    throw new Error(`not found and told: ${JSON.stringify(wanted)}; there is:\n${seen.map((drift) => line(drift, sinceMs)).join("\n")}`);
  }
  return seen.filter((drift) => expected.some((each) => tells(drift, each)));
}

/** In the order in which they are shown. */
export const SCENARIOS: readonly Scenario[] = [
  {
    title: "Untouched",
    async play(stage, report) {
      await report.step("container started from the signed digest, judged affirming", () => start(stage, "web"));
      report.detail((await stage.stack.hullmark("status")).stdout);
    },
  },
  {
    title: "Attacks on a running container, and on the node under it",
    async play(stage, report) {
      const victim = new DockerVictim("web", stage.programs, stage.bed.engine?.dockerHost ?? "", (argv) => stage.bed.wrap(argv));
      for (const attack of ATTACKS) await playAttack(stage, report, attack, victim);
    },
  },
  {
    title: "What an SRE sees",
    async play(stage, report) {
      const { stdout } = await stage.stack.hullmark("drift", "ls");
      report.detail(stdout);
      const worst = /^(D-\S+)/m.exec(stdout)?.[1] ?? "";
      report.detail((await stage.stack.hullmark("drift", "show", worst)).stdout);
    },
  },
  {
    title: "Killed in the middle",
    async play(stage, report) {
      const { verifier, agents } = stage.stack;
      const victim = await start(stage, "survivor");
      await report.step("verifier and agent killed while files change; afterwards every change is on record once", async () => {
        await verifier.kill();
        await victim.sh("echo a > /srv/while-verifier-dead");
        await agents[0]?.kill();
        await victim.sh("echo b > /srv/while-both-dead");
        await Promise.all([verifier.start(), agents[0]?.start()]);
        const paths = async (): Promise<string[]> => (await openDrifts(stage, "survivor")).map(({ path }) => path).sort();
        const want = ["/srv/while-both-dead", "/srv/while-verifier-dead"];
        const seen = await until(paths, (each) => each.join() === want.join(), 60_000);
        if (seen.join() !== want.join()) throw new Error(`on record: ${seen.join(", ")}`);
      });
    },
  },
  { title: "Quotes: another node's, old, changed", play: playQuotes },
  {
    title: "The log",
    async play(stage, report) {
      await report.step(
        "exported, and verified offline",
        async () => {
          const key = `${stage.stack.directory}/verifier/admin/log.pub`;
          const copy = `${stage.bed.directory}/demo/log`;
          await stage.stack.hullmark("log", "export", copy, "--url", `${stage.stack.httpUrl}/log`, "--key", key);
          const { code, stdout, stderr } = await stage.stack.hullmark("log", "verify", "--dir", copy, "--key", key);
          if (code !== 0) throw new Error(stdout + stderr);
          return stdout;
        },
        (text) => text.trim().split("\n")[0] ?? "",
      );
    },
  },
];
