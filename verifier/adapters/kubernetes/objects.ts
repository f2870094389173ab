/** Objects of Hullmark's kinds that teams write in their namespaces: followed in all of them, and what came of each is written into its status. */

import { type ApiServer, PageSize } from "@hullmark/daemon/api-server";
import * as z from "zod";
import { fewAtATime } from "./few-at-a-time.ts";
import { follow, type InForce, type SaidCondition, SaidStatus, type Surroundings, toSay, writeCondition } from "./follow.ts";

const GROUP = "/apis/hullmark.dev/v1";

/** Objects that are looked at, most of which are of namespaces that have too many. */
const MAX_LISTED = 65_536;

/** Which objects, and how many of them are kept: of the rest nothing counts. */
export interface ObjectKind {
  readonly plural: string;
  /** undefined: of any name. */
  readonly name: string | undefined;
  /** Objects in one answer; fewer where it is too large. */
  readonly page: number;
  /** Of one namespace, so that nobody's can crowd out another's. */
  readonly maxOfNamespace: number;
  readonly max: number;
}

/** More than count, so that what does not count keeps out none that would; no more than the verifier has room for. */
export const EXCEPTIONS: ObjectKind = { plural: "driftexceptions", name: undefined, page: 100, maxOfNamespace: 64, max: 4096 };

/** One a namespace. @param name of the release */
export function teamPolicies(name: string): ObjectKind {
  // An object may have 1.5 MiB, and an answer four.
  return { plural: "attestationpolicies", name, page: 2, maxOfNamespace: 1, max: 1024 };
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
  /** As read, or as written since. */
  said: SaidCondition | undefined;
}

type Api = Pick<ApiServer, "get" | "patch" | "watch">;

/**
 * Follows them until the signal aborts. While the API server cannot be reached, what was there last stays.
 * @param changed called with all that are there, after each change of what they ask for; not of their status
 */
export async function followObjects(
  api: Api,
  kind: ObjectKind,
  changed: (objects: readonly FollowedObject[]) => void,
  surroundings: Surroundings,
  signal: AbortSignal,
): Promise<void> {
  let known = new Kept(kind);
  const path = pathOf(kind);
  const followedAll = {
    path,
    list: async () => {
      const listed = await list(api, path, kind);
      known = listed.kept;
      changed(known.all);
      return listed.resourceVersion;
    },
    take: async (type: string, object: unknown) => {
      const one = followed(TeamObject.parse(object));
      // Of what is not kept, somebody may have thousands.
      if (type === "DELETED" ? known.remove(one) : known.keep(one)) changed(known.all);
    },
  };
  await follow(api, followedAll, surroundings, signal);
}

/** As many of them as are kept, in the order in which they came. */
class Kept {
  readonly #kind: ObjectKind;
  readonly #objects = new Map<string, FollowedObject>();
  readonly #ofNamespace = new Map<string, number>();

  constructor(kind: ObjectKind) {
    this.#kind = kind;
  }

  get all(): readonly FollowedObject[] {
    return [...this.#objects.values()];
  }

  get full(): boolean {
    return this.#objects.size >= this.#kind.max;
  }

  /** @returns whether what is kept asks for something else now */
  keep(one: FollowedObject): boolean {
    const ofNamespace = this.#ofNamespace.get(one.namespace) ?? 0;
    const before = this.#objects.get(one.uid);
    // Each status that is written comes back by the watch, of thousands one by one: what is asked for is the same.
    if (before?.generation === one.generation) {
      before.said = one.said;
      return false;
    }
    if (!before) {
      if (this.full || ofNamespace >= this.#kind.maxOfNamespace) return false;
      this.#ofNamespace.set(one.namespace, ofNamespace + 1);
    }
    this.#objects.set(one.uid, one);
    return true;
  }

  /** @returns whether it was kept */
  remove({ uid, namespace }: FollowedObject): boolean {
    if (!this.#objects.delete(uid)) return false;
    const left = (this.#ofNamespace.get(namespace) ?? 0) - 1;
    if (left > 0) this.#ofNamespace.set(namespace, left);
    else this.#ofNamespace.delete(namespace);
    return true;
  }
}

function pathOf({ plural, name }: ObjectKind): string {
  return `${GROUP}/${plural}${name === undefined ? "" : `?fieldSelector=${encodeURIComponent(`metadata.name=${name}`)}`}`;
}

async function list(api: Api, path: string, kind: ObjectKind): Promise<{ kept: Kept; resourceVersion: string }> {
  const kept = new Kept(kind);
  const size = new PageSize(kind.page);
  let seen = 0;
  for (let token = ""; ; ) {
    const rest = token && `&continue=${encodeURIComponent(token)}`;
    const read = await size.ask((limit) => api.get(`${path}${path.includes("?") ? "&" : "?"}limit=${limit}${rest}`));
    if (read.status !== 200) throw new Error(`the API server answers ${read.status} to list ${kind.plural}`);
    const { metadata, items } = List.parse(read.body);
    for (const item of items) kept.keep(followed(item));
    seen += items.length;
    if (!metadata.continue || kept.full || seen >= MAX_LISTED) return { kept, resourceVersion: metadata.resourceVersion };
    token = metadata.continue;
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

export interface Telling {
  readonly nowMs: number;
  /** Told, once, where some could not be written: the API server is in trouble, or does not take them (what an older kind let through, a webhook). */
  readonly onRefused: (first: unknown, count: number) => void;
  readonly signal: AbortSignal;
  /** Uids of those of the time before, the one that was tried last at the end, which are brought up to date: they come after all others, in this order. */
  readonly refused: Set<string>;
}

/** Writes each status that says something else. One that cannot be written, or that hangs, keeps none of the others from theirs. */
export async function reportObjects(
  api: Pick<Api, "patch">,
  { plural }: ObjectKind,
  reports: readonly Report[],
  { nowMs, onRefused, signal, refused }: Telling,
): Promise<void> {
  const wanted = reports.flatMap(({ object, now }) => {
    const saying = toSay(now, object.said, nowMs);
    return saying ? [{ object, saying }] : [];
  });
  const uids = new Set(wanted.map(({ object }) => object.uid));
  for (const uid of refused) if (!uids.has(uid)) refused.delete(uid);
  const places = new Map([...refused].map((uid, at) => [uid, at]));
  const placeOf = ({ object }: (typeof wanted)[number]): number => places.get(object.uid) ?? -1;
  wanted.sort((a, b) => placeOf(a) - placeOf(b));
  const write = async ({ object, saying }: (typeof wanted)[number]): Promise<void> => {
    const { uid, namespace, name } = object;
    // Behind all others that refused: what is begun in one round may be fewer than they are.
    refused.delete(uid);
    refused.add(uid);
    const path = `${GROUP}/namespaces/${encodeURIComponent(namespace)}/${plural}/${encodeURIComponent(name)}/status`;
    const { status } = await writeCondition(api, path, saying);
    // Until the watch tells of it, which is one by one, every other change would have all of them written again.
    if (status === 200) object.said = saying;
    // Deleted meanwhile: there is nobody to tell.
    else if (status !== 404) throw new Error(`the API server answers ${status} to a change of the status of ${namespace}/${name} of ${plural}`);
    refused.delete(uid);
  };
  const failed = await fewAtATime(wanted, write, signal);
  const [first] = failed;
  if (first) onRefused(first.error, failed.length);
}
