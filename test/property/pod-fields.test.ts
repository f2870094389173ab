/** Variables that a pod gives of itself: whatever the kubelet can have given a container is clean however the pod changed since, and anything else is drift that names no value. */
import { create } from "@bufbuild/protobuf";
import { ContainerConfigurationSchema } from "@hullmark/proto/v1/attestation";
import { readPod } from "@hullmark/verifier/adapters/kubernetes/pod-object";
import { parseQuantity, resourceValue } from "@hullmark/verifier/adapters/kubernetes/quantity";
import { environmentDigest } from "@hullmark/verifier/core/appraisal/appraise-configuration";
import { appraiseSpecification } from "@hullmark/verifier/core/appraisal/appraise-specification";
import type { ContainerInput } from "@hullmark/verifier/core/appraisal/types";
import { defaultPolicy } from "@hullmark/verifier/core/policy/index";
import { containerRules } from "@hullmark/verifier/core/policy/match";
import type { PodRecord } from "@hullmark/verifier/ports/pod-view";
import fc from "fast-check";
import { describe, expect, test } from "vitest";

const KEY = Buffer.alloc(32, 7);
const MADE = "2026-11-01T10:00:00Z";
const image = { env: [], entrypoint: [], cmd: [], user: "", workingDirectory: "", volumes: [] };
const rules = containerRules(defaultPolicy(), { imageReference: "i", containerName: "c", workload: "w", labels: {}, nodeName: "n" });
const byField = (fieldPath: string) => ({ name: "X", valueFrom: { fieldRef: { fieldPath } } });
const TIER = byField("metadata.labels['tier']");

interface Version {
  readonly metadata?: object;
  readonly spec?: object;
  readonly status?: object;
  readonly container?: object;
}

const version = (variable: object, { metadata, spec, status, container }: Version = {}) => ({
  metadata: { uid: "u1", namespace: "shop", name: "cart", resourceVersion: "1", creationTimestamp: MADE, ...metadata },
  spec: { nodeName: "n1", serviceAccountName: "robot", ...spec, containers: [{ name: "web", env: [variable], ...container }] },
  status,
});

/** As the API server notes who set what. */
const managed = (time: string, fields: object, made = true) => ({
  manager: "kubectl",
  operation: "Update",
  time,
  fieldsV1: { "f:metadata": fields, ...(made ? { "f:spec": { "f:containers": {} } } : {}) },
});
const tier = (value: string, managedFields?: readonly object[]) => ({ metadata: { labels: { tier: value }, ...(managedFields ? { managedFields } : {}) } });
const OWNING = { "f:labels": { ".": {}, "f:tier": {} } };

/** @returns what is told of variable X where the container has it so, in the newest of the versions; @param first how the first became known */
function told(variable: object, versions: readonly Version[], value: string, first: "made" | undefined, addresses: string[] = []): string[] {
  let record: PodRecord | undefined;
  for (const each of versions) ({ record } = readPod(version(variable, each), record ?? first));
  const configuration = create(ContainerConfigurationSchema, {
    ...{ envKey: KEY, env: [{ name: "X", digest: environmentDigest(KEY, "X", value) }], user: "0", workingDirectory: "/", addresses },
  });
  const pod = { kind: "specified", pod: record, container: record?.containers[0] };
  const findings = appraiseSpecification({ pod, state: { configuration }, rules } as unknown as ContainerInput, image);
  return findings.flatMap(({ summary, differences }) => [
    summary,
    ...differences.map(({ field, expected, observed }) => `${field}: ${expected} → ${observed}`),
  ]);
}
const drift = (field: string): string[] => [
  "environment variable X has not the value of the pod's specification",
  `spec.containers[web] env X: the pod's ${field} → another value`,
];

describe("what never changes is compared whenever the pod became known", () => {
  test.each([
    ["metadata.name", "cart"],
    ["metadata.namespace", "shop"],
    ["metadata.uid", "u1"],
    ["spec.nodeName", "n1"],
    ["spec.serviceAccountName", "robot"],
  ])("%s", (field, value) => {
    expect(told(byField(field), [{}], value, undefined)).toEqual([]);
    expect(told(byField(field), [{}], "hunter2", undefined)).toEqual(drift(field));
    // Only where the pod has it.
    const unscheduled = { spec: { nodeName: "", serviceAccountName: undefined } };
    expect(told(byField("spec.nodeName"), [unscheduled], "any", "made")).toEqual([]);
  });
});

describe("labels and annotations", () => {
  test("of a pod that was followed from its making on: any value that it had, and no other", () => {
    fc.assert(
      fc.property(fc.array(fc.string(), { minLength: 1, maxLength: 12 }), fc.nat(), fc.string(), (values, at, other) => {
        const versions = values.map((value) => tier(value));
        expect(told(TIER, versions, values[at % values.length] ?? "", "made")).toEqual([]);
        expect(told(TIER, versions, other, "made")).toEqual(values.includes(other) ? [] : drift("metadata.labels['tier']"));
        // Known only from some time on: it may have had any before.
        expect(told(TIER, versions, other, undefined)).toEqual([]);
      }),
    );
  });

  test.each<[string, readonly object[], boolean]>([
    ["set when it was made, by what made it", [managed(MADE, OWNING)], true],
    ["beside what others set later", [managed(MADE, OWNING), managed("2026-11-01T11:00:00Z", { "f:labels": { "f:other": {} } }, false)], true],
    ["set later by what made it", [managed("2026-11-01T11:00:00Z", OWNING)], false],
    ["set in the same second by somebody else", [managed(MADE, {}), managed(MADE, OWNING, false)], false],
    ["taken over later", [managed(MADE, OWNING), managed("2026-11-01T11:00:00Z", OWNING, false)], false],
    ["of nobody's", [managed(MADE, { "f:labels": { "f:other": {} } })], false],
    ["of managed fields that are no such", [{ time: 5 }], false],
  ])("of a pod that was there before: %s", (_, managedFields, compared) => {
    expect(told(TIER, [tier("gold", managedFields)], "gold", undefined)).toEqual([]);
    expect(told(TIER, [tier("gold", managedFields)], "hunter2", undefined)).toEqual(compared ? drift("metadata.labels['tier']") : []);
  });

  test("what is kept of all is bounded: what takes more is not compared", () => {
    const [long, short] = [byField("metadata.annotations['note']"), { ...byField("metadata.annotations['other']"), name: "Y" }];
    const note = (text: string) => ({ metadata: { annotations: { note: text.repeat(30_000), other: "1" } } });
    let record: PodRecord | undefined;
    for (const text of ["a", "b"]) ({ record } = readPod(version(long, { ...note(text), container: { env: [long, short] } }), record ?? "made"));
    expect([...(record?.fields.keys() ?? [])]).toEqual(["metadata.annotations['note']", "metadata.annotations['other']"]);
    ({ record } = readPod(version(long, { ...note("c"), container: { env: [long, short] } }), record));
    expect([...(record?.fields.keys() ?? [])]).toEqual(["metadata.annotations['other']"]);
  });

  test("once known to be as made, a later change adds a value", () => {
    const versions = [tier("gold", [managed(MADE, OWNING)]), tier("iron", [managed("2026-11-01T11:00:00Z", OWNING)])];
    for (const value of ["gold", "iron"]) expect(told(TIER, versions, value, undefined)).toEqual([]);
    expect(told(TIER, versions, "hunter2", undefined)).toEqual(drift("metadata.labels['tier']"));
  });

  test("that are not there are empty, where that is known; the kubelet's own annotations are not compared; nor is what changes without end", () => {
    expect(told(TIER, [{}], "", "made")).toEqual([]);
    expect(told(TIER, [{}], "gold", "made")).toHaveLength(2);
    expect(told(TIER, [{}], "gold", undefined)).toEqual([]);
    expect(told(byField("metadata.annotations['kubernetes.io/config.seen']"), [{}], "2026-11-01", "made")).toEqual([]);
    expect(told(byField("metadata.annotations['a.example/b']"), [{ metadata: { annotations: { "a.example/b": "$(NONE)" } } }], "$(NONE)", "made")).toEqual([]);
    const endless = Array.from({ length: 17 }, (_, i) => tier(`${i}`));
    expect(told(TIER, endless, "gold", "made")).toEqual([]);
    expect(told(TIER, endless.slice(1), "gold", "made")).toHaveLength(2);
  });
});

describe("addresses", () => {
  const status = { podIP: "10.1.0.5", podIPs: [{ ip: "10.1.0.5" }, { ip: "fd00::5" }], hostIP: "192.0.2.7", hostIPs: [{ ip: "192.0.2.7" }] };

  test("of the pod's own network: the API server's or those of its sandbox, whichever is told first", () => {
    for (const [field, value] of [
      ["status.podIP", "10.1.0.5"],
      ["status.podIPs", "10.1.0.5,fd00::5"],
    ] as const) {
      expect(told(byField(field), [{ status }], value, undefined)).toEqual([]);
      expect(told(byField(field), [{}], value, undefined, ["10.1.0.5", "fd00::5"])).toEqual([]);
      expect(told(byField(field), [{ status }], "203.0.113.1", undefined)).toEqual(drift(field));
      expect(told(byField(field), [{}], "203.0.113.1", undefined, ["10.1.0.5", "fd00::5"])).toEqual(drift(field));
      expect(told(byField(field), [{}], "203.0.113.1", undefined)).toEqual([]);
    }
    expect(told(byField("status.podIPs"), [{}], "fd00::5,10.1.0.5", undefined, ["10.1.0.5", "fd00::5"])).toEqual([]);
  });

  test("of the node: those that it had since the pod was made", () => {
    for (const [field, spec] of [
      ["status.hostIP", {}],
      ["status.hostIPs", {}],
      ["status.podIP", { hostNetwork: true }],
    ] as const) {
      const [before, after] = ["192.0.2.7", "192.0.2.8"].map((ip) => ({ spec, status: { podIP: ip, hostIP: ip } }));
      const versions = [{ spec }, before ?? {}, after ?? {}];
      for (const value of ["192.0.2.7", "192.0.2.8"]) expect(told(byField(field), versions, value, "made")).toEqual([]);
      expect(told(byField(field), versions, "203.0.113.1", "made")).toEqual(drift(field));
      expect(told(byField(field), versions.slice(0, 1), "203.0.113.1", "made")).toEqual([]);
      expect(told(byField(field), versions, "203.0.113.1", undefined)).toEqual([]);
    }
  });
});

describe("resources", () => {
  const by = (resource: string, divisor?: string) => ({ name: "X", valueFrom: { resourceFieldRef: { resource, ...(divisor ? { divisor } : {}) } } });
  const amounts = (cpu: string) => ({ container: { resources: { limits: { cpu, memory: "128Mi" }, requests: { cpu: "100m" } } } });
  const settled = { metadata: { managedFields: [managed(MADE, {})] } };

  test("are compared, of a container that is named or its own; a limit that is not set is the node's, and so not known", () => {
    expect(told(by("limits.cpu", "1m"), [amounts("1500m")], "1500", "made")).toEqual([]);
    expect(told(by("limits.cpu", "1m"), [amounts("1500m")], "1501", "made")).toEqual(drift("limits.cpu of web by 1m"));
    expect(told(by("limits.memory"), [{ ...amounts("1"), ...settled }], "1", undefined)).toEqual(drift("limits.memory of web by 1"));
    const named = { name: "X", valueFrom: { resourceFieldRef: { containerName: "web", resource: "requests.cpu" } } };
    expect(told(named, [amounts("1")], "2", "made")).toEqual(drift("requests.cpu of web by 1"));
    expect(told({ name: "X", valueFrom: { resourceFieldRef: { containerName: "none", resource: "requests.cpu" } } }, [amounts("1")], "2", "made")).toEqual([]);
    expect(told(by("limits.cpu"), [{}], "64", "made")).toEqual([]);
    expect(told(by("requests.memory"), [{}], "64", "made")).toEqual(drift("requests.memory of web by 1"));
  });

  test("that were changed since: what they were, and what they are", () => {
    const resized = { ...amounts("2"), metadata: { managedFields: [managed(MADE, {}), managed("2026-11-01T11:00:00Z", {})] } };
    for (const value of ["1", "2"]) expect(told(by("limits.cpu"), [{ ...amounts("1"), ...settled }, resized], value, undefined)).toEqual([]);
    expect(told(by("limits.cpu"), [{ ...amounts("1"), ...settled }, resized], "3", undefined)).toHaveLength(2);
    expect(told(by("limits.cpu"), [resized], "3", undefined)).toEqual([]);
  });

  test.each<[string, string, object, string | undefined]>([
    // kubernetes pkg/api/v1/resource/helpers_test.go, TestExtractResourceValue, and apimachinery's forms of a quantity
    ["limits.cpu", "0", { limits: { cpu: "9" } }, "9"],
    ["requests.cpu", "0", { requests: { cpu: "100m" } }, "1"],
    ["requests.cpu", "0", { requests: { cpu: "1200m" } }, "2"],
    ["requests.cpu", "1m", { requests: { cpu: "0.1" } }, "100"],
    ["requests.memory", "0", { requests: { memory: "100Mi" } }, "104857600"],
    ["requests.memory", "1Mi", { requests: { memory: "100Mi" } }, "100"],
    ["requests.memory", "1M", { requests: { memory: "0.5Gi" } }, "537"],
    ["limits.ephemeral-storage", "1Gi", { limits: { "ephemeral-storage": "2e9" } }, "2"],
    ["requests.memory", "0", {}, "0"],
    ["limits.memory", "0", { limits: { memory: "0" } }, undefined],
    ["limits.cpu", "x", { limits: { cpu: "1" } }, undefined],
    ["limits.example.com/gpu", "0", { limits: { "example.com/gpu": "1" } }, undefined],
  ])("%s by %s of %j is %s", (resource, divisor, given, value) => {
    expect(resourceValue(resource, divisor, given)).toBe(value);
  });

  test("an amount has one form for each suffix, and no other text is one", () => {
    const known: Readonly<Record<string, bigint>> = {
      ...{ "1n": 1n, "1u": 1000n, "1.5": 1_500_000_000n, "1Ki": 1_024_000_000_000n, "2E": 2n * 10n ** 27n },
      ...{ "1e3": 10n ** 12n, "1E-3": 10n ** 6n, ".5k": 5n * 10n ** 11n, "+1": 10n ** 9n, "0.1n": 1n },
    };
    for (const [text, value] of Object.entries(known)) expect([text, parseQuantity(text)]).toEqual([text, value]);
    for (const text of ["", ".", "-1", "1 ", "1K", "1mi", "1e", "1e-99", "0x1", "1k1", "9".repeat(65)])
      expect([text, parseQuantity(text)]).toEqual([text, undefined]);
  });
});

describe("ConfigMaps", () => {
  const keyOf = (name: string, optional = false) => ({ name, valueFrom: { configMapKeyRef: { name: "settings", key: "COLOUR", optional } } });
  const whole = (prefix = "", name = "settings", optional = false) => ({ prefix, configMapRef: { name, optional } });
  const secret = (prefix = "") => ({ prefix, secretRef: { name: "token" } });

  function found(container: object, run: Readonly<Record<string, string>>, settings: Readonly<Record<string, string>>, args: readonly string[] = []): string[] {
    const { record } = readPod(version({}, { container: { ...container, env: (container as { env?: object[] }).env ?? [] } }));
    const configuration = create(ContainerConfigurationSchema, {
      ...{ envKey: KEY, user: "0", workingDirectory: "/", args: [...args] },
      env: Object.entries(run).map(([name, value]) => ({ name, digest: environmentDigest(KEY, name, value) })),
    });
    const configMaps = new Map([["settings", new Map(Object.entries(settings))]]);
    const pod = { kind: "specified", pod: record, container: record.containers[0], configMaps };
    const findings = appraiseSpecification({ pod, state: { configuration }, rules } as unknown as ContainerInput, image);
    return findings.flatMap(({ differences }) =>
      differences.map(({ field, expected, observed }) => `${field.replace(/^.*\] /, "")}: ${expected} → ${observed}`),
    );
  }

  test("what is known of one is compared, what is not has any value", () => {
    expect(found({ env: [keyOf("X")] }, { X: "blue" }, { COLOUR: "blue" })).toEqual([]);
    expect(found({ env: [keyOf("X")] }, { X: "hunter2" }, { COLOUR: "blue" })).toEqual(["env X: the value of ConfigMap settings → another value"]);
    expect(found({ env: [keyOf("X")] }, { X: "hunter2" }, {})).toEqual([]);
    expect(found({ env: [keyOf("X")] }, {}, { COLOUR: "blue" })).toEqual(["env X: set → absent"]);
    expect(found({ env: [keyOf("X", true)] }, {}, { COLOUR: "blue" })).toEqual([]);
    // The kubelet puts references in only where a value is written in the specification.
    expect(found({ env: [{ name: "A", value: "a" }, keyOf("X")] }, { A: "a", X: "$(A)" }, { COLOUR: "$(A)" })).toEqual([]);
  });

  test("of a whole one each variable by its prefix, unless a later source may have set it", () => {
    const settings = { COLOUR: "blue", "with space": "1" };
    expect(found({ envFrom: [whole("APP_")] }, { APP_COLOUR: "blue", APP_MORE: "1" }, settings)).toEqual([]);
    expect(found({ envFrom: [whole("APP_")] }, { APP_COLOUR: "hunter2" }, settings)).toEqual([
      "env APP_COLOUR: the value of ConfigMap settings → another value",
    ]);
    expect(found({ envFrom: [whole()] }, {}, settings)).toEqual(["env COLOUR: set → absent"]);
    expect(found({ envFrom: [whole("", "settings", true)] }, {}, settings)).toEqual([]);
    expect(found({ envFrom: [whole("", "settings", true)] }, { COLOUR: "hunter2" }, settings)).toHaveLength(1);
    for (const later of [secret(), secret("COL"), whole("", "other")]) expect(found({ envFrom: [whole(), later] }, { COLOUR: "any" }, settings)).toEqual([]);
    expect(found({ envFrom: [whole(), secret("APP_")] }, { COLOUR: "any" }, settings)).toHaveLength(1);
    expect(found({ envFrom: [secret(), whole()] }, { COLOUR: "any" }, settings)).toHaveLength(1);
    expect(found({ envFrom: [whole()], env: [{ name: "COLOUR", value: "red" }] }, { COLOUR: "red" }, settings)).toEqual([]);
  });

  test("a command that refers to one is compared with it, and told without its value", () => {
    const container = { command: ["/run", "--colour=$(X)"], env: [keyOf("X"), { name: "Y", value: "<$(X)>" }], args: ["$(Y)"] };
    const run = { X: "blue", Y: "<blue>" };
    expect(found(container, run, { COLOUR: "blue" }, ["/run", "--colour=blue", "<blue>"])).toEqual([]);
    expect(found(container, run, { COLOUR: "blue" }, ["/run", "--colour=red", "<blue>"])).toEqual([
      'args: "/run" "--colour=…" "<…>" → "/run" "--colour=red" "<blue>"',
    ]);
    expect(found(container, { ...run, Y: "<red>" }, { COLOUR: "blue" }, ["/run", "--colour=blue", "<blue>"])).toEqual([
      "env Y: the specification's value → another value",
    ]);
  });
});
