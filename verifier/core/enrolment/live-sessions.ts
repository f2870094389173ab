/**
 * One live stream a node. A TPM cannot be copied, but a stolen certificate, the state of a virtual TPM, or a copied disk of a node without TPM can:
 * two parties that speak as one node at the same time are found here.
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
  /** Key of the live stream that this one took over from with another: an agent does not go back to a key, so whoever shows that again is another one. */
  readonly tookOverFrom: Buffer | undefined;
  /** Who was refused, and when first, since the last was told. */
  rival: { readonly bootId: string; readonly atMs: number } | undefined;
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
    const { bootId, spkiSha256 } = session;
    if (alive && (holder.bootId !== bootId || holder.tookOverFrom?.equals(spkiSha256))) {
      holder.rival ??= { bootId, atMs: nowMs };
      return { kind: "refused", holder };
    }
    const tookOverFrom = holder?.spkiSha256.equals(spkiSha256) ? holder.tookOverFrom : alive ? holder.spkiSha256 : undefined;
    this.#held.set(nodeId, { ...session, lastSeenMs: nowMs, tookOverFrom, rival: undefined });
    return holder && holder.sessionId !== session.sessionId ? { kind: "superseded", previous: holder } : { kind: "granted" };
  }

  /** Another attestation key is to speak for this node. @returns whether it lives: then whoever asked is its rival, as one who was refused is */
  contest(nodeId: string, bootId: string, nowMs: number): boolean {
    const holder = this.#held.get(nodeId);
    if (!holder || nowMs - holder.lastSeenMs >= this.#aliveForMs) return false;
    holder.rival ??= { bootId, atMs: nowMs };
    return true;
  }

  /** A message came. @returns false when the stream no longer holds the node: it must end */
  touch(nodeId: string, sessionId: string, nowMs: number): boolean {
    const holder = this.#held.get(nodeId);
    if (holder?.sessionId !== sessionId) return false;
    holder.lastSeenMs = nowMs;
    return true;
  }

  /**
   * To be called when the holder has spoken: the boot that was refused in its favour half a heartbeat ago or longer, told once. A node that has just started
   * anew is refused as well, as long as its old stream looks alive; but then that one speaks no more, but for what was on its way.
   */
  takeRival(nodeId: string, sessionId: string, nowMs: number): string | undefined {
    const holder = this.#held.get(nodeId);
    if (holder?.sessionId !== sessionId || !holder.rival || nowMs - holder.rival.atMs < this.#aliveForMs / 4) return undefined;
    const { bootId } = holder.rival;
    holder.rival = undefined;
    return bootId;
  }

  /** The stream ended. Does nothing when another one holds the node by now. */
  release(nodeId: string, sessionId: string): void {
    if (this.#held.get(nodeId)?.sessionId === sessionId) this.#held.delete(nodeId);
  }
}
