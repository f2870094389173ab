/** Every live session, one a node. Opens them from what is stored; what concerns a node passes through its session, or through its rows where there is none. */
import type { Hello } from "@hullmark/proto/v1/attestation";
import type { PodView } from "../../ports/pod-view.ts";
import type { NodeRow } from "../../ports/rows.ts";
import { MAX_PAGE_ROWS, type Store } from "../../ports/store.ts";
import { emptyMemory } from "../appraisal/apply-evidence.ts";
import type { NodeMemory } from "../appraisal/types.ts";
import { LiveSessions } from "../enrolment/live-sessions.ts";
import { members } from "../fleet/census.ts";
import { ChangeSet } from "../fleet/change-set.ts";
import type { DriftNumbers } from "../fleet/drift-id.ts";
import type { Fleet } from "../fleet/fleet.ts";
import { adminFact } from "../fleet/log-facts.ts";
import { appraisedNode, isSilent } from "../fleet/node-appraisal.ts";
import type { Images } from "../images/types.ts";
import { PodJoin, type PodRules } from "../pods/index.ts";
import { treeKey } from "./appraiser.ts";
import { BootWatch } from "./boot-evidence.ts";
import { ComparisonCache, Comparisons } from "./comparisons.ts";
import { SessionError } from "./errors.ts";
import { ImaWatch } from "./ima-evidence.ts";
import { LiveNode } from "./live-node.ts";
import { restoreMemory } from "./memory.ts";
import { OverdueNodes } from "./overdue-nodes.ts";
import { Pacer } from "./pacer.ts";
import { PROTOCOL_VERSION, Session } from "./session.ts";
import type { SessionPeer, SessionServices, Transport } from "./stream.ts";

export interface SessionsServices extends Omit<SessionServices, "pacer"> {
  readonly store: Store;
  readonly fleet: Fleet;
  readonly images: Images;
  /** undefined: no API server is asked about pods. */
  readonly pods: { readonly view: PodView; readonly rules: PodRules } | undefined;
  readonly numbers: DriftNumbers;
  /** Share of the time since the last call in which the event loop was busy: 0..1. */
  readonly utilisation: () => number;
  /** An agent showed the checkpoint that it keeps: not empty, its word. */
  readonly shown: (nodeId: string, checkpoint: string) => void;
  readonly onProblem: (nodeId: string, containerId: string, error: unknown) => void;
}

/** What an enrolment may ask in its node's turn. */
export interface EnrolmentTurn {
  /** The row that is to be written: a live session goes on with it. */
  become(row: NodeRow): NodeRow;
  /** Another attestation key is to speak for the node. @returns whether the node lives: then it may not, and the node is told to be cloned if it speaks on */
  contest(bootId: string): boolean;
}

const MIN_CHAIN_ID_BYTES = 16;
const MAX_CHAIN_ID_BYTES = 64;
/** Sessions that one slice of {@link Sessions.tickSlice} looks at, so that no slice holds the event loop long. */
const SLICES = 20;

export class Sessions {
  readonly #services: SessionsServices;
  readonly #comparisons = new ComparisonCache();
  readonly #pacer: Pacer;
  readonly #overdue = new OverdueNodes();
  readonly #live = new Map<string, Session>();
  /** Node → the end of what is being done to it: opening a session and judging a silent node exclude each other. */
  readonly #turns = new Map<string, Promise<unknown>>();
  readonly #holders: LiveSessions;
  readonly #holderOf = new WeakMap<Session, string>();
  #opened = 0;
  #slice = 0;
  #stopping = false;

  constructor(services: SessionsServices) {
    this.#services = services;
    this.#pacer = new Pacer({ backlog: () => services.committer.queued, utilisation: services.utilisation });
    this.#holders = new LiveSessions(2000 * services.policy().intervals.heartbeatSeconds);
    services.images.onChange((keys) => {
      for (const session of this.#live.values()) session.imagesChanged(keys);
    });
    services.pods?.view.onChange((uids) => {
      for (const session of this.#live.values()) session.podsChanged(uids);
    });
  }

  get(nodeId: string): Session | undefined {
    return this.#live.get(nodeId);
  }

  /** Those that are live now. */
  all(): readonly Session[] {
    return [...this.#live.values()];
  }

  /** What sessions wait for, and what their agents hold back. */
  load(): { readonly commitsInFlight: number; readonly spooled: { readonly evidence: number; readonly bytes: number; readonly maxBytes: number } } {
    let commitsInFlight = 0;
    const spooled = { evidence: 0, bytes: 0, maxBytes: 0 };
    for (const session of this.#live.values()) {
      const { evidence, bytes } = session.spooled;
      commitsInFlight += session.inFlight;
      spooled.evidence += evidence;
      spooled.bytes += bytes;
      spooled.maxBytes = Math.max(spooled.maxBytes, bytes);
    }
    return { commitsInFlight, spooled };
  }

  /** Opens the node's session; one that is open already is closed and the fact recorded. @throws SessionError */
  async open(nodeId: string, peer: SessionPeer, hello: Hello, transport: Transport): Promise<Session> {
    checkHello(hello);
    return await this.#turn(nodeId, async () => {
      if (this.#stopping) throw new SessionError("STOPPING", "the verifier is stopping: reconnect");
      this.#admitted(nodeId);
      const nowMs = this.#services.clock.nowMs();
      const older = this.#live.get(nodeId);
      const changes = new ChangeSet(nowMs);
      const claim = this.#holders.claim(nodeId, { sessionId: String(++this.#opened), spkiSha256: peer.spkiSha256, bootId: hello.bootId }, nowMs);
      if (claim.kind === "refused") {
        const note = adminFact("session-refused", nowMs, { node: nodeId, boot: hello.bootId, holder: claim.holder.bootId });
        await this.#services.committer.submit({ entries: [note], build: () => ({}) });
        throw new SessionError("NODE_IN_USE", "another boot or key speaks as this node, and lives");
      }
      if (hello.checkpoint !== "") this.#services.shown(nodeId, hello.checkpoint);
      if (older) {
        older.close(new SessionError("SUPERSEDED", "another session of this node was opened"));
        changes.note(adminFact("session-superseded", nowMs, { node: nodeId, boot: hello.bootId }));
      }
      const holder = String(this.#opened);
      // Also waits until everything that an older session decided is in the store, which is then read.
      const settled = this.#services.committer.submit(changes.draft(() => nowMs));
      const session = await settled
        .then(() => this.#start(nodeId, peer, hello, transport))
        .catch((error: unknown) => {
          this.#holders.release(nodeId, holder);
          throw error;
        });
      this.#live.set(nodeId, session);
      this.#holderOf.set(session, holder);
      this.#services.fleet.setConnected(nodeId, true);
      session.open(hello);
      return session;
    });
  }

  #admitted(nodeId: string): NodeRow {
    const node = this.#services.fleet.get(nodeId);
    if (!node || node.revokedAtMs !== undefined) throw new SessionError("REVOKED", "this node is not enrolled, or was revoked");
    return node;
  }

  async #start(nodeId: string, peer: SessionPeer, hello: Hello, transport: Transport): Promise<Session> {
    let session: Session | undefined;
    const comparisons = new Comparisons(
      this.#comparisons,
      (request) => transport.send({ message: { case: "tree", value: request } }),
      (tree) => queueMicrotask(() => session?.treeCompared(treeKey(tree))),
    );
    const { store, images } = this.#services;
    const [live, boot, ima] = await Promise.all([this.#load(nodeId, hello, comparisons), store.readBoot(nodeId), store.readIma(nodeId)]);
    const watches = [new BootWatch(boot), new ImaWatch(nodeId, ima, (path, sha256) => images.vouches(path, sha256))] as const;
    session = new Session({ ...this.#services, pacer: this.#pacer }, peer, transport, live, comparisons, ...watches);
    return session;
  }

  async #load(nodeId: string, hello: Hello, comparisons: Comparisons): Promise<LiveNode> {
    const { store, images, pods, meter, numbers, onProblem } = this.#services;
    const [stored, workloads, drifts] = await Promise.all([
      store.readMemory(nodeId),
      store.listWorkloads({ verdicts: [], nodeId }, { after: "", limit: MAX_PAGE_ROWS * 4 }),
      store.readOpenDrifts(nodeId),
    ]);
    // As late as can be: what was decided of the node before this session took its turn has become durable meanwhile.
    const node = this.#admitted(nodeId);
    const sameChain = stored?.head.chainId.equals(hello.chainId) === true;
    let memory: NodeMemory = emptyMemory(node.id, hello.chainId);
    let barred: string | undefined;
    if (stored && sameChain) {
      const restored = restoreMemory(stored);
      const { seq, digest } = stored.head;
      memory = restored ?? { ...memory, seq, digest };
      // What could not be taken on the last stream is sent again on this one.
      if (hello.lastSeq > seq) barred = node.reasons.find(({ code }) => code === "resync")?.detail;
      if (!restored) barred = "the stored state does not have the root that was committed with it";
    }
    const live = new LiveNode(
      { node, memory, workloads, drifts },
      {
        ...{ images, meter, numbers, comparisons, overloaded: (nowMs: number) => this.#pacer.overloaded(nowMs) },
        overdue: () => this.#overdue.of(node.id, this.#services.policy()),
        pods: pods && new PodJoin(pods.view, pods.rules),
        onProblem: (id, error) => onProblem(node.id, id, error),
      },
    );
    live.barred = barred;
    const forked = sameChain && hello.lastSeq === memory.seq && memory.seq > 0n && !memory.digest.equals(hello.lastDigest);
    if (forked) live.node = { ...live.node, chainBroken: `the node's Evidence ${hello.lastSeq} is not the one on record` };
    return live;
  }

  /** A message came: its sender is alive. */
  heard(session: Session): void {
    const holder = this.#holderOf.get(session) ?? "";
    this.#holders.touch(session.nodeId, holder, this.#services.clock.nowMs());
    const rival = this.#holders.takeRival(session.nodeId, holder, this.#services.clock.nowMs());
    if (rival !== undefined) session.rivalled(rival);
  }

  /** The stream has ended, for whatever reason. */
  ended(session: Session): void {
    session.close();
    this.#holders.release(session.nodeId, this.#holderOf.get(session) ?? "");
    if (this.#live.get(session.nodeId) !== session) return;
    this.#live.delete(session.nodeId);
    // No more than that: the rest of its row is on its way to the store, or never gets there.
    this.#services.fleet.seen(session.nodeId, session.live.node.lastSeenMs);
    this.#services.fleet.setConnected(session.nodeId, false);
  }

  /**
   * Records that a node has enrolled, in its turn: after what was decided of it before, and not while a session of it opens.
   * @param persist given the row as it is now (undefined: the node is new); asks what that becomes, and makes it durable. Where it fails, nothing changed
   */
  async enrol<T>(nodeId: string, persist: (present: NodeRow | undefined, turn: EnrolmentTurn) => Promise<T>): Promise<T> {
    return await this.#turn(nodeId, async () => {
      const session = this.#open(nodeId);
      if (!session) await this.#settled();
      // What a live session believes is ahead of the store: it is what its next commit will write.
      const present = session?.live.node ?? this.#services.fleet.get(nodeId);
      try {
        return await persist(present, {
          become: (row) => session?.live.enrolled(row) ?? row,
          contest: (bootId) => this.#holders.contest(nodeId, bootId, this.#services.clock.nowMs()),
        });
      } catch (error) {
        if (present) session?.live.enrolled(present);
        throw error;
      }
    });
  }

  policyChanged(): void {
    for (const session of this.#live.values()) session.policyChanged();
  }

  /** Asks nodes whose quote is due, as many as the verifier can take. To be called every SLICE_MS of the pacer. */
  pace(): void {
    this.#pacer.slice(this.#services.clock.nowMs());
  }

  /** Called often: looks at a share of the live sessions each time. */
  tickSlice(): void {
    this.#slice = (this.#slice + 1) % SLICES;
    let i = 0;
    for (const session of this.#live.values()) if (i++ % SLICES === this.#slice) session.tick();
  }

  /** Counts how long each node has been silent, or has not proven its boot, and brings the verdicts of silent ones without a session up to date. To be called each second. */
  async judgeSilent(): Promise<void> {
    const { fleet, policy, clock } = this.#services;
    const rows = members(fleet).map((row) => this.#live.get(row.id)?.live.node ?? row);
    this.#overdue.look(rows, policy(), clock.nowMs());
    for (const row of fleet.all()) {
      if (this.#live.has(row.id)) continue;
      const { intervals } = policy();
      const nowMs = clock.nowMs();
      if (!isSilent(row.lastSeenMs, intervals, nowMs)) continue;
      const view = { row, connected: false, state: undefined, barred: undefined, clockAheadMs: undefined, overloaded: false };
      if (appraisedNode({ ...view, overdue: this.#overdue.of(row.id, policy()) }, intervals, nowMs) !== row) await this.amend(row.id, () => {});
    }
  }

  /**
   * Changes something of a node, live or not, and brings its verdict up to date with it. Durable when it resolves.
   * @throws StoreError
   */
  async amend(nodeId: string, change: (live: LiveNode, changes: ChangeSet, nowMs: number) => void): Promise<void> {
    await this.#turn(nodeId, async () => {
      // Only now: the session that was there when this was asked may have given way, and one that was opening is there by now.
      const session = this.#open(nodeId);
      if (session) return await session.amend(change);
      await this.#settled();
      const node = this.#services.fleet.get(nodeId);
      if (!node) return;
      const { store, committer, clock, policy, images, meter, numbers, onProblem } = this.#services;
      const [workloads, drifts] = await Promise.all([
        store.listWorkloads({ verdicts: [], nodeId }, { after: "", limit: MAX_PAGE_ROWS * 4 }),
        store.readOpenDrifts(nodeId),
      ]);
      const comparisons = new Comparisons(
        this.#comparisons,
        () => {},
        () => {},
      );
      const overloaded = (): boolean => false;
      const services = {
        images,
        meter,
        numbers,
        comparisons,
        overloaded,
        overdue: () => this.#overdue.of(nodeId, policy()),
        pods: undefined,
        onProblem: (id: string, error: unknown) => onProblem(nodeId, id, error),
      };
      const live = new LiveNode({ node, memory: emptyMemory(nodeId, Buffer.alloc(0)), workloads, drifts }, services);
      live.connected = false;
      const nowMs = clock.nowMs();
      const changes = new ChangeSet(nowMs);
      change(live, changes, nowMs);
      live.update({}, policy(), changes, nowMs);
      if (!changes.empty) await committer.submit(changes.draft(() => clock.nowMs()));
    });
  }

  /** The node's session, unless it has ended: what that believes may never have become durable. */
  #open(nodeId: string): Session | undefined {
    const session = this.#live.get(nodeId);
    return session?.closed ? undefined : session;
  }

  /** Everything that was handed to the committer before is in the store and in the fleet, or has failed. */
  async #settled(): Promise<void> {
    await this.#services.committer.submit({ entries: [], build: () => ({}) });
  }

  /** Closes every session; what was handed over becomes durable. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const session of [...this.#live.values()]) session.close(new SessionError("STOPPING", "the verifier is stopping: reconnect"));
    await this.#services.committer.drain();
  }

  async #turn<T>(nodeId: string, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(nodeId) ?? Promise.resolve();
    const turn = before.then(work, work);
    const settled = turn.catch(() => undefined);
    this.#turns.set(nodeId, settled);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(nodeId) === settled) this.#turns.delete(nodeId);
    }
  }
}

function checkHello({ protocolVersion, chainId, lastDigest }: Hello): void {
  if (protocolVersion !== PROTOCOL_VERSION) throw new SessionError("PROTOCOL", `protocol version ${protocolVersion}, want ${PROTOCOL_VERSION}`);
  if (chainId.length < MIN_CHAIN_ID_BYTES || chainId.length > MAX_CHAIN_ID_BYTES) throw new SessionError("PROTOCOL", `a chain id of ${chainId.length} bytes`);
  if (lastDigest.length !== 0 && lastDigest.length !== 32) throw new SessionError("PROTOCOL", `a digest of ${lastDigest.length} bytes`);
}
