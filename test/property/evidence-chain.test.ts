import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { NodeEvidence } from "@hullmark/agent/core/node-evidence";
import { CHAIN_START, encodeRecord, PatriciaTree, pathKey, recordDigest } from "@hullmark/proto/codec";
import {
  CodeSetSchema,
  ContainerConfigurationSchema,
  ContainerIdentitySchema,
  EvidenceBodySchema,
  FilesystemStateSchema,
  NodeStateSchema,
} from "@hullmark/proto/v1/attestation";
import { EvidenceDecoder } from "@hullmark/verifier/core/appraisal/decode-evidence";
import { applyEvidence, emptyMemory, type NodeMemory } from "@hullmark/verifier/core/appraisal/index";
import fc from "fast-check";
import { expect, test } from "vitest";

const record = (n: number): Buffer => encodeRecord({ type: "f", mode: 0o644, uid: 0, gid: 0, xattrs: [], size: BigInt(n), sha256: Buffer.alloc(32, n) });

/** A container as the agent tracks it, over a plain map instead of a disk. */
class Simulated {
  readonly upper = new Map<string, Buffer>();
  readonly #evidence: NodeEvidence;
  readonly #id: string;

  constructor(evidence: NodeEvidence, id: string) {
    this.#evidence = evidence;
    this.#id = id;
    const all = () => [...this.upper].map(([path, bytes]) => ({ path: Buffer.from(path), record: bytes }));
    evidence.addContainer(id, { all, withhold: () => undefined });
    evidence.setPart(id, "identity", toBinary(ContainerIdentitySchema, create(ContainerIdentitySchema, { id })));
    evidence.setPart(id, "configuration", toBinary(ContainerConfigurationSchema, create(ContainerConfigurationSchema, {})));
    evidence.setPart(id, "code", toBinary(CodeSetSchema, create(CodeSetSchema, {})));
    this.tell();
  }

  write(path: string, content: number): void {
    this.upper.set(path, record(content));
    this.#evidence.addUpperChanges(this.#id, [{ path: Buffer.from(path), record: record(content) }]);
    this.tell();
  }

  remove(path: string): void {
    this.upper.delete(path);
    this.#evidence.addUpperChanges(this.#id, [{ path: Buffer.from(path), record: new Uint8Array() }]);
    this.tell();
  }

  tell(): void {
    const tree = new PatriciaTree();
    for (const [path, bytes] of this.upper) tree.set(pathKey(Buffer.from(path)), recordDigest(bytes));
    this.#evidence.setPart(this.#id, "filesystem", toBinary(FilesystemStateSchema, create(FilesystemStateSchema, { upperRoot: tree.root() })));
  }
}

type Step = { kind: "write" | "remove" | "start" | "stop" | "publish" | "full"; container: number; path: string; content: number };

const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom("write", "write", "remove", "start", "stop", "publish", "full"),
  container: fc.integer({ min: 0, max: 3 }),
  path: fc.constantFrom("a", "b/c", "d e", "\u{1f600}"),
  content: fc.integer({ min: 0, max: 4 }),
});

test("whatever happens on the node, the verifier ends with the agent's state after every Evidence", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const evidence = new NodeEvidence();
      evidence.setNode(toBinary(NodeStateSchema, create(NodeStateSchema, { nodeName: "n" })));
      const containers = new Map<number, Simulated>();
      let memory: NodeMemory = emptyMemory("node", Buffer.alloc(16));
      const decoder = new EvidenceDecoder();
      const publish = (): void => {
        const built = evidence.build(memory, "boot", 0);
        if (!built) return;
        const result = applyEvidence(memory, decoder.decode(built.body), built.body);
        if (!result.ok) throw new Error(`${result.problem}: ${result.detail}`);
        memory = result.memory;
        expect(memory.containers.size).toBe(containers.size);
        for (const [n, { upper }] of containers) {
          const seen = memory.containers.get(`c${n}`)?.upper;
          expect(new Map([...(seen?.values() ?? [])].map(({ path, record: bytes }) => [path.toString(), bytes]))).toEqual(upper);
        }
      };
      for (const { kind, container, path, content } of steps) {
        const at = containers.get(container);
        if (kind === "write") at?.write(path, content);
        else if (kind === "remove") at?.remove(path);
        else if (kind === "start" && !at) containers.set(container, new Simulated(evidence, `c${container}`));
        else if (kind === "stop" && at) {
          containers.delete(container);
          evidence.removeContainer(`c${container}`);
        } else if (kind === "publish") publish();
        else if (kind === "full") evidence.requestFull();
      }
      publish();
    }),
    { numRuns: 200 },
  );
});

function firstEvidence() {
  const evidence = new NodeEvidence();
  evidence.setNode(toBinary(NodeStateSchema, create(NodeStateSchema, { nodeName: "n" })));
  const container = new Simulated(evidence, "c0");
  container.write("a", 1);
  const built = evidence.build({ seq: 0n, digest: CHAIN_START }, "boot", 0);
  if (!built) throw new Error("nothing built");
  return { evidence, container, built };
}

test("every byte of an Evidence body that changes what it says is refused, or changes nothing", () => {
  const { built } = firstEvidence();
  const memory = emptyMemory("node", Buffer.alloc(16));
  const clean = applyEvidence(memory, fromBinary(EvidenceBodySchema, built.body), built.body);
  if (!clean.ok) throw new Error(clean.detail);
  for (let i = 0; i < built.body.length * 8; i++) {
    const flipped = Buffer.from(built.body);
    flipped[i >> 3] = (flipped[i >> 3] as number) ^ (1 << (i & 7));
    let result: ReturnType<typeof applyEvidence>;
    try {
      result = applyEvidence(memory, fromBinary(EvidenceBodySchema, flipped), flipped);
    } catch {
      continue;
    }
    if (result.ok) expect(result.memory.stateRoot.equals(clean.memory.stateRoot)).toBe(true);
    if (result.ok) expect(result.memory.digest.equals(clean.memory.digest)).toBe(false);
  }
});

test("replay, gap and fork are told apart", () => {
  const { evidence, container, built } = firstEvidence();
  const memory = emptyMemory("node", Buffer.alloc(16));
  const first = applyEvidence(memory, fromBinary(EvidenceBodySchema, built.body), built.body);
  if (!first.ok) throw new Error(first.detail);
  container.write("b/c", 2);
  const second = evidence.build(built, "boot", 1);
  if (!second) throw new Error("nothing built");
  const apply = (at: NodeMemory, body: Buffer) => applyEvidence(at, fromBinary(EvidenceBodySchema, body), body);
  expect(apply(first.memory, built.body)).toMatchObject({ ok: false, problem: "replay" });
  expect(apply(memory, second.body)).toMatchObject({ ok: false, problem: "gap" });
  const other = firstEvidence();
  other.container.write("d e", 3);
  const fork = other.evidence.build({ seq: 1n, digest: Buffer.alloc(32, 9) }, "boot", 1);
  if (!fork) throw new Error("nothing built");
  expect(apply(first.memory, fork.body)).toMatchObject({ ok: false, problem: "fork" });
  const third = apply(first.memory, second.body);
  expect(third.ok).toBe(true);
});
