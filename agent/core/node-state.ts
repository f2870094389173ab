/** What the agent says of itself and its node: an honest list of what works and what does not. */
import { create, toBinary } from "@bufbuild/protobuf";
import { NodeStateSchema } from "@hullmark/proto/v1/attestation";
import type { RuntimeFacts } from "../ports/container-runtime.ts";
import { timestampFromMs } from "./timestamp.ts";

/** Facts that do not change while the agent runs. */
export interface StaticNodeFacts {
  readonly agentVersion: string;
  readonly nodeName: string;
  readonly kernel: string;
  readonly architecture: string;
  readonly missingCapabilities: readonly string[];
  /** Name → SHA-256 of the agent's own files. */
  readonly agentDigests: Readonly<Record<string, Buffer>>;
}

/** Losses, and what happened once, stay visible this long after the last one. */
const SHOWN_MS = 300_000;

interface Standing {
  readonly detail: string;
  readonly sinceMs: number;
  readonly untilMs: number;
}

export class NodeCondition {
  readonly #facts: StaticNodeFacts;
  readonly #claims = new Map<string, Standing>();
  #runtime: RuntimeFacts | undefined;
  #runtimeReachable = false;
  #changeSource = "";
  #attribution = false;
  #tpm = "absent";
  #losses = 0;

  constructor(facts: StaticNodeFacts) {
    this.#facts = facts;
  }

  setRuntime(facts: RuntimeFacts): void {
    this.#runtime = facts;
    this.#runtimeReachable = true;
  }

  runtimeLost(): void {
    this.#runtimeReachable = false;
  }

  setChangeSource(kind: string, attribution: boolean): void {
    this.#changeSource = kind;
    this.#attribution = attribution;
  }

  /** `ok`, `absent`, or what is wrong. */
  setTpm(state: string): void {
    this.#tpm = state;
  }

  /** A claim that stands until {@link clear}. */
  stand(code: string, detail: string, nowMs: number): void {
    this.#claims.set(code, { detail, sinceMs: this.#claims.get(code)?.sinceMs ?? nowMs, untilMs: Number.POSITIVE_INFINITY });
  }

  clear(code: string): void {
    this.#claims.delete(code);
  }

  /** A loss that was made good by measuring again: it is shown for a while. */
  lost(code: string, detail: string, nowMs: number): void {
    this.#losses++;
    this.happened(code, detail, nowMs);
  }

  /** Something that is over, and that somebody should know of: it is shown for a while. */
  happened(code: string, detail: string, nowMs: number): void {
    this.#claims.set(code, { detail, sinceMs: nowMs, untilMs: nowMs + SHOWN_MS });
  }

  /** How often {@link lost} was called. */
  get losses(): number {
    return this.#losses;
  }

  /** hullmark.v1.NodeState. Equal conditions give equal bytes. */
  serialize(nowMs: number): Uint8Array {
    for (const [code, { untilMs }] of this.#claims) if (untilMs <= nowMs) this.#claims.delete(code);
    const { agentDigests, missingCapabilities, ...facts } = this.#facts;
    const message = create(NodeStateSchema, {
      ...facts,
      missingCapabilities: [...missingCapabilities],
      agentDigests: { ...agentDigests },
      runtime: this.#runtime?.name ?? "",
      runtimeVersion: this.#runtime?.version ?? "",
      storageDriver: this.#runtime?.storageDriver ?? "",
      runtimeReachable: this.#runtimeReachable,
      changeSource: this.#changeSource,
      attribution: this.#attribution,
      tpm: this.#tpm,
      claims: [...this.#claims].map(([code, { detail, sinceMs }]) => ({ code, detail, since: timestampFromMs(sinceMs) })),
    });
    return toBinary(NodeStateSchema, message);
  }
}
