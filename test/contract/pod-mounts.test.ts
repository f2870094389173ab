/** Mounts of a pod's container from what runtime and kernel tell to what is said of them; the lines are those of runc 1.1 for a configuration as containerd makes it. */
import { create, fromBinary } from "@bufbuild/protobuf";
import { encodeRecord } from "@hullmark/proto/codec";
import { ContainerSchema, ContainerStatusSchema } from "@hullmark/proto/cri";
import { ContainerConfigurationSchema } from "@hullmark/proto/v1/attestation";
import { describe, expect, test } from "vitest";
import { containerFacts } from "../../agent/adapters/cri/container-facts.ts";
import { bindKind, SUBPATH } from "../../agent/adapters/cri/mount-kind.ts";
import { FirstMounts } from "../../agent/core/first-mounts.ts";
import { parseMountInfo } from "../../agent/core/mountinfo.ts";
import { configurationPart } from "../../agent/core/parts.ts";
import { appraiseConfiguration } from "../../verifier/core/appraisal/appraise-configuration.ts";
import type { ContainerInput, ReferenceImage } from "../../verifier/core/appraisal/types.ts";
import { defaultPolicy, EVERYTHING, NO_ALLOWANCES } from "../../verifier/core/policy/default.ts";
import { containerRules } from "../../verifier/core/policy/match.ts";
import type { Policy } from "../../verifier/core/policy/types.ts";

const UID = "0b0a4b4e-3f5d-4ff0-8a5e-3f2f0e7f2a11";
const OWNER = { containerId: "b".repeat(64), sandboxId: "a".repeat(64), podUid: UID, kubeletDirectory: "/var/lib/kubelet" };
const KEPT = `/var/lib/kubelet/pods/${UID}`;
const SANDBOX = `/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/${OWNER.sandboxId}`;
const POD = { namespace: "shop", name: "web", uid: UID, container: "web", ownerKind: "Pod", ownerName: "web" };

const volume = (kind: string, name: string): string => `${KEPT}/volumes/kubernetes.io~${kind}/${name}`;
/** Where the runtime was asked to mount what, in the order of its configuration. */
const DECLARED: readonly (readonly [destination: string, source: string])[] = [
  ["/etc/hosts", `${KEPT}/etc-hosts`],
  ["/dev/termination-log", `${KEPT}/containers/web/1f2e3d4c`],
  ["/etc/hostname", `${SANDBOX}/hostname`],
  ["/etc/resolv.conf", `${SANDBOX}/resolv.conf`],
  ["/dev/shm", `/run/containerd/io.containerd.grpc.v1.cri/sandboxes/${OWNER.sandboxId}/shm`],
  // The kubelet passes a path on as the pod's specification writes it.
  ["/data/", volume("empty-dir", "data")],
  ["/data/inner", volume("secret", "key")],
  ["//two//names/", volume("configmap", "names")],
  // A folder after one that lies in it: it covers that one.
  ["/deep/under", volume("empty-dir", "under")],
  ["/deep", volume("empty-dir", "deep")],
  ["/app/one.conf", `${KEPT}/volume-subpaths/settings/web/0`],
  // The image's /var/run leads to /run.
  ["/var/run/secrets/kubernetes.io/serviceaccount", volume("projected", "kube-api-access-x")],
];
const KERNEL = { "/proc": "proc", "/dev": "tmpfs", "/dev/pts": "devpts", "/dev/mqueue": "mqueue", "/sys": "sysfs", "/sys/fs/cgroup": "cgroup" };

const TOKEN = "/run/secrets/kubernetes.io/serviceaccount";
const ON_DISK = "rw,relatime - ext4 /dev/vda rw";
/** As the kernel lists them in the container. */
const SHOWN: readonly string[] = [
  "741 560 0:99 / / ro,relatime - overlay overlay rw",
  ...Object.entries(KERNEL).map(([place, type], at) => `${750 + at} 741 0:${260 + at} / ${place} rw - ${type} ${type} rw`),
  "757 755 0:29 / /sys/fs/cgroup/pids ro,nosuid - cgroup cgroup rw,pids",
  `760 741 254:0 ${KEPT}/etc-hosts /etc/hosts ${ON_DISK}`,
  `761 751 254:0 ${KEPT}/containers/web/1f2e3d4c /dev/termination-log ${ON_DISK}`,
  `762 741 254:0 ${SANDBOX}/hostname /etc/hostname ${ON_DISK}`,
  `763 741 254:0 ${SANDBOX}/resolv.conf /etc/resolv.conf ${ON_DISK}`,
  "764 751 0:242 / /dev/shm rw,nosuid,nodev,noexec,relatime - tmpfs shm rw,size=65536k",
  `765 741 254:0 ${volume("empty-dir", "data")} /data ${ON_DISK}`,
  "766 765 0:240 / /data/inner ro,relatime - tmpfs tmpfs rw,size=2097152k,noswap",
  `767 741 254:0 ${volume("configmap", "names")} /two/names ${ON_DISK}`,
  `768 741 254:0 ${volume("empty-dir", "under")} /deep/under ${ON_DISK}`,
  `769 741 254:0 ${volume("empty-dir", "deep")} /deep ${ON_DISK}`,
  `770 741 254:0 ${volume("configmap", "settings")}/..2026_11_27/one.conf /app/one.conf ${ON_DISK}`,
  `771 741 0:241 / ${TOKEN} ro,relatime - tmpfs tmpfs rw,size=2097152k,noswap`,
  "780 750 0:262 /bus /proc/bus ro,nosuid - proc proc rw",
];

const spec = {
  process: {},
  mounts: [
    ...Object.entries(KERNEL).map(([destination, type]) => ({ destination, type, source: type })),
    ...DECLARED.map(([destination, source]) => ({ destination, type: "bind", source, options: ["rbind", "rprivate", "rw"] })),
  ],
};
const kinds = DECLARED.map(([destination, source]): [string, string] => {
  const kind = bindKind(source, OWNER);
  return [destination, kind === SUBPATH ? "pod-configmap" : kind];
});

const link = { type: "l" as const, target: Buffer.from("/run"), mode: 0o777, uid: 0, gid: 0, xattrs: [] };
const image = {
  merged: (path: Buffer) => (path.toString() === "var/run" ? { record: encodeRecord(link), layerIndex: 0, implied: false } : undefined),
  config: { env: [], entrypoint: [], cmd: [], user: "", workingDirectory: "", volumes: [] },
} as unknown as ReferenceImage;

/** What is said of the mounts, with nothing allowed, after the kernel listed `first` when the container was first looked at, and `now` lists this. */
function found(now: readonly string[], first: readonly string[] = SHOWN): string[] {
  const facts = containerFacts({
    listed: create(ContainerSchema, { id: OWNER.containerId }),
    status: create(ContainerStatusSchema, { id: OWNER.containerId }),
    info: { pid: 1, runtimeSpec: spec },
    ...{ sandbox: undefined, sandboxInfo: undefined, image: undefined, pod: POD, configBlobPath: undefined, mountTypes: new Map(kinds), nodeHosts: "" },
  });
  const layout = (lines: readonly string[]) => ({
    ...{ kind: "overlay" as const, layers: [], upperPath: "/upper", device: "0:99", oddOptions: [], readOnly: false, openSystemPaths: [] },
    mounts: parseMountInfo(lines.join("\n")).filter(({ destination }) => destination !== "/"),
  });
  const { mounts } = new FirstMounts(layout(first).mounts).withMountsOf(layout(now), layout(first));
  const configuration = fromBinary(ContainerConfigurationSchema, configurationPart(facts, Buffer.alloc(32, 7), mounts).bytes);
  const policy = { ...defaultPolicy(), loaded: true, rules: [{ ...defaultPolicy().rules[0], name: "all", select: EVERYTHING, allow: NO_ALLOWANCES }] };
  const rules = containerRules(policy as unknown as Policy, {
    imageReference: "i",
    containerName: "shop/web/web",
    workload: "shop/web",
    labels: {},
    nodeName: "n",
  });
  const bindFiles = facts.engineFiles.map(({ destination }) => ({ destination }));
  const input = { state: { configuration, identity: { pod: POD }, filesystem: { bindFiles } }, rules } as unknown as ContainerInput;
  return appraiseConfiguration(input, image)
    .filter(({ place }) => place === "mount")
    .map(({ kind, path }) => `${kind} ${path}`);
}

const without = (...places: string[]): string[] => SHOWN.filter((line) => !places.includes(line.split(" ")[4] ?? ""));
const at = (place: string, change: (line: string) => string): string[] => SHOWN.map((line) => (line.split(" ")[4] === place ? change(line) : line));
const elsewhere = (place: string): string => `900 741 0:300 / ${place} rw - tmpfs tmpfs rw`;

describe("a pod's container", () => {
  test("with all that it was given has nothing to be told", () => {
    expect(found(SHOWN)).toEqual([]);
    // What is mounted below a folder before the folder itself is covered, and there.
    expect(found(SHOWN.toReversed())).toEqual([]);
  });

  test.each<[place: string, told: string]>([
    ["/data", "/data/"],
    ["/data/inner", "/data/inner"],
    ["/two/names", "//two//names/"],
    ["/deep", "/deep"],
    ["/deep/under", "/deep/under"],
    ["/app/one.conf", "/app/one.conf"],
    ["/etc/hosts", "/etc/hosts"],
    ["/dev/shm", "/dev/shm"],
    [TOKEN, "/var/run/secrets/kubernetes.io/serviceaccount"],
  ])("from which %s was unmounted", (place, told) => {
    expect(found(without(place))).toEqual([`unmounted ${told}`]);
    // Also before it was first looked at.
    expect(found(without(place), without(place))).toEqual([`unmounted ${told}`]);
  });

  test("what the kernel's own filesystems show comes and goes; of one whose process has gone nothing is said", () => {
    expect(found(without("/sys/fs/cgroup", "/sys/fs/cgroup/pids", "/proc/bus"))).toEqual([]);
    expect(found([])).toEqual([]);
  });

  test.each(["/data/inner", "/app/one.conf", "/etc/hosts", TOKEN])("with another mount over %s, and with one in its place", (place) => {
    expect(found([...SHOWN, elsewhere(place)])).toEqual([`undeclared-mount ${place}`]);
    expect(found(at(place, () => elsewhere(place)))).toEqual([`undeclared-mount ${place}`]);
    // The very same once more covers nothing.
    expect(found([...SHOWN, ...SHOWN.filter((line) => line.split(" ")[4] === place)])).toEqual([]);
  });

  test("of whose ConfigMap the kubelet has written the next content: the part of it that was bound has no name any more, and is the same", () => {
    const rewritten = (line: string): string => line.replace(/(\S+) (\S+) rw,relatime/, "$1//deleted $2 rw,relatime");
    expect(rewritten(SHOWN.find((line) => line.includes("one.conf")) ?? "")).toContain("/one.conf//deleted /app/one.conf ");
    expect(found(at("/app/one.conf", rewritten))).toEqual([]);
    expect(found(at("/app/one.conf", (line) => rewritten(line).replace("/..2026_11_27/", "/..2026_11_28/")))).toEqual(["undeclared-mount /app/one.conf"]);
    // Of a file whose content is judged, whoever took its name has something in mind.
    expect(found(at("/etc/hosts", rewritten))).toEqual(["undeclared-mount /etc/hosts"]);
  });
});
