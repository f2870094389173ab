/**
 * What one changed file costs the verifier, by how many entries of its container have changed before: Evidence taken and appraised, in this one thread.
 *
 *   node bench/appraisal.ts [--entries 0,450,5000,50000] [--changes 200] [--json FILE]
 *
 * "Going on" is what the verifier does; "of everything" appraises the whole delta again, as it must once when a stream opens. Processor time of the thread, so that
 * other load on the machine shows less.
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { create, toBinary } from "@bufbuild/protobuf";
import { encodeRecord, PatriciaTree, pathKey, recordDigest, StateTree } from "@hullmark/proto/codec";
import {
  CodeSetSchema,
  ContainerConfigurationSchema,
  ContainerIdentitySchema,
  EvidenceBodySchema,
  FilesystemKind,
  FilesystemStateSchema,
  NodeStateSchema,
} from "@hullmark/proto/v1/attestation";
import { type AppraisalMemo, appraiseContainer } from "@hullmark/verifier/core/appraisal/appraise-container";
import { applyEvidence, type ContainerState, emptyMemory, type NodeMemory, type ReferenceImage } from "@hullmark/verifier/core/appraisal/index";
import { defaultPolicy } from "@hullmark/verifier/core/policy/index";
import { containerRules } from "@hullmark/verifier/core/policy/match";
import { dockerInitLayer, entriesBelow, LayerTree, MergedTree } from "@hullmark/verifier/core/reference-value/index";

const IMAGE_FILES = 10_000;
const { values } = parseArgs({
  options: { entries: { type: "string", default: "0,450,5000,50000" }, changes: { type: "string", default: "200" }, json: { type: "string" } },
});

const record = (content: number): Buffer => encodeRecord({ type: "f", mode: 0o644, uid: 0, gid: 0, xattrs: [], size: 4n, sha256: Buffer.alloc(32, content) });

function referenceImage(): ReferenceImage {
  const files = Array.from({ length: IMAGE_FILES }, (_, i) => ({ path: Buffer.from(`srv/f${i}`), record: record(i), implied: false }));
  const image = MergedTree.of([LayerTree.build(files)]);
  const seen = MergedTree.of([...image.layers, dockerInitLayer(image)]);
  return {
    ...{ configDigest: "", manifestDigests: [], layers: [], runtimeLayerRoots: [] },
    config: { env: [], entrypoint: [], cmd: [], user: "", workingDirectory: "", volumes: [] },
    merged: (path) => seen.get(path),
    below: (path, limit) => entriesBelow(seen, path, limit),
    runtimeMade: () => false,
  };
}

/** A node with one container that rewrites files of its image. */
class Writer {
  readonly #tree = new PatriciaTree();
  readonly #node = toBinary(NodeStateSchema, create(NodeStateSchema, { nodeName: "n" }));
  #memory: NodeMemory = emptyMemory("n", Buffer.alloc(16));

  write(files: readonly number[], content: number) {
    for (const i of files) this.#tree.set(pathKey(Buffer.from(`srv/f${i}`)), recordDigest(record(content)));
    const parts = {
      identity: toBinary(ContainerIdentitySchema, create(ContainerIdentitySchema, { id: "c" })),
      configuration: toBinary(ContainerConfigurationSchema, create(ContainerConfigurationSchema, {})),
      code: toBinary(CodeSetSchema, create(CodeSetSchema, {})),
      filesystem: toBinary(
        FilesystemStateSchema,
        create(FilesystemStateSchema, { kind: FilesystemKind.OVERLAY, dialect: "docker", upperRoot: this.#tree.root() }),
      ),
    };
    const state = new StateTree();
    state.setNode(this.#node);
    state.setContainer("c", parts);
    const full = this.#memory.seq === 0n;
    const { seq, digest } = this.#memory;
    return create(EvidenceBodySchema, {
      ...{ seq: seq + 1n, previousDigest: digest, full, node: this.#node, stateRoot: state.root() },
      containers: [{ id: "c", ...parts, upperReset: full, upperChanges: files.map((i) => ({ path: Buffer.from(`srv/f${i}`), record: record(content) })) }],
    });
  }

  take(body: ReturnType<Writer["write"]>, bytes: Uint8Array): ContainerState {
    const result = applyEvidence(this.#memory, body, bytes);
    if (!result.ok) throw new Error(result.detail);
    this.#memory = result.memory;
    return this.#memory.containers.get("c") as ContainerState;
  }
}

const cpuMs = (): number => {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
};

const reference = referenceImage();
const rules = containerRules(defaultPolicy(), { imageReference: "i", containerName: "c", workload: "w", labels: {}, nodeName: "n" });
const input = (state: ContainerState) => ({
  ...{ state, reference, rules, layerFindings: new Map(), measurementDigest: Buffer.alloc(0) },
  provenance: { status: "signed", text: "", required: true } as const,
});

const results = [];
for (const entries of values.entries.split(",").map(Number)) {
  const writer = new Writer();
  // Paths beyond the image's are new files.
  const first = writer.write(
    Array.from({ length: entries }, (_, i) => i),
    250,
  );
  let state = writer.take(first, toBinary(EvidenceBodySchema, first));
  let memo: AppraisalMemo | undefined = appraiseContainer(input(state)).memo;
  const spent = { taken: 0, goingOn: 0, everything: 0 };
  const changes = Number(values.changes);
  const wholes = Math.min(changes, 20);
  for (let i = 0; i < changes; i++) {
    const body = writer.write([(i * 37) % IMAGE_FILES], 251 + (i % 4));
    const bytes = toBinary(EvidenceBodySchema, body);
    const began = cpuMs();
    state = writer.take(body, bytes);
    const taken = cpuMs();
    memo = appraiseContainer(input(state), memo).memo;
    const done = cpuMs();
    if (i >= changes - wholes) appraiseContainer(input(state));
    spent.everything += cpuMs() - done;
    spent.taken += taken - began;
    spent.goingOn += done - taken;
  }
  const each = { entries, takenMs: spent.taken / changes, goingOnMs: spent.goingOn / changes, everythingMs: spent.everything / wholes };
  results.push(each);
  console.log(
    `${String(entries).padStart(6)} entries: a change is taken in ${each.takenMs.toFixed(3)} ms and appraised in ${each.goingOnMs.toFixed(3)} ms; everything in ${each.everythingMs.toFixed(2)} ms`,
  );
}
if (values.json) writeFileSync(values.json, `${JSON.stringify({ bench: "appraisal", results })}\n`);
