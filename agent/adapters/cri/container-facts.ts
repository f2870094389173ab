/** What CRI tells of a container as {@link ContainerFacts}. Where interface and OCI configuration both tell, the latter is believed: it is what was run. */
import { posix } from "node:path";
import { SANDBOX_NAME } from "@hullmark/proto/codec";
import type { Container, ContainerStatus, Image, PodSandboxStatus } from "@hullmark/proto/cri";
import { hostsEntries } from "../../core/hosts-file.ts";
import { boundingCapabilities, givenDevices, type OciSpec, sharedNamespaces } from "../../core/oci-spec.ts";
import { hidesSystemPaths } from "../../core/system-paths.ts";
import type { ContainerFacts, DeclaredMount, EngineFile, PodFacts } from "../../ports/container-runtime.ts";
import type { ContainerInfo, SandboxInfo } from "./verbose-info.ts";

/** One container and its sandbox as the runtime tells them; for the sandbox's own process, `container` is made up from it. */
export interface Told {
  readonly listed: Container;
  readonly status: ContainerStatus;
  readonly info: ContainerInfo;
  readonly sandbox: PodSandboxStatus | undefined;
  readonly sandboxInfo: SandboxInfo | undefined;
  readonly image: Image | undefined;
  readonly pod: PodFacts | undefined;
  readonly configBlobPath: string | undefined;
  /** Types of the mounts by destination, for those that are not what the configuration calls them. */
  readonly mountTypes: ReadonlyMap<string, string>;
  /** The node's own `/etc/hosts`, which the kubelet copies for pods in the host's network. */
  readonly nodeHosts: string;
}

const ENGINE_FILES = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
const SECCOMP = ["default", "unconfined", "custom"] as const;

export function containerFacts(told: Told): ContainerFacts {
  const { listed, status, info, sandbox, pod, image } = told;
  const spec = info.runtimeSpec ?? { process: {} };
  const labels = { ...sandbox?.labels, ...status.labels };
  const context = info.config?.linux?.security_context;
  const mounts = declaredMounts(spec, told.mountTypes, info.config?.mounts ?? []);
  // A pod's containers take them from its sandbox, also those of the node.
  const hostNamespaces = sharedNamespaces(spec, told.sandboxInfo?.runtimeSpec ?? undefined);
  return {
    id: status.id,
    name: nameOf(pod, status.metadata?.name ?? status.id.slice(0, 12)),
    pid: info.pid,
    startedAtMs: Number((status.startedAt || status.createdAt) / 1_000_000n),
    rootPath: spec.root?.path ?? undefined,
    // Not from a label: whoever makes a pod chooses its labels, and policy gives the workloads of one namespace what others must not have.
    workload: pod ? `${pod.namespace}/${pod.ownerName}` : (status.metadata?.name ?? ""),
    ...imageNames(told),
    imageId: image?.id ?? listed.imageId,
    repoDigests: image?.repoDigests ?? [],
    configBlobPath: told.configBlobPath,
    labels,
    unlisted: false,
    pod,
    args: spec.process.args ?? [],
    env: spec.process.env ?? [],
    user: userOf(spec, context),
    supplementaryGroups: context?.supplemental_groups ?? [],
    workingDirectory: spec.process.cwd ?? "",
    capabilities: boundingCapabilities(spec),
    privileged: context?.privileged === true || info.privileged === true,
    readOnlyRoot: spec.root?.readonly === true,
    noNewPrivileges: spec.process.noNewPrivileges === true,
    // A sandbox's own process is the runtime's, and what asks a runtime past the kubelet may leave out what the kubelet always sends.
    unmet: info.runtimeSpec && pod?.container && !hidesSystemPaths(info.runtimeSpec) ? ["system-paths"] : [],
    seccomp: spec.linux?.seccomp ? (SECCOMP[context?.seccomp?.profile_type ?? 0] ?? "custom") : "unconfined",
    apparmor: spec.process.apparmorProfile ?? "",
    hostNamespaces,
    devices: givenDevices(spec).sort(),
    mounts,
    maskedPaths: [...(spec.linux?.maskedPaths ?? []), ...(spec.linux?.readonlyPaths ?? [])],
    hostname: spec.hostname || told.sandboxInfo?.config?.hostname || told.sandboxInfo?.runtimeSpec?.hostname || (pod?.name ?? ""),
    extraHosts: hostNamespaces.includes("net") ? hostsEntries(told.nodeHosts) : [],
    addresses: [sandbox?.network?.ip ?? "", ...(sandbox?.network?.additionalIps ?? []).map(({ ip }) => ip)].filter((address) => address !== ""),
    networkNames: pod ? [pod.name] : [],
    engineFiles: engineFiles(mounts),
  };
}

/** @param alone where no kubelet made it */
export function nameOf(pod: PodFacts | undefined, alone: string): string {
  return pod ? `${pod.namespace}/${pod.name}/${pod.container || SANDBOX_NAME}` : alone;
}

/** As the pod's specification has it: the kubelet itself asks for the image by its id. containerd 1 keeps no more than that, and tells the first of the image's names. */
function imageNames({ status, info, image, sandboxInfo }: Told): Pick<ContainerFacts, "imageReference" | "otherImageNames"> {
  const asked = [status.image?.userSpecifiedImage, info.config?.image?.user_specified_image, sandboxInfo && !info.config ? sandboxInfo.image : undefined];
  const known = asked.find((name) => name);
  const named = known ?? status.image?.image ?? "";
  const { repoTags = [], repoDigests = [] } = image ?? {};
  const imageReference = named !== "" && !named.startsWith("sha256:") ? named : (repoTags[0] ?? repoDigests[0] ?? named);
  if (known && imageReference === known) return { imageReference };
  const tagged = new Set(repoTags.map((name) => name.slice(0, name.lastIndexOf(":"))));
  const names = [...repoTags, ...repoDigests.filter((name) => !tagged.has(name.slice(0, name.indexOf("@"))))];
  return { imageReference, otherImageNames: names.filter((name) => name !== imageReference) };
}

type SecurityContext = NonNullable<NonNullable<ContainerInfo["config"]>["linux"]>["security_context"];

/** The kubelet passes on what the pod asks for, or else the image's user without its group. */
function userOf(spec: OciSpec, context: SecurityContext): string {
  const group = context?.run_as_group?.value;
  const user = context?.run_as_username || (context?.run_as_user?.value ?? spec.process.user?.uid ?? 0).toString();
  return group === undefined || group === null ? user : `${user}:${group}`;
}

type AskedMounts = NonNullable<NonNullable<ContainerInfo["config"]>["mounts"]>;

function declaredMounts(spec: OciSpec, types: ReadonlyMap<string, string>, asked: AskedMounts): DeclaredMount[] {
  const sources = new Map(asked.map(({ container_path, host_path }) => [posix.resolve("/", container_path ?? ""), host_path ?? undefined]));
  return (spec.mounts ?? [])
    .map(({ destination, type, source, options }) => ({
      destination,
      type: type === "bind" ? (types.get(destination) ?? type) : (type ?? "bind"),
      source: source ?? "",
      options: options ?? [],
      ...(type === "bind" && { asked: sources.get(posix.resolve("/", destination)) }),
    }))
    .sort((a, b) => (a.destination < b.destination ? -1 : 1));
}

/** Only where kubelet or sandbox keep them; what somebody else mounts there is a mount like any other. */
function engineFiles(mounts: readonly DeclaredMount[]): EngineFile[] {
  return mounts
    .filter(({ destination, type }) => type === "kubelet" && ENGINE_FILES.includes(destination))
    .map(({ destination, source }) => ({ destination, hostPath: source, digestPath: undefined }));
}
