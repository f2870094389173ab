/** What is said of drift by its record alone is what an appraisal under the other policy says. */
import { create } from "@bufbuild/protobuf";
import { encodeRecord } from "@hullmark/proto/codec";
import { CodePlace, CodeSetSchema, ContainerConfigurationSchema, ContainerIdentitySchema } from "@hullmark/proto/v1/attestation";
import { appraiseCode } from "@hullmark/verifier/core/appraisal/appraise-code";
import { appraiseConfiguration } from "@hullmark/verifier/core/appraisal/appraise-configuration";
import { fileFinding } from "@hullmark/verifier/core/appraisal/findings";
import type { ContainerInput, ContainerState, Finding } from "@hullmark/verifier/core/appraisal/index";
import { UpperEntries } from "@hullmark/verifier/core/appraisal/upper-entries";
import { openDrift } from "@hullmark/verifier/core/fleet/drift-rows";
import { containerRules, type Policy } from "@hullmark/verifier/core/policy/index";
import { Rejudge } from "@hullmark/verifier/core/simulation/rejudge";
import fc from "fast-check";
import { expect, test } from "vitest";
import { policyOf } from "../fakes/policy.ts";

const SUBJECT = { imageReference: "r/web:1", containerName: "web", workload: "shop", nodeName: "w-1" };
const CONTAINER = { ...SUBJECT, labels: {} };
const reference = {
  config: { env: ["PATH=/bin", "MODE=image"], entrypoint: ["/entry"], cmd: [], user: "", workingDirectory: "", volumes: [] },
  merged: () => undefined,
} as never;
const file = (mode: number) => encodeRecord({ type: "f", mode, uid: 0, gid: 0, xattrs: [], size: 1n, sha256: Buffer.alloc(32, mode & 255) });

const some = (...values: string[]) => fc.subarray(values);
const anyPolicy = fc
  .record({
    allow: fc.record({
      ...{ env: some("TZ", "LC_*", "MODE"), capabilities: some("NET_ADMIN", "SYS_ADMIN"), mounts: some("/data", "/srv/**", "/**"), privileged: fc.boolean() },
      ...{ hostNamespaces: some("pid", "net"), users: some("1000", "0"), devices: some("/dev/fuse"), args: fc.boolean(), workingDirectory: fc.boolean() },
      ...{ seccomp: some("unconfined", "custom"), apparmor: some("unconfined"), code: some("upper", "volume", "tmpfs", "memfd", "deleted") },
    }),
    require: fc.record({ noNewPrivileges: fc.boolean(), readOnlyRoot: fc.boolean() }),
    mutable: fc.array(fc.record({ class: fc.constantFrom("data", "any"), paths: some("/etc/**", "/srv/a", "/**/f") }), { maxLength: 2 }),
    severities: fc.dictionary(fc.constantFrom("added", "upper/content", "env", "mount", "code-memfd"), fc.constantFrom("info", "low", "high", "critical")),
    ruled: fc.boolean(),
  })
  .map(({ allow, require, mutable, severities, ruled }) =>
    policyOf({
      mutable: mutable.filter(({ paths }) => paths.length > 0).map((each, i) => ({ name: `m${i}`, ...each })),
      ...{ severities, rules: ruled ? [{ name: "all", allow, require }] : [] },
    }),
  );

const anyContainer = fc.record({
  configuration: fc
    .record({
      ...{ args: fc.constantFrom(["/entry"], ["/other"]), user: fc.constantFrom("", "1000", "7"), workingDirectory: fc.constantFrom("", "/x") },
      ...{ privileged: fc.boolean(), capabilities: some("NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"), devices: some("/dev/fuse", "/dev/kvm") },
      ...{ hostNamespaces: some("pid", "net", "ipc"), seccomp: fc.constantFrom("default", "unconfined", "custom") },
      ...{
        apparmor: fc.constantFrom("", "unconfined"),
        noNewPrivileges: fc.boolean(),
        readOnlyRoot: fc.boolean(),
        unmet: some("no-new-privileges", "system-paths"),
      },
      env: some("TZ", "LC_ALL", "OTHER", "A|B").map((names) => names.map((name) => ({ name, digest: Buffer.alloc(32) }))),
      mounts: fc.array(
        fc.record({
          destination: fc.constantFrom("/data", "/srv/x", "/other", "/"),
          type: fc.constant("bind"),
          source: fc.constant("/host"),
          declared: fc.boolean(),
        }),
        { maxLength: 3 },
      ),
    })
    .map(({ args, ...fields }) => create(ContainerConfigurationSchema, { envKey: Buffer.alloc(32, 7), args: [...args], ...fields })),
  code: fc
    .uniqueArray(fc.constantFrom(CodePlace.UPPER, CodePlace.VOLUME, CodePlace.TMPFS, CodePlace.MEMFD, CodePlace.DELETED, CodePlace.UNKNOWN, CodePlace.LAYER))
    .map((places) => create(CodeSetSchema, { objects: places.map((place) => ({ place, path: Buffer.from("/x/code"), sha256: Buffer.alloc(32, place) })) })),
  files: fc.array(fc.record({ path: fc.constantFrom("etc/a", "srv/a", "opt/b/f", "x"), mode: fc.constantFrom(0o644, 0o755, 0o4755), known: fc.boolean() })),
});

/** What counts of one key: as drift of it is kept. */
function found({ configuration, code, files }: typeof anyContainer extends fc.Arbitrary<infer T> ? T : never, policy: Policy): Map<string, Finding> {
  const rules = containerRules(policy, CONTAINER);
  const identity = create(ContainerIdentitySchema, {});
  const state = { configuration, code, identity, upper: UpperEntries.EMPTY, filesystem: { bindFiles: [] } } as unknown as ContainerState;
  const findings = [
    ...appraiseConfiguration({ state, rules } as unknown as ContainerInput, reference),
    ...appraiseCode(state, reference, rules).findings,
    ...files.flatMap(({ path, mode, known }) => {
      const entry = { place: "upper", path: Buffer.from(path), expected: known ? file(0o600) : undefined, observed: file(mode), layerIndex: -1 } as const;
      return fileFinding({ ...entry, actor: undefined, changedAtMs: undefined }, rules) ?? [];
    }),
  ];
  const kept = new Map<string, Finding>();
  for (const each of findings) if (!kept.has(each.key)) kept.set(each.key, each);
  return kept;
}

test("of any container and any two policies", () => {
  let [excused, stayed] = [0, 0];
  fc.assert(
    fc.property(anyContainer, anyPolicy, anyPolicy, (container, before, after) => {
      const then = found(container, after);
      const rejudge = new Rejudge(after, before);
      for (const finding of found(container, before).values()) {
        const subject = { nodeId: "n", containerId: "c", configDigest: "", provenance: undefined, layer: () => ({ diffId: "", history: "" }), ...SUBJECT };
        const said = rejudge.of(openDrift({ id: "D-1", number: 1 }, finding, subject, 0, undefined));
        const expected = then.get(finding.key);
        // Under one key another difference of the same thing may take its place: the record tells of the one that it holds.
        if (expected && expected.kind !== finding.kind) continue;
        if (expected && JSON.stringify(expected.differences) !== JSON.stringify(finding.differences)) continue;
        expect(said).toBe(expected?.severity ?? "none");
        if (expected) stayed++;
        else excused++;
      }
    }),
    { numRuns: 200 },
  );
  expect(Math.min(excused, stayed)).toBeGreaterThan(100);
});
