/** Objects of Hullmark's kinds that teams write in their namespaces: followed in all of them, and what came of each is written into its status. */

import type { ApiServer } from "@hullmark/daemon/api-server";
import * as z from "zod";
import { follow, type InForce, type SaidCondition, SaidStatus, type Surroundings, writeInForce } from "./follow.ts";

const GROUP = "/apis/hullmark.dev/v1";

/** Which objects, and how many of them are kept: of the rest nothing counts. */
export interface ObjectKind {
  readonly plural: string;
  /** undefined: of any name. */
  readonly name: string | undefined;
  /** Objects in one answer, which must fit into what an answer may have. */
  readonly page: number;
  readonly max: number;
}

export const EXCEPTIONS: ObjectKind = { plural: "driftexceptions", name: undefined, page: 100, max: 256 };

/** One a namespace, so that nobody's can crowd out another's. @param name of the release */
export function teamPolicies(name: string): ObjectKind {
  // An object may have 1.5 MiB, and an answer four.
  return { plural: "attestationpolicies", name, page: 2, max: 1024 };
}

const TeamObject = z.object({
  metadata: z.object({ name: z.string(), namespace: z.string(), uid: z.string(), generation: z.int(), creationTimestamp: z.string() }),
  spec: z.unknown(),
  status: SaidStatus,
});
const List = z.object({ metadata: z.object({ resourceVersion: z.string(), continue: z.string().optional() }), items: z.array(TeamObject) });

/** One of them, with what its status says now. */
export interface FollowedObject {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly generation: number;
  /** By the API server's clock. */
  readonly createdMs: number;
  /** As somebody wrote it. */
  readonly spec: unknown;
  readonly said: SaidCondition | undefined;
}

type Api = Pick<ApiServer, "get" | "patch" | "watch">;

/**
 * Follows them until the signal aborts. While the API server cannot be reached, what was there last stays.
 * @param changed called with all that are there, after each change
 */
export async function followObjects(
  api: Api,
  kind: ObjectKind,
  changed: (objects: readonly FollowedObject[]) => Promise<void>,
  surroundings: Surroundings,
  signal: AbortSignal,
): Promise<void> {
  let known = new Map<string, FollowedObject>();
  const path = pathOf(kind);
  const followedAll = {
    path,
    list: async () => {
      const { items, resourceVersion } = await list(api, path, kind);
      known = new Map(items.map((item) => [item.uid, item]));
      await changed([...known.values()]);
      return resourceVersion;
    },
    take: async (type: string, object: unknown) => {
      const one = followed(TeamObject.parse(object));
      if (type === "DELETED") known.delete(one.uid);
      else if (known.has(one.uid) || known.size < kind.max) known.set(one.uid, one);
      await changed([...known.values()]);
    },
  };
  await follow(api, followedAll, surroundings, signal);
}

function pathOf({ plural, name }: ObjectKind): string {
  return `${GROUP}/${plural}${name === undefined ? "" : `?fieldSelector=${encodeURIComponent(`metadata.name=${name}`)}`}`;
}

async function list(api: Api, path: string, { plural, page, max }: ObjectKind): Promise<{ items: readonly FollowedObject[]; resourceVersion: string }> {
  const items: FollowedObject[] = [];
  for (let token = ""; ; ) {
    const { status, body } = await api.get(`${path}${path.includes("?") ? "&" : "?"}limit=${page}${token ? `&continue=${encodeURIComponent(token)}` : ""}`);
    if (status !== 200) throw new Error(`the API server answers ${status} to list ${plural}`);
    const answer = List.parse(body);
    items.push(...answer.items.map(followed));
    if (!answer.metadata.continue || items.length >= max) return { items: items.slice(0, max), resourceVersion: answer.metadata.resourceVersion };
    token = answer.metadata.continue;
  }
}

function followed({ metadata, spec, status }: z.infer<typeof TeamObject>): FollowedObject {
  const { name, namespace, uid, generation, creationTimestamp } = metadata;
  return { name, namespace, uid, generation, createdMs: Date.parse(creationTimestamp), spec, said: status?.conditions?.[0] };
}

/** What is to be said of one of them. */
interface Report {
  readonly object: FollowedObject;
  readonly now: InForce;
}

/**
 * Writes each status that says something else.
 * @param onRefused told, once, where the API server does not take some (what an older kind let through, a webhook): that keeps none of the others from theirs
 * @throws Error with the API server's status where that is its own trouble; the system's error
 */
export async function reportObjects(
  api: Pick<Api, "patch">,
  { plural }: ObjectKind,
  reports: Iterable<Report>,
  { nowMs, onRefused, signal }: { readonly nowMs: number; readonly onRefused: (first: Error, count: number) => void; readonly signal: AbortSignal },
): Promise<void> {
  const refused: Error[] = [];
  for (const { object, now } of reports) {
    if (signal.aborted) return;
    const { namespace, name, said } = object;
    const path = `${GROUP}/namespaces/${encodeURIComponent(namespace)}/${plural}/${encodeURIComponent(name)}/status`;
    const status = await writeInForce(api, path, now, said, nowMs);
    // Deleted meanwhile: there is nobody to tell.
    if (status === undefined || status === 200 || status === 404) continue;
    const error = new Error(`the API server answers ${status} to a change of the status of ${namespace}/${name} of ${plural}`);
    if (status < 400 || status >= 500 || status === 429) throw error;
    refused.push(error);
  }
  const [first] = refused;
  if (first) onRefused(first, refused.length);
}
