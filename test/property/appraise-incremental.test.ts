/** An appraisal that goes on from the one before says what an appraisal of everything says, whatever happened in between. */
import { create, toBinary } from "@bufbuild/protobuf";
import { type EntryRecord, encodeRecord, PatriciaTree, pathKey, recordDigest, StateTree, WHITEOUT } from "@hullmark/proto/codec";
import {
  BindFileSchema,
  CodePlace,
  CodeSetSchema,
  ContainerConfigurationSchema,
  ContainerIdentitySchema,
  EvidenceBodySchema,
  FilesystemKind,
  FilesystemStateSchema,
  NodeStateSchema,
} from "@hullmark/proto/v1/attestation";
import { ClaimSchema, Severity, Verdict } from "@hullmark/proto/v1/common";
import { type AppraisalMemo, appraiseContainer, MAX_FINDINGS } from "@hullmark/verifier/core/appraisal/appraise-container";
import {
  applyEvidence,
  type ContainerRules,
  type ContainerState,
  emptyMemory,
  type Finding,
  type NodeMemory,
  type ReferenceImage,
} from "@hullmark/verifier/core/appraisal/index";
import { entriesBelow, LayerTree, MergedTree } from "@hullmark/verifier/core/reference-value/index";
import fc from "fast-check";
import { expect, test } from "vitest";

const common = { uid: 0, gid: 0, xattrs: [] };
const file = (fill: number, mode = 0o644): Buffer => encodeRecord({ type: "f", ...common, mode, size: 1n, sha256: Buffer.alloc(32, fill) });
const directory = (opaque = false): Buffer => encodeRecord({ type: "d", ...common, mode: 0o755, opaque });
const symlink = encodeRecord({ type: "l", ...common, mode: 0o777, target: Buffer.from("/x") } satisfies EntryRecord);
const whiteout = encodeRecord(WHITEOUT);

const IMAGE: Record<string, Buffer> = {
  a: directory(),
  "a/f": file(1),
  "a/tool": file(2, 0o755),
  "a/b": directory(),
  "a/b/f": file(1),
  "a/b/c": directory(),
  "a/b/c/f": file(3),
  data: directory(),
};
for (let i = 0; i < 40; i++) IMAGE[`data/f${i}`] = file(i, i % 9 === 0 ? 0o755 : 0o644);

/** Of the image and not, each also below another: that is where a change touches what it does not name. */
const PATHS = [
  "a",
  "a/f",
  "a/tool",
  "a/b",
  "a/b/f",
  "a/b/c",
  "a/b/c/f",
  "a/b/new",
  "data",
  "data/f0",
  "data/f1",
  "data/f9",
  "data/new",
  "n",
  "n/d",
  "n/d/e",
  "n/d/e/f",
  "n/f",
];
const RECORDS = [file(1), file(2, 0o755), file(3), file(9), file(9, 0o4755), directory(), directory(true), symlink, whiteout];

function reference(): ReferenceImage {
  const merged = MergedTree.of([LayerTree.build(Object.entries(IMAGE).map(([path, record]) => ({ path: Buffer.from(path), record, implied: false })))]);
  return {
    configDigest: "",
    manifestDigests: [],
    layers: [],
    config: { env: [], entrypoint: [], cmd: [], user: "", workingDirectory: "", volumes: [] },
    merged: (path) => merged.get(path),
    below: (path, limit) => entriesBelow(merged, path, limit),
    runtimeLayerRoots: [],
    runtimeMade: (path, record, _dialect, mounts) => mounts.includes(`/${path.toString()}`) && record.equals(directory()),
  };
}

function rules(mutable: ContainerRules["mutable"]): ContainerRules {
  const no = (): boolean => false;
  const allow = { env: no, args: false, workingDirectory: false, user: no, capability: no, privileged: false, hostNamespace: no };
  return {
    hasPolicy: true,
    require: { noNewPrivileges: false, readOnlyRoot: false, engineInits: [] },
    mutable,
    severity: (_place, _kind, builtIn) => builtIn,
    allow: { ...allow, device: no, mount: no, seccomp: no, apparmor: no, code: no, staticPods: false, injected: false },
  };
}

interface Change {
  readonly path: string;
  /** undefined: gone. */
  readonly record: Buffer | undefined;
  readonly inode: bigint;
}
interface Step {
  readonly changes: readonly Change[];
  readonly reset: boolean;
  readonly code: readonly string[] | undefined;
  readonly mounts: readonly string[] | undefined;
  /** Which of two references and two sets of rules. */
  readonly reference: 0 | 1;
  readonly rules: 0 | 1;
  /** Nobody appraises this one. */
  readonly unseen: boolean;
}

/** A node with one container, as its agent reports it. */
class Reporter {
  memory: NodeMemory = emptyMemory("n", Buffer.alloc(16));
  readonly #upper = new Map<string, Change>();
  #code: readonly string[] = [];
  #mounts: readonly string[] = [];

  report({ changes, reset, code = this.#code, mounts = this.#mounts }: Pick<Step, "changes" | "reset" | "code" | "mounts">): ContainerState {
    this.#code = code;
    this.#mounts = mounts;
    for (const change of changes) {
      if (change.record) this.#upper.set(change.path, change);
      else this.#upper.delete(change.path);
    }
    const parts = this.#parts();
    const node = toBinary(NodeStateSchema, create(NodeStateSchema, { nodeName: "n" }));
    const root = new StateTree();
    root.setNode(node);
    root.setContainer("c", parts);
    const all = reset || this.memory.seq === 0n;
    const told = all ? [...this.#upper.values()] : changes;
    const body = create(EvidenceBodySchema, {
      seq: this.memory.seq + 1n,
      previousDigest: this.memory.digest,
      full: this.memory.seq === 0n,
      node,
      stateRoot: root.root(),
      containers: [
        {
          id: "c",
          ...parts,
          upperReset: all,
          upperChanges: told.map(({ path, record, inode }) => ({ path: Buffer.from(path), record: record ?? Buffer.alloc(0), inode })),
        },
      ],
    });
    const result = applyEvidence(this.memory, body, toBinary(EvidenceBodySchema, body));
    if (!result.ok) throw new Error(`${result.problem}: ${result.detail}`);
    this.memory = result.memory;
    return this.memory.containers.get("c") as ContainerState;
  }

  #parts() {
    const tree = new PatriciaTree();
    for (const { path, record } of this.#upper.values()) tree.set(pathKey(Buffer.from(path)), recordDigest(record as Buffer));
    const filesystem = { kind: FilesystemKind.OVERLAY, dialect: "docker", upperRoot: tree.root() };
    const objects = this.#code.map((path, i) => ({ place: CodePlace.UPPER, path: Buffer.from(`/${path}`), pid: i + 1 }));
    const mounts = this.#mounts.map((destination) => ({ destination, type: "bind", declared: true }));
    return {
      identity: toBinary(ContainerIdentitySchema, create(ContainerIdentitySchema, { id: "c" })),
      configuration: toBinary(ContainerConfigurationSchema, create(ContainerConfigurationSchema, { mounts })),
      code: toBinary(CodeSetSchema, create(CodeSetSchema, { objects })),
      filesystem: toBinary(FilesystemStateSchema, create(FilesystemStateSchema, filesystem)),
    };
  }
}

const byKey = (findings: readonly Finding[]): Finding[] => findings.toSorted((a, b) => (a.key < b.key ? -1 : 1));
const severities = (findings: readonly Finding[]): Severity[] => findings.map(({ severity }) => severity).sort();

const REFERENCES = [reference(), reference()] as const;
const RULES = [rules(() => false), rules((path, executable) => !executable && path.toString().startsWith("/data"))] as const;

function input(state: ContainerState, { reference: image = 0, rules: by = 0 }: Partial<Step>) {
  return {
    ...{ state, reference: REFERENCES[image], layerFindings: new Map(), rules: RULES[by], measurementDigest: Buffer.alloc(0) },
    provenance: { status: "signed", text: "", required: true } as const,
  };
}

const change: fc.Arbitrary<Change> = fc.record({
  path: fc.constantFrom(...PATHS),
  record: fc.oneof({ weight: 3, arbitrary: fc.constantFrom(...RECORDS) }, { weight: 1, arbitrary: fc.constant(undefined) }),
  inode: fc.constantFrom(0n, 1n, 1n, 2n),
});
const rarely = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 8 });
const step: fc.Arbitrary<Step> = fc.record({
  changes: fc.array(change, { maxLength: 5 }),
  reset: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
  code: rarely(fc.uniqueArray(fc.constantFrom(...PATHS), { maxLength: 3 })),
  mounts: rarely(fc.uniqueArray(fc.constantFrom("/n", "/n/d"), { maxLength: 2 })),
  reference: fc.integer({ min: 0, max: 15 }).map((n) => (n === 0 ? 1 : 0)),
  rules: fc.integer({ min: 0, max: 15 }).map((n) => (n === 0 ? 1 : 0)),
  unseen: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
});

test("over random histories of a delta, its processes, mounts, policy and image", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 30 }), (steps) => {
      const reporter = new Reporter();
      let memo: AppraisalMemo | undefined;
      for (const each of steps) {
        const state = reporter.report(each);
        if (each.unseen) continue;
        const { memo: next, ...incremental } = appraiseContainer(input(state, each), memo);
        const { memo: _, ...whole } = appraiseContainer(input(state, each));
        memo = next;
        expect({ ...incremental, findings: byKey(incremental.findings) }).toEqual({ ...whole, findings: byKey(whole.findings) });
      }
    }),
    { numRuns: 400 },
  );
});

test("of more differences than are listed, the listed are gravest, the verdict is of all, and those listed stay listed", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 700 }), fc.boolean(), fc.boolean()), { minLength: 5, maxLength: 40 }), (changes) => {
      const reporter = new Reporter();
      const flood = Array.from({ length: MAX_FINDINGS + 20 }, (_, i) => ({ path: `x${i}`, record: file(9, i % 50 === 0 ? 0o755 : 0o644), inode: 0n }));
      let state = reporter.report({ changes: flood, reset: false, code: undefined, mounts: undefined });
      let before = appraiseContainer(input(state, {}));
      for (const [i, runnable, gone] of changes) {
        state = reporter.report({
          changes: [{ path: `x${i}`, record: gone ? undefined : file(8, runnable ? 0o755 : 0o644), inode: 0n }],
          reset: false,
          code: undefined,
          mounts: undefined,
        });
        const incremental = appraiseContainer(input(state, {}), before.memo);
        const whole = appraiseContainer(input(state, {}));
        expect(severities(incremental.findings)).toEqual(severities(whole.findings));
        const { verdict, content, reasons, vector } = whole;
        expect(incremental).toMatchObject({ verdict, content, reasons, vector });
        const listed = new Set(incremental.findings.map(({ key }) => key));
        const pushedOut = before.findings.filter(({ key, path }) => !listed.has(key) && path.toString() !== `/x${i}`);
        // Only for something graver, and only one at a time.
        expect(pushedOut.length).toBeLessThanOrEqual(runnable && !gone ? 1 : 0);
        before = incremental;
      }
    }),
    { numRuns: 15 },
  );
});

test("what is excused crowds no drift out of the list, however much of it there is, and is told where it is", () => {
  const reporter = new Reporter();
  const excusing = {
    ...(RULES[0] as ContainerRules),
    excepted: ({ path }: Finding) => (path.toString().startsWith("/x") ? "X-1" : undefined),
    severity: (_place: string, kind: string, builtIn: Severity) => (kind === "mode" ? Severity.LOW : builtIn),
  };
  const appraised = (changes: Change[]) => {
    const state = reporter.report({ changes, reset: false, code: [], mounts: undefined });
    return appraiseContainer({ ...input(state, {}), rules: excusing });
  };
  const flood = Array.from({ length: MAX_FINDINGS + 20 }, (_, i) => ({ path: `x${i}`, record: file(9), inode: 0n }));
  const excused = appraised(flood);
  expect(excused.findings.filter(({ place, exception }) => place === "upper" && exception === undefined)).toEqual([]);
  expect(excused.vector).toMatchObject({ fileSystem: 32 });
  const { findings } = appraised([{ path: "a/f", record: file(1, 0o600), inode: 0n }]);
  expect(findings.filter(({ place, notice }) => place === "upper" && !notice)).toMatchObject([{ path: Buffer.from("/a/f"), kind: "mode" }]);
  expect(findings).toHaveLength(MAX_FINDINGS);
});

test("what a report repeats is the container that was there", () => {
  const reporter = new Reporter();
  const changes = [{ path: "a/f", record: file(9), inode: 4n }];
  const first = reporter.report({ changes, reset: false, code: undefined, mounts: undefined });
  expect(reporter.report({ changes: [], reset: true, code: undefined, mounts: undefined })).toBe(first);
  expect(reporter.report({ changes: [{ path: "a/f", record: file(8), inode: 4n }], reset: true, code: undefined, mounts: undefined })).not.toBe(first);
});

test("a name more or less of a file with many names touches no more of them than can be links of the image's", () => {
  const reporter = new Reporter();
  const links = (n: number) => Array.from({ length: n }, (_, i) => ({ path: `l${i}`, record: file(1), inode: 7n }));
  const kinds = (state: ContainerState) => appraiseContainer(input(state, {})).findings.filter(({ kind }) => kind === "alias").length;
  const report = (changes: Change[]) => reporter.report({ changes, reset: false, code: undefined, mounts: undefined });
  expect(kinds(report([{ path: "a/f", record: file(1), inode: 7n }, ...links(63)]))).toBe(63);
  expect(kinds(report([{ path: "l63", record: file(1), inode: 7n }]))).toBe(0);
  expect(kinds(report([{ path: "l63", record: undefined, inode: 0n }]))).toBe(63);
});

test("a root that is no overlay is not judged under Docker's drivers, whatever is told of it, and never good", () => {
  const state = new Reporter().report({ changes: [], reset: true, code: [], mounts: [] });
  const appraised = (dialect: string) => {
    const filesystem = { ...state.filesystem, kind: FilesystemKind.MERGED, dialect };
    return appraiseContainer(input({ ...state, filesystem, configuration: { ...state.configuration, seccomp: "default" } }, {}));
  };
  const codes = (dialect: string): string[] => appraised(dialect).reasons.map(({ code }) => code);
  expect(codes("docker")).toContain("no-layers");
  expect(codes("containerd")).toContain("layer-comparing");
  expect(appraised("docker").findings).toEqual([]);
  expect(appraised("docker").verdict).toBe(Verdict.UNKNOWN);
});

test("a container whose network's owner was removed is unknown, never good; drift elsewhere is told all the same", () => {
  const state = new Reporter().report({ changes: [], reset: true, code: [], mounts: [] });
  const appraised = (claims: string[], seccomp = "default") => {
    const bindFiles = [create(BindFileSchema, { destination: "/etc/hosts" })];
    const filesystem = { ...state.filesystem, claims: claims.map((code) => create(ClaimSchema, { code })), bindFiles };
    return appraiseContainer(input({ ...state, filesystem, configuration: { ...state.configuration, seccomp } }, {}));
  };
  expect(appraised([]).findings.map(({ kind }) => kind)).toContain("bind-file");
  const gone = appraised(["network-owner-gone"]);
  expect(gone.findings).toEqual([]);
  expect(gone).toMatchObject({ verdict: Verdict.UNKNOWN, content: Verdict.UNKNOWN });
  expect(gone.reasons.map(({ code }) => code)).toContain("network-owner-gone");
  expect(appraised(["network-owner-gone"], "unconfined")).toMatchObject({ verdict: Verdict.CONTRAINDICATED, content: Verdict.UNKNOWN });
});
