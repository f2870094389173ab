import { encodeRecord } from "@hullmark/proto/codec";
import type { ContainerConfiguration, Mount } from "@hullmark/proto/v1/attestation";
import { expect, test } from "vitest";
import { engineInitPath, resolveInImage } from "../../verifier/core/appraisal/engine-mounts.ts";
import type { ReferenceImage } from "../../verifier/core/appraisal/types.ts";

/** An image of directories and links only. */
function image(links: Readonly<Record<string, string>>): ReferenceImage {
  const merged = (path: Buffer) => {
    const target = links[path.toString()];
    const common = { mode: 0o777, uid: 0, gid: 0, xattrs: [] };
    return target === undefined ? undefined : { record: encodeRecord({ type: "l", target: Buffer.from(target), ...common }), layerIndex: 0, implied: false };
  };
  return { merged } as unknown as ReferenceImage;
}

const debian = image({ sbin: "usr/sbin", "var/run": "/run", "a/b": "../c", loop: "loop", up: "../../etc" });

test.each([
  ["/sbin/docker-init", "/usr/sbin/docker-init"],
  ["/var/run/secrets/kubernetes.io", "/run/secrets/kubernetes.io"],
  ["/a/b/file", "/c/file"],
  ["/up/hosts", "/etc/hosts"],
  ["/data//x/./y", "/data/x/y"],
  ["/", "/"],
])("%s is mounted at %s", (declared, shown) => {
  expect(resolveInImage(debian, declared)).toBe(shown);
});

test("links that lead to themselves end", () => {
  expect(resolveInImage(debian, "/loop/x")).toMatch(/x$/);
});

test("only the engine's own init is its init: no user's mount at its place, and none that nobody declared", () => {
  const mount = (type: string, declared = true, destination = "/sbin/docker-init"): Mount =>
    ({ type, declared, destination, source: "/usr/bin/docker-init", options: ["ro"] }) as unknown as Mount;
  const path = (...mounts: Mount[]) => engineInitPath({ mounts } as unknown as ContainerConfiguration, debian);
  expect(path(mount("engine-init"))).toBe("/usr/sbin/docker-init");
  expect(path(mount("bind"))).toBeUndefined();
  expect(path(mount("engine-init", false))).toBeUndefined();
  expect(path(mount("engine-init", true, "/usr/bin/tool"))).toBeUndefined();
  expect(path()).toBeUndefined();
});
