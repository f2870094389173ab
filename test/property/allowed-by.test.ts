/** What `drift show` says would allow a drift does allow it, and nothing else. */
import { create } from "@bufbuild/protobuf";
import { CodeSetSchema, ContainerConfigurationSchema } from "@hullmark/proto/v1/attestation";
import { type Drift, DriftSchema } from "@hullmark/proto/v1/query";
import fc from "fast-check";
import { allowedBy } from "hullmark/output/allowed-by";
import { expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { appraiseBindFiles } from "../../verifier/core/appraisal/appraise-binds.ts";
import { appraiseConfiguration } from "../../verifier/core/appraisal/appraise-configuration.ts";
import { appraiseProcessPrivileges } from "../../verifier/core/appraisal/appraise-privileges.ts";
import type { ContainerInput, Finding, ReferenceImage } from "../../verifier/core/appraisal/types.ts";
import { containerRules } from "../../verifier/core/policy/match.ts";
import { parsePolicy } from "../../verifier/core/policy/parse.ts";

const image = {
  merged: () => undefined,
  config: { env: ["MODE=a"], entrypoint: ["/run"], cmd: [], user: "", workingDirectory: "/app", volumes: [] },
} as unknown as ReferenceImage;

/** A container of which nearly everything differs from the image and the runtime's defaults. */
const configuration = create(ContainerConfigurationSchema, {
  args: ["/run", "--debug"],
  env: ["TERM", "WITH-DASH", "odd name*", "8", "True"].map((name) => ({ name, digest: Buffer.alloc(32) })),
  envKey: Buffer.alloc(32, 1),
  user: "1000:1000",
  workingDirectory: "/srv",
  capabilities: ["NET_ADMIN", "SYS_PTRACE"],
  seccomp: "unconfined",
  apparmor: "unconfined",
  hostNamespaces: ["net", "uts"],
  devices: ["/dev/fuse", "/dev/block/*:*"],
  mounts: [
    { destination: "/proc", declared: true, type: "proc" },
    { destination: "/data", declared: true, type: "bind", source: "/x" },
    { destination: "/odd [*] \\ é", declared: true, type: "bind", source: "/x" },
    { destination: "/later", declared: false, type: "tmpfs" },
    { destination: "/", declared: false, type: "overlay" },
  ],
  unmet: ["system-paths"],
});
const privileged = [{ program: Buffer.from("/bin/p"), capabilities: ["BPF", "SYS_BOOT"], pid: 7, uid: 0, ancestry: [] }];
const bindFiles = [{ destination: "/etc/hosts", mode: 0o644, content: Buffer.alloc(0), sha256: Buffer.alloc(0), declaredSha256: Buffer.alloc(0) }];

function found(fields: readonly string[], runsPrivileged = false): readonly Finding[] {
  const rule: Record<string, Record<string, unknown>> = { allow: {} };
  const spec: Record<string, unknown> = { mutableDefaults: false, rules: [{ name: "all", ...rule, require: { readOnlyRoot: true, noNewPrivileges: true } }] };
  for (const field of fields) {
    const [name = "", ...value] = field.split(": ");
    const parsed = parse(
      value
        .join(": ")
        .replace("name: …", "name: it")
        .replace(/ \(class any.*$/, ""),
    );
    const [part = "", key] = name.split(".");
    const [target] = spec["rules"] as [Record<string, Record<string, unknown>>];
    if (key === undefined) spec[part] = [...((spec[part] as unknown[]) ?? []), ...parsed];
    else if (Array.isArray(parsed)) (target[part] as Record<string, unknown>)[key] = [...((target[part]?.[key] as unknown[]) ?? []), ...parsed];
    else (target[part] as Record<string, unknown>)[key] = parsed;
  }
  const text = stringify({ apiVersion: "hullmark.dev/v1", kind: "Policy", metadata: { name: "p" }, spec });
  const policy = parsePolicy(text, "p.yaml");
  if (!policy.ok) throw new Error(`${JSON.stringify(policy.errors)}\n${text}`);
  const rules = containerRules(policy.policy, { imageReference: "i", containerName: "c", workload: "w", labels: {}, nodeName: "n" });
  const told = { ...configuration, privileged: runsPrivileged };
  const state = { configuration: told, identity: {}, filesystem: { bindFiles, claims: [] }, code: create(CodeSetSchema, { privileged }) };
  const input = { state, rules } as unknown as ContainerInput;
  return [...appraiseConfiguration(input, image), ...appraiseProcessPrivileges(input), ...appraiseBindFiles(input)];
}

function drift({ kind, place, path, differences }: Finding): Drift {
  return create(DriftSchema, { kind, path, differences: differences.map((each) => ({ ...each })), origin: { place, layerIndex: -1 } });
}

const all = found([]);
/** Nobody may allow another root over the whole container. */
const never = all.filter((each) => each.kind === "undeclared-mount" && each.path.length === 1);

test("every difference of a configuration but another root has a field", () => {
  expect(new Set(all.map(({ kind }) => kind)).size).toBeGreaterThan(12);
  expect(all.filter((each) => allowedBy(drift(each)) === undefined)).toEqual(never);
  expect(never).toHaveLength(1);
  expect(found([], true).map((each) => allowedBy(drift(each)))).toContain("allow.privileged: true");
});

test("the fields named allow what they are named for, and nothing that is not named", () => {
  fc.assert(
    fc.property(fc.subarray([...all.keys()].filter((i) => !never.includes(all[i] as Finding))), (chosen) => {
      const fields = chosen.map((i) => allowedBy(drift(all[i] as Finding)) ?? "");
      const left = new Set(found(fields).map(({ key }) => key));
      for (const [i, each] of all.entries()) {
        const named = fields.includes(allowedBy(drift(each)) ?? "-");
        // That a container may do all goes for its processes and for what is hidden from it; capabilities are one list for container and processes.
        const implied = each.key.startsWith("configuration|process|") && fields.includes("allow.privileged: true");
        if (chosen.includes(i) || named || implied) expect(left.has(each.key), `${each.summary}: ${fields.join("; ")}`).toBe(false);
        else expect(left.has(each.key), `${each.summary}: ${fields.join("; ")}`).toBe(true);
      }
    }),
  );
});

test("what policy cannot allow names no field: what a pod's specification does not ask for, layers, what the runtime does not know", () => {
  const one = (kind: string, place: string, field = "content") =>
    allowedBy(create(DriftSchema, { kind, path: Buffer.from("/x"), origin: { place }, differences: [{ field, expected: "a", observed: "b" }] }));
  expect(one("env", "configuration", "spec.containers[web] env A")).toBeUndefined();
  for (const place of ["layer", "runtime-layer"]) for (const kind of ["content", "setuid"]) expect(one(kind, place)).toBeUndefined();
  const odd = (path: string) => allowedBy(create(DriftSchema, { kind: "mount", path: Buffer.from(path, "latin1"), origin: { place: "mount" } }));
  expect([odd("/a\n"), odd("/\xff")]).toEqual([undefined, undefined]);
  for (const kind of ["unlisted", "no-pod", "read-only-root", "code-unknown", "a kind of a later release"]) expect(one(kind, "configuration")).toBeUndefined();
  expect(one("setuid", "upper")).toBe("mutable: [{ name: …, class: any, paths: [/x] }]");
  expect(one("code-memfd", "process")).toBe("allow.code: [memfd]");
});
