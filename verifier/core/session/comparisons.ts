/**
 * Comparisons of trees that differ: asks a node for positions until the differing files are known, and remembers the outcome.
 * An outcome depends on the two roots alone (every answer is checked against the hash that led to it), so it holds for every node and for ever.
 */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { CodecError } from "@hullmark/proto/codec";
import type { TreePosition, TreeRequestSchema, TreeResponse } from "@hullmark/proto/v1/attestation";
import { Descent, type ExpectedTree, type Position } from "../appraisal/descent.ts";
import type { LayerFinding, TreeDifference } from "../appraisal/types.ts";

export type TreeRequestInit = MessageInitShape<typeof TreeRequestSchema>;
/** Which of the node's trees. */
export type TreeName = Exclude<NonNullable<TreeRequestInit["tree"]>, { case: undefined }>;

type Outcome = Extract<LayerFinding, { kind: "differences" }>;

/** Outcomes kept, over all nodes. */
const MAX_OUTCOMES = 4096;
/** Comparisons of one node at a time; more wait for their turn. */
const MAX_RUNNING = 8;
/** After so many failed attempts for one pair of roots the node is asked no more on this stream. */
const MAX_ATTEMPTS = 5;
const MAX_SILENT_TICKS = 4;

/** Shared by every session. */
export class ComparisonCache {
  readonly #outcomes = new Map<string, Outcome>();

  get(expected: Buffer, observed: Buffer): Outcome | undefined {
    return this.#outcomes.get(pairOf(expected, observed));
  }

  set(expected: Buffer, observed: Buffer, outcome: Outcome): void {
    if (this.#outcomes.size >= MAX_OUTCOMES) for (const oldest of this.#outcomes.keys()) if (this.#outcomes.delete(oldest)) break;
    this.#outcomes.set(pairOf(expected, observed), outcome);
  }
}

function pairOf(expected: Buffer, observed: Buffer): string {
  return `${expected.toString("base64")} ${observed.toString("base64")}`;
}

interface Job {
  readonly id: bigint;
  readonly tree: TreeName;
  readonly expected: ExpectedTree;
  readonly observed: Buffer;
  readonly descent: Descent;
  /** Ticks since the question that is open. */
  silentTicks: number;
}

/** Comparisons with one node, over one stream. */
export class Comparisons {
  readonly #cache: ComparisonCache;
  readonly #ask: (request: TreeRequestInit) => void;
  readonly #done: (tree: TreeName) => void;
  readonly #running = new Map<bigint, Job>();
  readonly #waiting: Job[] = [];
  readonly #attempts = new Map<string, number>();
  readonly #inHand = new Set<string>();
  #nextId = 1n;

  /** @param done called when a comparison has ended, well or not: who needs it asks {@link finding} again */
  constructor(cache: ComparisonCache, ask: (request: TreeRequestInit) => void, done: (tree: TreeName) => void) {
    this.#cache = cache;
    this.#ask = ask;
    this.#done = done;
  }

  /** What is known of a tree of the node whose root is `observed`; begins a comparison where nothing is. */
  finding(tree: TreeName, observed: Buffer, expected: ExpectedTree): LayerFinding {
    const known = this.#cache.get(expected.root, observed);
    if (known) return known;
    const pair = pairOf(expected.root, observed);
    const attempts = this.#attempts.get(pair) ?? 0;
    if (!this.#inHand.has(pair) && attempts < MAX_ATTEMPTS) {
      this.#attempts.set(pair, attempts + 1);
      this.#inHand.add(pair);
      this.#waiting.push({ id: this.#nextId++, tree, expected, observed, descent: new Descent(expected, observed), silentTicks: 0 });
      this.#fill();
    }
    // The root is not the signed one, and the node does not say where: that is a verdict, not a question for ever.
    if (!this.#inHand.has(pair) && attempts >= MAX_ATTEMPTS) return { kind: "differences", differences: [], truncated: true };
    return this.#cache.get(expected.root, observed) ?? { kind: "pending" };
  }

  /** @returns why the answer is not usable, where it is not; an answer to nothing is ignored (its question was given up) */
  accept({ id, root, positions }: TreeResponse): string | undefined {
    const job = this.#running.get(id);
    if (!job) return undefined;
    job.silentTicks = 0;
    let problem: string | undefined;
    if (!job.observed.equals(root)) problem = root.length === 0 ? "the node has no such tree" : "the tree changed meanwhile";
    else {
      try {
        problem = job.descent.accept(positions.map(positionOf));
      } catch (error) {
        if (!(error instanceof CodecError)) throw error;
        problem = error.message;
      }
    }
    if (!problem && !job.descent.done && !job.descent.truncated) {
      this.#ask(requestOf(job));
      return undefined;
    }
    if (!problem) this.#attempts.delete(pairOf(job.expected.root, job.observed));
    if (!problem)
      this.#cache.set(job.expected.root, job.observed, { kind: "differences", differences: job.descent.differences(), truncated: job.descent.truncated });
    this.#end(job);
    return problem;
  }

  /** Called each heartbeat: a question that stays unanswered is given up, so that others have their turn. */
  tick(): void {
    for (const job of [...this.#running.values()]) if (++job.silentTicks > MAX_SILENT_TICKS) this.#end(job);
  }

  #end(job: Job): void {
    this.#running.delete(job.id);
    this.#inHand.delete(pairOf(job.expected.root, job.observed));
    this.#done(job.tree);
    this.#fill();
  }

  #fill(): void {
    while (this.#running.size < MAX_RUNNING) {
      const job = this.#waiting.shift();
      if (!job) return;
      this.#running.set(job.id, job);
      if (job.descent.done) {
        // An empty tree needs no questions.
        this.#cache.set(job.expected.root, job.observed, { kind: "differences", differences: job.descent.differences(), truncated: job.descent.truncated });
        this.#end(job);
      } else this.#ask(requestOf(job));
    }
  }
}

function requestOf({ id, tree, descent }: Job): TreeRequestInit {
  return { id, tree, queries: descent.next().map(({ key, bits }) => ({ key, bits })) };
}

function positionOf({ position }: TreePosition): Position {
  const buffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (position.case === "leaf") return { kind: "leaf", path: buffer(position.value.path), record: buffer(position.value.record) };
  if (position.case === "node") {
    const { bitlen, prefix, left, right } = position.value;
    return { kind: "node", bitlen, prefix: buffer(prefix), left: buffer(left), right: buffer(right) };
  }
  throw new CodecError("BAD_TYPE", "a position that is neither leaf nor node");
}

/** Who changed the paths of a layer, as its node told: bounded, the newest stay. */
export class LayerActors {
  readonly #byLayer = new Map<string, Map<string, Pick<TreeDifference, "actor" | "changedAtMs">>>();
  /** What {@link named} made last of a layer's finding: the same until somebody else is noted. */
  readonly #named = new Map<string, { readonly of: LayerFinding; readonly finding: LayerFinding }>();

  static readonly MAX_PATHS = 4096;
  static readonly MAX_LAYERS = 512;

  note(layerId: string, path: Buffer, facts: Pick<TreeDifference, "actor" | "changedAtMs">): void {
    const paths = this.#byLayer.get(layerId) ?? new Map();
    this.#named.delete(layerId);
    this.#byLayer.delete(layerId);
    this.#byLayer.set(layerId, paths);
    if (this.#byLayer.size > LayerActors.MAX_LAYERS) this.#forgetOldest();
    const key = path.toString("latin1");
    paths.delete(key);
    paths.set(key, facts);
    if (paths.size > LayerActors.MAX_PATHS) for (const oldest of paths.keys()) if (paths.delete(oldest)) break;
  }

  #forgetOldest(): void {
    for (const oldest of this.#byLayer.keys()) {
      this.#byLayer.delete(oldest);
      this.#named.delete(oldest);
      return;
    }
  }

  /** The finding with who and when filled in; the same object as long as both stay. */
  named(layerId: string, finding: LayerFinding): LayerFinding {
    const paths = this.#byLayer.get(layerId);
    if (finding.kind === "pending" || !paths) return finding;
    const known = this.#named.get(layerId);
    if (known?.of === finding) return known.finding;
    const named = { ...finding, differences: finding.differences.map((each) => ({ ...each, ...paths.get(each.path.toString("latin1")) })) };
    this.#named.set(layerId, { of: finding, finding: named });
    return named;
  }
}
