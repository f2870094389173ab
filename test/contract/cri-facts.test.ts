/** What the CRI adapter concludes from names, labels and paths; each vector is as Kubernetes' own code makes it. */
import { create } from "@bufbuild/protobuf";
import { ContainerSchema, ContainerStatusSchema, ImageSchema, PodSandboxStatusSchema } from "@hullmark/proto/cri";
import { MeasurementPolicySchema } from "@hullmark/proto/v1/attestation";
import { describe, expect, test } from "vitest";
import { containerFacts } from "../../agent/adapters/cri/container-facts.ts";
import { bindKind, SUBPATH } from "../../agent/adapters/cri/mount-kind.ts";
import { podFacts } from "../../agent/adapters/cri/pod.ts";
import { excludedFor } from "../../agent/core/measurement-policy.ts";

const UID = "0b0a4b4e-3f5d-4ff0-8a5e-3f2f0e7f2a11";
const SANDBOX = "a".repeat(64);
const CONTAINER = "b".repeat(64);

const labelsOf = (name: string, own: Readonly<Record<string, string>> = {}): Record<string, string> => ({
  "io.kubernetes.pod.namespace": "shop",
  "io.kubernetes.pod.name": name,
  "io.kubernetes.pod.uid": UID,
  ...own,
});

describe("pod", () => {
  const OWNERS: readonly (readonly [what: string, pod: string, labels: Readonly<Record<string, string>>, kind: string, owner: string])[] = [
    ["Deployment", "web-5d8f7c9b6-x2x9k", { "pod-template-hash": "5d8f7c9b6" }, "Deployment", "web"],
    ["Deployment with a dash", "web-api-5d8f7c9b6-x2x9k", { "pod-template-hash": "5d8f7c9b6" }, "Deployment", "web-api"],
    ["ReplicaSet of its own", "rs-x2x9k", { "pod-template-hash": "5d8f7c9b6" }, "ReplicaSet", "rs"],
    ["StatefulSet", "db-2", { "statefulset.kubernetes.io/pod-name": "db-2", "controller-revision-hash": "db-6f7" }, "StatefulSet", "db"],
    ["StatefulSet's label on another pod", "db-2", { "statefulset.kubernetes.io/pod-name": "db-3" }, "Pod", "db-2"],
    ["DaemonSet", "log-agent-7xk2p", { "controller-revision-hash": "6c8f" }, "DaemonSet", "log-agent"],
    ["Job", "migrate-q8zzt", { "batch.kubernetes.io/job-name": "migrate" }, "Job", "migrate"],
    ["CronJob", "backup-29384720-q8zzt", { "job-name": "backup-29384720" }, "CronJob", "backup"],
    ["pod alone", "shell", {}, "Pod", "shell"],
  ];

  for (const [what, name, labels, ownerKind, ownerName] of OWNERS)
    test(what, () => {
      const container = { ...labelsOf(name), "io.kubernetes.container.name": "app" };
      expect(podFacts(container, labelsOf(name, labels), {})).toEqual({ namespace: "shop", name, uid: UID, container: "app", ownerKind, ownerName });
    });

  test("static pod", () => {
    const annotations = { "kubernetes.io/config.source": "file" };
    expect(podFacts(labelsOf("etcd-node-1"), labelsOf("etcd-node-1"), annotations)).toMatchObject({ ownerKind: "Node", ownerName: "etcd-node-1" });
  });

  test("not made by a kubelet", () => expect(podFacts({}, { "io.kubernetes.pod.name": "x" }, {})).toBeUndefined());
});

test("a pod's workload is its owner in its namespace, whatever its labels say: policy gives the agent's what no other may have", () => {
  const labels = { ...labelsOf("shell"), "dev.hullmark.workload": "hullmark/hullmark-agent" };
  const facts = containerFacts({
    listed: create(ContainerSchema, { id: CONTAINER }),
    status: create(ContainerStatusSchema, { id: CONTAINER, labels }),
    info: { pid: 1 },
    sandbox: create(PodSandboxStatusSchema, { labels }),
    sandboxInfo: undefined,
    image: undefined,
    pod: podFacts(labels, labels, {}),
    configBlobPath: undefined,
    mountTypes: new Map(),
    nodeHosts: "",
  });
  expect(facts.workload).toBe("shop/shell");
});

test("an image is told by the name that was asked for; of one whose runtime does not say, by the first, with all others", () => {
  const image = create(ImageSchema, {
    id: `sha256:${"1".repeat(64)}`,
    repoTags: ["registry.example/acme/one:1", "registry.example/acme/two:1"],
    repoDigests: [1, 2].flatMap((digit) => ["one", "three"].map((name) => `registry.example/acme/${name}@sha256:${`${digit}`.repeat(64)}`)),
  });
  const named = (userSpecifiedImage: string) =>
    containerFacts({
      listed: create(ContainerSchema, { id: CONTAINER }),
      status: create(ContainerStatusSchema, { id: CONTAINER, image: { image: "registry.example/acme/one:1", userSpecifiedImage } }),
      info: { pid: 1 },
      ...{ sandbox: undefined, sandboxInfo: undefined, image, pod: undefined, configBlobPath: undefined, mountTypes: new Map(), nodeHosts: "" },
    });
  expect(named("registry.example/acme/two:1")).toMatchObject({ imageReference: "registry.example/acme/two:1" });
  expect(named("registry.example/acme/two:1").otherImageNames).toBeUndefined();
  expect(named("")).toMatchObject({
    imageReference: "registry.example/acme/one:1",
    otherImageNames: ["registry.example/acme/two:1", ...image.repoDigests.filter((name) => name.includes("three"))],
  });
  const classes = {
    mutableClasses: [{ imageGlob: "**/acme/one:*", containerGlob: "", workloadGlob: "", labels: {}, paths: ["/data/**"], executables: false }],
  };
  const policy = create(MeasurementPolicySchema, classes);
  expect([excludedFor(policy, { ...named(""), otherImageNames: [] }), excludedFor(policy, named(""))].map(({ length }) => length)).toEqual([1, 0]);
});

test("a mount has the path that the kubelet asked for beside where links led to, and a container the groups that were asked for", () => {
  const bind = (destination: string, source: string) => ({ destination, type: "bind", source, options: ["rbind"] });
  const facts = containerFacts({
    listed: create(ContainerSchema, { id: CONTAINER }),
    status: create(ContainerStatusSchema, { id: CONTAINER }),
    info: {
      pid: 1,
      runtimeSpec: { process: {}, mounts: [bind("/run/x", "/mnt/x"), bind("/etc/hostname", "/own"), { destination: "/proc", type: "proc", source: "proc" }] },
      config: {
        mounts: [
          { container_path: "/run/x/", host_path: "/var/run/x" },
          { container_path: "/proc", host_path: "/nowhere" },
        ],
        linux: { security_context: { supplemental_groups: [2000] } },
      },
    },
    ...{ sandbox: undefined, sandboxInfo: undefined, image: undefined, pod: undefined, configBlobPath: undefined, mountTypes: new Map(), nodeHosts: "" },
  });
  expect(facts.mounts.map(({ destination, asked }) => [destination, asked])).toEqual([
    ["/etc/hostname", undefined],
    ["/proc", undefined],
    ["/run/x", "/var/run/x"],
  ]);
  expect(facts.supplementaryGroups).toEqual([2000]);
});

test("a container has the node's namespaces where its pod has: as containerd makes it, it takes them from its sandbox whosever they are", () => {
  const joining = (type: string) => ({ type, path: `/proc/4711/ns/${type === "network" ? "net" : type}` });
  const factsOf = (container: readonly object[], sandbox: readonly object[] | undefined) => {
    const spec = (namespaces: readonly object[]) => ({ process: {}, linux: { namespaces } }) as never;
    return containerFacts({
      listed: create(ContainerSchema, { id: CONTAINER }),
      status: create(ContainerStatusSchema, { id: CONTAINER }),
      info: { pid: 1, runtimeSpec: spec(container) },
      sandboxInfo: sandbox && { runtimeSpec: spec(sandbox) },
      ...{ sandbox: undefined, image: undefined, pod: undefined, configBlobPath: undefined, mountTypes: new Map(), nodeHosts: "127.0.0.1 node" },
    });
  };
  const joined = [{ type: "mount" }, joining("ipc"), joining("uts"), joining("network")];
  const own = [{ type: "pid" }, { type: "ipc" }, { type: "uts" }, { type: "mount" }, { type: "network", path: "/var/run/netns/cni-1" }];
  // hostNetwork, hostPID and hostIPC: the sandbox makes none of them, and the kubelet asks for the sandbox's process namespace.
  expect(factsOf([...joined, joining("pid")], [{ type: "mount" }]).hostNamespaces).toEqual(["pid", "net", "ipc", "uts"]);
  // hostNetwork alone.
  expect(factsOf([{ type: "pid" }, ...joined], [{ type: "pid" }, { type: "ipc" }, { type: "mount" }]).hostNamespaces).toEqual(["net", "uts"]);
  expect(factsOf([{ type: "pid" }, ...joined], own).hostNamespaces).toEqual([]);
  // shareProcessNamespace: the pod's.
  expect(factsOf([...joined, joining("pid")], own).hostNamespaces).toEqual([]);
  // CRI-O leaves out what is the node's.
  expect(factsOf([{ type: "ipc" }, { type: "uts" }], undefined).hostNamespaces).toEqual(["pid", "net"]);
});

describe("mount", () => {
  const owner = { containerId: CONTAINER, sandboxId: SANDBOX, podUid: UID, kubeletDirectory: "/var/lib/kubelet" };
  const pod = `/var/lib/kubelet/pods/${UID}`;
  const other = `/var/lib/kubelet/pods/${UID.replace("0b", "0c")}`;
  const cri = "/var/lib/containerd/io.containerd.grpc.v1.cri";
  const KINDS: readonly (readonly [source: string, kind: string])[] = [
    [`${pod}/etc-hosts`, "kubelet"],
    [`${pod}/containers/web/1f2e3d4c`, "kubelet"],
    [`${cri}/sandboxes/${SANDBOX}/hostname`, "kubelet"],
    [`${cri}/sandboxes/${SANDBOX}/resolv.conf`, "kubelet"],
    [`/run/containerd/io.containerd.grpc.v1.cri/sandboxes/${SANDBOX}/shm`, "kubelet"],
    [`${cri}/containers/${CONTAINER}/volumes/0123`, "volume"],
    [`${pod}/volumes/kubernetes.io~empty-dir/tmp`, "pod-empty-dir"],
    [`${pod}/volumes/kubernetes.io~configmap/conf`, "pod-configmap"],
    [`${pod}/volumes/kubernetes.io~secret/key`, "pod-secret"],
    [`${pod}/volumes/kubernetes.io~projected/kube-api-access-x`, "pod-projected"],
    [`${pod}/volumes/kubernetes.io~downward-api/fields`, "pod-downward-api"],
    [`${pod}/volumes/kubernetes.io~csi/pvc-1/mount`, "pod-volume"],
    [`${pod}/volume-subpaths/conf/web/0`, SUBPATH],
    // Nobody else's, and nothing beside: a path of the node.
    [`${other}/volumes/kubernetes.io~empty-dir/tmp`, "bind"],
    [`${cri}/sandboxes/${CONTAINER}/hostname`, "bind"],
    [`${cri}/containers/${SANDBOX}/volumes/0123`, "bind"],
    [`${pod}/volumes/kubernetes.io~empty-dir/../../../../../../etc`, "bind"],
    [`/evil${pod}/volumes/kubernetes.io~empty-dir/tmp`, "bind"],
    [`${pod}/etc-hosts/x`, "bind"],
    [`${pod}/plugins/x`, "bind"],
    ["/etc/hosts", "bind"],
    ["/dev/shm", "bind"],
    ["/", "bind"],
  ];

  for (const [source, kind] of KINDS) test(`${kind}: ${source}`, () => expect(bindKind(source, owner)).toBe(kind));

  test("without a pod nothing is a pod's", () => expect(bindKind("/var/lib/kubelet/pods//etc-hosts", { ...owner, podUid: "" })).toBe("bind"));
});
