/** A namespace's own policy may tighten the cluster's and never loosen it: whatever it says, whatever runs. */
import { create } from "@bufbuild/protobuf";
import { encodeRecord } from "@hullmark/proto/codec";
import {
  CodePlace,
  CodeSetSchema,
  ContainerConfigurationSchema,
  ContainerIdentitySchema,
  FilesystemKind,
  FilesystemStateSchema,
} from "@hullmark/proto/v1/attestation";
import { Verdict } from "@hullmark/proto/v1/common";
import { appraiseContainer } from "@hullmark/verifier/core/appraisal/appraise-container";
import type { ContainerInput, ContainerState, ReferenceImage } from "@hullmark/verifier/core/appraisal/index";
import { UpperEntries } from "@hullmark/verifier/core/appraisal/upper-entries";
import { judgeTeam, MAX_TEAM_POLICY_BYTES, withTeams } from "@hullmark/verifier/core/policy/index";
import { containerRules } from "@hullmark/verifier/core/policy/match";
import type { Policy, SelectableContainer } from "@hullmark/verifier/core/policy/types";
import type { ProvenanceStatus } from "@hullmark/verifier/core/provenance/status";
import { entriesBelow, LayerTree, MergedTree } from "@hullmark/verifier/core/reference-value/index";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { policyOf } from "../fakes/policy.ts";

const common = { uid: 0, gid: 0, xattrs: [] };
const file = (fill: number, mode = 0o644): Buffer => encodeRecord({ type: "f", ...common, mode, size: 1n, sha256: Buffer.alloc(32, fill) });
const merged = MergedTree.of([LayerTree.build([{ path: Buffer.from("f"), record: file(1), implied: false }])]);
const reference: ReferenceImage = {
  ...{ configDigest: "", manifestDigests: [], layers: [], runtimeLayerRoots: [], runtimeMade: () => false },
  config: { env: [], entrypoint: ["/serve"], cmd: [], user: "", workingDirectory: "", volumes: [] },
  merged: (path) => merged.get(path),
  below: (path, limit) => entriesBelow(merged, path, limit),
};

function teamOf(spec: unknown, cluster: Policy): Policy {
  const judged = judgeTeam({ namespace: "shop", spec }, cluster);
  if (!judged.inForce) throw new Error(judged.message);
  return judged.policy;
}

// Names of each kind that configurations have and policies may allow.
const ENV = ["LD_PRELOAD", "TZ", "A"];
const CAPABILITIES = ["NET_ADMIN", "SYS_ADMIN"];
const MOUNTS = ["/data", "/etc/hosts", "/x"];
const HOST = ["pid", "net"] as const;
const SEVERITIES = ["info", "low", "medium", "high", "critical"] as const;
const KINDS = ["env", "capabilities", "content", "added", "mount", "code-upper", "unsigned", "upper/added", "privileged", "read-only-root"] as const;

const some = (names: readonly string[], globs: readonly string[] = []) => fc.uniqueArray(fc.constantFrom(...names, ...globs), { maxLength: 3 });
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
const without = (object: object): object => JSON.parse(JSON.stringify(object)) as object;
const severities = maybe(fc.dictionary(fc.constantFrom(...KINDS), fc.constantFrom(...SEVERITIES), { maxKeys: 4 }));
const allow = fc
  .record({
    env: maybe(some(ENV, ["**", "L*"])),
    capabilities: maybe(some([...CAPABILITIES, "ALL"])),
    mounts: maybe(some(MOUNTS, ["/**"])),
    privileged: maybe(fc.boolean()),
    hostNamespaces: maybe(some(HOST)),
    users: maybe(some(["0", "33"], ["**"])),
    devices: maybe(some(["/dev/fuse"], ["/**"])),
    args: maybe(fc.boolean()),
    workingDirectory: maybe(fc.boolean()),
    seccomp: maybe(some(["unconfined"], ["**"])),
    apparmor: maybe(some(["unconfined"], ["**"])),
    code: maybe(some(["upper", "memfd"])),
    staticPods: maybe(fc.boolean()),
  })
  .map(without);
const required = fc.record({ noNewPrivileges: maybe(fc.boolean()), readOnlyRoot: maybe(fc.boolean()) });
const select = fc.record({ workloads: maybe(some(["shop/cart", "shop/**"])), images: maybe(some(["acme/cart", "other"])) });
const rules = fc
  .array(fc.record({ select, require: required, allow: maybe(allow), severities }), { maxLength: 3 })
  .map((list) => list.map((rule, i) => ({ name: `r${i}`, ...without(rule) })));
const clusterSpec = fc.record({ rules, severities, mutableDefaults: fc.boolean() }).map(without);
const teamSpec = fc.record({ rules, severities, admission: maybe(fc.record({ mode: fc.constantFrom("audit", "warn", "enforce") })) }).map(without);

const configuration = fc.record({
  env: some(ENV).map((names) => names.map((name) => ({ name, digest: Buffer.alloc(32) }))),
  capabilities: some(CAPABILITIES),
  mounts: some(MOUNTS).map((names) => names.map((destination) => ({ destination, type: "bind", source: "/node", declared: destination !== "/x" }))),
  args: fc.constantFrom(["/serve"], ["/other"]),
  user: fc.constantFrom("", "33"),
  workingDirectory: fc.constantFrom("", "/else"),
  seccomp: fc.constantFrom("default", "unconfined"),
  apparmor: fc.constantFrom("", "unconfined"),
  hostNamespaces: some(HOST),
  devices: some(["/dev/fuse"]),
  privileged: fc.boolean(),
  readOnlyRoot: fc.boolean(),
  noNewPrivileges: fc.boolean(),
  unmet: some(["no-new-privileges", "read-only-root", "system-paths"]),
});
const upper = fc.uniqueArray(fc.tuple(fc.constantFrom("f", "tmp/a", "new"), fc.constantFrom(file(1), file(2), file(2, 0o755))), {
  selector: ([path]) => path,
  maxLength: 3,
});
const evidence = fc.record({
  configuration,
  upper,
  code: fc.uniqueArray(fc.constantFrom(CodePlace.UPPER, CodePlace.MEMFD, CodePlace.TMPFS), { maxLength: 2 }),
  claims: some(["measuring", "unmeasurable"]),
  pending: fc.boolean(),
});
const status = fc.constantFrom<ProvenanceStatus>("signed", "unsigned", "wrong-key", "attestation-missing", "revoked", "unknown");
const provenance = fc.record({ status, text: fc.constant(""), required: fc.boolean() });

type Told = typeof evidence extends fc.Arbitrary<infer T> ? T : never;

function input(told: Told, rulesOf: Policy, where: SelectableContainer): Omit<ContainerInput, "provenance"> {
  const objects = told.code.map((place, i) => ({ place, path: Buffer.from(`/code${i}`), pid: i + 1 }));
  const state = {
    id: "c",
    parts: {} as ContainerState["parts"],
    identity: create(ContainerIdentitySchema, { id: "c", pod: { namespace: "shop", name: "cart-1", container: "web" } }),
    configuration: create(ContainerConfigurationSchema, told.configuration as never),
    code: create(CodeSetSchema, { objects }),
    filesystem: create(FilesystemStateSchema, { kind: FilesystemKind.OVERLAY, dialect: "containerd", claims: told.claims.map((code) => ({ code })) }),
    upper: UpperEntries.of(told.upper.map(([path, record]) => ({ path: Buffer.from(path), record, inode: 0n, actor: undefined, changedAtMs: undefined }))),
    upperDelta: undefined,
    removed: new Map(),
  } satisfies ContainerState;
  const measurementDigest = Buffer.alloc(told.pending ? 1 : 0);
  return { state, reference, layerFindings: new Map(), rules: containerRules(rulesOf, where), measurementDigest };
}

const where = (namespace: string): SelectableContainer => ({
  ...{ imageReference: "acme/cart", containerName: `${namespace}/cart-1/web`, workload: `${namespace}/cart`, labels: {}, nodeName: "n" },
});
/** From mild to grave. */
const GRAVITY = [Verdict.AFFIRMING, Verdict.WARNING, Verdict.UNKNOWN, Verdict.CONTRAINDICATED];

test("with a namespace's policy no verdict is milder: every drift stays, none is less grave, and nothing unknown becomes known", () => {
  fc.assert(
    fc.property(clusterSpec, teamSpec, evidence, provenance, maybe(provenance), (clusterText, teamText, told, ofImage, ofTeam) => {
      const cluster = policyOf(clusterText, "cluster");
      const both = withTeams(cluster, { shop: teamOf(teamText, cluster) });
      const before = appraiseContainer({ ...input(told, cluster, where("shop")), provenance: ofImage });
      const after = appraiseContainer({ ...input(told, both, where("shop")), provenance: ofImage, teamProvenance: ofTeam });
      expect(GRAVITY.indexOf(after.verdict)).toBeGreaterThanOrEqual(GRAVITY.indexOf(before.verdict));
      expect(GRAVITY.indexOf(after.content)).toBeGreaterThanOrEqual(GRAVITY.indexOf(before.content));
      for (const { key, severity, notice } of before.findings)
        expect(after.findings.some((each) => each.key === key && each.severity >= severity && (notice || !each.notice))).toBe(true);
      const codes = after.reasons.map(({ code }) => code);
      expect(codes).toEqual(expect.arrayContaining(before.reasons.map(({ code }) => code)));
      // Nor is anything different next door.
      const elsewhere = (policy: Policy) => appraiseContainer({ ...input(told, policy, where("other")), provenance: ofImage });
      const { memo: _, ...there } = elsewhere(both);
      const { memo: __, ...alone } = elsewhere(cluster);
      expect(there).toEqual(alone);
    }),
    { numRuns: 200 },
  );
});

describe("a namespace's policy", () => {
  const cluster = policyOf(
    {
      rules: [{ name: "all", allow: { env: ["TZ", "A"], args: true, capabilities: ["NET_ADMIN"] } }],
      severities: { content: "high" },
      admission: { mode: "warn", namespaces: [{ names: ["shop"], mode: "enforce" }] },
    },
    "cluster",
  );
  const told = (spec: unknown) => {
    const judged = judgeTeam({ namespace: "shop", spec }, cluster);
    return judged.inForce ? judged.idle : judged.message.split("\n");
  };

  test("narrows what it names, and leaves the rest as the cluster has it", () => {
    const team = teamOf({ rules: [{ name: "web", allow: { env: ["TZ"] }, require: { readOnlyRoot: true } }] }, cluster);
    const { allow: allowed, require: wanted } = containerRules(withTeams(cluster, { shop: team }), where("shop"));
    expect([allowed.env("TZ"), allowed.env("A"), allowed.args, allowed.capability("NET_ADMIN"), allowed.privileged]).toEqual([true, false, true, true, false]);
    expect(wanted).toMatchObject({ readOnlyRoot: true, noNewPrivileges: false });
  });

  test("says which of its allowances do nothing, and lower severities and modes", () => {
    expect(
      told({ rules: [{ name: "web", allow: { env: ["TZ", "LD_PRELOAD"], privileged: true, args: true, capabilities: ["CAP_NET_ADMIN"], code: ["memfd"] } }] }),
    ).toEqual([
      `spec.rules[0].allow.env: "LD_PRELOAD" has no effect: no rule of the cluster's policy allows it`,
      "spec.rules[0].allow.privileged: has no effect: no rule of the cluster's policy allows it",
      `spec.rules[0].allow.code: "memfd" has no effect: no rule of the cluster's policy allows it`,
    ]);
    expect(told({ severities: { content: "low", added: "low" }, admission: { mode: "warn" } })).toEqual([
      "spec.severities.content: low has no effect: the cluster's policy says high",
      "spec.admission.mode: warn has no effect: the cluster's policy says enforce",
    ]);
    expect(told({ severities: { content: "critical" }, admission: { mode: "enforce" } })).toEqual([]);
  });

  test.each<[string, unknown, string]>([
    ["what is the cluster's to say", { alerts: { routes: [] } }, "spec.alerts: only the cluster's policy may say this"],
    ["mutable paths", { mutable: [] }, "spec.mutable: only the cluster's"],
    ["break-glass", { admission: { breakGlass: { users: ["**"] } } }, "spec.admission.breakGlass: only the cluster's"],
    ["an engine's init", { rules: [{ name: "a", require: { engineInits: [] } }] }, "spec.rules[0].require.engineInits: only the cluster's"],
    ["a key that nobody knows", { rules: [{ name: "a", alow: {} }] }, 'did you mean "allow"'],
    ["a file of the verifier's", { authorities: [{ name: "a", keyFile: "/etc/passwd" }] }, "authorities"],
    ["an authority of the cluster's", { rules: [{ name: "a", require: { signatures: { authorities: ["release"] } } }] }, "release"],
    ["no map", [], "spec: is not a map"],
    ["rules that are none", { rules: "x" }, "rules"],
    ["an allowance that is none", { rules: [{ name: "a", allow: 1 }] }, "allow"],
    ["too much", { rules: [{ name: "a", select: { images: ["x".repeat(MAX_TEAM_POLICY_BYTES)] } }] }, "may have 65536"],
  ])("is refused with %s, and told why", (_, spec, why) => {
    const judged = judgeTeam({ namespace: "shop", spec }, cluster);
    expect(judged).toMatchObject({ inForce: false, reason: "Refused", message: expect.stringContaining(why) });
  });

  test("counts what the cluster trusts no more as such, whomever it names itself", () => {
    const revoking = policyOf({ revocations: [{ reason: "stolen", digest: `sha256:${"0".repeat(64)}` }] }, "cluster");
    const { teams } = withTeams(revoking, { shop: teamOf({}, revoking) });
    expect(teams["shop"]?.revocations).toEqual(revoking.revocations);
  });
});
