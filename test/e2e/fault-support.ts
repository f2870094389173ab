/** What the fault and identity tests share: the stack on a test bed of its own, and what people are told, as data. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { ResponseFailpoint } from "@hullmark/verifier/core/response/services";
import { resourceReader, urlResources } from "../../cli/log/readers.ts";
import { type Stack, type StackOptions, startStack } from "../../deploy/stack/stack.ts";
import { startTestbed, type Testbed, type TestbedParts } from "../../deploy/testbed/index.ts";
import { isAlive } from "../../deploy/testbed/process-identity.ts";
import { acceptanceImage } from "./images/acceptance.ts";
import { loadPrograms } from "./images/programs.ts";
import { type PushedImage, pushImage } from "./images/push.ts";
import { DockerVictim } from "./scenarios.ts";

/** Intervals so short that staleness can be waited for; everything else as by default. */
export const SHORT_INTERVALS = `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: faults }
spec:
  mode: observe
  intervals: { quote: 10s, rescan: 1m, heartbeat: 1s }
`;

export interface FaultBed {
  readonly bed: Testbed;
  readonly stack: Stack;
  readonly image: PushedImage;
  readonly victim: (name: string) => DockerVictim;
}

export async function startFaultBed(name: string, parts: TestbedParts, stackOptions: Omit<StackOptions, "bed"> = {}): Promise<FaultBed> {
  const bed = await startTestbed({ name, parts: { engine: true, registry: true, tpms: 1, ...parts } });
  try {
    const programs = await loadPrograms();
    const image = await pushImage(registryOf(bed), "acme/web", "1", acceptanceImage(programs));
    const stack = await startStack({ bed, policy: SHORT_INTERVALS, ...stackOptions });
    const victim = (container: string): DockerVictim => new DockerVictim(container, programs, engineOf(bed).dockerHost, (argv) => bed.wrap(argv));
    return { bed, stack, image, victim };
  } catch (error) {
    await bed.down();
    throw error;
  }
}

function registryOf({ registry }: Testbed): string {
  if (!registry) throw new Error("the test bed has no registry");
  return registry.host;
}

export function engineOf({ engine }: Testbed) {
  if (!engine) throw new Error("the test bed has no engine");
  return engine;
}

export interface ToldDrift {
  readonly id: string;
  readonly kind: string;
  readonly state: string;
  readonly path: string;
  readonly summary: string;
  readonly node: { readonly id: string; readonly name: string };
  readonly container: { readonly id: string; readonly name: string };
  readonly differences: readonly { readonly field: string; readonly expected: string; readonly observed: string }[];
  readonly acknowledged: { readonly by: string; readonly reason: string } | null;
  readonly logIndex: number;
}

export interface ToldNode {
  readonly id: string;
  readonly name: string;
  readonly verdict: string;
  readonly connected: boolean;
  readonly reasons: readonly { readonly code: string; readonly detail: string }[];
}

export interface ToldWorkload {
  readonly verdict: string;
  readonly content: string;
  readonly container: { readonly id: string; readonly name: string };
}

export const drifts = async (stack: Stack): Promise<readonly ToldDrift[]> => (await stack.json<{ drifts: ToldDrift[] }>("drift", "ls", "-a")).drifts;
export const nodes = async (stack: Stack): Promise<readonly ToldNode[]> => stack.json<readonly ToldNode[]>("nodes");
export const workloads = async (stack: Stack): Promise<readonly ToldWorkload[]> => stack.json<readonly ToldWorkload[]>("workloads");

export interface LogEntryText {
  readonly type: string;
  readonly [name: string]: unknown;
}

/** Asks until `holds`; the last answer, or the last error, is the message when it never does. */
export async function eventually<T>(what: string, ask: () => Promise<T>, holds: (answer: T) => boolean, timeoutMs = 60_000): Promise<T> {
  const endMs = Date.now() + timeoutMs;
  let last: unknown = "no answer";
  for (let pauseMs = 250; ; pauseMs = Math.min(1000, 1.5 * pauseMs)) {
    const askedMs = performance.now();
    try {
      const answer = await ask();
      if (holds(answer)) return answer;
      last = answer;
    } catch (error) {
      last = error instanceof Error ? error.message : error;
    }
    if (Date.now() > endMs) throw new Error(`${what}: not within ${timeoutMs / 1000} s; last: ${String(JSON.stringify(last)).slice(0, 3000)}`);
    await restAfter(askedMs, pauseMs);
  }
}

/**
 * What is asked is often a program that is started for it. Where that takes long the machine is busy, and asking at once again would keep it so.
 * @param askedMs when it was asked, by `performance.now()` @param leastMs to wait in any case
 */
export const restAfter = (askedMs: number, leastMs: number): Promise<void> => sleep(Math.max(leastMs, Math.min(3000, 2 * (performance.now() - askedMs))));

/**
 * Has one action begin, and kills the verifier at each of these places in turn, while it goes on from where it was. It runs on in the end.
 * @param steps a place where it kills itself; or what is waited for, upon which it is killed
 */
export async function killedAt(
  { verifier }: Pick<Stack, "verifier">,
  steps: readonly (ResponseFailpoint | (() => Promise<unknown>))[],
  begin: () => Promise<unknown>,
  timeoutMs: number,
): Promise<void> {
  await verifier.stop();
  try {
    for (const [i, step] of steps.entries()) {
      const failpoint = typeof step === "string" ? step : undefined;
      await verifier.start(failpoint).catch((error: unknown) => {
        // It goes on at once, and may have come there before it said that it serves.
        if (!failpoint || i === 0 || !/did not start: it ended/.test(String(error))) throw error;
      });
      if (i === 0) await begin();
      const { process: dying } = verifier.daemon();
      if (typeof step !== "string") {
        await step();
        await verifier.kill();
      }
      // A place that is not passed would leave it running.
      await eventually(
        `it dies at ${failpoint ?? "will"}`,
        async () => isAlive(dying),
        (alive) => !alive,
        timeoutMs,
      );
    }
  } finally {
    await verifier.stop();
    await verifier.start();
  }
}

export const believed = ({ verdict }: { readonly verdict: string }): boolean => verdict === "affirming" || verdict === "warning";

/** Every entry that the published checkpoint covers, as anyone can read it. */
export async function logEntries(stack: Stack): Promise<readonly LogEntryText[]> {
  const reader = resourceReader(urlResources(`${stack.httpUrl}/log`));
  const size = Number((await reader.readNote())?.split("\n")[1] ?? 0);
  const entries: LogEntryText[] = [];
  while (entries.length < size) {
    const count = Math.min(256, size - entries.length);
    for (const bytes of await reader.readEntries(entries.length, count)) entries.push(JSON.parse(Buffer.from(bytes).toString("utf8")) as LogEntryText);
  }
  return entries;
}

/** `hullmark log verify` against what is served, and against a checkpoint remembered before where there is one. */
export async function verifyLog(stack: Stack): Promise<void> {
  const remembered = join(stack.directory, "remembered.checkpoint");
  const since = existsSync(remembered) ? ["--since", remembered] : [];
  const key = join(stack.directory, "verifier/admin/log.pub");
  const { code, stdout, stderr } = await stack.hullmark("log", "verify", "--url", `${stack.httpUrl}/log`, "--key", key, ...since, "--remember", remembered);
  if (code !== 0) throw new Error(`hullmark log verify: exit ${code}\n${stdout}${stderr}`);
}
