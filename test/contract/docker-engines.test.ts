/** What newer Docker Engines tell, as it was recorded of them (test/vectors/docker-engine/record.ts): understood, and nothing of it is drift. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { create, fromBinary } from "@bufbuild/protobuf";
import { BindFileSchema, ContainerConfigurationSchema } from "@hullmark/proto/v1/attestation";
import type Docker from "dockerode";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { containerFacts } from "../../agent/adapters/docker/container-facts.ts";
import { contentStoreOf, imageStoreConfig, manifestConfig } from "../../agent/adapters/docker/image-config.ts";
import { parseMountInfo } from "../../agent/core/mountinfo.ts";
import { type OciSpec, OciSpecSchema } from "../../agent/core/oci-spec.ts";
import { configurationPart } from "../../agent/core/parts.ts";
import { appraiseBindFiles } from "../../verifier/core/appraisal/appraise-binds.ts";
import { appraiseConfiguration } from "../../verifier/core/appraisal/appraise-configuration.ts";
import type { ContainerInput, ReferenceImage } from "../../verifier/core/appraisal/types.ts";
import { defaultPolicy, EVERYTHING, NO_ALLOWANCES } from "../../verifier/core/policy/default.ts";
import { containerRules } from "../../verifier/core/policy/match.ts";
import type { Policy } from "../../verifier/core/policy/types.ts";
import { digestOf } from "../e2e/images/push.ts";

interface Recorded {
  readonly pushed: { readonly digest: string; readonly manifestDigest: string; readonly configDigest: string; readonly layers: number };
  readonly container: Docker.ContainerInspectInfo;
  readonly image: Docker.ImageInspectInfo;
  readonly spec: OciSpec;
  readonly shimMountInfo: readonly string[];
  readonly mountInfo: readonly string[];
  readonly hosts: string;
  readonly resolver: string;
  readonly manifest: string;
}

const recorded = (name: string): Recorded => {
  const read = JSON.parse(readFileSync(new URL(`../vectors/docker-engine/${name}.json`, import.meta.url), "utf8")) as Recorded;
  return { ...read, spec: OciSpecSchema.parse(read.spec) };
};
const ENGINES = { "28-overlay2": recorded("28-overlay2"), "29-containerd": recorded("29-containerd") };
const CONTAINERD = ENGINES["29-containerd"];

function factsOf({ container, spec, image }: Recorded) {
  return containerFacts(container, spec, image, undefined, { hostGateways: [], hostHosts: "", networkOwner: container, hostNamespaces: [] });
}

/** Nothing is allowed: what is found is all that the engine gave the container beyond its image. */
function found({ resolver, hosts, mountInfo, ...of }: Recorded, change: Partial<Recorded> = {}): string[] {
  const facts = factsOf({ resolver, hosts, mountInfo, ...of });
  const points = parseMountInfo((change.mountInfo ?? mountInfo).join("\n")).filter(({ destination }) => destination !== "/");
  const configuration = fromBinary(ContainerConfigurationSchema, configurationPart(facts, Buffer.alloc(32, 7), points).bytes);
  const contents = { "/etc/hosts": change.hosts ?? hosts, "/etc/resolv.conf": resolver, "/etc/hostname": `${facts.hostname}\n` };
  const bindFiles = Object.entries(contents).map(([destination, content]) =>
    create(BindFileSchema, { destination, mode: 0o644, sha256: Buffer.alloc(32), content: Buffer.from(content) }),
  );
  const policy = { ...defaultPolicy(), loaded: true, rules: [{ ...defaultPolicy().rules[0], name: "all", select: EVERYTHING, allow: NO_ALLOWANCES }] };
  const about = { imageReference: facts.imageReference, containerName: "web", workload: "web", labels: {}, nodeName: "n" };
  const rules = containerRules(policy as unknown as Policy, about);
  const { Env: env = [], Cmd, WorkingDir } = of.image.Config as { Env?: string[]; Cmd: string[]; WorkingDir: string };
  const config = { env, entrypoint: [], cmd: Cmd, user: "", workingDirectory: WorkingDir, volumes: [] };
  const input = { state: { configuration, identity: {}, filesystem: { bindFiles, claims: [] } }, rules } as unknown as ContainerInput;
  const findings = [...appraiseConfiguration(input, { merged: () => undefined, config } as unknown as ReferenceImage), ...appraiseBindFiles(input)];
  return findings.map(({ kind, path }) => `${kind} ${path}`.trim());
}

describe.each(Object.entries(ENGINES))("Docker Engine %s", (_, of) => {
  test("gives a container nothing that is drift but the volume that was asked for", () => {
    expect(found(of)).toEqual(["mount /data"]);
    expect(found(of, { mountInfo: [...of.mountInfo, "900 800 0:99 / /usr/lib rw - tmpfs tmpfs rw"] })).toEqual(["mount /data", "undeclared-mount /usr/lib"]);
    expect(found(of, { hosts: `${of.hosts}10.0.0.1\tmallory\n` })).toEqual(["mount /data", "bind-file /etc/hosts"]);
  });

  test("is not told of what the node mounts below a directory that it was given with that, and of all else that appears there", () => {
    const given = (propagation: string) => {
      const mounts = of.spec?.mounts?.map((each) => (each.destination === "/data" ? { ...each, options: ["rbind", propagation, "ro"] } : each));
      return { ...of, spec: { ...of.spec, mounts } } as Recorded;
    };
    const appeared = (propagation: string, line: string) =>
      found(given(propagation), { mountInfo: [...of.mountInfo, line] }).filter((each) => each !== "mount /data");
    const netns = (place: string, fields = "shared:7 master:6") => `900 800 0:4 net:[4026532] ${place} rw ${fields} - nsfs nsfs rw`;
    for (const propagation of ["rslave", "rshared", "slave", "shared"]) expect(appeared(propagation, netns("/data/netns/cni-1"))).toEqual([]);
    expect(appeared("rprivate", netns("/data/netns/cni-1"))).toEqual(["undeclared-mount /data/netns/cni-1"]);
    // The container's own root, as the runtime had it before it was entered.
    const [, , device, root] = of.mountInfo.find((line) => line.split(" ")[4] === "/proc")?.split(" ") ?? [];
    const again = (place: string) => `901 800 ${device} ${root} ${place} rw - proc proc rw`;
    expect([appeared("rslave", again("/data/own/rootfs/proc")), appeared("rprivate", again("/data/own/rootfs/proc"))]).toEqual([
      [],
      ["undeclared-mount /data/own/rootfs/proc"],
    ]);
    expect(appeared("rslave", again("/usr/proc"))).toEqual(["undeclared-mount /usr/proc"]);
    // Bound over something of the node by whoever is in there.
    for (const place of ["/data/etc", "/data/own/rootfs/process"]) expect(appeared("rslave", again(place))).toEqual([`undeclared-mount ${place}`]);
    // Mounted in there by whoever is in there.
    expect(appeared("rslave", netns("/data/netns/cni-1", ""))).toEqual(["undeclared-mount /data/netns/cni-1"]);
    for (const place of ["/data", "/database", "/usr/lib"]) expect(appeared("rslave", netns(place))).toEqual([`undeclared-mount ${place}`]);
  });

  test("tells its own init and its files apart from a user's", () => {
    const facts = factsOf(of);
    expect(facts.args).toEqual(["/app/serve.sh"]);
    expect(facts.mounts.find(({ destination }) => destination === "/sbin/docker-init")?.type).toBe("engine-init");
    expect(facts.engineFiles.map(({ destination }) => destination)).toEqual(["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"]);
    expect(facts).toMatchObject({ unmet: [], seccomp: "default", hostNamespaces: [], devices: [], privileged: false });
  });
});

describe("the config of the image", () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "hullmark-blobs-"));
    mkdirSync(directory, { recursive: true });
  });
  afterEach(() => rmSync(directory, { recursive: true }));
  const blob = (digest: string): string => join(directory, digest.slice("sha256:".length));
  const { pushed, container, manifest, shimMountInfo, spec } = CONTAINERD;
  const rootPath = spec.root?.path ?? "";

  test("lies in the engine's own store under the image's id, which is its digest", () => {
    const { pushed, container } = ENGINES["28-overlay2"];
    expect(container.Image).toBe(pushed.configDigest);
    expect(basename(imageStoreConfig("/var/lib/docker", "overlay2", container.Image) ?? "")).toBe(pushed.configDigest.slice(7));
    expect(imageStoreConfig("/var/lib/docker", "overlay2", "../../etc/shadow")).toBeUndefined();
  });

  test("lies in containerd's store beside the snapshots, by way of the manifest that the engine names", async () => {
    expect(contentStoreOf(shimMountInfo.join("\n"), rootPath)).toBe("/srv/hullmark/run/record/containerd/io.containerd.content.v1.content/blobs/sha256");
    expect([container.Image, digestOf(Buffer.from(manifest))]).toEqual([pushed.digest, pushed.manifestDigest]);
    writeFileSync(blob(pushed.manifestDigest), manifest);
    expect(await manifestConfig(directory, container)).toBe(blob(pushed.configDigest));
  });

  test("is not told by another mount than the container's root, nor by one that is no snapshot", () => {
    expect(contentStoreOf(shimMountInfo.join("\n"), `${rootPath}/else`)).toBeUndefined();
    expect(contentStoreOf(shimMountInfo.join("\n").replaceAll("/snapshots/", "/evil/"), rootPath)).toBeUndefined();
    expect(contentStoreOf("", rootPath)).toBeUndefined();
  });

  test("is not told by a manifest that is missing, another than its name says, or none", async () => {
    expect(await manifestConfig(directory, container)).toBeUndefined();
    writeFileSync(blob(pushed.manifestDigest), `${manifest} `);
    expect(await manifestConfig(directory, container)).toBeUndefined();
    for (const text of ["{", "[]", '{"config":{"digest":"sha256:../../../etc/shadow"}}', '{"manifests":[]}']) {
      const digest = digestOf(Buffer.from(text));
      writeFileSync(blob(digest), text);
      expect(await manifestConfig(directory, { ...container, ImageManifestDescriptor: { digest } } as never)).toBeUndefined();
    }
  });

  test("where the engine names no manifest (before Docker 28), the image's id is one, or an index, which decides nothing", async () => {
    writeFileSync(blob(pushed.manifestDigest), manifest);
    const older = { ...container, ImageManifestDescriptor: undefined };
    expect(await manifestConfig(directory, older)).toBeUndefined();
    expect(await manifestConfig(directory, { ...older, Image: pushed.manifestDigest })).toBe(blob(pushed.configDigest));
  });
});
