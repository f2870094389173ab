/** What the engine calls a volume, held against what the kernel says is mounted. */
import { expect, test } from "vitest";
import { withProvenVolumes } from "../../agent/core/volume-mounts.ts";

const ID = "c".repeat(64);
const DATA = "/var/lib/docker";
const files = [{ destination: "/etc/hosts", hostPath: `${DATA}/containers/${ID}/hosts`, digestPath: undefined }];
const point = (destination: string, root: string, device = "8:1") => ({ destination, root, device, type: "ext4", source: "/dev/sda1", options: [] });

/** The type that a volume NAME of these properties gets. @param prefix of the data directory within its filesystem */
function typeOf(root: string, { prefix = DATA, device = "8:1", at = "/srv/vol", source = `${DATA}/volumes/NAME/_data`, own = files } = {}): string | undefined {
  const declared = [{ destination: "/srv/vol", type: "volume", source, options: [] }];
  return withProvenVolumes(declared, own, [point("/etc/hosts", `${prefix}/containers/${ID}/hosts`), point(at, root, device)])[0]?.type;
}

test("a volume in the engine's own directory is one, wherever that lies in its filesystem and wherever the image's links lead", () => {
  expect(typeOf(`${DATA}/volumes/NAME/_data`)).toBe("volume");
  expect(typeOf("/volumes/NAME/_data", { prefix: "" })).toBe("volume");
  expect(typeOf("/@var/docker/volumes/NAME/_data", { prefix: "/@var/docker" })).toBe("volume");
  expect(typeOf(`${DATA}/volumes/NAME/_data`, { at: "/data/vol" })).toBe("volume");
});

test("where the engine's directory is, is shown by its file too after the container whose that was has gone", () => {
  const declared = [{ destination: "/srv/vol", type: "volume", source: `${DATA}/volumes/NAME/_data`, options: [] }];
  const hosts = point("/etc/hosts", `${DATA}/containers/${ID}/hosts//deleted`);
  expect(withProvenVolumes(declared, files, [hosts, point("/srv/vol", `${DATA}/volumes/NAME/_data`)])).toMatchObject([{ type: "volume" }]);
  expect(withProvenVolumes(declared, files, [hosts, point("/srv/vol", "/etc")])).toMatchObject([{ type: "bind" }]);
});

test("a volume that stands for a directory of the host is a bind", () => {
  expect(typeOf("/etc")).toBe("bind");
  expect(typeOf("/")).toBe("bind");
  expect(typeOf("/etc", { at: "/data/vol" })).toBe("bind");
  expect(typeOf("/tmp/volumes/NAME/_data")).toBe("bind");
  expect(typeOf(`${DATA}/volumes/OTHER/_data`)).toBe("bind");
  expect(typeOf(`${DATA}/volumes/NAME/_data`, { device: "8:2" })).toBe("bind");
  expect(typeOf(`${DATA}/volumes/../_data`)).toBe("bind");
  expect(typeOf("/etc", { source: "/etc" })).toBe("bind");
});

test("what cannot be told is a bind, and nothing is said of a container that is gone", () => {
  expect(typeOf(`${DATA}/volumes/NAME/_data`, { own: [] })).toBe("bind");
  const declared = [{ destination: "/srv/vol", type: "volume", source: `${DATA}/volumes/NAME/_data`, options: [] }];
  expect(withProvenVolumes(declared, files, [])).toEqual(declared);
});
