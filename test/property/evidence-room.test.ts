/** One report takes what a node's containers make of themselves, however much that is, and no container takes the word from another. */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { CodeHistory } from "@hullmark/agent/core/code-set";
import { leftOut, type Share } from "@hullmark/agent/core/left-out";
import { type EvidenceRoom, NodeEvidence } from "@hullmark/agent/core/node-evidence";
import type { InspectedCode } from "@hullmark/agent/ports/process-inspector";
import { EMPTY_ROOT } from "@hullmark/proto/codec";
import { MAX_MESSAGE_BYTES } from "@hullmark/proto/rpc";
import {
  CodeSetSchema,
  ContainerConfigurationSchema,
  ContainerIdentitySchema,
  EvidenceBodySchema,
  FilesystemStateSchema,
  NodeStateSchema,
} from "@hullmark/proto/v1/attestation";
import { applyEvidence, emptyMemory, type NodeMemory } from "@hullmark/verifier/core/appraisal/index";
import fc from "fast-check";
import { expect, test } from "vitest";

const ROOM: EvidenceRoom = { upperBytes: 20_000, stateBytes: 60_000 };
const CONTAINERS = 8;
/** What a share may take and always be told: the deltas' part of the room may be taken. */
const FAIR_BYTES = (ROOM.stateBytes - ROOM.upperBytes) / (2 * CONTAINERS);

const identity = (id: string) =>
  toBinary(ContainerIdentitySchema, create(ContainerIdentitySchema, { id, name: `n-${id}`, workload: "w", imageReference: "i" }));
const configuration = (bytes: number) => toBinary(ContainerConfigurationSchema, create(ContainerConfigurationSchema, { args: ["x".repeat(bytes)] }));
const code = (bytes: number, n: number) =>
  toBinary(CodeSetSchema, create(CodeSetSchema, { objects: [{ path: Buffer.alloc(bytes, "p"), sha256: Buffer.alloc(32, n) }] }));
const filesystem = toBinary(FilesystemStateSchema, create(FilesystemStateSchema, { upperRoot: EMPTY_ROOT }));
const node = toBinary(NodeStateSchema, create(NodeStateSchema, { nodeName: "n" }));

function receive(evidence: NodeEvidence, memory: NodeMemory): { readonly memory: NodeMemory; readonly bytes: number } {
  const built = evidence.build(memory, "boot", 0);
  if (!built) return { memory, bytes: 0 };
  const result = applyEvidence(memory, fromBinary(EvidenceBodySchema, built.body), built.body);
  if (!result.ok) throw new Error(`${result.problem}: ${result.detail}`);
  return { memory: result.memory, bytes: built.body.length };
}

const size = fc.oneof(fc.nat(200), fc.nat(FAIR_BYTES), fc.nat(30_000));
const step = fc.record({
  container: fc.nat(CONTAINERS - 1),
  kind: fc.constantFrom("code", "description", "stop", "full", "publish"),
  bytes: size,
  n: fc.nat(255),
});

test("every report has room for all; what is left out is claimed, is the largest, and comes back when there is room", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const evidence = new NodeEvidence(ROOM);
      evidence.setNode(node);
      const parts = new Map<string, Record<Share, Uint8Array>>();
      let memory = emptyMemory("node", Buffer.alloc(16));
      const publish = (): void => {
        const received = receive(evidence, memory);
        memory = received.memory;
        expect(received.bytes).toBeLessThan(ROOM.stateBytes + 1000);
        expect([...memory.containers.keys()].sort()).toEqual([...parts.keys()].sort());
        const told = { left: 0, all: 0 };
        for (const [id, real] of parts) {
          const state = memory.containers.get(id);
          for (const [share, seen, claims] of [
            ["code", state?.parts.code, state?.code.claims],
            ["description", state?.parts.configuration, state?.filesystem.claims],
          ] as const) {
            told.all += real[share].length;
            if (claims?.length === 0) {
              expect(Buffer.from(seen ?? [])).toEqual(Buffer.from(real[share]));
              continue;
            }
            told.left++;
            expect(claims?.map((claim) => claim.code)).toEqual(["unmeasurable"]);
            expect(real[share].length).toBeGreaterThan(FAIR_BYTES - 600);
          }
          expect(state?.identity.name).toBe(`n-${id}`);
        }
        if (told.all + parts.size * 1500 < ROOM.stateBytes - ROOM.upperBytes) expect(told.left).toBe(0);
      };
      for (const { container, kind, bytes, n } of steps) {
        const id = `c${container}`;
        if (kind === "publish") publish();
        else if (kind === "full") evidence.requestFull();
        else if (kind === "stop") {
          evidence.removeContainer(id);
          parts.delete(id);
        } else {
          if (!parts.has(id)) {
            evidence.addContainer(id, { all: () => [], withhold: () => undefined });
            parts.set(id, { code: code(0, 0), description: configuration(0) });
            evidence.setPart(id, "identity", identity(id));
            evidence.setPart(id, "filesystem", filesystem);
            evidence.setPart(id, "configuration", configuration(0));
            evidence.setPart(id, "code", code(0, 0));
          }
          const made = kind === "code" ? code(bytes, n) : configuration(bytes);
          (parts.get(id) as Record<Share, Uint8Array>)[kind as Share] = made;
          evidence.setPart(id, kind === "code" ? "code" : "configuration", made);
        }
      }
      publish();
    }),
  );
});

test("of any demands no more is left out than must be, and nothing of at most its equal share", () => {
  const demands = fc.array(fc.nat(5000), { minLength: 1, maxLength: 30 });
  fc.assert(
    fc.property(demands, fc.integer({ min: 1, max: 60 }), (sizes, thousands) => {
      const asked = sizes.map((bytes, i) => ({ containerId: `c${i}`, share: "code" as const, bytes }));
      const roomBytes = Math.max(thousands * 1000, sizes.length * 1024);
      const out = new Set(leftOut(asked, roomBytes));
      const takes = (without: ReadonlySet<unknown>) => asked.reduce((sum, each) => sum + (without.has(each) ? 1024 : Math.max(each.bytes, 1024)), 0);
      expect(takes(out)).toBeLessThanOrEqual(roomBytes);
      for (const each of out) {
        expect(each.bytes).toBeGreaterThan(roomBytes / asked.length);
        expect(takes(new Set([...out].filter((other) => other.bytes > each.bytes)))).toBeGreaterThan(roomBytes);
      }
    }),
  );
});

test("a delta of at most its equal share always has room: the largest gives its own", () => {
  const ask = fc.record({ container: fc.nat(CONTAINERS - 1), bytes: fc.oneof(fc.nat(ROOM.upperBytes / CONTAINERS), fc.nat(12_000)) });
  fc.assert(
    fc.property(fc.array(ask, { maxLength: 60 }), (asks) => {
      const evidence = new NodeEvidence(ROOM);
      const held = new Map<number, number>();
      for (let i = 0; i < CONTAINERS; i++) evidence.addContainer(`c${i}`, { all: () => [], withhold: () => void held.delete(i) });
      for (const { container, bytes } of asks) {
        held.delete(container);
        const granted = evidence.reserveUpper(`c${container}`, bytes);
        if (granted) held.set(container, bytes);
        const total = [...held.values()].reduce((sum, each) => sum + each, 0);
        expect(total).toBeLessThanOrEqual(ROOM.upperBytes);
        if (bytes <= ROOM.upperBytes / CONTAINERS) expect(granted).toBe(true);
        if (!granted) expect(total + bytes).toBeGreaterThan(ROOM.upperBytes);
      }
    }),
  );
});

test("forty containers that run as much foreign code as is told of one do not silence their node", () => {
  const foreign: InspectedCode[] = Array.from({ length: 4096 }, (_, i) => ({
    ...{ place: "volume" as const, sha256: Buffer.alloc(32, i), main: false, pid: 2, uid: 0, ancestry: [] },
    path: Buffer.from(`/v/${"p".repeat(600)}${i}`),
  }));
  const evidence = new NodeEvidence();
  evidence.setNode(node);
  const add = (id: string, codePart: Uint8Array): void => {
    evidence.addContainer(id, { all: () => [], withhold: () => undefined });
    for (const [name, bytes] of Object.entries({ identity: identity(id), configuration: configuration(5), code: codePart, filesystem }))
      evidence.setPart(id, name as "code", bytes);
  };
  const much = new CodeHistory().serialize({ code: foreign, privileges: [], processes: 1, claims: [] }, 0);
  expect(much.length).toBeGreaterThan(1024 * 1024);
  for (let i = 0; i < 40; i++) add(`hostile-${i}`, much);
  add("calm", code(20_000, 1));
  const { memory, bytes } = receive(evidence, emptyMemory("node", Buffer.alloc(16)));
  expect(bytes).toBeLessThan(MAX_MESSAGE_BYTES - 4 * 1024 * 1024);
  expect(memory.containers.get("calm")?.code.objects).toHaveLength(1);
  const claimed = [...memory.containers.values()].filter((state) => state.code.claims.some((claim) => claim.code === "unmeasurable"));
  expect(claimed.length).toBeGreaterThan(10);
  expect(memory.containers.size).toBe(41);
});
