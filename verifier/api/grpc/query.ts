/** Query: what is known, listed, looked up and watched. Reads only; every answer is bounded. */
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type CallContext, RpcError, type ServiceImplementation } from "@hullmark/proto/rpc";
import { Verdict } from "@hullmark/proto/v1/common";
import { DriftState, ProvenanceStatus, type Query } from "@hullmark/proto/v1/query";
import type { ReplicaVariables } from "../../core/contents/replica-variables.ts";
import { EAR_NONCE_BYTES, earClaims } from "../../core/ear/claims.ts";
import { baselineReport } from "../../core/fleet/baseline-report.ts";
import { isAttested, members } from "../../core/fleet/census.ts";
import type { EventBus, Events } from "../../core/fleet/events.ts";
import type { Fleet } from "../../core/fleet/fleet.ts";
import { keyOfNumber, keyOfWorkload } from "../../core/fleet/row-pages.ts";
import { type NodeStanding, worstFirst } from "../../core/fleet/worst-first.ts";
import type { OwnKeys } from "../../core/keys/own-keys.ts";
import { type Reach, reaches } from "../../core/people/grants.ts";
import type { People } from "../../core/people/people.ts";
import { decidingRule } from "../../core/policy/deciding.ts";
import { policyDigest } from "../../core/policy/digest.ts";
import type { Policy } from "../../core/policy/types.ts";
import type { AffectedLayer } from "../../core/response/poison.ts";
import type { Affected } from "../../core/response/situations.ts";
import type { StandingMarks } from "../../core/response/standing-marks.ts";
import type { VulnerabilityStanding } from "../../core/vulnerabilities/index.ts";
import type { EarSigner } from "../../ports/ear-signer.ts";
import type { Outbox, OutboxState } from "../../ports/outbox.ts";
import type { BaselineRow, ClaimRow, ExceptionRow, ImageRow, NodeRow, WorkloadRow } from "../../ports/rows.ts";
import { MAX_PAGE_ROWS, type Page, type Store } from "../../ports/store.ts";
import { type AccessServices, reachIn } from "./access.ts";
import { type DrillQueryServices, drillQueries } from "./drills.ts";
import { invalid, rpcErrorOf } from "./errors.ts";
import { imageNamed } from "./image-named.ts";
import { type IncidentServices, incidentQueries } from "./incidents.ts";
import { type LogEntryServices, logEntryQueries } from "./log-entries.ts";
import {
  baselineMessage,
  bootMessage,
  driftMessage,
  exceptionMessage,
  imageMessage,
  imaMessage,
  nodeMessage,
  notificationMessage,
  reportMessage,
  workloadMessage,
} from "./messages.ts";
import { cut, rowsOf } from "./pages.ts";
import { PushQueue } from "./queue.ts";
import { type ReachedScans, reachedPage } from "./reach.ts";
import { policySimulator, type SimulateServices } from "./simulate.ts";
import { historySimulator, type SimulateHistoryServices } from "./simulate-history.ts";
import { type VulnerabilityServices, vulnerabilityQueries } from "./vulnerabilities.ts";

export interface QueryServices
  extends AccessServices,
    Pick<SimulateServices, "composed" | "simulate">,
    Pick<SimulateHistoryServices, "simulateHistory">,
    Pick<IncidentServices, "incidents" | "decided">,
    VulnerabilityServices,
    DrillQueryServices,
    Pick<LogEntryServices, "logReader"> {
  readonly scans: ReachedScans;
  readonly store: Store;
  readonly fleet: Fleet;
  readonly events: EventBus;
  readonly images: () => readonly ImageRow[];
  readonly policy: () => Policy;
  /** Of a container of a connected node; undefined: not known now. */
  readonly labels: (nodeId: string, containerId: string) => Readonly<Record<string, string>> | undefined;
  readonly ear: EarSigner;
  readonly log: () => { readonly size: number; readonly root: Buffer };
  /** What the verifier has to say of itself. */
  readonly claims: () => readonly ClaimRow[];
  /** How many nodes' and clusters' actuators listen. */
  readonly actuators: () => number;
  readonly variables: Pick<ReplicaVariables, "of">;
  readonly baselines: () => readonly BaselineRow[];
  readonly exceptions: () => readonly ExceptionRow[];
  readonly keys: OwnKeys;
  readonly people: Pick<People, "rows">;
  readonly notifications: Outbox["list"];
  /** Whether somebody delivers what is for this alert route. */
  readonly routeWorks: (route: string) => boolean;
  /** PEM: what the command and agents pin. */
  readonly caCertificates: () => string;
  /** What verifies the log, one a line. */
  readonly logVerifierKeys: () => string;
  readonly verifierId: string;
  readonly region: string;
  readonly version: string;
  readonly startedAtMs: number;
  /** What Hullmark has put on nodes, by node id. */
  readonly marks: () => ReadonlyMap<string, StandingMarks>;
  readonly withheld: (nodeId: string) => Promise<boolean>;
  /** What the node serves that is not as signed. @throws StoreError; the signal's reason */
  readonly affected: (nodeId: string, signal: AbortSignal) => Promise<Affected>;
  /** A live node's newest row; the fleet's else. */
  readonly currentNode: (row: NodeRow) => NodeRow;
  /** undefined: not known yet. */
  readonly vulnerabilityStanding: () => VulnerabilityStanding | undefined;
}

const DEFAULT_NOTIFICATIONS = 100;
const MAX_NOTIFICATIONS = 1000;
const OUTBOX_STATES: readonly OutboxState[] = ["pending", "delivered", "dead"];
const MAX_ATTENTION = 20;
const MAX_UNATTESTED = 100;
const MAX_NAME_CHARS = 253;
const MAX_WATCH_BACKLOG = 10_000;
const DAY_MS = 86_400_000;
const OPEN: readonly DriftState[] = [DriftState.OPEN, DriftState.ACKNOWLEDGED];

export function queryService(services: QueryServices): ServiceImplementation<typeof Query> {
  const { store, fleet, events } = services;
  const nodeName = (id: string): string => fleet.get(id)?.name ?? "";
  const node = (row: NodeRow) => nodeMessage(services.currentNode(row), fleet.connected(row.id), services.marks().get(row.id));
  const workload = (row: WorkloadRow) => workloadMessage(row, nodeName(row.nodeId));
  const attested = ({ verdict }: NodeRow): boolean => isAttested(verdict);
  const reachOf = (context: CallContext): Reach => reachIn(context, services);
  const findWorkload = async (container: string, reach: Reach): Promise<WorkloadRow> => {
    if (container === "") throw new RpcError("INVALID_ARGUMENT", "which container?", { reason: "CONTAINER", field: "container" });
    // Of others' containers it is as if there were none.
    const all = await store.findWorkloads(container.slice(0, 256), reach === "cluster" ? 10 : MAX_PAGE_ROWS);
    const rows = all.filter((row) => reaches(reach, row));
    const exact = rows.filter((row) => row.containerName === container || row.containerId === container);
    const [row, another] = exact.length > 0 ? exact : rows;
    if (!row) throw new RpcError("NOT_FOUND", "no such container", { reason: "CONTAINER", field: "container", fix: "hullmark workloads -o wide lists them" });
    if (another)
      throw new RpcError("FAILED_PRECONDITION", "several containers are so named", { reason: "AMBIGUOUS", field: "container", fix: "give more of the id" });
    return row;
  };
  const simulate = policySimulator({ ...services, members: () => members(fleet).length });
  const away = (): number => members(fleet).filter(({ id }) => !fleet.connected(id)).length;
  const simulateHistory = historySimulator({ ...services, away });
  return {
    ...incidentQueries(services, rowsOf, reachOf),
    ...logEntryQueries(services),
    ...drillQueries(services),
    async *simulateHistory(request, { signal }) {
      yield* simulateHistory(request, signal);
    },
    ...vulnerabilityQueries(services),
    async simulatePolicy(request, { signal }) {
      return await simulate(request, signal);
    },
    async getStatus(_request, context) {
      const nowMs = services.nowMs();
      const reach = reachOf(context);
      const [counts, coverage, attention] = await Promise.all([
        services.scans.count(reach),
        store.readCoverage(Math.floor((nowMs - DAY_MS) / 3_600_000) * 3_600_000),
        services.scans.openDrifts(reach),
      ]);
      const nodes = members(fleet).map(services.currentNode);
      const { size, root } = services.log();
      const policy = services.policy();
      const of = (verdict: Verdict): number => counts.byVerdict[verdict] ?? 0;
      const total = Object.values(counts.byProvenance).reduce((sum, n) => sum + n, 0);
      const signed = counts.byProvenance[ProvenanceStatus.SIGNED] ?? 0;
      const provenanceUnknown = (counts.byProvenance[ProvenanceStatus.UNKNOWN] ?? 0) + (counts.byProvenance[ProvenanceStatus.UNSPECIFIED] ?? 0);
      const everywhere = {
        logSize: BigInt(size),
        logRoot: root,
        nodesTotal: nodes.length,
        nodesAttested: nodes.filter(attested).length,
        nodesUnattested: nodes
          .filter((row) => !attested(row))
          .slice(0, MAX_UNATTESTED)
          .map(node),
        unattestedSeconds: coverage.unattestedSeconds,
        observedSeconds: coverage.observedSeconds,
        policyName: policy.name,
        vulnerabilities: services.vulnerabilityStanding(),
        alertRoutes: policy.alerts.map(({ name }) => name),
        actuators: services.actuators(),
        claims: services.claims().map(({ code, detail }) => ({ code, detail })),
      };
      return {
        // What is of the whole cluster may name anything in it.
        ...(reach === "cluster" ? everywhere : { namespaces: [...reach].sort(), claims: everywhere.claims.filter(isOfAll).map(({ code }) => ({ code })) }),
        verifierId: services.verifierId,
        region: services.region,
        version: services.version,
        mode: policy.mode,
        containersClean: of(Verdict.AFFIRMING),
        containersWarning: of(Verdict.WARNING),
        containersDrifted: of(Verdict.CONTRAINDICATED),
        containersUnknown: of(Verdict.UNKNOWN),
        unknownReasons: { ...counts.unknownReasons },
        signedContainers: signed,
        unsignedContainers: total - signed - provenanceUnknown,
        provenanceUnknownContainers: provenanceUnknown,
        attention: attention
          .toSorted((a, b) => b.severity - a.severity || b.number - a.number)
          .slice(0, MAX_ATTENTION)
          .map(driftMessage),
        policyLoaded: policy.loaded,
        now: timestampFromMs(nowMs),
      };
    },

    async listBaselines() {
      return { baselines: services.baselines().map(baselineMessage) };
    },
    async reportBaselines() {
      return { rows: (await baselineReport(services)).map(reportMessage) };
    },
    async listKeys() {
      const keys = services.keys
        .rows()
        .map(({ name, id, state, madeAtMs, dueAtMs }) => ({ name, id, state, madeAt: timestampFromMs(madeAtMs), dueAt: timestampFromMs(dueAtMs) }));
      return { keys, caCertificates: services.caCertificates(), logVerifierKeys: services.logVerifierKeys() };
    },
    async listNotifications({ route, state, limit }) {
      if (route.length > 64) throw invalid("route", "the name of an alert route");
      if (state !== "" && !OUTBOX_STATES.includes(state as OutboxState)) throw invalid("state", OUTBOX_STATES.join(", "));
      if (limit > MAX_NOTIFICATIONS) throw invalid("limit", `1 to ${MAX_NOTIFICATIONS}`);
      const filter = { route: route === "" ? undefined : route, state: state === "" ? undefined : (state as OutboxState) };
      const entries = await services.notifications(filter, limit || DEFAULT_NOTIFICATIONS);
      return { notifications: entries.map((entry) => notificationMessage(entry, services.routeWorks(entry.route))) };
    },
    async listExceptions({ states }, context) {
      const reach = reachOf(context);
      const rows = services.exceptions().filter((row) => reaches(reach, row) && (states.length === 0 || states.includes(row.state)));
      return { exceptions: rows.toReversed().map(exceptionMessage) };
    },
    async listPeople() {
      const at = (ms: number | undefined) => (ms === undefined ? undefined : timestampFromMs(ms));
      const people = services.people.rows.map(({ issuedAtMs, notAfterMs, revokedAtMs, tokensSinceMs, namespaces = [], ...same }) => ({
        ...{ ...same, namespaces: [...namespaces], issuedAt: at(issuedAtMs), expiresAt: at(notAfterMs), revokedAt: at(revokedAtMs) },
        tokensSince: at(tokensSinceMs),
      }));
      return { people };
    },
    async listNodes({ pageSize, pageToken, contains, unattested, worstFirst: isWorstFirst }) {
      if (isWorstFirst && pageToken !== "")
        throw new RpcError("INVALID_ARGUMENT", "this order has no further pages", { reason: "PAGE_TOKEN", field: "pageToken" });
      const wanted = contains.slice(0, MAX_NAME_CHARS).toLowerCase();
      const rows = fleet
        .all()
        .filter(({ id, name }) => id > pageToken && (name.toLowerCase().includes(wanted) || id.includes(wanted)))
        .filter((row) => !unattested || (row.revokedAtMs === undefined && !attested(services.currentNode(row))))
        .sort((a, b) => (a.id < b.id ? -1 : 1));
      const drifted = await store.countDrifted();
      const standing = (row: NodeRow): NodeStanding => {
        const { id, name, verdict, revokedAtMs, lastSeenMs } = services.currentNode(row);
        return { id, name, verdict, revoked: revokedAtMs !== undefined, drifted: drifted[id] ?? 0, lastSeenMs };
      };
      const ordered = isWorstFirst
        ? rows
            .map((row) => ({ row, ...standing(row) }))
            .sort(worstFirst)
            .map(({ row }) => row)
        : rows;
      const { page, next } = cut(ordered, rowsOf(pageSize), ({ id }) => id);
      return { nodes: page.map((row) => ({ ...node(row), drifted: drifted[row.id] ?? 0 })), nextPageToken: next };
    },
    async getNode({ id }, { signal }) {
      const row = fleet.find(id);
      if (!row) throw new RpcError("NOT_FOUND", "no such node", { reason: "NODE", field: "id", fix: "hullmark nodes lists them" });
      const [boot, ima, certificateWithheld, affected] = await Promise.all([
        ...([store.readBoot(row.id), store.readIma(row.id)] as const),
        ...([services.withheld(row.id), services.affected(row.id, signal)] as const),
      ]);
      return {
        node: node(row),
        certificateWithheld,
        affected: affected.layers.map(toAffected),
        ...(affected.stopped && { stopped: affected.stopped }),
        ...(boot && { boot: bootMessage(boot) }),
        ...(ima && { ima: imaMessage(ima) }),
      };
    },
    async *watchNodes(_request, { signal }) {
      for await (const row of watch(events, "node", signal)) yield { node: node(row) };
    },

    async listWorkloads({ verdicts, nodeId, pageSize, pageToken }, context) {
      const limit = rowsOf(pageSize);
      const found = nodeId === "" ? "" : (fleet.find(nodeId)?.id ?? nodeId);
      const filter = { verdicts: verdicts.slice(0, 8), nodeId: found };
      const read = (page: Page) => store.listWorkloads(filter, page);
      const { page, next } = await reachedPage(reachOf(context), read, keyOfWorkload, { after: pageToken.slice(0, 256), limit });
      return { workloads: page.map(workload), nextPageToken: next };
    },
    async issueEar({ node: id, container, nonce }) {
      if ((id === "") === (container === "")) throw new RpcError("INVALID_ARGUMENT", "of a node or of a container?", { reason: "SUBJECT", field: "node" });
      if (nonce.length > 0 && (nonce.length < EAR_NONCE_BYTES.min || nonce.length > EAR_NONCE_BYTES.max))
        throw new RpcError("INVALID_ARGUMENT", `a nonce has ${EAR_NONCE_BYTES.min} to ${EAR_NONCE_BYTES.max} bytes`, { reason: "NONCE", field: "nonce" });
      const found = container === "" ? undefined : await findWorkload(container, "cluster");
      const row = fleet.find(found?.nodeId ?? id);
      if (!row) throw new RpcError("NOT_FOUND", "no such node", { reason: "NODE", field: "node", fix: "hullmark nodes lists them" });
      const { verifierId, region, version } = services;
      const facts = { verifierId, region, version, nonce, nowMs: services.nowMs(), policySha256: policyDigest(services.policy()).toString("hex") };
      return { jwt: await services.ear.sign(earClaims({ node: services.currentNode(row), workload: found, ...facts })) };
    },
    async getWorkload({ container }, context) {
      const reach = reachOf(context);
      const row = await findWorkload(container, reach);
      const filter = { states: [...OPEN, DriftState.NOTICE], nodeId: row.nodeId, container: row.containerId };
      const drifts = await store.listDrifts(filter, { after: "", limit: MAX_PAGE_ROWS });
      return { workload: workload(row), drifts: drifts.filter((each) => reaches(reach, each)).map(driftMessage) };
    },
    async compareVariables({ container }, context) {
      const row = await findWorkload(container, reachOf(context));
      const { differing, ...facts } = await services.variables.of(row, context.signal).catch((error: unknown) => {
        throw rpcErrorOf(error);
      });
      return {
        ...facts,
        differing: differing.map((each) => ({ ...each, groups: each.groups.map((group) => ({ ...group, containers: [...group.containers] })) })),
      };
    },
    async *watchWorkloads(_request, context) {
      const { signal } = context;
      const reach = reachOf(context);
      const queue = queueFor<{ workload: ReturnType<typeof workload>; removed: boolean }>(signal);
      const gone = ({ nodeId, containerId }: Events["workloadRemoved"]) => ({ workload: { nodeId, nodeName: nodeName(nodeId), containerId }, removed: true });
      // What is gone says of itself no more than its id: whose it was is known of what was there.
      const own = new Set<string>();
      const ends = [
        events.on("workload", (row) => {
          if (!reaches(reach, row)) return;
          if (reach !== "cluster") own.add(keyOfWorkload(row));
          queue.push({ workload: workload(row), removed: false });
        }),
        events.on("workloadRemoved", (row) => {
          if (reach === "cluster" || own.delete(keyOfWorkload(row))) queue.push(gone(row));
        }),
      ];
      try {
        if (reach !== "cluster") for (const key of await services.scans.workloadKeys(reach)) own.add(key);
        yield* queue;
      } finally {
        for (const end of ends) end();
      }
    },

    async listImages({ pageSize, pageToken }) {
      const { byImage } = await store.countWorkloads();
      const rows = services
        .images()
        .filter(({ configDigest }) => configDigest > pageToken)
        .toSorted((a, b) => (a.configDigest < b.configDigest ? -1 : 1));
      const { page, next } = cut(rows, rowsOf(pageSize), ({ configDigest }) => configDigest);
      return { images: page.map((row) => imageMessage(row, byImage[row.configDigest] ?? 0)), nextPageToken: next };
    },
    async getImage({ image }) {
      const row = imageNamed(services.images(), image);
      const { byImage } = await store.countWorkloads();
      return { image: imageMessage(row, byImage[row.configDigest] ?? 0) };
    },
    async *watchImages(_request, { signal }) {
      for await (const row of watch(events, "image", signal)) {
        const { byImage } = await store.countWorkloads();
        yield { image: imageMessage(row, byImage[row.configDigest] ?? 0) };
      }
    },

    async listDrift({ states, container, nodeId, pageSize, pageToken }, context) {
      const reach = reachOf(context);
      const limit = rowsOf(pageSize);
      if (pageToken !== "" && !/^[0-9]{1,15}$/.test(pageToken))
        throw new RpcError("INVALID_ARGUMENT", "not a page token of this list", { reason: "PAGE_TOKEN", field: "pageToken" });
      const filter = {
        states: states.length > 0 ? states.slice(0, 8) : OPEN,
        nodeId: nodeId === "" ? "" : (fleet.find(nodeId)?.id ?? nodeId),
        container: container.slice(0, 256),
      };
      const [{ page, next }, counts] = await Promise.all([
        reachedPage(reach, (page: Page) => store.listDrifts(filter, page), keyOfNumber, { after: pageToken, limit }),
        services.scans.count(reach),
      ]);
      return { drifts: page.map(driftMessage), nextPageToken: next, containersUnknown: counts.byVerdict[Verdict.UNKNOWN] ?? 0 };
    },
    async getDrift({ id }, context) {
      const row = await store.readDrift(id.slice(0, 32).toUpperCase());
      if (!row || !reaches(reachOf(context), row))
        throw new RpcError("NOT_FOUND", "no such drift", { reason: "DRIFT", field: "id", fix: "hullmark drift ls --all lists them" });
      const rule = decidingRule(services.policy(), row, services.labels(row.nodeId, row.containerId));
      return { drift: driftMessage(row), ...(rule !== undefined && { rule }) };
    },
    async *watchDrift({ includeCurrent }, context) {
      const { signal } = context;
      const reach = reachOf(context);
      const queue = queueFor<Events["drift"]>(signal);
      const end = events.on("drift", (row) => {
        if (reaches(reach, row)) queue.push(row);
      });
      try {
        if (includeCurrent) {
          const rows = await services.scans.openDrifts(reach, [...OPEN]);
          for (const row of rows.toReversed()) yield { drift: driftMessage(row) };
        }
        for await (const row of queue) yield { drift: driftMessage(row) };
      } finally {
        end();
      }
    },
  };
}

/** Under these nobody can tell whether everything is clean, whatever they see of it. */
const OF_ALL: ReadonlySet<string> = new Set(["log-contradicted", "pods-unseen"]);
const isOfAll = ({ code }: Pick<ClaimRow, "code">): boolean => OF_ALL.has(code);

/** Ends with the call; a watcher that does not keep up is told so. */
function queueFor<T>(signal: AbortSignal): PushQueue<T> {
  const queue = new PushQueue<T>(
    MAX_WATCH_BACKLOG,
    () => new RpcError("RESOURCE_EXHAUSTED", "the watcher does not keep up", { reason: "BACKLOG", fix: "list, then watch again", retryable: true }),
  );
  signal.addEventListener("abort", () => queue.end(), { once: true });
  return queue;
}

async function* watch<K extends keyof Events>(events: EventBus, kind: K, signal: AbortSignal): AsyncGenerator<Events[K]> {
  const queue = queueFor<Events[K]>(signal);
  const end = events.on(kind, (event) => queue.push(event));
  try {
    yield* queue;
  } finally {
    end();
  }
}

function toAffected({ driftIds, containers, images, stopped, ...rest }: AffectedLayer) {
  return { ...rest, driftIds: [...driftIds], containers: [...containers], images: [...images], stopped: [...stopped] };
}
