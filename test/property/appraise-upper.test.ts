/** The upper directory as an attacker in the container can shape it: what hides the image's entries must be told. */
import { create } from "@bufbuild/protobuf";
import { type EntryRecord, encodeRecord, WHITEOUT } from "@hullmark/proto/codec";
import { CodeSetSchema, ContainerConfigurationSchema, ContainerIdentitySchema, FilesystemStateSchema } from "@hullmark/proto/v1/attestation";
import { Severity } from "@hullmark/proto/v1/common";
import { appraiseUpper } from "@hullmark/verifier/core/appraisal/appraise-upper";
import type { ContainerRules, ContainerState, ReferenceImage, UpperEntry } from "@hullmark/verifier/core/appraisal/index";
import { UpperEntries } from "@hullmark/verifier/core/appraisal/upper-entries";
import { entriesBelow, LayerTree, MergedTree } from "@hullmark/verifier/core/reference-value/index";
import { describe, expect, test } from "vitest";

const common = { uid: 0, gid: 0, xattrs: [] };
const file = (mode = 0o644, fill = 1): Buffer => encodeRecord({ type: "f", ...common, mode, size: 1n, sha256: Buffer.alloc(32, fill) });
const directory = (opaque = false): Buffer => encodeRecord({ type: "d", ...common, mode: 0o755, opaque });
const symlink = (target: string): Buffer => encodeRecord({ type: "l", ...common, mode: 0o777, target: Buffer.from(target) } satisfies EntryRecord);
const whiteout = encodeRecord(WHITEOUT);

function image(...layers: Record<string, Buffer>[]): ReferenceImage {
  const trees = layers.map((layer) => LayerTree.build(Object.entries(layer).map(([path, record]) => ({ path: Buffer.from(path), record, implied: false }))));
  const merged = MergedTree.of(trees);
  return {
    configDigest: "",
    manifestDigests: [],
    layers: [],
    config: { env: [], entrypoint: [], cmd: [], user: "", workingDirectory: "", volumes: [] },
    merged: (path) => merged.get(path),
    below: (path, limit) => entriesBelow(merged, path, limit),
    runtimeLayerRoots: [],
    runtimeMade: () => false,
  };
}

function rules(mutable: ContainerRules["mutable"] = () => false): ContainerRules {
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

function state(upper: Record<string, Buffer>): ContainerState {
  const entry = (path: string, record: Buffer): UpperEntry => ({ path: Buffer.from(path), record, inode: 0n, actor: undefined, changedAtMs: undefined });
  const none = new Uint8Array();
  return {
    id: "c",
    parts: { identity: none, configuration: none, code: none, filesystem: none },
    identity: create(ContainerIdentitySchema),
    configuration: create(ContainerConfigurationSchema),
    code: create(CodeSetSchema),
    filesystem: create(FilesystemStateSchema),
    upper: UpperEntries.of(Object.entries(upper).map(([path, record]) => entry(path, record))),
    upperDelta: undefined,
    removed: new Map(),
  };
}

const told = (upper: Record<string, Buffer>, reference: ReferenceImage, by = rules()): string[] =>
  appraiseUpper(state(upper), reference, by)
    .map(({ kind, path, severity }) => `${kind} ${path.toString()} ${Severity[severity]}`)
    .sort();

describe("a directory of the image removed and made anew", () => {
  const reference = image(
    { app: directory(), "app/tool": file(0o755), "app/data": file(), "app/sub": directory(), "app/sub/deep": file() },
    { app: directory(), "app/data": whiteout, "app/late": file() },
  );

  test("each of few hidden entries is a removal", () => {
    expect(told({ app: directory(true) }, reference)).toEqual([
      "removed /app/late MEDIUM",
      "removed /app/sub MEDIUM",
      "removed /app/sub/deep MEDIUM",
      "removed /app/tool HIGH",
    ]);
  });

  test("what stands there again is judged by its content", () => {
    const again = { app: directory(true), "app/tool": file(0o755), "app/late": file(), "app/sub": directory(), "app/sub/deep": file() };
    expect(told(again, reference)).toEqual([]);
    expect(told({ ...again, "app/tool": file(0o755, 2) }, reference)).toEqual(["content /app/tool HIGH"]);
  });

  test("a directory below one made anew hides nothing twice", () => {
    expect(told({ app: directory(true), "app/tool": file(0o755), "app/late": file(), "app/sub": directory(true) }, reference)).toEqual([
      "removed /app/sub/deep MEDIUM",
    ]);
  });

  test("policy that lets data change does not let executables vanish", () => {
    const data = rules((path, executable) => path.toString().startsWith("/app") && !executable);
    expect(told({ app: directory(true) }, reference, data)).toEqual(["removed /app/tool HIGH"]);
  });

  test("many are one finding that counts them and names the executables first", () => {
    const many: Record<string, Buffer> = { opt: directory() };
    for (let i = 0; i < 40; i++) many[`opt/f${i}`] = file(i === 39 ? 0o755 : 0o644);
    const [found, ...others] = appraiseUpper(state({ opt: directory(true) }), image(many), rules());
    expect(others).toEqual([]);
    expect(found).toMatchObject({
      kind: "removed",
      severity: Severity.HIGH,
      summary: expect.stringContaining("hides 40 of the image's entries, 1 of them executable"),
    });
    expect(found?.differences.some(({ field }) => field === "/opt/f39")).toBe(true);
  });
});

describe("a directory of the image that something else stands for", () => {
  const reference = image({ app: directory(), "app/tool": file(0o755) });
  const data = rules((_path, executable) => !executable);

  test.each([
    ["a whiteout", whiteout, "removed /app HIGH"],
    ["a symlink", symlink("/tmp/mine"), "type /app HIGH"],
    ["a file", file(), "type /app HIGH"],
  ])("%s: weighs what it hides, and no class of data lets it pass", (_name, record, expected) => {
    expect(told({ app: record }, reference)).toEqual([expected]);
    expect(told({ app: record }, reference, data)).toEqual([expected]);
  });
});
