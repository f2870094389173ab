/** What a monitor tells of a container's changes always adds up to the root that it tells, however the tree moves across the limit of what is told. */
import { fromBinary } from "@bufbuild/protobuf";
import { ContainerMonitor, type MonitorOptions } from "@hullmark/agent/core/container-monitor";
import { LayerStore } from "@hullmark/agent/core/layer-store";
import { NodeEvidence } from "@hullmark/agent/core/node-evidence";
import { ReadBudget } from "@hullmark/agent/core/read-budget";
import type { MeasuredTree, MeasureReport, TreeChange } from "@hullmark/agent/ports/tree-measurer";
import { CHAIN_START, encodeRecord, PatriciaTree, pathKey, recordDigest } from "@hullmark/proto/codec";
import { EvidenceBodySchema, FilesystemStateSchema } from "@hullmark/proto/v1/attestation";
import fc from "fast-check";
import { expect, test } from "vitest";
import { facts } from "../fakes/container-facts.ts";

const ID = "c".repeat(64);
const LIMIT = 50_000;
const record = (n: number): Buffer => encodeRecord({ type: "f", mode: 0o644, uid: 0, gid: 0, xattrs: [], size: BigInt(n), sha256: Buffer.alloc(32, n) });

/** A tree over a map, which claims to hold as many entries more as it is told to. */
class FakeTree implements MeasuredTree {
  readonly files = new Map<string, Buffer>();
  readonly #told = new Map<string, Buffer>();
  more = 0;
  truncated = false;

  async #report(): Promise<MeasureReport> {
    const changes: TreeChange[] = [...new Set([...this.files.keys(), ...this.#told.keys()])]
      .filter((name) => this.files.get(name) !== this.#told.get(name))
      .map((name) => ({ path: Buffer.from(name), before: this.#told.get(name), after: this.files.get(name), inode: 1n }));
    this.#told.clear();
    for (const [name, bytes] of this.files) this.#told.set(name, bytes);
    return { changes: this.truncated ? [] : changes, truncated: this.truncated, entries: this.size, hashedBytes: 0, claims: [] };
  }
  measure = (): Promise<MeasureReport> => this.#report();
  rescan = (): Promise<MeasureReport> => this.#report();
  scrub = (): Promise<MeasureReport> => this.#report();
  update = (): Promise<MeasureReport> => this.#report();
  root(): Buffer {
    return rootOf(this.files);
  }
  get size(): number {
    return this.files.size + this.more;
  }
  descend = () => ({ kind: "empty" }) as const;
  entries() {
    return [...this.files].map(([name, bytes]) => ({ path: Buffer.from(name), record: bytes, inode: 1n }));
  }
  close(): void {}
}

function rootOf(files: ReadonlyMap<string, Buffer>): Buffer {
  const tree = new PatriciaTree();
  for (const [name, bytes] of files) tree.set(pathKey(Buffer.from(name)), recordDigest(bytes));
  return tree.root();
}

const FACTS = facts({ id: ID, name: "web" });

function monitorOver(tree: FakeTree, evidence: NodeEvidence): ContainerMonitor {
  const measurer = { open: async () => tree };
  const options: MonitorOptions = {
    runtime: "docker",
    dialect: "docker",
    ownLayer: false,
    rootFilesystem: { layout: async () => ({ kind: "overlay", layers: [], upperPath: "/upper", device: "0:1", oddOptions: [], mounts: [] }) },
    measurer,
    layers: new LayerStore({
      measurer,
      budget: () => ({ maxEntries: 1, maxBytes: 1, maxMillis: 1 }),
      watch: () => undefined,
      unwatch: () => undefined,
      changed: () => undefined,
    }),
    evidence,
    files: { read: async () => undefined },
    policy: () => undefined,
    watch: () => undefined,
    unwatch: () => undefined,
    inspect: async () => FACTS,
    publish: () => undefined,
    randomKey: () => Buffer.alloc(32),
  };
  return new ContainerMonitor(FACTS, options);
}

interface Step {
  readonly name: string;
  readonly content: number | undefined;
  readonly more: number;
  readonly truncated: boolean;
  readonly full: boolean;
}

const step: fc.Arbitrary<Step> = fc.record({
  name: fc.constantFrom("a", "b/c", "d"),
  content: fc.option(fc.integer({ min: 0, max: 3 }), { nil: undefined }),
  more: fc.constantFrom(0, 0, LIMIT - 1, LIMIT, LIMIT + 7),
  truncated: fc.boolean(),
  full: fc.boolean(),
});

test("entries told add up to the root told; over the limit there are none, and it is claimed", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 15 }), async (steps) => {
      const tree = new FakeTree();
      const evidence = new NodeEvidence();
      evidence.setNode(Buffer.from("node"));
      const monitor = monitorOver(tree, evidence);
      await monitor.announce();
      evidence.setPart(ID, "code", Buffer.from("code"));
      await monitor.measure();
      const known = new Map<string, Buffer>();
      for (const { name, content, more, truncated, full } of steps) {
        if (content === undefined) tree.files.delete(name);
        else tree.files.set(name, record(content));
        tree.more = more;
        tree.truncated = truncated;
        await monitor.rescan(ReadBudget.NONE);
        if (full) evidence.requestFull();
        const built = evidence.build({ seq: 0n, digest: CHAIN_START }, "boot", 0);
        const told = built && fromBinary(EvidenceBodySchema, built.body).containers[0];
        if (!told) continue;
        if (told.upperReset) known.clear();
        for (const change of told.upperChanges) {
          if (change.record.length > 0) known.set(Buffer.from(change.path).toString(), Buffer.from(change.record));
          else known.delete(Buffer.from(change.path).toString());
        }
        if (!told.filesystem) continue;
        const state = fromBinary(FilesystemStateSchema, told.filesystem);
        const tooMany = tree.size > LIMIT;
        expect(Buffer.from(state.upperRoot)).toEqual(rootOf(known));
        expect(Number(state.upperEntries)).toBe(known.size);
        expect(known).toEqual(tooMany ? new Map() : tree.files);
        expect(state.claims.map((claim) => claim.code)).toEqual(tooMany ? ["unmeasurable", "over-budget"] : []);
      }
      monitor.close();
    }),
  );
});
