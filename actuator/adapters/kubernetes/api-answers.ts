/** What an API server's answer means for what was asked of it. */
import type { ApiAnswer } from "@hullmark/daemon/api-server";
import * as z from "zod";
import { EngineError } from "../../ports/engine.ts";

const Status = z.object({
  message: z.string().default(""),
  details: z
    .object({
      causes: z.array(z.object({ reason: z.string().default(""), message: z.string().default("") })).default([]),
      retryAfterSeconds: z.number().optional(),
    })
    .prefault({}),
});

/** @throws EngineError ENGINE_UNREACHABLE */
export async function ask<T extends ApiAnswer | undefined>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    throw new EngineError("ENGINE_UNREACHABLE", `the API server does not answer: ${cause instanceof Error ? cause.message : "unknown"}`, { cause });
  }
}

export function statusOf({ body }: ApiAnswer): z.output<typeof Status> {
  return Status.safeParse(body).data ?? { message: "", details: { causes: [] } };
}

/**
 * What the API server has no time for now passes, as does what went wrong within it (etcd that changes its leader, a webhook that does not answer); what it refuses
 * stays refused. @param right that its service account needs
 */
export function problem(answer: ApiAnswer, right: string): EngineError {
  const passes = [401, 409, 429, 500, 502, 503, 504].includes(answer.status);
  const hint = answer.status === 401 || answer.status === 403 ? ` (the actuator's service account needs the right to ${right})` : "";
  return new EngineError(
    passes ? "ENGINE_UNREACHABLE" : "ENGINE_REFUSED",
    `the API server answers ${answer.status}${hint}: ${statusOf(answer).message.slice(0, 300)}`,
  );
}
