import { request } from "node:http";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { run } from "../../deploy/testbed/run.ts";
import { dockerInitLayer, type LayerTree, MergedTree, RuntimeMade } from "../../verifier/core/reference-value/index.ts";
import { busyboxLayer } from "../fakes/debian-layers.ts";
import { containerdExtractor, dockerExtractor } from "../fakes/engine-layers.ts";
import { naiveWalk } from "../fakes/naive-walk.ts";
import { replayStack, show, treeDifferences } from "../fakes/replay-against.ts";
import { REPLAY_XATTRS } from "../fakes/replay-cases.ts";
import { directory as d, file as f, symlink as s, tar } from "../fakes/tar-writer.ts";

/** Images that meet the runtime's own files in every way. */
const IMAGES: Readonly<Record<string, Buffer>> = {
  bare: tar(),
  usual: tar(
    d("etc"),
    f("etc/hosts", "127.0.0.1 x\n"),
    s("etc/mtab", "/proc/self/mounts"),
    d("dev"),
    d("proc", 0o555),
    d("sys", 0o555),
    d("tmp", 0o1777),
    d("var/run", 0o700),
  ),
  "symlinked-etc": tar(d("conf"), s("etc", "conf"), f("dev", "a file"), s("proc", "/nowhere"), s("var/run", "/run")),
  "odd-modes": tar(d("etc", 0o2750, { uid: 3, gid: 44 }), d("etc/hosts"), d("dev", 0o700), f("dev/console", "x"), s("dev/shm", "/x"), d("sys/keep")),
  acls: tar(
    d("etc", 0o755, { xattrs: REPLAY_XATTRS[4] as Record<string, Buffer> }),
    d("dev", 0o2755, { gid: 9, xattrs: REPLAY_XATTRS[5] as Record<string, Buffer> }),
    d("run"),
  ),
};
const MOUNTS = ["/data", "/var/run/secrets/kubernetes.io/serviceaccount", "/etc/app/config.d", "/a/b/../c"];

let bed: Testbed;
beforeAll(async () => {
  bed = await startTestbed({ name: "replay-made", parts: { engine: true } });
});
afterAll(() => bed?.down());

function api<T>(method: string, path: string, body?: unknown): Promise<T> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath: bed.engine?.socketPath, method, path, headers: { "content-type": "application/json" } }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => {
        const text = Buffer.concat(chunks).toString();
        if ((response.statusCode ?? 500) >= 400) reject(new Error(`${method} ${path}: ${text}`));
        else resolve((text === "" ? {} : JSON.parse(text)) as T);
      });
    });
    call.on("error", reject);
    call.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** Entries of an upper directory that are neither as in the image nor made by the runtime. */
function unexplained(upper: string, lower: MergedTree, made: RuntimeMade): string[] {
  return naiveWalk(upper)
    .filter(({ path, encoded }) => !lower.get(path)?.record.equals(encoded) && !made.has(path, encoded))
    .map(({ path, encoded }) => `${path.toString("latin1")} ${show(encoded)}`);
}

describe("what docker makes", () => {
  for (const [name, base] of Object.entries(IMAGES)) {
    it(`-init layer and upper directory on the image ${name}`, async () => {
      const layers = [busyboxLayer(), base];
      const extracted = await dockerExtractor(bed.engine as NonNullable<Testbed["engine"]>).extract(layers, `made-${name}`);
      if ("refused" in extracted) throw new Error(extracted.refused);
      const image = MergedTree.of(replayStack(layers, "docker") as LayerTree[]);
      const config = {
        Image: `replay/made-${name}`,
        Cmd: ["/bin/sleep", "1000"],
        WorkingDir: "/work/of/image",
        Volumes: Object.fromEntries(MOUNTS.map((each) => [each, {}])),
        HostConfig: { NetworkMode: "none" },
      };
      const { Id } = await api<{ Id: string }>("POST", "/containers/create", config);
      try {
        const { GraphDriver } = await api<{ GraphDriver: { Data: { LowerDir: string; UpperDir: string } } }>("GET", `/containers/${Id}/json`);
        const [init = ""] = GraphDriver.Data.LowerDir.split(":");
        expect(treeDifferences(dockerInitLayer(image), init)).toEqual([]);

        // An image whose /etc/hosts is a directory cannot be started; its layers are compared all the same.
        await api("POST", `/containers/${Id}/start`).catch((error: unknown) => expect(String(error)).toMatch(/not a directory|no such file|is a directory/i));
        const made = new RuntimeMade({ ofDocker: true, image, mountDestinations: MOUNTS, volumes: [], workingDirectory: "/work/of/image" });
        const lower = MergedTree.of([...image.layers, dockerInitLayer(image)]);
        expect(unexplained(GraphDriver.Data.UpperDir, lower, made)).toEqual([]);
        const without = new RuntimeMade({ ofDocker: true, image, mountDestinations: [], volumes: [], workingDirectory: "" });
        expect(unexplained(GraphDriver.Data.UpperDir, lower, without).join("\n")).toContain("work/of/image");
      } finally {
        await api("DELETE", `/containers/${Id}?force=1&v=1`);
      }
    });
  }
});

describe("what runc makes on containerd", () => {
  for (const [name, base] of Object.entries(IMAGES)) {
    it(`upper directory on the image ${name}`, async () => {
      const containerd = bed.containerd as NonNullable<Testbed["containerd"]>;
      const ctr = (...args: string[]): Promise<string> => run(containerd.ctr("-n", "replay", ...args));
      const layers = [busyboxLayer(), base];
      const extracted = await containerdExtractor(containerd).extract(layers, `made-${name}`);
      if ("refused" in extracted) throw new Error(extracted.refused);
      const image = MergedTree.of(replayStack(layers, "containerd") as LayerTree[]);
      const mounts = MOUNTS.flatMap((each) => ["--mount", `type=tmpfs,dst=${each},options=nosuid`]);
      const file = ["--mount", "type=bind,src=/etc/hostname,dst=/mounted/as/file,options=rbind:ro"];
      const id = `made-${name}`;
      await ctr(
        "run",
        "-d",
        "--snapshotter",
        "overlayfs",
        "--cwd",
        "/work/of/image",
        ...mounts,
        ...file,
        `localhost/replay/made-${name}:latest`,
        id,
        "/bin/sleep",
        "1000",
      ).catch((error: unknown) => expect(String(error)).toMatch(/not a directory|no such file|symlink|file exists/i));
      try {
        const upper = await upperOf(ctr, id);
        const made = new RuntimeMade({
          ofDocker: false,
          image,
          mountDestinations: [...MOUNTS, "/run", "/mounted/as/file"],
          volumes: [],
          workingDirectory: "/work/of/image",
        });
        expect(unexplained(upper, image, made)).toEqual([]);
      } finally {
        await ctr("tasks", "kill", "-s", "SIGKILL", id).catch(() => undefined);
        await ctr("tasks", "delete", "-f", id).catch(() => undefined);
        await ctr("containers", "delete", id).catch(() => undefined);
      }
    });
  }
});

/** The upper directory of an active snapshot. */
async function upperOf(ctr: (...args: string[]) => Promise<string>, key: string): Promise<string> {
  const mounts = await ctr("snapshots", "--snapshotter", "overlayfs", "mounts", "/nowhere", key);
  const upper = /upperdir=([^, ]+)/.exec(mounts)?.[1];
  if (!upper) throw new Error(`no upper directory in ${mounts}`);
  return upper;
}
