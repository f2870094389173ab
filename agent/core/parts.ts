/** Engine facts and measurements as the serialised parts of hullmark.v1.ContainerUpdate. Serialising is deterministic: equal facts give equal bytes. */
import { createHmac } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import { ByteWriter } from "@hullmark/proto/codec";
import { ContainerConfigurationSchema, ContainerIdentitySchema } from "@hullmark/proto/v1/attestation";
import type { ContainerFacts } from "../ports/container-runtime.ts";
import type { MountPoint } from "../ports/root-filesystem.ts";
import { timestampFromMs } from "./timestamp.ts";

export function identityPart(facts: ContainerFacts, runtime: string, configDigest: string): Uint8Array {
  const { id, name, imageReference, imageId, repoDigests, labels, startedAtMs, pid, workload } = facts;
  const message = create(ContainerIdentitySchema, {
    id,
    name,
    runtime,
    imageReference,
    imageId,
    repoDigests: [...repoDigests].sort(),
    configDigest,
    labels: Object.fromEntries(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1))),
    startedAt: timestampFromMs(startedAtMs),
    pid,
    workload,
  });
  return toBinary(ContainerIdentitySchema, message);
}

/** @param envKey random, 32 bytes, one a container @param mountPoints as the kernel lists them in the container's mount namespace */
export function configurationPart(facts: ContainerFacts, envKey: Buffer, mountPoints: readonly MountPoint[]): Uint8Array {
  const message = create(ContainerConfigurationSchema, {
    args: [...facts.args],
    envKey,
    env: facts.env.map((each) => environmentEntry(envKey, each)).sort((a, b) => (a.name < b.name ? -1 : 1)),
    user: facts.user,
    workingDirectory: facts.workingDirectory,
    capabilities: [...facts.capabilities].sort(),
    privileged: facts.privileged,
    readOnlyRoot: facts.readOnlyRoot,
    noNewPrivileges: facts.noNewPrivileges,
    seccomp: facts.seccomp,
    apparmor: facts.apparmor,
    hostNamespaces: [...facts.hostNamespaces],
    devices: [...facts.devices],
    mounts: mounts(facts, mountPoints),
    hostname: facts.hostname,
    extraHosts: [...facts.extraHosts],
    addresses: [...facts.addresses],
    networkNames: [...facts.networkNames],
  });
  return toBinary(ContainerConfigurationSchema, message);
}

function environmentEntry(envKey: Buffer, entry: string): { name: string; digest: Buffer } {
  const at = entry.indexOf("=");
  const name = at < 0 ? entry : entry.slice(0, at);
  const value = at < 0 ? "" : entry.slice(at + 1);
  const message = new ByteWriter().bytes(Buffer.from(name)).bytes(Buffer.from(value)).finish();
  return { name, digest: createHmac("sha256", envKey).update(message).digest() };
}

/** Declared mounts, and those that the kernel shows and nobody declared. */
function mounts(
  facts: ContainerFacts,
  points: readonly MountPoint[],
): { destination: string; type: string; source: string; options: string[]; declared: boolean }[] {
  const declared = new Map(facts.mounts.map((each) => [each.destination, { ...each, options: [...each.options], declared: true }]));
  const known = new Set([...declared.keys(), ...facts.maskedPaths, ...facts.engineFiles.map(({ destination }) => destination)]);
  const seen = new Set<string>();
  const others = points.filter(({ destination }) => {
    const name = utf8(destination);
    // Mounted over something that is known: the second of two at one place.
    const again = seen.has(name);
    seen.add(name);
    return (again || !known.has(name)) && !name.startsWith("/proc/") && !name.startsWith("/sys/");
  });
  const undeclared = others.map(({ destination, type, source }) => ({
    destination: utf8(destination),
    type,
    source: utf8(source),
    options: [],
    declared: false,
  }));
  return [...declared.values(), ...undeclared].sort((a, b) => (a.destination < b.destination ? -1 : 1));
}

/** mountinfo is read as latin1; protobuf strings are UTF-8. */
function utf8(latin1: string): string {
  return Buffer.from(latin1, "latin1").toString("utf8");
}
