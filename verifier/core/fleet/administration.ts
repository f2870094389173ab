/** What people change: each is one commit with its log entry, and names who did it. Identity comes from the certificate. */
import { isDeepStrictEqual } from "node:util";
import { DriftState } from "@hullmark/proto/v1/query";
import type { AllowedEkRow, NodeRow } from "../../ports/rows.ts";
import type { Store } from "../../ports/store.ts";
import { nodeIdOfKubernetesNode } from "../enrolment/decide.ts";
import { SessionError } from "../session/errors.ts";
import type { LiveNode } from "../session/live-node.ts";
import type { Sessions } from "../session/sessions.ts";
import { akReplacedSubject } from "./alerts.ts";
import type { Committer } from "./committer.ts";
import { acknowledgeDrift, sightOf } from "./drift-rows.ts";
import type { Fleet } from "./fleet.ts";
import { adminFact, entry, text } from "./log-facts.ts";

/**
 * NOT_FOUND: no such thing. NOT_LIVE: the node has no session now. NOT_OPEN: the drift, or the baseline, is over. OWN_REQUEST: nobody approves what they
 * proposed. UNPROVEN: no quote of the node vouches for what is asked. LAST: nothing would be asked for in its place. TOO_MANY: a bound is reached.
 * CHANGED: it is not what it was when it was looked at. OWN_NAME: it is kept for the verifier itself.
 * REVOKED: who asks was revoked since they asked. STANDS: drifts of the incident are not over. NOT_EXCUSABLE: no exception covers such drift. TOO_BROAD: an exception would cover too much.
 * NO_CONTENT: no file's content is meant, or none can be read. NOT_ALLOWED: the node's own configuration forbids it. NO_ORIGINAL: what the image has is not to be had.
 * NOT_REVOKED: it may still speak. TOO_LARGE: more than is shown. SILENT: the node does not answer. NO_REPLICAS: it is not of several that should be alike.
 */
export type AdministrationErrorCode =
  | "NOT_FOUND"
  | "NO_TPM"
  | "NOT_LIVE"
  | "NOT_OPEN"
  | "OWN_REQUEST"
  | "UNPROVEN"
  | "LAST"
  | "TOO_MANY"
  | "CHANGED"
  | "OVERLAP"
  | "OWN_NAME"
  | "REVOKED"
  | "NOT_REVOKED"
  | "STANDS"
  | "NOT_EXCUSABLE"
  | "TOO_BROAD"
  | "NO_CONTENT"
  | "NOT_ALLOWED"
  | "NO_ORIGINAL"
  | "TOO_LARGE"
  | "SILENT"
  | "NO_REPLICAS";

export class AdministrationError extends Error {
  readonly code: AdministrationErrorCode;
  /** What to ask for instead; empty: nothing is known that would do. */
  readonly fix: string;

  constructor(code: AdministrationErrorCode, message: string, fix = "") {
    super(message);
    this.name = "AdministrationError";
    this.code = code;
    this.fix = fix;
  }
}

export interface AdministrationServices {
  readonly store: Store;
  readonly fleet: Fleet;
  readonly committer: Committer;
  readonly sessions: Sessions;
  readonly nowMs: () => number;
}

export class Administration {
  readonly #services: AdministrationServices;

  constructor(services: AdministrationServices) {
    this.#services = services;
  }

  /**
   * @param seen {@link sightOf} what the person saw
   * @throws AdministrationError NOT_FOUND, NOT_OPEN, CHANGED; StoreError
   */
  async acknowledge(driftId: string, seen: string, by: string, reason: string): Promise<void> {
    const { store, sessions, nowMs } = this.#services;
    const row = await store.readDrift(driftId);
    if (!row) throw new AdministrationError("NOT_FOUND", "no such drift");
    let open = false;
    let same = false;
    await sessions.amend(row.nodeId, (live, changes) => {
      const present = live.drift(driftId);
      if (!present || present.state === DriftState.NOTICE) return;
      open = true;
      same = sightOf(present) === seen;
      if (!same) return;
      const atMs = nowMs();
      live.replaceDrift(acknowledgeDrift(present, by, reason, atMs), present, changes);
      changes.note(entry("acknowledgement", atMs, { drift: driftId, by: text(by), reason: text(reason) }));
    });
    if (!open) throw new AdministrationError("NOT_OPEN", "this drift is over");
    if (!same) throw new AdministrationError("CHANGED", "it has changed since it was shown: look again");
  }

  /** @throws AdministrationError NOT_FOUND, NOT_LIVE */
  requestQuote(node: string): void {
    const session = this.#services.sessions.get(this.#node(node).id);
    if (!session) throw new AdministrationError("NOT_LIVE", "the node is not connected");
    session.challenge();
  }

  /**
   * Allows an endorsement key; of a node that is known by it, takes back a revocation, that somebody else spoke as it, and that its attestation key is another.
   * @param sha256 hex, of the key or of its certificate: which of them nobody can tell who does not know the TPM
   * @returns the node's id; empty where none is known
   */
  async allow(sha256: string, name: string, by: string): Promise<string> {
    const { fleet, committer, sessions, nowMs } = this.#services;
    const known = fleet.known().find(({ ekSha256, ekCertificateSha256 }) => ekSha256 === sha256 || ekCertificateSha256 === sha256);
    const row: AllowedEkRow = { ekSha256: sha256, name, nodeId: known?.id ?? "" };
    const fact = adminFact("node-allowed", nowMs(), { node: known?.id ?? null, name, ek: `sha256:${sha256}`, by });
    await committer.submit({ entries: [fact], build: () => ({ allowedEks: [row] }) });
    if (!known) return "";
    if (known.revokedAtMs !== undefined || known.rival !== undefined || known.akReplacedAtMs !== undefined)
      await sessions.amend(known.id, (live, changes) => {
        const back = takenBack(known, live.node);
        if (Object.keys(back).length === 0) return;
        live.restore(back, changes);
        if ("akReplacedAtMs" in back) changes.tell(akReplacedSubject(known, false, nowMs()));
      });
    return known.id;
  }

  /**
   * Takes the revocation of a node with TPM, or of one for which a cluster vouches, back, or an alarm that there are two of it or that its attestation key is another.
   * @param node of one that was removed the id @returns the node's id. @throws AdministrationError NOT_FOUND, NO_TPM
   */
  async approve(node: string, by: string): Promise<string> {
    const { fleet, sessions, nowMs } = this.#services;
    const row = fleet.get(node) ?? this.#node(node);
    const { id, name, ekSha256 } = row;
    if (ekSha256 !== undefined) return await this.allow(ekSha256, name, by);
    // A join token is spent, and makes another node.
    if (id !== nodeIdOfKubernetesNode(name)) throw new AdministrationError("NO_TPM", "the node has no TPM: it comes back by a new join token");
    await sessions.amend(id, (live, changes) => {
      live.restore(takenBack(row, live.node), changes);
      changes.note(adminFact("node-allowed", nowMs(), { node: id, name, ek: null, by }));
    });
    return id;
  }

  /**
   * Nothing of a revoked node is shown, counted or kept any more, but for its drifts, which are over, and what was done to it. It stays revoked: it comes back only where people
   * allow it, by its id. @throws AdministrationError NOT_FOUND, NOT_REVOKED; StoreError
   */
  async remove(node: string, by: string, reason: string): Promise<void> {
    const { sessions, nowMs } = this.#services;
    const { id, name } = this.#node(node);
    let revoked = false;
    await sessions.amend(id, (live, changes) => {
      revoked = live.node.revokedAtMs !== undefined;
      if (!revoked || live.node.removedAtMs !== undefined) return;
      // Of a session that is about to end nothing comes after this.
      sessions.get(id)?.close(new SessionError("REVOKED", "this node was revoked"));
      live.clear(changes, nowMs());
      live.restore({ removedAtMs: nowMs(), ...NOTHING_TOLD }, changes);
      changes.note(adminFact("node-removed", nowMs(), { node: id, name, by, reason }));
    });
    if (!revoked) throw new AdministrationError("NOT_REVOKED", "it may still speak: revoke it first", `hullmark node revoke ${id} --reason TEXT`);
  }

  /** The node's certificates are refused from now on, its session ends, its key and that one's certificate leave the allow-list. @throws AdministrationError NOT_FOUND */
  async revoke(node: string, by: string, reason: string): Promise<void> {
    const { sessions, nowMs } = this.#services;
    const { id, name } = this.#node(node);
    await sessions.amend(id, (live, changes) => {
      // As it is now: it may have enrolled since it was asked.
      const { ekSha256, ekCertificateSha256, akReplacedAtMs } = live.node;
      changes.extras({ removedEks: [ekSha256, ekCertificateSha256].filter((each) => each !== undefined) });
      live.restore({ revokedAtMs: nowMs(), revokedReason: reason }, changes);
      if (akReplacedAtMs !== undefined) changes.tell(akReplacedSubject(live.node, false, nowMs()));
      changes.note(entry("revocation", nowMs(), { node: id, name: text(name), by: text(by), reason: text(reason) }));
    });
    sessions.get(id)?.close(new SessionError("REVOKED", "this node was revoked"));
  }

  async createJoinToken(sha256: Buffer, nodeName: string, ttlSeconds: number, by: string): Promise<number> {
    const { committer, nowMs } = this.#services;
    const expiresAtMs = nowMs() + ttlSeconds * 1000;
    const fact = adminFact("join-token", nowMs(), { name: nodeName, by, expires: Math.floor(expiresAtMs) });
    await committer.submit({ entries: [fact], build: () => ({ joinTokens: [{ sha256, nodeName, expiresAtMs }] }) });
    return expiresAtMs;
  }

  /** Records something else that a person did. */
  async note(action: string, fields: Readonly<Record<string, string | number | null>>): Promise<void> {
    await this.#services.committer.submit({ entries: [adminFact(action, this.#services.nowMs(), fields)], build: () => ({}) });
  }

  #node(idOrName: string): NodeRow {
    const row = this.#services.fleet.find(idOrName);
    if (!row) throw new AdministrationError("NOT_FOUND", "no such node");
    return row;
  }
}

/** Whatever spoke against it would be found anew. */
const NOTHING_TOLD = {
  ...{ quoteRefused: undefined, chainBroken: undefined, rival: undefined, akReplacedAtMs: undefined, boot: undefined, gap: undefined },
  ...{ claims: [], containers: 0 },
} as const satisfies Partial<NodeRow>;

/** What an approval takes back: what is as it was when it was approved. A revocation, a second speaker or a key that came since is somebody else's to decide. */
function takenBack(seen: NodeRow, now: NodeRow): Parameters<LiveNode["restore"]>[0] {
  const revocation = ({ revokedAtMs, revokedReason, removedAtMs }: NodeRow) => revokedAtMs !== undefined && { revokedAtMs, revokedReason, removedAtMs };
  const key = ({ akReplacedAtMs, akPublic }: NodeRow) => akReplacedAtMs !== undefined && { akReplacedAtMs, akPublic };
  const same = (what: (row: NodeRow) => unknown): boolean => Boolean(what(seen)) && isDeepStrictEqual(what(seen), what(now));
  return {
    ...(same(revocation) && { revokedAtMs: undefined, revokedReason: "", removedAtMs: undefined }),
    ...(same(({ rival }) => rival) && { rival: undefined }),
    ...(same(key) && { akReplacedAtMs: undefined }),
  };
}
