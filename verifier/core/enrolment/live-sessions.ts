/**
 * One live stream a node. A TPM cannot be copied, but a stolen certificate or a copied disk of a node without TPM can: two parties that speak as
 * one node at the same time are found here.
 */

export interface LiveSession {
  readonly sessionId: string;
  /** SHA-256 of the client key. */
  readonly spkiSha256: Buffer;
  readonly bootId: string;
}
export type Claim =
  | { readonly kind: "granted" }
  /** The same agent process or boot came back before its old stream was seen to end: close `previous`. */
  | { readonly kind: "superseded"; readonly previous: LiveSession }
  /** Another boot or key speaks as this node while the first is alive: refuse the newcomer and say so. */
  | { readonly kind: "refused"; readonly holder: LiveSession };

interface Held extends LiveSession {
  lastSeenMs: number;
}

export class LiveSessions {
  readonly #aliveForMs: number;
  readonly #held = new Map<string, Held>();

  /** @param aliveForMs how long after its last message a stream counts as alive: two heartbeat intervals */
  constructor(aliveForMs: number) {
    this.#aliveForMs = aliveForMs;
  }

  claim(nodeId: string, session: LiveSession, nowMs: number): Claim {
    const holder = this.#held.get(nodeId);
    const alive = holder !== undefined && nowMs - holder.lastSeenMs < this.#aliveForMs;
    if (holder && alive && holder.bootId !== session.bootId) return { kind: "refused", holder };
    this.#held.set(nodeId, { ...session, lastSeenMs: nowMs });
    return holder && holder.sessionId !== session.sessionId ? { kind: "superseded", previous: holder } : { kind: "granted" };
  }

  /** A message came. @returns false when the stream no longer holds the node: it must end */
  touch(nodeId: string, sessionId: string, nowMs: number): boolean {
    const holder = this.#held.get(nodeId);
    if (holder?.sessionId !== sessionId) return false;
    holder.lastSeenMs = nowMs;
    return true;
  }

  /** The stream ended. Does nothing when another one holds the node by now. */
  release(nodeId: string, sessionId: string): void {
    if (this.#held.get(nodeId)?.sessionId === sessionId) this.#held.delete(nodeId);
  }
}
