/** The cluster's DriftExceptions: followed in every namespace, and what came of each is written into its status. */
import { z } from "zod";
import type { ExceptionObject, JudgedException } from "../../core/policy/exception.ts";
import type { ApiServer } from "./api-server.ts";
import { follow, inForce, type Surroundings, writeInForce } from "./follow.ts";

const GROUP = "/apis/hullmark.dev/v1";
const COLLECTION = `${GROUP}/driftexceptions`;
/** Objects that are kept; of the rest nothing counts. */
const MAX_EXCEPTIONS = 256;
const PAGE = 100;

const Condition = z.object({ status: z.string(), reason: z.string(), message: z.string(), observedGeneration: z.int().optional() });
const Exception = z.object({
  metadata: z.object({ name: z.string(), namespace: z.string(), uid: z.string(), generation: z.int(), creationTimestamp: z.string() }),
  spec: z.unknown(),
  status: z.object({ conditions: z.array(Condition).optional() }).optional(),
});
const List = z.object({ metadata: z.object({ resourceVersion: z.string(), continue: z.string().optional() }), items: z.array(Exception) });

/** One of them, with what its status says now. */
export interface FollowedException extends ExceptionObject {
  readonly uid: string;
  readonly generation: number;
  readonly said: z.infer<typeof Condition> | undefined;
}

type Api = Pick<ApiServer, "get" | "patch" | "watch">;

/**
 * Follows them until the signal aborts. While the API server cannot be reached, what was there last stays.
 * @param changed called with all that are there, after each change
 */
export async function followExceptions(
  api: Api,
  changed: (exceptions: readonly FollowedException[]) => Promise<void>,
  surroundings: Surroundings,
  signal: AbortSignal,
): Promise<void> {
  let known = new Map<string, FollowedException>();
  const followedAll = {
    path: COLLECTION,
    list: async () => {
      const { items, resourceVersion } = await list(api);
      known = new Map(items.map((item) => [item.uid, item]));
      await changed([...known.values()]);
      return resourceVersion;
    },
    take: async (type: string, object: unknown) => {
      const exception = followed(Exception.parse(object));
      if (type === "DELETED") known.delete(exception.uid);
      else if (known.has(exception.uid) || known.size < MAX_EXCEPTIONS) known.set(exception.uid, exception);
      await changed([...known.values()]);
    },
  };
  await follow(api, followedAll, surroundings, signal);
}

async function list(api: Api): Promise<{ items: readonly FollowedException[]; resourceVersion: string }> {
  const items: FollowedException[] = [];
  for (let token = ""; ; ) {
    const { status, body } = await api.get(`${COLLECTION}?limit=${PAGE}${token ? `&continue=${encodeURIComponent(token)}` : ""}`);
    if (status !== 200) throw new Error(`the API server answers ${status} to list driftexceptions`);
    const page = List.parse(body);
    items.push(...page.items.map(followed));
    if (!page.metadata.continue || items.length >= MAX_EXCEPTIONS)
      return { items: items.slice(0, MAX_EXCEPTIONS), resourceVersion: page.metadata.resourceVersion };
    token = page.metadata.continue;
  }
}

function followed({ metadata, spec, status }: z.infer<typeof Exception>): FollowedException {
  const { name, namespace, uid, generation, creationTimestamp } = metadata;
  return { name, namespace, uid, generation, createdMs: Date.parse(creationTimestamp), spec, said: status?.conditions?.[0] };
}

/** Writes the status where it says something else. @returns whether it was written @throws Error with the API server's status; the system's error */
export async function reportException(api: Pick<Api, "patch">, exception: FollowedException, judged: JudgedException, nowMs: number): Promise<boolean> {
  const { namespace, name, generation, said } = exception;
  const now = inForce(judged.inForce ? undefined : judged, generation);
  if (said && said.status === now.status && said.reason === now.reason && said.message === now.message && said.observedGeneration === generation) return false;
  const path = `${GROUP}/namespaces/${encodeURIComponent(namespace)}/driftexceptions/${encodeURIComponent(name)}/status`;
  const status = await writeInForce(api, path, now, nowMs);
  // Deleted meanwhile: there is nobody to tell.
  if (status !== 200 && status !== 404) throw new Error(`the API server answers ${status} to a change of a DriftException's status`);
  return status === 200;
}
