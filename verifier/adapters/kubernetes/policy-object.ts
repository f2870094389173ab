/** The policy as an object of the cluster (AttestationPolicy): a good one becomes the policy file, and what came of each is written into its status. */
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { stringify } from "yaml";
import { z } from "zod";
import { formatProblem, parsePolicy } from "../../core/policy/parse.ts";
import type { Clock } from "../../ports/clock.ts";
import type { ApiServer } from "./api-server.ts";

export interface PolicyObject {
  readonly namespace: string;
  readonly name: string;
  /** Replaced as a whole by each good policy, removed with the object; whoever watches it takes it from there. */
  readonly file: string;
}

const Policy = z.object({
  metadata: z.object({ name: z.string(), generation: z.int(), resourceVersion: z.string() }),
  spec: z.record(z.string(), z.unknown()),
});
const List = z.object({ metadata: z.object({ resourceVersion: z.string() }), items: z.array(Policy) });
const Event = z.object({ type: z.string(), object: z.unknown() });

const RETRY_MS = 5_000;
const WATCH_SECONDS = 290;
const MAX_MESSAGE_CHARACTERS = 4_000;

type Api = Pick<ApiServer, "get" | "patch" | "watch">;
interface Surroundings {
  readonly clock: Clock;
  readonly onProblem: (error: unknown) => void;
}

/** Follows the object until the signal aborts. While the API server cannot be reached, what was taken last stays. */
export async function followPolicy(api: Api, object: PolicyObject, { clock, onProblem }: Surroundings, signal: AbortSignal): Promise<void> {
  const collection = `/apis/hullmark.dev/v1/namespaces/${object.namespace}/attestationpolicies`;
  const selected = `fieldSelector=${encodeURIComponent(`metadata.name=${object.name}`)}`;
  let seen = -1;
  const take = async (raw: unknown): Promise<void> => {
    const policy = Policy.parse(raw);
    // A change of the status alone, such as ours, has the generation of before.
    if (policy.metadata.generation === seen) return;
    await report(api, `${collection}/${object.name}/status`, policy.metadata.generation, apply(policy.spec, object), clock.nowMs());
    seen = policy.metadata.generation;
  };
  const gone = (): void => {
    seen = -1;
    rmSync(object.file, { force: true });
  };
  while (!signal.aborted) {
    try {
      const { status, body } = await api.get(`${collection}?${selected}`);
      if (status !== 200) throw new Error(`the API server answers ${status} to list attestationpolicies in ${object.namespace}`);
      const { metadata, items } = List.parse(body);
      for (const item of items) await take(item);
      if (items.length === 0) gone();
      const path = `${collection}?${selected}&watch=1&timeoutSeconds=${WATCH_SECONDS}&resourceVersion=${encodeURIComponent(metadata.resourceVersion)}`;
      for await (const event of api.watch(path, signal)) {
        const { type, object: changed } = Event.parse(event);
        if (type === "ERROR") {
          // Too old a version, as a rule: list again, but not as fast as a server can say so.
          await pause(clock, signal);
          break;
        }
        if (type === "DELETED") gone();
        else await take(changed);
      }
    } catch (error) {
      if (signal.aborted) return;
      onProblem(error);
      await pause(clock, signal);
    }
  }
}

/** @returns what is wrong with it, nothing when it is in force */
function apply(spec: Readonly<Record<string, unknown>>, { name, file }: PolicyObject): readonly string[] {
  const text = stringify({ apiVersion: "hullmark.dev/v1", kind: "Policy", metadata: { name }, spec });
  const parsed = parsePolicy(text, name);
  if (!parsed.ok) return parsed.errors.map(formatProblem);
  if (!existsSync(file) || readFileSync(file, "utf8") !== text) {
    writeFileSync(`${file}.new`, text, { mode: 0o600 });
    renameSync(`${file}.new`, file);
  }
  return [];
}

async function report(api: Api, path: string, generation: number, problems: readonly string[], nowMs: number): Promise<void> {
  const good = problems.length === 0;
  const condition = {
    type: "InForce",
    status: good ? "True" : "False",
    observedGeneration: generation,
    lastTransitionTime: new Date(nowMs).toISOString().replace(/\.\d+Z$/, "Z"),
    reason: good ? "Good" : "Refused",
    message: good ? "" : problems.join("\n").slice(0, MAX_MESSAGE_CHARACTERS),
  };
  const { status } = await api.patch(path, { status: { conditions: [condition] } }, "application/merge-patch+json");
  if (status !== 200) throw new Error(`the API server answers ${status} to a change of an AttestationPolicy's status`);
}

function pause(clock: Clock, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      cancel();
      signal.removeEventListener("abort", done);
      resolve();
    };
    const cancel = clock.after(RETRY_MS, done);
    signal.addEventListener("abort", done, { once: true });
  });
}
