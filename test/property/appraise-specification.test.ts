/** What a container is run with, against its pod's specification: what the kubelet makes of a specification is clean, and each change of it is told with its place. */
import { create } from "@bufbuild/protobuf";
import { ContainerConfigurationSchema } from "@hullmark/proto/v1/attestation";
import { readPod } from "@hullmark/verifier/adapters/kubernetes/pod-object";
import { environmentDigest } from "@hullmark/verifier/core/appraisal/appraise-configuration";
import { appraiseSpecification } from "@hullmark/verifier/core/appraisal/appraise-specification";
import type { ContainerInput } from "@hullmark/verifier/core/appraisal/types";
import { expand, matches, shown } from "@hullmark/verifier/core/pods/expand";
import { EVERYTHING, OBSERVED_ALLOWANCES } from "@hullmark/verifier/core/policy/default";
import { defaultPolicy } from "@hullmark/verifier/core/policy/index";
import { containerRules } from "@hullmark/verifier/core/policy/match";
import fc from "fast-check";
import { describe, expect, test } from "vitest";

const KEY = Buffer.alloc(32, 7);
/** What the kubelet keeps of the pod. */
const KEPT = "/var/lib/kubelet/pods/u1";
const image = { env: ["PATH=/bin", "MODE=image"], entrypoint: ["/entry"], cmd: ["serve"], user: "", workingDirectory: "/srv", volumes: ["/volume"] };
// Everything is allowed: what a specification may ask for beyond the image does not excuse what it does not ask for.
const policy = { ...defaultPolicy(), loaded: true, rules: defaultPolicy().rules.map((rule) => ({ ...rule, select: EVERYTHING, allow: OBSERVED_ALLOWANCES })) };
const rules = containerRules(policy, { imageReference: "i", containerName: "c", workload: "w", labels: {}, nodeName: "n" });

interface Run {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly user?: string;
  readonly workingDirectory?: string;
  readonly mounts?: readonly {
    readonly destination: string;
    readonly type: string;
    readonly options?: readonly string[];
    readonly declared?: boolean;
    readonly source?: string;
    readonly askedSource?: string;
  }[];
  readonly supplementaryGroups?: readonly number[];
  readonly capabilities?: readonly string[];
  readonly privileged?: boolean;
  readonly readOnlyRoot?: boolean;
  readonly noNewPrivileges?: boolean;
  readonly seccomp?: string;
  readonly hostNamespaces?: readonly string[];
  readonly devices?: readonly string[];
}

/** @param container its part of the specification, as the API has it @param run what the runtime has, beyond what a kubelet gives every container */
function told(container: object, run: Run = {}, spec: object = {}): string[] {
  const { record } = readPod({
    metadata: { uid: "u1", namespace: "shop", name: "cart", resourceVersion: "1" },
    spec: { nodeName: "n1", serviceAccountName: "default", ...spec, containers: [{ name: "web", ...container }] },
  });
  const env = { PATH: "/bin", MODE: "image", HOSTNAME: "cart", KUBERNETES_SERVICE_HOST: "10.0.0.1", ...run.env };
  const mounts = [
    { destination: "/proc", type: "proc", declared: true },
    { destination: "/dev/shm", type: "kubelet", declared: true },
    { destination: "/volume", type: "volume", declared: true },
    ...(run.mounts ?? []).map((mount) => ({ declared: true, ...mount, options: [...(mount.options ?? [])] })),
  ];
  const configuration = create(ContainerConfigurationSchema, {
    ...{ args: [...(run.args ?? ["/entry", "serve"])], envKey: KEY, user: run.user ?? "0", workingDirectory: run.workingDirectory ?? "/srv", mounts },
    env: Object.entries(env).map(([name, value]) => ({ name, digest: environmentDigest(KEY, name, value) })),
    ...{ capabilities: [...(run.capabilities ?? ["CHOWN", "KILL"])], privileged: run.privileged === true, readOnlyRoot: run.readOnlyRoot === true },
    ...{ noNewPrivileges: run.noNewPrivileges === true, seccomp: run.seccomp ?? "unconfined", hostNamespaces: [...(run.hostNamespaces ?? [])] },
    devices: [...(run.devices ?? [])],
    supplementaryGroups: (run.supplementaryGroups ?? []).map(BigInt),
  });
  const pod = { kind: "specified", pod: record, container: record.containers[0] };
  const findings = appraiseSpecification({ pod, state: { configuration }, rules } as unknown as ContainerInput, image);
  return findings.flatMap(({ kind, differences }) => differences.map(({ field, expected, observed }) => `${kind}: ${field}: ${expected} → ${observed}`));
}

describe("the command", () => {
  test.each<[object, readonly string[]]>([
    [{}, ["/entry", "serve"]],
    [{ args: ["other"] }, ["/entry", "other"]],
    [{ command: ["/own"] }, ["/own"]],
    [{ command: ["/own"], args: ["a", "b"] }, ["/own", "a", "b"]],
    [
      {
        args: ["$(WHO) $(NONE) $$(WHO) $", "$(POD)"],
        env: [
          { name: "WHO", value: "me" },
          { name: "POD", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
        ],
      },
      ["/entry", "me $(NONE) $(WHO) $", "cart"],
    ],
    [{ args: ["--ip=$(IP);"], env: [{ name: "IP", valueFrom: { fieldRef: { fieldPath: "status.podIP" } } }] }, ["/entry", "--ip=10.1.2.3;"]],
    [{ args: ["$(ANY)"], envFrom: [{ configMapRef: { name: "x" } }] }, ["/entry", "whatever"]],
  ])("%j is run as %j", (container, args) => {
    const env: Record<string, string> = {};
    for (const { name, value } of (container as { env?: { name: string; value?: string }[] }).env ?? [])
      env[name] = value ?? (name === "POD" ? "cart" : "10.1.2.3");
    expect(told(container, { args, env })).toEqual([]);
    expect(told(container, { args: [...args, "--debug"], env })).toMatchObject([expect.stringMatching(/^args: spec\.containers\[web\] args: /)]);
    expect(told(container, { args: ["/bin/sh", ...args.slice(1)], env })).toHaveLength(1);
  });

  test("directory and user are the specification's, else the image's", () => {
    expect(told({ workingDir: "/tmp/" }, { workingDirectory: "/tmp" })).toEqual([]);
    expect(told({ workingDir: "/tmp" })).toEqual(["working-directory: spec.containers[web] working-directory: /tmp → /srv"]);
    expect(told({ securityContext: { runAsUser: 33 } }, { user: "33" }, { securityContext: { runAsUser: 5, runAsGroup: 6 } })).toEqual([
      "user: spec.containers[web] user: 33:6 → 33",
    ]);
    expect(told({ securityContext: { runAsUser: 33 } }, { user: "33:6" }, { securityContext: { runAsUser: 5, runAsGroup: 6 } })).toEqual([]);
    expect(told({ securityContext: { runAsUser: 33 } })).toEqual(["user: spec.containers[web] user: 33 → 0"]);
    expect(told({}, { user: "0:0" })).toEqual([]);
    expect(told({}, { user: "33" })).toEqual(["user: spec.containers[web] user: 0 → 33"]);
  });
});

describe("variables", () => {
  const env = [
    { name: "COLOUR", value: "blue" },
    { name: "BOTH", value: "$(COLOUR)-$(NONE)" },
    { name: "TOKEN", valueFrom: { secretKeyRef: { name: "s", key: "k" } } },
    { name: "NODE", valueFrom: { fieldRef: { fieldPath: "spec.nodeName" } } },
    { name: "EMPTY" },
  ];
  const run = { COLOUR: "blue", BOTH: "blue-$(NONE)", TOKEN: "any", NODE: "n1", EMPTY: "" };

  test("are what the specification says, a Secret's by name only, whatever policy allows", () => {
    expect(told({ env }, { env: run })).toEqual([]);
    expect(told({ env }, { env: { ...run, COLOUR: "red" } })).toEqual(["env: spec.containers[web] env COLOUR: the specification's value → another value"]);
    expect(told({ env }, { env: { ...run, NODE: "n2" } })).toHaveLength(1);
    expect(told({ env }, { env: { ...run, LD_PRELOAD: "/x.so" } })).toEqual(["env: spec.containers[web] env LD_PRELOAD: absent → set"]);
    const { TOKEN: _, ...without } = run;
    expect(told({ env }, { env: without })).toEqual(["env: spec.containers[web] env TOKEN: set → absent"]);
  });

  test.each(["configMapKeyRef", "secretKeyRef", "fileKeyRef"])("of an optional %s may be missing, and have any value", (source) => {
    const optional = [{ name: "MAYBE", valueFrom: { [source]: { name: "s", key: "k", optional: true } } }];
    expect(told({ env: optional })).toEqual([]);
    expect(told({ env: optional }, { env: { MAYBE: "any" } })).toEqual([]);
    expect(told({ env: [{ name: "MAYBE", valueFrom: { [source]: { name: "s", key: "k" } } }] })).toHaveLength(1);
  });

  test("of a whole ConfigMap are taken by their prefix, but none by which code is loaded", () => {
    const envFrom = [{ prefix: "APP_", configMapRef: { name: "settings" } }];
    expect(told({ envFrom }, { env: { APP_ONE: "1" } })).toEqual([]);
    expect(told({ envFrom }, { env: { ONE: "1" } })).toHaveLength(1);
    expect(told({ envFrom: [{ secretRef: { name: "s" } }] }, { env: { LD_PRELOAD: "x", ONE: "1" } })).toEqual([
      "env: spec.containers[web] env LD_PRELOAD: absent → set",
    ]);
  });

  test("that a device plug-in adds are policy's matter", () => {
    expect(told({ resources: { limits: { "example.com/gpu": "1", cpu: "1" } } }, { env: { VISIBLE: "all" } })).toEqual([]);
    expect(told({ resources: { limits: { cpu: "1", memory: "1Gi" } } }, { env: { VISIBLE: "all" } })).toHaveLength(1);
  });
});

describe("rights", () => {
  test.each<[string, object, object, Run, string[]]>([
    ["privileged unasked", {}, {}, { privileged: true }, ["privileged"]],
    ["privileged as asked", { privileged: true }, {}, { privileged: true, capabilities: ["SYS_ADMIN"], seccomp: "unconfined" }, []],
    ["a capability unasked", {}, {}, { capabilities: ["CHOWN", "SYS_ADMIN"] }, ["capabilities"]],
    ["a capability as asked", { capabilities: { add: ["CAP_SYS_ADMIN"], drop: ["ALL"] } }, {}, { capabilities: ["SYS_ADMIN"] }, []],
    ["one that was to be dropped", { capabilities: { drop: ["ALL"] } }, {}, { capabilities: ["CHOWN"] }, ["capabilities"]],
    ["all but one", { capabilities: { add: ["ALL"], drop: ["NET_RAW"] } }, {}, { capabilities: ["SYS_ADMIN", "NET_RAW"] }, ["capabilities"]],
    ["a root that is to be read-only", { readOnlyRootFilesystem: true }, {}, {}, ["read-only-root"]],
    ["escalation that is forbidden", { allowPrivilegeEscalation: false }, {}, {}, ["no-new-privileges"]],
    ["both held", { readOnlyRootFilesystem: true, allowPrivilegeEscalation: false }, {}, { readOnlyRoot: true, noNewPrivileges: true }, []],
    ["no seccomp where the pod has one", {}, { securityContext: { seccompProfile: { type: "RuntimeDefault" } } }, {}, ["seccomp"]],
    ["the container's own seccomp", { seccompProfile: { type: "Unconfined" } }, { securityContext: { seccompProfile: { type: "RuntimeDefault" } } }, {}, []],
    ["the node's network unasked", {}, {}, { hostNamespaces: ["net", "uts"] }, ["host-namespace", "host-namespace"]],
    ["the node's network as asked", {}, { hostNetwork: true, hostPID: true, hostIPC: true }, { hostNamespaces: ["net", "uts", "pid", "ipc"] }, []],
  ])("%s", (_, securityContext, spec, run, kinds) => {
    expect(told({ securityContext }, run, spec).map((line) => line.split(":", 1)[0])).toEqual(kinds);
  });
});

describe("volumes", () => {
  const volumes = [
    { name: "scratch", emptyDir: {} },
    { name: "settings", configMap: { name: "settings" } },
    { name: "node", hostPath: { path: "/etc" } },
    { name: "claim", persistentVolumeClaim: { claimName: "c" } },
    { name: "driver", csi: { driver: "x" } },
  ];
  const volumeMounts = [
    { name: "scratch", mountPath: "/scratch/" },
    { name: "settings", mountPath: "/app/one.conf", subPath: "one.conf", readOnly: true },
    { name: "node", mountPath: "/node" },
    { name: "claim", mountPath: "/claim" },
    { name: "driver", mountPath: "/driver" },
  ];
  const mounts = [
    { destination: "/scratch", type: "pod-empty-dir", options: ["rw"], source: `${KEPT}/volumes/kubernetes.io~empty-dir/scratch` },
    { destination: "/app/one.conf", type: "pod-configmap", options: ["rbind", "ro"], source: `${KEPT}/volume-subpaths/settings/web/1` },
    // /etc is a link on this node.
    { destination: "/node", type: "bind", source: "/private/etc", askedSource: "/etc/" },
    { destination: "/claim", type: "pod-volume", source: `${KEPT}/volumes/kubernetes.io~csi/pvc-1/mount` },
    { destination: "/driver", type: "pod-volume", source: `${KEPT}/volumes/kubernetes.io~csi/driver/mount` },
  ];

  test("are where the specification has them, and no others", () => {
    expect(told({ volumeMounts }, { mounts }, { volumes })).toEqual([]);
    expect(told({ volumeMounts }, { mounts: [...mounts, { destination: "/entry", type: "pod-empty-dir" }] }, { volumes })).toEqual([
      "mount: spec.containers[web] mount: absent → pod-empty-dir from ",
    ]);
    expect(told({}, { mounts: [{ destination: "/host", type: "bind" }] })).toHaveLength(1);
    expect(told({ volumeMounts }, { mounts: mounts.slice(1) }, { volumes })).toEqual([
      "mount: spec.containers[web] mount scratch: volume scratch (emptyDir) → absent",
    ]);
  });

  test("of the kubelet's own files only where it mounts them", () => {
    const kubelet = (destination: string) => ({ mounts: [{ destination, type: "kubelet" }] });
    for (const path of ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/termination-log"]) expect(told({}, kubelet(path)), path).toEqual([]);
    expect(told({}, kubelet("/entry"))).toEqual(["mount: spec.containers[web] mount: absent → kubelet from "]);
    expect(told({ terminationMessagePath: "/last/" }, kubelet("/last"))).toEqual([]);
    expect(told({ terminationMessagePath: "/last" }, kubelet("/dev/termination-log"))).toHaveLength(1);
  });

  test("that are raw are devices, and no other device is given", () => {
    const volumeDevices = [{ name: "disk", devicePath: "/dev/xvda/" }];
    expect(told({ volumeDevices }, { devices: ["/dev/xvda"] })).toEqual([]);
    expect(told({ volumeDevices })).toEqual(["device-node: spec.containers[web] device-node /dev/xvda: a raw volume → absent"]);
    expect(told({}, { devices: ["/dev/sda"] })).toEqual(["device-node: spec.containers[web] device-node /dev/sda: absent → /dev/sda"]);
    expect(told({ resources: { limits: { "example.com/gpu": "1" } } }, { devices: ["/dev/gpu0"] })).toEqual([]);
    expect(told({ securityContext: { privileged: true } }, { privileged: true, devices: ["/dev/sda"], seccomp: "unconfined" })).toEqual([]);
  });

  test("of another kind, or for writing, are told", () => {
    const change = (at: number, more: object) =>
      told({ volumeMounts }, { mounts: mounts.map((mount, i) => (i === at ? { ...mount, ...more } : mount)) }, { volumes });
    expect(change(0, { type: "bind", source: "/srv" })).toEqual(["mount: spec.containers[web] mount scratch: volume scratch (emptyDir) → bind from /srv"]);
    expect(change(1, { options: ["rbind", "rw"] })).toEqual([
      "mount: spec.containers[web] mount settings: volume settings (configMap), read-only → mounted for writing",
    ]);
  });
});

describe("where a volume comes from", () => {
  const volumes = [
    { name: "one", configMap: { name: "one" } },
    { name: "two", configMap: { name: "two" } },
    { name: "node", hostPath: { path: "/srv/data" } },
    { name: "claim", persistentVolumeClaim: { claimName: "c" } },
  ];
  const of = (volume: object, mount: object) =>
    told({ volumeMounts: [{ mountPath: "/in", ...volume }] }, { mounts: [{ destination: "/in", type: "bind", ...mount }] }, { volumes });
  const whole = (name: string) => ({ type: "pod-configmap", source: `${KEPT}/volumes/kubernetes.io~configmap/${name}` });
  const part = (type: string, path: string) => ({ type, source: `${KEPT}/volume-subpaths/${path}` });

  test.each<[string, object, object]>([
    ["as it is", { name: "one" }, whole("one")],
    ["a part of it", { name: "one", subPath: "a" }, part("pod-configmap", "one/web/0")],
    ["a part by expression", { name: "one", subPathExpr: "$(A)" }, part("pod-configmap", "one/web/0")],
    ["a path", { name: "node" }, { source: "/srv/data", askedSource: "/srv/data" }],
    ["a path behind a link", { name: "node" }, { source: "/mnt/1", askedSource: "/srv/data/" }],
    ["a path, of which the runtime does not tell what it was asked", { name: "node" }, { source: "/mnt/1" }],
    ["a part of a path", { name: "node", subPath: "a" }, part("bind", "node/web/0")],
    ["a claim, whose volume has a name of its own", { name: "claim" }, { type: "pod-volume", source: `${KEPT}/volumes/kubernetes.io~csi/pvc-1/mount` }],
    ["a part of a claim", { name: "claim", subPath: "a" }, part("pod-volume", "pvc-1/web/0")],
  ])("%s: clean", (_, volume, mount) => expect(of(volume, mount)).toEqual([]));

  test.each<[string, object, object]>([
    ["another volume of the same kind", { name: "one" }, whole("two")],
    ["a directory within it", { name: "one" }, whole("one/..data")],
    ["a part instead of it", { name: "one" }, part("pod-configmap", "one/web/0")],
    ["all of it instead of a part", { name: "one", subPath: "a" }, whole("one")],
    ["a part of another", { name: "one", subPath: "a" }, part("pod-configmap", "two/web/0")],
    ["another container's part", { name: "one", subPath: "a" }, part("pod-configmap", "one/other/0")],
    ["another part", { name: "one", subPath: "a" }, part("pod-configmap", "one/web/1")],
    ["another path", { name: "node" }, { source: "/etc", askedSource: "/etc" }],
    ["a path that reads as it is", { name: "node" }, { source: "/srv/data", askedSource: "/link/../srv/data" }],
    ["a path instead of a part of one", { name: "node", subPath: "a" }, { source: "/srv/data/a", askedSource: "/srv/data/a" }],
    ["another part of a claim", { name: "claim", subPath: "a" }, part("pod-volume", "pvc-1/web/7")],
  ])("%s: told", (_, volume, mount) => expect(of(volume, mount)).toEqual([expect.stringMatching(/^mount: spec\.containers\[web\] mount /)]));
});

describe("supplementary groups", () => {
  const spec = { securityContext: { supplementalGroups: [3000], fsGroup: 2000 } };

  test("are those of the pod, and no others", () => {
    expect(told({}, { supplementaryGroups: [2000, 3000] }, spec)).toEqual([]);
    expect(told({}, { supplementaryGroups: [0, 2000] }, spec)).toEqual(["user: spec.containers[web] user group 0: absent → group 0"]);
  });

  test("are not known where a claim may bring some", () => {
    const volumes = [{ name: "claim", persistentVolumeClaim: { claimName: "c" } }];
    const mounts = [{ destination: "/claim", type: "pod-volume" }];
    expect(told({ volumeMounts: [{ name: "claim", mountPath: "/claim" }] }, { mounts, supplementaryGroups: [7] }, { volumes })).toEqual([]);
  });
});

describe("references", () => {
  /** The kubelet's own algorithm in other words: character by character. */
  function naive(text: string, values: Readonly<Record<string, string>>): string {
    let out = "";
    for (let i = 0; i < text.length; i++) {
      if (text[i] !== "$" || i + 1 === text.length) out += text[i];
      else if (text[i + 1] === "$") out += text[i++];
      else if (text[i + 1] === "(" && text.slice(i).includes(")")) {
        const name = text.slice(i + 2, text.indexOf(")", i));
        out += Object.hasOwn(values, name) ? values[name] : `$(${name})`;
        i = text.indexOf(")", i);
      } else out += `$${text[++i]}`;
    }
    return out;
  }
  const text = fc.array(fc.constantFrom("$", "(", ")", "A", "B", "x", "$(A)", "$(B)", "$$")).map((parts) => parts.join(""));

  test("are put in as the kubelet does", () => {
    fc.assert(
      fc.property(text, fc.record({ A: fc.constantFrom("", "1", "$(B)"), B: fc.constantFrom("x", ")") }, { requiredKeys: [] }), (written, values) => {
        const pattern = expand(written, (name) => (Object.hasOwn(values, name) ? [(values as Record<string, string>)[name]] : null));
        expect(shown(pattern)).toBe(naive(written, values as Record<string, string>));
        expect(matches(pattern, naive(written, values as Record<string, string>))).toBe(true);
      }),
    );
  });

  test("to what is not known match any value, and nothing else", () => {
    const letters = fc.array(fc.constantFrom("a", "b", "ab"), { maxLength: 6 }).map((parts) => parts.join(""));
    const parts = fc.array(fc.oneof(letters, fc.constant(undefined)), { maxLength: 6 });
    fc.assert(
      fc.property(parts, letters, (pattern, observed) => {
        const expression = new RegExp(`^${pattern.map((part) => part ?? ".*").join("")}$`);
        expect(matches(pattern, observed)).toBe(expression.test(observed));
      }),
    );
  });
});
