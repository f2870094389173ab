/** What following objects of Hullmark's own kinds has in common: list, watch from there, list again; and the one condition that tells what came of each. */

import type { ApiAnswer, ApiServer } from "@hullmark/daemon/api-server";
import * as z from "zod";
import type { Clock } from "../../ports/clock.ts";

const RETRY_MS = 5_000;
const WATCH_SECONDS = 290;
const MAX_MESSAGE_CHARACTERS = 4_000;

const Event = z.object({ type: z.string(), object: z.unknown() });

export interface Surroundings {
  readonly clock: Clock;
  readonly onProblem: (error: unknown) => void;
}

export interface Followed {
  /** Path of the collection, with the query that selects from it, if any. */
  readonly path: string;
  /** Takes all that is there. @returns the version to watch from */
  list(): Promise<string>;
  /** @param type ADDED, MODIFIED or DELETED */
  take(type: string, object: unknown): Promise<void>;
}

/** Until the signal aborts. While the API server cannot be reached, what was taken last stays. */
export async function follow(
  api: Pick<ApiServer, "watch">,
  { path, list, take }: Followed,
  { clock, onProblem }: Surroundings,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      const version = await list();
      const watch = `${path}${path.includes("?") ? "&" : "?"}watch=1&timeoutSeconds=${WATCH_SECONDS}&resourceVersion=${encodeURIComponent(version)}`;
      for await (const event of api.watch(watch, signal)) {
        const { type, object } = Event.parse(event);
        if (type === "ERROR") {
          // Too old a version, as a rule: list again, but not as fast as a server can say so.
          await pause(clock, RETRY_MS, signal);
          break;
        }
        await take(type, object);
      }
    } catch (error) {
      if (signal.aborted) return;
      onProblem(error);
      await pause(clock, RETRY_MS, signal);
    }
  }
}

/** Ends early when the signal aborts; never rejects. */
export function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      cancel();
      signal.removeEventListener("abort", done);
      resolve();
    };
    const cancel = clock.after(ms, done);
    signal.addEventListener("abort", done, { once: true });
  });
}

/** What the status of one of Hullmark's objects says of it now. */
export const SaidCondition = z.object({
  status: z.string(),
  reason: z.string(),
  message: z.string(),
  observedGeneration: z.int().optional(),
  lastTransitionTime: z.string().optional(),
});
export type SaidCondition = z.infer<typeof SaidCondition>;

/** Whoever may write it may write anything: that is no reason not to follow the object, nor those of others beside it. */
export const SaidStatus = z
  .object({ conditions: z.array(SaidCondition).optional() })
  .optional()
  .catch(undefined);

export interface InForce {
  readonly status: "True" | "False";
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration: number;
}

/** @param refusal why it is not in force; undefined: it is @param remark what is to be said of it although it is */
export function inForce(
  refusal: { readonly reason: string; readonly message: string } | undefined,
  observedGeneration: number,
  remark: { readonly reason: string; readonly lines: readonly string[] } = { reason: "", lines: [] },
): InForce {
  const [reason, message] = remark.lines.length > 0 ? [remark.reason, remark.lines.join("\n")] : ["Good", ""];
  return refusal
    ? { status: "False", reason: refusal.reason, message: refusal.message.slice(0, MAX_MESSAGE_CHARACTERS), observedGeneration }
    : { status: "True", reason, message: message.slice(0, MAX_MESSAGE_CHARACTERS), observedGeneration };
}

/** The condition to write; since when it is as it is, is that of the status, whatever else is said of it. @returns undefined: `said` says so already */
export function toSay(condition: InForce, said: SaidCondition | undefined, nowMs: number): SaidCondition | undefined {
  const same = (["status", "reason", "message", "observedGeneration"] as const).every((field) => said?.[field] === condition[field]);
  if (same) return undefined;
  const since = said?.status === condition.status ? said.lastTransitionTime : undefined;
  return { ...condition, lastTransitionTime: since ?? new Date(nowMs).toISOString().replace(/\.\d+Z$/, "Z") };
}

/** Writes the condition `InForce` as an object's status. @throws the system's error */
export async function writeCondition(api: Pick<ApiServer, "patch">, path: string, condition: SaidCondition): Promise<ApiAnswer> {
  return await api.patch(path, { status: { conditions: [{ type: "InForce", ...condition }] } }, "application/merge-patch+json");
}
