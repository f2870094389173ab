/** Engine facts and measurements as the serialised parts of hullmark.v1.ContainerUpdate. Serialising is deterministic: equal facts give equal bytes. */
import { createHmac } from "node:crypto";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { ByteWriter } from "@hullmark/proto/codec";
import { ContainerConfigurationSchema, ContainerIdentitySchema, type MountSchema } from "@hullmark/proto/v1/attestation";
import type { ContainerFacts } from "../ports/container-runtime.ts";
import type { MountPoint } from "../ports/root-filesystem.ts";
import { mountIdentity } from "./first-mounts.ts";
import { isOrphan, orphanedFiles } from "./orphaned-files.ts";
import { timestampFromMs } from "./timestamp.ts";
import { withProvenVolumes } from "./volume-mounts.ts";

/** A part, and what of it was left out for its length: whoever starts a container, or mounts in it, decides how long its lists are. */
export interface CutPart {
  readonly bytes: Uint8Array;
  readonly cut: readonly string[];
}

/** Together they stay below what the verifier takes of one part: 2 MiB, 4096 variables, 4096 mounts. */
const LIMITS = {
  arguments: { count: 4096, bytes: 256 * 1024 },
  variables: { count: 4096, bytes: 384 * 1024 },
  mounts: { count: 2048, bytes: 512 * 1024 },
  devices: { count: 1024, bytes: 64 * 1024 },
  hosts: { count: 4096, bytes: 128 * 1024 },
  names: { count: 1024, bytes: 64 * 1024 },
  labels: { count: 1024, bytes: 512 * 1024 },
} as const;
/** Besides its text, what an item takes at most: a digest of 32 bytes, tags and lengths. */
const ITEM_BYTES = 48;
/** Linux PATH_MAX: where a mount lies deeper, its beginning tells. */
const MAX_DESTINATION_BYTES = 4096;

/**
 * What a runtime shows below `/proc` and `/sys` unasked: the kernel's own filesystems with those that a recursive bind brings, `/dev/null` and empty
 * directories over what is masked.
 */
const KERNEL_TYPES: ReadonlySet<string> = new Set(
  (
    "proc sysfs cgroup cgroup2 tmpfs devtmpfs autofs binfmt_misc bpf configfs debugfs efivarfs fusectl hugetlbfs nfsd nsfs pstore resctrl rpc_pipefs " +
    "securityfs selinuxfs tracefs"
  ).split(" "),
);

/** Mount options with which a container is shown what the node mounts below a directory later (`mountPropagation`, `bind-propagation`). */
const PROPAGATING: ReadonlySet<string> = new Set(["slave", "rslave", "shared", "rshared"]);

class Cut {
  readonly what = new Set<string>();

  list<T>(what: keyof typeof LIMITS, items: readonly T[], text: (item: T) => string): T[] {
    const { count, bytes } = LIMITS[what];
    const kept: T[] = [];
    let used = 0;
    for (const item of items) {
      used += Buffer.byteLength(text(item)) + ITEM_BYTES;
      if (kept.length < count && used <= bytes) kept.push(item);
      else this.what.add(what);
    }
    return kept;
  }
}

export function identityPart(facts: ContainerFacts, runtime: string, configDigest: string): CutPart {
  const { pod, id, name, imageReference, imageId, repoDigests, labels, startedAtMs, pid, workload } = facts;
  const cut = new Cut();
  const told = cut.list("labels", Object.entries(labels), ([key, value]) => `${key}${value}`);
  const message = create(ContainerIdentitySchema, {
    id,
    name,
    runtime: facts.unlisted ? "none" : runtime,
    imageReference,
    imageId,
    repoDigests: cut.list("names", [...repoDigests].sort(), String),
    configDigest,
    labels: Object.fromEntries(told.sort(([a], [b]) => (a < b ? -1 : 1))),
    startedAt: timestampFromMs(startedAtMs),
    pid,
    workload,
    ...(pod ? { pod } : {}),
  });
  return { bytes: toBinary(ContainerIdentitySchema, message), cut: [...cut.what] };
}

/** @param envKey random, 32 bytes, one a container @param mountPoints as the kernel lists them in the container's mount namespace @param rootReadOnly undefined: not known */
export function configurationPart(
  facts: ContainerFacts,
  envKey: Buffer,
  mountPoints: readonly MountPoint[],
  rootReadOnly?: boolean,
  openSystemPaths: readonly string[] = [],
): CutPart {
  const cut = new Cut();
  const message = create(ContainerConfigurationSchema, {
    args: cut.list("arguments", facts.args, String),
    envKey,
    env: cut
      .list("variables", facts.env, (each) => each.split("=", 1)[0] ?? "")
      .map((each) => environmentEntry(envKey, each))
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
    user: facts.user,
    supplementaryGroups: cut.list("names", facts.supplementaryGroups ?? [], String).map(BigInt),
    workingDirectory: facts.workingDirectory,
    capabilities: [...facts.capabilities].sort(),
    privileged: facts.privileged,
    readOnlyRoot: facts.readOnlyRoot,
    noNewPrivileges: facts.noNewPrivileges,
    seccomp: facts.seccomp,
    apparmor: facts.apparmor,
    hostNamespaces: [...facts.hostNamespaces],
    devices: cut.list("devices", facts.devices, String),
    mounts: cut.list(
      "mounts",
      mounts(facts, mountPoints),
      ({ destination, source, askedSource, type, options = [] }) => `${destination}${source}${askedSource}${type}${options.join("  ")}`,
    ),
    hostname: facts.hostname,
    extraHosts: cut.list("hosts", facts.extraHosts, String),
    addresses: cut.list("names", facts.addresses, String),
    networkNames: cut.list("names", facts.networkNames, String),
    unmet: [
      ...(facts.unmet ?? []),
      ...(facts.readOnlyRoot && rootReadOnly === false ? ["read-only-root"] : []),
      // Those that the runtime was told to leave open are unmet already.
      ...(!facts.unmet?.includes("system-paths") && openSystemPaths.some((path) => facts.maskedPaths.includes(path)) ? ["system-paths"] : []),
    ],
  });
  return { bytes: toBinary(ContainerConfigurationSchema, message), cut: [...cut.what] };
}

/** @param envKey secret bytes @param entry `NAME=VALUE` @returns as EnvVariable has it */
export function environmentEntry(envKey: Buffer, entry: string): { name: string; digest: Buffer } {
  const at = entry.indexOf("=");
  const name = at < 0 ? entry : entry.slice(0, at);
  const value = at < 0 ? "" : entry.slice(at + 1);
  const message = new ByteWriter().bytes(Buffer.from(name)).bytes(Buffer.from(value)).finish();
  return { name, digest: createHmac("sha256", envKey).update(message).digest() };
}

/** Declared mounts, and those that the kernel shows and nobody declared. */
function mounts(facts: ContainerFacts, points: readonly MountPoint[]): MessageInitShape<typeof MountSchema>[] {
  const present = new Set(points.map(({ destination }) => utf8(destination)));
  // Where nothing at all is mounted the mounts could not be read: the process is gone.
  const missing = (destination: string): boolean => present.size > 0 && !present.has(destination);
  // In pods the runtime's volumes are told by their paths.
  const told = facts.pod ? facts.mounts : withProvenVolumes(facts.mounts, facts.engineFiles, points);
  const declared = new Map(
    told.map(({ asked = "", ...each }) => [
      each.destination,
      { ...each, askedSource: asked, options: [...each.options], declared: true, missing: missing(each.destination), replaced: false },
    ]),
  );
  const known = new Set([...declared.keys(), ...facts.maskedPaths, ...facts.engineFiles.map(({ destination }) => destination)]);
  const orphaned = orphanedFiles(facts);
  // What the node mounts below a directory that the container was given with all that comes there is as little its own as the directory's files. Where that is the
  // runtime's own, the container's root lies in it too, with what was mounted there before: the same as is told at its place.
  const shown = told.filter(({ options }) => options.some((option) => PROPAGATING.has(option))).map(({ destination }) => `${destination.replace(/\/+$/, "")}/`);
  const isBelow = (name: string): boolean => shown.some((below) => name.startsWith(below));
  const elsewhere = Map.groupBy(
    points.filter(({ destination }) => !isBelow(utf8(destination))),
    mountIdentity,
  );
  // By the same path below that root: under any other, whoever is in the container has mounted it there.
  const isOfOwnRoot = (each: MountPoint): boolean =>
    elsewhere.get(mountIdentity(each))?.some(({ destination }) => each.destination.endsWith(destination)) === true;
  const isOfNode = (each: MountPoint, name: string): boolean => isBelow(name) && (each.propagated === true || isOfOwnRoot(each));
  // A pod's sandbox is given /dev/shm twice by its runtime.
  const left = new Map<string, number>();
  for (const { destination } of facts.mounts) left.set(destination, (left.get(destination) ?? 0) + 1);
  const seen = new Map<string, Set<string>>();
  const undeclared = points.flatMap((each) => {
    const name = utf8(each.destination);
    // Mounted over something that is known: one more at a place than the runtime declares. The very same once more covers nothing: while `docker cp` runs,
    // the engine mounts its files and the volumes again below the container's root, and the kernel passes these on to a container whose root is a slave.
    const what = `${mountIdentity(each)} ${each.options.join()}`;
    const more = left.get(name) ?? 0;
    const before = seen.get(name);
    const again = before !== undefined && more <= 0 && !before.has(what);
    seen.set(name, (before ?? new Set()).add(what));
    left.set(name, more - 1);
    const replaced = again || (each.replaced === true && !isOrphan(each, orphaned) && !isRewritten(each, facts));
    if (!known.has(name) && isOfNode(each, name)) return [];
    if ((known.has(name) && !replaced) || (/^\/(proc|sys)\//.test(name) && KERNEL_TYPES.has(each.type))) return [];
    const { type, source } = each;
    return [{ destination: beginning(name), type, source: utf8(source), askedSource: "", options: [], declared: false, missing: false, replaced }];
  });
  return [...declared.values(), ...undeclared].sort((a, b) => (a.destination < b.destination ? -1 : 1));
}

/**
 * Whether a pod's volume is still the same one, whose file was taken from its name meanwhile: so the kubelet writes a ConfigMap's new content beside the old, of which a subPath
 * is bound. Of files that are judged by their content that is never said.
 */
function isRewritten({ destination, nameless }: MountPoint, { pod, engineFiles }: ContainerFacts): boolean {
  return pod !== undefined && nameless === true && !engineFiles.some((file) => file.destination === utf8(destination));
}

/** At most {@link MAX_DESTINATION_BYTES}, without cutting a character in two. */
function beginning(path: string): string {
  return Buffer.byteLength(path) <= MAX_DESTINATION_BYTES ? path : path.slice(0, MAX_DESTINATION_BYTES / 4);
}

/** mountinfo is read as latin1; protobuf strings are UTF-8. */
function utf8(latin1: string): string {
  return Buffer.from(latin1, "latin1").toString("utf8");
}
