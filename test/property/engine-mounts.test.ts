import { create } from "@bufbuild/protobuf";
import { encodeRecord } from "@hullmark/proto/codec";
import { CodePlace, CodeSetSchema, type ContainerConfiguration, type Mount } from "@hullmark/proto/v1/attestation";
import { DriftSchema } from "@hullmark/proto/v1/query";
import { allowedBy } from "hullmark/output/allowed-by";
import { expect, test } from "vitest";
import { appraiseCode } from "../../verifier/core/appraisal/appraise-code.ts";
import { engineInitPath, resolveInImage } from "../../verifier/core/appraisal/engine-mounts.ts";
import type { ContainerState, ReferenceImage } from "../../verifier/core/appraisal/types.ts";
import { UpperEntries } from "../../verifier/core/appraisal/upper-entries.ts";
import { defaultPolicy } from "../../verifier/core/policy/default.ts";
import { containerRules } from "../../verifier/core/policy/match.ts";

/** An image of directories and links only. */
function image(links: Readonly<Record<string, string>>): ReferenceImage {
  const merged = (path: Buffer) => {
    const target = links[path.toString()];
    const common = { mode: 0o777, uid: 0, gid: 0, xattrs: [] };
    return target === undefined ? undefined : { record: encodeRecord({ type: "l", target: Buffer.from(target), ...common }), layerIndex: 0, implied: false };
  };
  return { merged } as unknown as ReferenceImage;
}

const debian = image({ sbin: "usr/sbin", "var/run": "/run", "a/b": "../c", loop: "loop", up: "../../etc" });

test.each([
  ["/sbin/docker-init", "/usr/sbin/docker-init"],
  ["/var/run/secrets/kubernetes.io", "/run/secrets/kubernetes.io"],
  ["/a/b/file", "/c/file"],
  ["/up/hosts", "/etc/hosts"],
  ["/data//x/./y", "/data/x/y"],
  ["/", "/"],
])("%s is mounted at %s", (declared, shown) => {
  expect(resolveInImage(debian, declared)).toBe(shown);
});

test("links that lead to themselves end", () => {
  expect(resolveInImage(debian, "/loop/x")).toMatch(/x$/);
});

test("only the engine's own init is its init: no user's mount at its place, and none that nobody declared", () => {
  const mount = (type: string, declared = true, destination = "/sbin/docker-init"): Mount =>
    ({ type, declared, destination, source: "/usr/bin/docker-init", options: ["ro"] }) as unknown as Mount;
  const path = (...mounts: Mount[]) => engineInitPath({ mounts } as unknown as ContainerConfiguration, debian);
  expect(path(mount("engine-init"))).toBe("/usr/sbin/docker-init");
  expect(path(mount("bind"))).toBeUndefined();
  expect(path(mount("engine-init", false))).toBeUndefined();
  expect(path(mount("engine-init", true, "/usr/bin/tool"))).toBeUndefined();
  expect(path()).toBeUndefined();
});

test("where policy lists inits, another program in its place is told, whatever code policy allows from volumes", () => {
  const mounts = [{ type: "engine-init", declared: true, destination: "/sbin/docker-init" }];
  const told = (digest: number | undefined, engineInits: readonly string[], path = "/usr/sbin/docker-init") => {
    const policy = defaultPolicy();
    const [rule] = policy.rules;
    if (!rule) throw new Error("the default policy has no rule");
    const changed = { ...rule, protections: { ...rule.protections, engineInits }, allow: { ...rule.allow, code: ["volume" as const] } };
    const rules = containerRules({ ...policy, rules: [changed] }, { imageReference: "i", containerName: "c", workload: "w", labels: {}, nodeName: "n" });
    const sha256 = digest === undefined ? Buffer.alloc(0) : Buffer.alloc(32, digest);
    const code = create(CodeSetSchema, { objects: [{ place: CodePlace.VOLUME, path: Buffer.from(path), sha256, mainExecutable: true, pid: 1 }] });
    const state = { configuration: { mounts }, code, upper: UpperEntries.EMPTY } as unknown as ContainerState;
    return appraiseCode(state, debian, rules).findings.map(({ kind, place, differences }) => ({ kind, place, differences: [...differences] }));
  };
  const hex = (digest: number) => Buffer.alloc(32, digest).toString("hex");
  expect(told(1, [])).toEqual([]);
  expect(told(1, [hex(2), hex(1)])).toEqual([]);
  expect(told(3, [hex(1)], "/data/tool")).toEqual([]);
  const [other] = told(3, [hex(1)]);
  expect(other).toMatchObject({ kind: "code-volume", place: "process", differences: [{ expected: "listed in require.engineInits" }, { observed: hex(3) }] });
  const drift = (found: ReturnType<typeof told>[number] | undefined) => create(DriftSchema, { kind: found?.kind ?? "", differences: found?.differences ?? [] });
  expect(allowedBy(drift(other))).toBe(`require.engineInits: ["${hex(3)}"]`);
  // One that could not be read is not taken for a listed one.
  const [unread] = told(undefined, [hex(1)]);
  expect(unread).toMatchObject({ kind: "code-volume" });
  expect(allowedBy(drift(unread))).toBeUndefined();
});
