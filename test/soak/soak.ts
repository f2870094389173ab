/** One run: load, operations and attacks side by side, everything the verifier says held against what was done. */
import { ATTACKS, type Attack } from "./attacks.ts";
import { type MemorySample, medianBetween, residentMiB } from "./memory.ts";
import { load, OPERATIONS } from "./operations.ts";
import { pause } from "./pause.ts";
import type { Stage } from "./stage.ts";
import { Verdicts } from "./verdicts.ts";
import { DriftWatch, type SeenDrift } from "./watch.ts";
import { type SoakWorkload, WORKLOADS } from "./workloads.ts";

const ATTACK_EVERY_MS = 120_000;
/** Short runs plant more often, so that each has several. */
const ATTACKS_A_RUN = 10;
const OPERATION_EVERY_MS = 6_000;
const SAMPLE_EVERY_MS = 5_000;
const LOOK_EVERY_MS = 10_000;
/** Longest wait for a planted thing: what takes longer is a failure, and the report says how long. */
const FIND_WAIT_MS = 90_000;
const RESOLVE_WAIT_MS = 90_000;
const FIRST_ATTESTED_MS = 180_000;
const SETTLED_AFTER_S = 120;
const MAX_PAGES = 40;
const MAX_SAMPLES = 5_000;
/** Shown, never counted as drift: also when they end. */
const NOTICES = new Set(["alias", "copy"]);

export interface AttackResult {
  readonly name: string;
  readonly container: string;
  /** From when the attack was begun until its drift was seen at the command line; Infinity: never. */
  readonly foundMs: number;
  readonly resolvedMs: number;
}

interface Planted {
  readonly attack: Attack;
  readonly container: string;
  readonly sinceMs: number;
}

export class Soak {
  /** Each a whole text for a person; empty: the run is good. */
  readonly problems: string[] = [];
  readonly attacks: AttackResult[] = [];
  readonly memory: MemorySample[] = [];
  readonly #stage: Stage;
  readonly #watch: DriftWatch;
  readonly #verdicts: Verdicts;
  readonly #planted: Planted[] = [];
  readonly #judged = new Set<string>();
  #pages: Promise<void> = Promise.resolve();
  readonly #stop = new AbortController();
  readonly #operations = new Map<string, number>();
  /** Attacks and restarts take turns: a restart would undo what lies in memory. */
  #turn: Promise<unknown> = Promise.resolve();
  #loadFailures = 0;
  #slowestLookMs = 0;
  #startedMs = 0;
  #durationMs = 0;

  constructor(stage: Stage) {
    this.#stage = stage;
    this.#watch = new DriftWatch(stage.stack);
    this.#verdicts = new Verdicts(stage.stack, (problem) => this.problems.push(problem));
  }

  async run(durationMs: number): Promise<void> {
    this.#watch.onChange((drift) => this.#judge(drift));
    for (const workload of WORKLOADS) await this.#stage.start(workload);
    await this.#verdicts.firstAttested(WORKLOADS.length, FIRST_ATTESTED_MS);
    this.#startedMs = Date.now();
    this.#durationMs = durationMs;
    const signal = this.#stop.signal;
    const tasks = [
      this.#look(signal),
      this.#sample(signal),
      this.#operate(signal),
      this.#attack(signal, Math.min(ATTACK_EVERY_MS, durationMs / ATTACKS_A_RUN)),
    ];
    for (const workload of WORKLOADS) tasks.push(load(this.#stage.hands, workload, signal, () => this.#loadFailures++));
    await Promise.race([pause(durationMs, signal), ...tasks]);
    // What is planted last is still followed to its end.
    this.#stop.abort();
    await Promise.all(tasks);
    await this.#watch.list();
    await this.#pages;
  }

  close(): void {
    this.#stop.abort();
    this.#watch.close();
  }

  /** Whatever was not planted is a false alarm. */
  #judge(drift: SeenDrift): void {
    if (drift.state === "notice" || NOTICES.has(drift.kind) || this.#judged.has(drift.id)) return;
    this.#judged.add(drift.id);
    if (this.#planted.some((each) => belongs(each, drift))) return;
    const at = Math.round((Date.now() - (this.#startedMs || Date.now())) / 1000);
    const title = `false alarm after ${at} s: ${drift.kind} ${drift.path} in ${drift.container.name}`;
    // One page after the other, and not of thousands: a flood of alarms must not become a flood of processes.
    const withPage = this.#judged.size <= MAX_PAGES;
    this.#pages = this.#pages.then(async () => {
      const page = withPage ? await this.#stage.stack.hullmark("drift", "show", drift.id) : undefined;
      this.problems.push(`${title}\n${page ? `${page.stdout}${page.stderr}` : drift.summary}`);
    });
  }

  async #look(signal: AbortSignal): Promise<void> {
    for (let round = 0; !signal.aborted; round++) {
      const startedMs = Date.now();
      await this.#verdicts.look();
      if (round % 3 === 0) await this.#watch.list();
      this.#slowestLookMs = Math.max(this.#slowestLookMs, Date.now() - startedMs);
      await pause(LOOK_EVERY_MS, signal);
    }
  }

  async #sample(signal: AbortSignal): Promise<void> {
    const { stack } = this.#stage;
    const agent = stack.agents[0]?.daemon().process.pid ?? 0;
    const verifier = stack.verifier.daemon().process.pid;
    // A day's run keeps 5,000 samples: one in 18 s then.
    const everyMs = Math.max(SAMPLE_EVERY_MS, this.#durationMs / MAX_SAMPLES);
    for (; !signal.aborted; await pause(everyMs, signal)) {
      const seconds = Math.round((Date.now() - this.#startedMs) / 1000);
      this.memory.push({ seconds, agentMiB: residentMiB(agent), verifierMiB: residentMiB(verifier) });
    }
  }

  async #operate(signal: AbortSignal): Promise<void> {
    // Steps without a common divisor: in time every operation meets every service.
    for (let i = 0; !signal.aborted; i++) {
      const operation = OPERATIONS[i % OPERATIONS.length] as (typeof OPERATIONS)[number];
      const workload = WORKLOADS[Math.floor(i / 2) % WORKLOADS.length] as SoakWorkload;
      await this.#inTurn(async () => {
        if (signal.aborted) return;
        if (operation.restarts) this.#verdicts.announce(workload.service.name);
        await operation.run(this.#stage.hands, workload).then(
          () => this.#operations.set(operation.name, (this.#operations.get(operation.name) ?? 0) + 1),
          () => undefined,
        );
        if (operation.restarts) this.#verdicts.announce(workload.service.name);
      });
      await pause(OPERATION_EVERY_MS, signal);
    }
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#turn.then(work);
    this.#turn = next.catch(() => undefined);
    return next;
  }

  async #attack(signal: AbortSignal, everyMs: number): Promise<void> {
    for (let i = 0; !signal.aborted; i++) {
      await pause(i === 0 ? everyMs / 3 : everyMs, signal);
      if (signal.aborted) return;
      const attack = ATTACKS[i % ATTACKS.length] as Attack;
      const workload = WORKLOADS[(i + Math.floor(i / ATTACKS.length)) % WORKLOADS.length] as SoakWorkload;
      await this.#inTurn(() => this.#plant(attack, workload));
    }
  }

  async #plant(attack: Attack, workload: SoakWorkload): Promise<void> {
    const container = workload.service.name;
    const { hands } = this.#stage;
    const before = new Set(this.#watch.drifts.keys());
    const planted: Planted = { attack, container, sinceMs: Date.now() };
    this.#planted.push(planted);
    await attack.plant(hands, container);
    const found = await this.#watch.until((drift) => !before.has(drift.id) && isIt(planted, drift), FIND_WAIT_MS);
    const foundMs = found ? Date.now() - planted.sinceMs : Number.POSITIVE_INFINITY;
    if (!found) this.problems.push(`missed: ${attack.name} in ${container}, not found within ${FIND_WAIT_MS / 1000} s`);
    const undoneMs = Date.now();
    await attack.undo?.(hands, container);
    if (attack.recreate) await this.#recreate(workload);
    const resolved = await this.#watch.until(() => this.#open(planted).length === 0, RESOLVE_WAIT_MS);
    if (!resolved) this.problems.push(`not resolved: ${attack.name} in ${container}: ${JSON.stringify(this.#open(planted))}`);
    this.attacks.push({ name: attack.name, container, foundMs, resolvedMs: Date.now() - undoneMs });
  }

  async #recreate(workload: SoakWorkload): Promise<void> {
    const { name } = workload.service;
    this.#verdicts.announce(name);
    await this.#stage.hands.docker("rm", "--force", name);
    await this.#stage.start(workload);
    this.#verdicts.announce(name);
  }

  #open(planted: Planted): SeenDrift[] {
    return [...this.#watch.drifts.values()].filter((drift) => drift.state === "open" && belongs(planted, drift));
  }

  report() {
    const last = this.memory.at(-1)?.seconds ?? 0;
    const ratio = (of: "agentMiB" | "verifierMiB") =>
      medianBetween(this.memory, last - 60, last, of) / medianBetween(this.memory, SETTLED_AFTER_S - 30, SETTLED_AFTER_S + 30, of);
    const growth = last >= 2 * SETTLED_AFTER_S ? { agent: ratio("agentMiB"), verifier: ratio("verifierMiB") } : undefined;
    const agentMiB = medianBetween(this.memory, last - 60, last, "agentMiB");
    const { attacks, problems, memory } = this;
    const unknown = this.#verdicts.longestUnknownMs;
    return {
      seconds: last,
      attacks,
      problems,
      growth,
      agentMiB,
      memory,
      operations: Object.fromEntries(this.#operations),
      loadFailures: this.#loadFailures,
      thawed: this.#stage.hands.thawed,
      overdue: this.#stage.hands.overdue,
      unknown,
    };
  }

  summary(): string {
    const { seconds, attacks, growth, memory, operations, loadFailures, thawed, overdue, unknown } = this.report();
    const found = attacks.map(({ foundMs }) => foundMs).sort((a, b) => a - b);
    const every = Math.max(1, Math.floor(memory.length / 12));
    const at = (share: number): number => Math.round(found[Math.min(found.length - 1, Math.floor(found.length * share))] ?? Number.NaN);
    return [
      `soak of ${seconds} s: ${this.problems.length} problems, ${attacks.length} attacks`,
      `found after: median ${at(0.5)} ms, 90 % ${at(0.9)} ms, longest ${at(1)} ms`,
      ...attacks.map(({ name, container, foundMs, resolvedMs }) => `  ${name} in ${container}: found ${foundMs} ms, resolved ${resolvedMs} ms`),
      `memory MiB (agent/verifier): ${[memory[0], ...memory.filter((_, i) => i % every === every - 1), memory.at(-1)].map((m) => `${m?.seconds}s ${m?.agentMiB}/${m?.verifierMiB}`).join(", ")}`,
      `growth since 2 minutes: ${growth ? `agent ${growth.agent.toFixed(2)}, verifier ${growth.verifier.toFixed(2)}` : "too short a run to tell"}`,
      `operations: ${JSON.stringify(operations)}; load rounds that failed: ${loadFailures}; longest unknown ${unknown} ms; slowest look ${this.#slowestLookMs} ms`,
      `containers thawed by hand, because the engine did not unpause them: ${thawed}; commands that did not end: ${overdue.length}`,
    ].join("\n");
  }
}

/** Any drift that the attack explains. */
function belongs({ attack, container }: Planted, drift: SeenDrift): boolean {
  if (attack.alsoPaths?.test(drift.path)) return true;
  return drift.container.name === container && attack.expected.path.test(drift.path);
}

/** The very drift that must be found. */
function isIt({ attack, container }: Planted, drift: SeenDrift): boolean {
  return drift.state === "open" && drift.container.name === container && attack.expected.kinds.includes(drift.kind) && attack.expected.path.test(drift.path);
}
