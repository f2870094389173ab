/** What one container makes of itself, measured on a real directory and taken by the verifier: it must never take the word from the others. */
import { randomBytes } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { nodeFiles } from "@hullmark/agent/adapters/node-files/node-files";
import { nativeMeasurer } from "@hullmark/agent/adapters/tree/native-measurer";
import { CodeHistory } from "@hullmark/agent/core/code-set";
import { ContainerMonitor } from "@hullmark/agent/core/container-monitor";
import { LayerStore } from "@hullmark/agent/core/layer-store";
import { budgetOf } from "@hullmark/agent/core/measurement-policy";
import { NodeEvidence } from "@hullmark/agent/core/node-evidence";
import { ReadBudget } from "@hullmark/agent/core/read-budget";
import type { ContainerFacts } from "@hullmark/agent/ports/container-runtime";
import type { InspectedCode } from "@hullmark/agent/ports/process-inspector";
import type { MountPoint, RootLayout } from "@hullmark/agent/ports/root-filesystem";
import { MAX_MESSAGE_BYTES } from "@hullmark/proto/rpc";
import { EvidenceBodySchema, FilesystemKind, type LayerUpdate, NodeStateSchema } from "@hullmark/proto/v1/attestation";
import { applyEvidence, emptyMemory, type NodeMemory } from "@hullmark/verifier/core/appraisal/index";
import { expect, onTestFinished, test, vi } from "vitest";
import { facts } from "../fakes/container-facts.ts";
import { scratch } from "../native/tree-support.ts";

function held(store: LayerStore, until: Promise<void> | undefined): LayerStore {
  const acquire = store.acquire.bind(store);
  return Object.assign(store, { acquire: async (...args: Parameters<LayerStore["acquire"]>) => [await until, await acquire(...args)][1] });
}

/** A node whose Evidence a verifier takes, or the test fails. */
class Node {
  readonly evidence = new NodeEvidence();
  memory: NodeMemory = emptyMemory("node", Buffer.alloc(16));
  largest = 0;
  /** Of the Evidence that was taken last. */
  layerChanges: readonly LayerUpdate[] = [];

  constructor() {
    this.evidence.setNode(toBinary(NodeStateSchema, create(NodeStateSchema, { nodeName: "n" })));
  }

  async run(
    id: string,
    upperPath: string,
    change: {
      facts?: Partial<ContainerFacts>;
      /** What the engine says of it when it is asked again. */
      inspect?: () => Partial<ContainerFacts> | undefined;
      layout?: () => Partial<RootLayout>;
      code?: Uint8Array;
      ownLayer?: boolean;
      /** What of the node's directories is watched. */
      watched?: Set<string>;
      /** Its layers are measured when that is over. */
      layers?: Promise<void>;
    } = {},
  ) {
    const layer = { id: "layer", path: upperPath };
    const overlay = { kind: "overlay" as const, layers: change.layers ? [layer] : [], upperPath, device: "0:50", oddOptions: [], mounts: [] as MountPoint[] };
    const nothing = (): void => {};
    const measurer = nativeMeasurer({ threads: 1 });
    const monitor = new ContainerMonitor(facts({ id, ...change.facts }), {
      ...{
        runtime: "docker",
        dialect: "docker",
        ownLayer: change.ownLayer ?? true,
        measurer,
        evidence: this.evidence,
        files: nodeFiles,
        policy: () => undefined,
      },
      ...{
        watch: (watch) => change.watched?.add(watch),
        unwatch: (watch) => change.watched?.delete(watch),
        publish: nothing,
        randomKey: () => randomBytes(32),
      },
      inspect: async () => {
        const now = change.inspect?.();
        return now && facts({ id, ...change.facts, ...now });
      },
      rootFilesystem: { layout: async () => ({ ...overlay, ...change.layout?.() }) as RootLayout },
      layers: held(new LayerStore({ measurer, budget: () => budgetOf(undefined), watch: nothing, unwatch: nothing, changed: nothing }), change.layers),
    });
    onTestFinished(() => monitor.close());
    await monitor.announce();
    this.evidence.setPart(id, "code", change.code ?? new CodeHistory().serialize({ code: [], privileges: [], processes: 0, claims: [] }, 0));
    const measured = monitor.measure();
    if (!change.layers) await measured;
    return Object.assign(monitor, { measured });
  }

  /** The next Evidence, as the verifier understands it. */
  tell(full = false) {
    if (full) this.evidence.requestFull();
    const built = this.evidence.build(this.memory, "boot", 0);
    if (built) {
      this.largest = Math.max(this.largest, built.body.length);
      const result = applyEvidence(this.memory, fromBinary(EvidenceBodySchema, built.body), built.body);
      if (!result.ok) throw new Error(`${result.problem}: ${result.detail}`);
      this.memory = result.memory;
      this.layerChanges = result.layerChanges;
    }
    return (id: string) => {
      const state = this.memory.containers.get(id);
      if (!state) throw new Error(`nothing told of ${id}`);
      return { state, entries: state.upper.size, claims: state.filesystem.claims.map(({ code }) => code) };
    };
  }
}

/** So many files, each under a path of some 3,500 bytes. @returns their directory */
function deepFiles(root: string, count: number): string {
  const directory = join(root, ...Array.from({ length: 14 }, (_, i) => `${i}`.padEnd(250, "x")));
  mkdirSync(directory, { recursive: true });
  for (let i = 0; i < count; i++) writeFileSync(join(directory, `f${i}`), "");
  return directory;
}

test("of a root without layer directories its root is told, and of what events named who did it", async () => {
  const node = new Node();
  const root = scratch();
  writeFileSync(join(root, "of-the-image"), "");
  const one = await node.run("one", root, { layout: () => ({ kind: "merged", path: root, onNode: true, filesystem: "ext4" }) });
  const { filesystem } = node.tell()("one").state;
  expect(filesystem).toMatchObject({ kind: FilesystemKind.MERGED, layers: [], claims: [] });

  writeFileSync(join(root, "new"), "x");
  const actor = { pid: 7, executable: "/bin/sh", located: true, uid: 0, containerId: "one", ancestry: [], entrance: undefined };
  one.changed([{ path: Buffer.from("new"), actor, atMs: 1 }]);
  await one.layersChanged();
  const { state, entries } = node.tell()("one");
  expect(entries).toBe(0);
  expect(state.filesystem.mergedRoot).not.toEqual(filesystem.mergedRoot);
  expect(node.layerChanges).toMatchObject([{ id: "merged/one", truncated: false }]);
  expect(Buffer.from(node.layerChanges[0]?.root ?? [])).toEqual(Buffer.from(state.filesystem.mergedRoot));
  expect(node.layerChanges[0]?.changes.map(({ path, actor: by }) => [Buffer.from(path).toString(), by?.executable])).toEqual([["new", "/bin/sh"]]);

  // Found by a rescan: nobody was seen.
  writeFileSync(join(root, "of-the-image"), "altered");
  await one.rescan(new ReadBudget(0, 1));
  const rescanned = node.tell()("one");
  expect(rescanned.entries).toBe(0);
  expect(rescanned.state.filesystem.mergedRoot).not.toEqual(state.filesystem.mergedRoot);
  expect(node.layerChanges).toEqual([]);
});

test("a delta that is too long to tell is withheld and claimed, found at first or grown later; told again when it has shrunk", async () => {
  const node = new Node();
  const [first, grown, calm] = [scratch(), scratch(), scratch()];
  const deep = deepFiles(first, 3000);
  writeFileSync(join(calm, "a"), "a");
  const big = await node.run("big", first);
  const growing = await node.run("growing", grown);
  await node.run("calm", calm);
  expect(node.tell()("big")).toMatchObject({ entries: 0, claims: ["unmeasurable", "over-budget"] });
  expect(node.tell()("calm")).toMatchObject({ entries: 1, claims: [] });

  const late = deepFiles(grown, 3000);
  growing.changed([{ path: Buffer.from("0".padEnd(250, "x")), actor: undefined, atMs: 1 }]);
  await growing.layersChanged();
  expect(node.tell()("growing")).toMatchObject({ entries: 0, claims: ["unmeasurable", "over-budget"] });
  // While it is withheld its changes cost nothing.
  writeFileSync(join(late, "one-more"), "");
  growing.changed([{ path: Buffer.from(`${late.slice(grown.length + 1)}/one-more`), actor: undefined, atMs: 2 }]);
  await growing.layersChanged();
  expect(node.evidence.build(node.memory, "boot", 0)).toBeUndefined();

  rmSync(deep, { recursive: true });
  rmSync(late, { recursive: true });
  await big.rescan(ReadBudget.NONE);
  await growing.rescan(ReadBudget.NONE);
  expect(node.tell()("big")).toMatchObject({ entries: 13, claims: [] });
  expect(node.tell()("growing")).toMatchObject({ entries: 13, claims: [] });
});

test("the deltas of many containers together fit into one message; those without room are claimed, the largest, and the rest are judged", async () => {
  const node = new Node();
  for (let i = 0; i < 5; i++) {
    const upper = scratch();
    deepFiles(upper, 1500);
    await node.run(`c${i}`, upper);
  }
  const told = node.tell(true);
  expect([0, 1, 2, 3, 4].map((i) => told(`c${i}`).claims)).toEqual([[], [], [], ["unmeasurable"], ["unmeasurable"]]);
  // One that comes later and has less takes the room of one that has more.
  const upper = scratch();
  deepFiles(upper, 300);
  await node.run("calm", upper);
  const after = node.tell();
  expect([after("calm").claims, after("calm").entries]).toEqual([[], 314]);
  const large = [0, 1, 2].map((i) => after(`c${i}`)).map(({ claims, entries }) => [claims, entries]);
  expect(large.sort()).toEqual([
    [[], 1514],
    [[], 1514],
    [["unmeasurable"], 0],
  ]);
  node.tell(true);
  expect(node.largest).toBeLessThan(MAX_MESSAGE_BYTES);
});

test("more variables, labels, arguments and mounts than are taken are cut and claimed", async () => {
  const node = new Node();
  const many = (n: number, text: string) => Array.from({ length: n }, (_, i) => `${text}${i}`);
  const mounts = [...many(6000, "/m"), `/${"d/".repeat(9000)}`].map((destination) => ({
    destination,
    type: "tmpfs",
    device: "0:60",
    root: "/",
    source: "none",
    options: [],
  }));
  const wide = {
    env: many(10_000, "V").map((name) => `${name}=1`),
    labels: Object.fromEntries(many(20_000, "label").map((name) => [name, name.repeat(20)])),
    args: many(10_000, "argument".repeat(100)),
  };
  await node.run("wide", scratch(), { facts: wide, layout: () => ({ mounts }) });
  const { state, claims } = node.tell()("wide");
  expect(claims).toEqual(Array(4).fill("unmeasurable"));
  expect(state.configuration.mounts.length).toBeGreaterThan(1000);
});

test("of the layers the topmost is told as the runtime's own, whatever its directory is called, where the runtime has one", async () => {
  const node = new Node();
  const layers = ["1", "2", "3"].map((id) => ({ id: `snapshots/${id}`, path: scratch() }));
  const made = (id: string): boolean[] =>
    node
      .tell()(id)
      .state.filesystem.layers.map(({ runtimeMade }) => runtimeMade);
  await node.run("docker", scratch(), { layout: () => ({ layers }) });
  await node.run("pod", scratch(), { layout: () => ({ layers }), ownLayer: false });
  expect(made("docker")).toEqual([false, false, true]);
  expect(made("pod")).toEqual([false, false, false]);
});

test("a root that was changed, and a mount in the place of another, are told as mounts that nobody declared", async () => {
  const node = new Node();
  const mount = (destination: string, device: string, root = "/"): MountPoint => ({
    destination,
    type: "ext4",
    device,
    root,
    source: "/dev/sda1",
    options: [],
  });
  let layout: Partial<RootLayout> = { mounts: [mount("/data", "8:1", "/volumes/data"), mount("/etc/hosts", "8:1", "/c/hosts")] };
  const declared = { destination: "/data", type: "volume", source: "/volumes/data", options: [] };
  const engineFiles = [{ destination: "/etc/hosts", hostPath: "/nonexistent", digestPath: undefined }];
  const monitor = await node.run("c", scratch(), { facts: { mounts: [declared], engineFiles }, layout: () => layout });
  const undeclared = (): unknown =>
    node
      .tell()("c")
      .state.configuration.mounts.filter((each) => !each.declared)
      .map(({ destination, type }) => [destination, type]);
  await monitor.look();
  await monitor.layersChanged();
  expect(undeclared()).toEqual([]);
  layout = { mounts: [mount("/data", "0:99"), mount("/etc/hosts", "8:1", "/c/elsewhere")] };
  await monitor.look();
  await monitor.layersChanged();
  expect(undeclared()).toEqual([
    ["/data", "ext4"],
    ["/etc/hosts", "ext4"],
  ]);
  layout = { device: "0:77", upperPath: "/elsewhere", mounts: [] };
  await monitor.look();
  await monitor.layersChanged();
  expect(undeclared()).toEqual([["/", "overlay"]]);
  expect(monitor.layout).toMatchObject({ device: "0:50" });
});

test("where the container whose network it joined was removed, that one's files are claimed as gone; what lies in their place is told as ever", async () => {
  const node = new Node();
  const kept = join(scratch(), "containers", "b".repeat(64));
  mkdirSync(kept, { recursive: true });
  const engineFiles = ["hosts", "hostname", "resolv.conf"].map((name) => ({
    destination: `/etc/${name}`,
    hostPath: join(kept, name),
    digestPath: undefined,
  }));
  for (const { hostPath } of engineFiles) writeFileSync(hostPath, "", { mode: 0o644 });
  const mount = (destination: string, root: string): MountPoint => ({ destination, root, type: "ext4", device: "8:1", source: "/dev/sda1", options: [] });
  const first = engineFiles.map(({ destination, hostPath }) => mount(destination, hostPath));
  const nameless = engineFiles.map(({ destination, hostPath }) => mount(destination, `${hostPath}//deleted`));
  const data = mount("/data", "/srv/conf");
  let mounts = [...first, data];
  let answer: Partial<ContainerFacts> | undefined;
  const monitor = await node.run("c", scratch(), {
    facts: {
      engineFiles,
      mounts: [{ destination: "/data", type: "bind", source: "/srv/conf", options: [] }],
      extraHosts: ["db:10.0.0.1"],
      networkNames: ["base"],
    },
    layout: () => ({ mounts }),
    inspect: () => answer,
  });
  const told = async (): Promise<{ claims: string[]; undeclared: string[]; hosts: string[] }> => {
    await monitor.look();
    await monitor.layersChanged();
    const { state, claims } = node.tell()("c");
    const { configuration } = state;
    return {
      claims,
      undeclared: configuration.mounts.filter(({ declared }) => !declared).map(({ destination }) => destination),
      hosts: [...configuration.extraHosts, ...configuration.networkNames],
    };
  };
  const hosts = ["db:10.0.0.1", "base"];
  expect(await told()).toEqual({ claims: [], undeclared: [], hosts });

  // While the engine says that the container is there, files without names are somebody's doing.
  answer = {};
  mounts = [...nameless, data];
  for (const { hostPath } of engineFiles) rmSync(hostPath);
  expect(await told()).toEqual({ claims: [], undeclared: ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"], hosts });

  answer = { networkOwnerGone: true, extraHosts: [], networkNames: [] };
  expect(await told()).toEqual({ claims: ["network-owner-gone"], undeclared: [], hosts });
  mounts = [mount("/etc/hosts", `${kept}/other//deleted`), ...nameless.slice(1), { ...data, root: "/srv/conf//deleted" }];
  expect(await told()).toEqual({ claims: ["network-owner-gone"], undeclared: ["/data", "/etc/hosts"], hosts });
  mounts = [...nameless, mount("/etc/hosts", "/srv/volume/hosts"), data];
  expect(await told()).toEqual({ claims: ["network-owner-gone"], undeclared: ["/etc/hosts"], hosts });
});

test("files that went with their container are claimed, and not told as altered; while it runs, or the engine does not answer, they are told", async () => {
  const node = new Node();
  const directory = scratch();
  const engineFiles = ["hosts", "hostname"].map((name) => ({ destination: `/etc/${name}`, hostPath: join(directory, name), digestPath: undefined }));
  for (const { hostPath } of engineFiles) writeFileSync(hostPath, "x\n", { mode: 0o644 });
  let inspect = (): Partial<ContainerFacts> | undefined => ({});
  const monitor = await node.run("c", scratch(), { facts: { engineFiles }, inspect: () => inspect() });
  const told = async (): Promise<{ claims: string[]; read: number }> => {
    await monitor.look();
    await monitor.layersChanged();
    const { state, claims } = node.tell()("c");
    return { claims, read: state.filesystem.bindFiles.filter(({ sha256 }) => sha256.length === 32).length };
  };
  expect(await told()).toEqual({ claims: [], read: 2 });
  for (const { hostPath } of engineFiles) rmSync(hostPath);
  inspect = () => undefined;
  expect(await told()).toEqual({ claims: ["vanished"], read: 2 });
  inspect = () => ({});
  expect(await told()).toEqual({ claims: [], read: 0 });
  inspect = () => {
    throw new Error("no answer");
  };
  expect(await told()).toEqual({ claims: [], read: 0 });
});

test("the very same mounts once more, as while docker cp runs, are no mounts of somebody's; others over them are, and the same with other options", async () => {
  const node = new Node();
  const mount = (destination: string, root: string, options: string[] = ["ro"]): MountPoint => ({
    ...{ destination, root, options },
    type: "ext4",
    device: "8:1",
    source: "/dev/sda1",
  });
  const first = [mount("/data", "/volumes/data"), mount("/etc/hosts", "/c/hosts")];
  let layout: Partial<RootLayout> = { mounts: first };
  const declared = { destination: "/data", type: "volume", source: "/volumes/data", options: [] };
  const engineFiles = [{ destination: "/etc/hosts", hostPath: "/nonexistent", digestPath: undefined }];
  const monitor = await node.run("c", scratch(), { facts: { mounts: [declared], engineFiles }, layout: () => layout });
  const told = async (more: readonly MountPoint[]): Promise<string[]> => {
    layout = { mounts: [...first, ...more] };
    await monitor.look();
    await monitor.layersChanged();
    return node
      .tell()("c")
      .state.configuration.mounts.filter((each) => !each.declared)
      .map(({ destination }) => destination);
  };
  expect(await told(first)).toEqual([]);
  expect(await told([mount("/etc/hosts", "/c/elsewhere"), ...first])).toEqual(["/etc/hosts"]);
  expect(await told([mount("/data", "/volumes/data", ["rw"])])).toEqual(["/data"]);
  expect(await told([])).toEqual([]);
});

test("a container that cannot be looked at is claimed, and no more once it can", async () => {
  const node = new Node();
  let mounts = 0;
  const layout = (): Partial<RootLayout> => {
    if (mounts > 0) throw new RangeError("mountinfo of 17000000 bytes");
    return {};
  };
  const monitor = await node.run("c", scratch(), { layout });
  mounts = 100_000;
  await monitor.look();
  await monitor.layersChanged();
  expect(node.tell()("c").claims).toEqual(["unmeasurable"]);
  mounts = 0;
  await monitor.look();
  await monitor.layersChanged();
  expect(node.tell()("c").claims).toEqual([]);
});

test("code under long paths is told up to a limit, and that it is not all", async () => {
  const code: InspectedCode[] = Array.from({ length: 1000 }, (_, i) => ({
    ...{ place: "upper" as const, sha256: Buffer.alloc(32, i), main: false, pid: 2, uid: 0, ancestry: Array(5).fill("fifteen-letters") },
    path: Buffer.from(`/${"p".repeat(4000)}${i}`),
  }));
  const history = new CodeHistory();
  const bytes = history.serialize({ code, privileges: [], processes: 1, claims: [] }, 1_700_000_000_000);
  const node = new Node();
  await node.run("mapped", scratch(), { code: bytes });
  const { state } = node.tell()("mapped");
  expect(state.code.truncated).toBe(true);
  expect(state.code.objects.length).toBeGreaterThan(300);
});

test("changes of layers that are too much for one message are told by the layer's root alone, and those of the next message are told", () => {
  const evidence = new NodeEvidence();
  evidence.setNode(Buffer.from("node"));
  const update = (id: string, entries: number) => ({
    ...{ id, root: Buffer.alloc(32, 1), truncated: false },
    changes: Array.from({ length: entries }, (_, i) => ({ path: Buffer.alloc(60_000, i + 1), record: Buffer.alloc(10), inode: 1n })),
  });
  const told = () => {
    const built = evidence.build({ seq: 0n, digest: Buffer.alloc(32) }, "boot", 0);
    return fromBinary(EvidenceBodySchema, built?.body ?? Buffer.alloc(0)).layers.map(({ id, changes, truncated }) => ({
      id,
      changes: changes.length,
      truncated,
    }));
  };
  evidence.addLayerUpdate(update("a", 60));
  evidence.addLayerUpdate(update("b", 60));
  expect(told()).toEqual([
    { id: "a", changes: 60, truncated: false },
    { id: "b", changes: 0, truncated: true },
  ]);
  evidence.addLayerUpdate(update("b", 60));
  expect(told()).toEqual([{ id: "b", changes: 60, truncated: false }]);
});

test("a container that is started anew while its layers are measured is told, and watched, by what it is now alone", async () => {
  const [node, watched, layers, before, now] = [new Node(), new Set<string>(), Promise.withResolvers<void>(), scratch(), scratch()];
  const first = await node.run("web", before, { watched, layers: layers.promise });
  first.close();
  writeFileSync(join(now, "loot"), "stolen");
  await node.run("web", now, { watched });
  const told = vi.spyOn(node.evidence, "setPart");
  layers.resolve();
  await first.measured;
  await new Promise(setImmediate);
  expect([...watched]).toEqual(["upper/web"]);
  expect(told).not.toHaveBeenCalled();
});
