/** What decisions rest on, read from what is stored as of now, and the decisions themselves: to be asked for one at a time. */
import { Verdict } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import { NodeMark } from "@hullmark/proto/v1/response";
import type { ActionRow, DriftRow, ImageRow, NodeRow, WorkloadRow } from "../../ports/rows.ts";
import type { StoppedTold } from "../../ports/stopped-told.ts";
import { MAX_PAGE_ROWS } from "../../ports/store.ts";
import { isAttested } from "../fleet/census.ts";
import { allWorkloads, keyOfNumber, rowPages } from "../fleet/row-pages.ts";
import { isLack } from "../policy/kinds.ts";
import { actuatorName } from "./actuator-name.ts";
import type { ActuatorStreams } from "./actuator-streams.ts";
import { countedContainers } from "./breaker.ts";
import { causeOf } from "./causes.ts";
import { type Decision, decide, isOverBudget } from "./decide.ts";
import { counts, decideNode, type NodeDecision, nodeRuleFor } from "./decide-node.ts";
import { isInPod } from "./eviction.ts";
import { type ActionHistory, isSpent } from "./history.ts";
import { type AffectedLayer, affectedBy, openPoison, poisonOf, unhealed } from "./poison.ts";
import { NO_ROLLBACK } from "./rollback.ts";
import type { ResponseServices } from "./services.ts";

/** Pages of drifts of one container; with more nothing is done, since what is not seen might forbid it. */
const MAX_DRIFT_PAGES = 10;
/** More bear out no more; and containers of other nodes that are looked at for them, beyond which nothing is borne out. */
const MAX_WITNESSES = 2;
const MAX_WITNESS_LOOKS = 100;

/** Node, and container; of the node itself empty. */
export type Key = `${string}/${string}`;

export interface Affected {
  readonly layers: readonly AffectedLayer[];
  /** How far what is said of containers that do not run goes: of how many it is not known on what they stand, and how many the node did not name. undefined: the node was not asked. */
  readonly stopped: { readonly problem: string; readonly unknown: number; readonly more: number } | undefined;
}

export class Situations {
  readonly #services: ResponseServices;
  readonly #rows: ActionHistory;
  readonly #streams: ActuatorStreams;
  readonly #paused: () => boolean;
  /** Since when containers have been unmeasurable by their own doing, Unix milliseconds. */
  readonly #overBudget = new Map<Key, number>();
  readonly #notWell = new Map<string, readonly DriftRow[]>();
  /** Nodes that are not revoked, counted once a tick. */
  #members: number | undefined;
  /** Containers of all nodes, without sandboxes, counted once a turn. */
  #containers: number | undefined;

  constructor(services: ResponseServices, rows: ActionHistory, streams: ActuatorStreams, paused: () => boolean) {
    this.#services = services;
    this.#rows = rows;
    this.#streams = streams;
    this.#paused = paused;
  }

  /** Marked nodes that were attested again when they were decided on last, and whose layers are not known to be well → what was found of them. */
  get notWell(): ReadonlyMap<string, readonly DriftRow[]> {
    return this.#notWell;
  }

  /** Something else has its turn: what is counted once a turn is counted anew. */
  nextTurn(): void {
    this.#containers = undefined;
  }

  nextTick(): void {
    this.#members = undefined;
  }

  /** A container is no more. */
  removed(key: Key): void {
    this.#overBudget.delete(key);
  }

  /**
   * Whether policy withholds the certificate of this node: it was found to be otherwise than it should, and has not been attested since. A new boot, of which nothing is
   * known yet, changes nothing. @throws StoreError
   */
  async withholds(nodeId: string): Promise<boolean> {
    const { store, policy, node } = this.#services;
    const row = node(nodeId);
    if (!row || this.#paused() || policy().mode !== "enforce" || isAttested(row.verdict)) return false;
    const rule = nodeRuleFor(policy(), row.name);
    if (!rule?.withholdCertificate) return false;
    return ownOpen(await store.readOpenDrifts(nodeId)).some(({ kind }) => counts(rule, kind));
  }

  /** @param own an action that is decided on again, and must not stand in its own way @throws StoreError */
  async decide(nodeId: string, containerId: string, own?: ActionRow): Promise<Decision | NodeDecision> {
    if (containerId === "") return await this.#decideNode(nodeId, own);
    const { store, policy, node, nowMs, cluster, pod } = this.#services;
    const [containers, workloads, drifts] = await Promise.all([
      this.#countContainers(),
      store.findWorkloads(containerId, 8),
      this.#openDrifts(nodeId, containerId),
    ]);
    if (!drifts) return { act: false, why: "too-many-drifts" };
    const untrusted = policy().mode !== "observe" && drifts.some((drift) => causeOf(drift) === "untrusted");
    const rollback = untrusted ? await this.#services.rollback(nodeId, containerId) : NO_ROLLBACK;
    const workload = workloads.find((each) => each.nodeId === nodeId && each.containerId === containerId);
    return decide(
      {
        policy: policy(),
        node: node(nodeId),
        workload,
        drifts,
        history: workload ? this.#rows.about(workload, nowMs()) : [],
        rollback,
        overBudgetMs: this.#overBudgetMs(workload, nowMs()),
        witnesses: untrusted && workload && isInPod(workload.containerName) ? await this.#witnesses(workload) : 0,
        cordoned:
          this.#rows
            .standing()
            .get(nodeId)
            ?.marks.some((mark) => mark !== NodeMark.LABEL) ?? false,
        paused: this.#paused(),
        pod: workload && pod(workload),
        actuator: (ofPod) => this.#streams.has(ofPod ? actuatorName.ofCluster(cluster ?? "") : actuatorName.ofNode(nodeId)),
        containers,
        nowMs: nowMs(),
      },
      own,
    );
  }

  async #decideNode(nodeId: string, own?: ActionRow): Promise<NodeDecision> {
    const { store, policy, node, nowMs, cluster } = this.#services;
    const row = node(nodeId);
    const believed = row && (row.verdict === Verdict.CONTRAINDICATED || isAttested(row.verdict));
    const open = believed && policy().mode !== "observe" ? await store.readOpenDrifts(nodeId) : [];
    const poison = openPoison(open);
    const left = poison.length === 0 && row && isAttested(row.verdict) ? await this.#unhealed(nodeId) : [];
    // Of a node that is marked, or not well, all that was asked for counts, however long ago.
    const lasts = row?.verdict === Verdict.CONTRAINDICATED || this.#rows.standing().has(nodeId);
    this.#notWell.delete(nodeId);
    if (left.length > 0) this.#notWell.set(nodeId, left);
    return decideNode(
      {
        ...{ policy: policy(), node: row, standing: this.#rows.standing(), history: [...this.#rows.all()].filter((each) => lasts || !isSpent(each, nowMs())) },
        ...{ paused: this.#paused(), nowMs: nowMs(), members: this.#countMembers() },
        isMember: (id) => isMember(node(id)),
        cluster: cluster !== undefined && this.#streams.has(actuatorName.ofCluster(cluster)) ? cluster : undefined,
        listening: this.#streams.names().flatMap((name) => node(actuatorName.nodeOf(name)) ?? []),
        ...{ drifts: ownOpen(open), poison, unhealed: left.length > 0 },
      },
      own,
    );
  }

  /**
   * What this node serves that is not as signed, and what stands on it.
   * @param ask the node for what does not run, where anything is affected, by the images that are known; undefined: it is not asked @throws StoreError; what `ask` throws
   */
  async affected(nodeId: string, ask?: (images: readonly ImageRow[]) => Promise<StoppedTold>): Promise<Affected> {
    const { store, layerChains } = this.#services;
    const drifts = [...openPoison(await store.readOpenDrifts(nodeId)), ...(await this.#unhealed(nodeId))];
    if (drifts.length === 0) return { layers: [], stopped: undefined };
    const images = await store.readImages();
    const told = await ask?.(images);
    const chainsOf = await layerChains(new Set(images.map(({ configDigest }) => configDigest)));
    const containers = told?.containers ?? [];
    const layers = affectedBy(drifts, await allWorkloads(store, { verdicts: [], nodeId }), images, chainsOf, containers);
    // What stands on a layer that has no name, nobody can say of any.
    const nameless = layers.some(({ place, chainId }) => (place === "layer" || place === "image") && chainId === "");
    const unknown = containers.filter(({ configDigests }) => nameless || configDigests.length === 0).length;
    return { layers, stopped: told && { problem: told.problem, unknown, more: told.more } };
  }

  /** What was found of its layers and images since it was marked, and of which nothing says that it is well again. */
  async #unhealed(nodeId: string): Promise<readonly DriftRow[]> {
    const { store, layerChains } = this.#services;
    const [first] = this.#rows.standing().get(nodeId)?.actions ?? [];
    if (!first) return [];
    const drifts: DriftRow[] = [];
    const filter = { states: [DriftState.RESOLVED], nodeId, container: "", notResolvedBeforeMs: first.createdAtMs };
    let full = 0;
    for await (const rows of rowPages((page) => store.listDrifts(filter, page), keyOfNumber)) {
      drifts.push(...rows.filter((each) => poisonOf(each) !== undefined));
      // What is not seen might forbid it.
      if (rows.length === MAX_PAGE_ROWS && ++full > MAX_DRIFT_PAGES) return rows;
    }
    if (drifts.length === 0) return [];
    const workloads = await allWorkloads(store, { verdicts: [], nodeId });
    return unhealed(drifts, workloads, await layerChains(new Set([...drifts, ...workloads].map(({ configDigest }) => configDigest))));
  }

  /** This process's own time: after a restart it is waited for anew. */
  #overBudgetMs(workload: WorkloadRow | undefined, nowMs: number): number | undefined {
    if (!workload) return undefined;
    const key: Key = `${workload.nodeId}/${workload.containerId}`;
    if (!isOverBudget(workload)) {
      this.#overBudget.delete(key);
      return undefined;
    }
    // A clock that was set back begins anew.
    const sinceMs = Math.min(this.#overBudget.get(key) ?? nowMs, nowMs);
    this.#overBudget.set(key, sinceMs);
    return nowMs - sinceMs;
  }

  /** Attested nodes, two at most, on which a container of this workload and image is found to be untrusted, as this one is: its own files may differ on many. */
  async #witnesses({ workload, configDigest }: WorkloadRow): Promise<number> {
    const rows = await allWorkloads(this.#services.store, { verdicts: [Verdict.CONTRAINDICATED], nodeId: "" });
    const alike = rows.filter((each) => each.workload === workload && each.configDigest === configDigest && isInPod(each.containerName));
    const nodes = new Set<string>();
    let looks = 0;
    for (const { nodeId, containerId } of alike) {
      if (nodes.size >= MAX_WITNESSES || looks >= MAX_WITNESS_LOOKS) break;
      if (nodes.has(nodeId) || !this.#isBelieved(nodeId)) continue;
      looks++;
      const drifts = await this.#openDrifts(nodeId, containerId);
      if (drifts?.some((drift) => causeOf(drift) === "untrusted")) nodes.add(nodeId);
    }
    return nodes.size;
  }

  async #countContainers(): Promise<number> {
    this.#containers ??= countedContainers(await this.#services.store.countResults());
    return this.#containers;
  }

  async #openDrifts(nodeId: string, containerId: string): Promise<DriftRow[] | undefined> {
    const found: DriftRow[] = [];
    const filter = { states: [DriftState.OPEN], nodeId, container: containerId };
    let full = 0;
    for await (const rows of rowPages((page) => this.#services.store.listDrifts(filter, page), keyOfNumber)) {
      found.push(...rows.filter((each) => each.containerId === containerId));
      if (rows.length === MAX_PAGE_ROWS && ++full === MAX_DRIFT_PAGES) return undefined;
    }
    return found;
  }

  #isBelieved(nodeId: string): boolean {
    const node = this.#services.node(nodeId);
    return node !== undefined && isMember(node) && isAttested(node.verdict);
  }

  #countMembers(): number {
    this.#members ??= this.#services.nodes().filter(isMember).length;
    return this.#members;
  }
}

/** What speaks against the node itself and nobody has acknowledged. That it is not heard, or proves nothing, says nothing against it. */
function ownOpen(drifts: readonly DriftRow[]): DriftRow[] {
  return drifts.filter(({ containerId, state, kind }) => containerId === "" && state === DriftState.OPEN && !isLack(kind));
}

function isMember(node: NodeRow | undefined): boolean {
  return node !== undefined && node.revokedAtMs === undefined;
}
