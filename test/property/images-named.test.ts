/** Which image somebody means who names it by a tag, where containers run by tag, by digest, or by both. */
import { byDigest, imagesOfRepository, imagesRunAs } from "@hullmark/verifier/core/images/named";
import type { ImageRow } from "@hullmark/verifier/ports/rows";
import { expect, test } from "vitest";
import { digestOf } from "../fakes/digest-of.ts";

function row(name: string, ...references: string[]): ImageRow {
  return {
    ...{ configDigest: digestOf(name), references, manifestDigests: [digestOf(`m-${name}`)], platform: "linux/amd64" },
    ...{ state: "ready", detail: "", layers: 1, entries: 1, provenance: undefined, identity: "" },
  };
}

const [byTag, pinned, both, hub, local] = [
  row("tag", "registry.example/shop/web:1"),
  row("pinned", `registry.example/shop/cart@${digestOf("m-pinned")}`),
  row("both", `registry.example:5000/shop/pay:2@${digestOf("m-both")}`),
  row("hub", "docker.io/library/nginx:1.27"),
  row("local", digestOf("local")),
];
const IMAGES = [byTag, pinned, both, hub, local];

test.each([
  ["as it is written", "registry.example/shop/web:1", [byTag]],
  ["by a tag beside a digest", "registry.example:5000/shop/pay:2", [both]],
  ["by the digest beside it", `registry.example:5000/shop/pay@${digestOf("m-both")}`, [both]],
  ["by a short name", "nginx:1.27", [hub]],
  ["another tag", "registry.example/shop/web:2", []],
  ["no tag, which is latest", "registry.example/shop/web", []],
  ["a tag where only a digest runs", "registry.example/shop/cart:1", []],
  ["a registry of another port", "registry.example/shop/pay:2", []],
  ["no reference at all", "Not A Reference", []],
  ["nothing", "", []],
])("%s", (_name, reference, images) => expect(imagesRunAs(IMAGES, reference)).toEqual(images));

test("several that run by one tag are all of them", () => {
  const after = row("after", "registry.example/shop/web:1");
  expect(imagesRunAs([...IMAGES, after], "registry.example/shop/web:1")).toEqual([byTag, after]);
});

test("one that runs by the tag as it is written is not meant alone where others run by the same tag, otherwise written", () => {
  const [after, short] = [row("after", `registry.example/shop/web:1@${digestOf("m-after")}`), row("short", "nginx:1.27")];
  const all = [...IMAGES, after, short];
  expect(imagesRunAs(all, "registry.example/shop/web:1")).toEqual([byTag, after]);
  expect(imagesRunAs(all, "nginx:1.27")).toEqual([hub, short]);
  expect(imagesRunAs(all, "docker.io/library/nginx:1.27")).toEqual([hub, short]);
  expect(imagesRunAs(all, `registry.example/shop/web:1@${digestOf("m-after")}`)).toEqual([after]);
  expect(imagesRunAs(all, digestOf("local"))).toEqual([local]);
});

test("others of the repository are offered by digest, and not too many", () => {
  expect(imagesOfRepository(IMAGES, "registry.example/shop/cart:1")).toEqual([pinned]);
  expect(imagesOfRepository(IMAGES, "registry.example/shop/other:1")).toEqual([]);
  const many = Array.from({ length: 7 }, (_, i) => row(`r${i}`, `registry.example/shop/web:${i}`));
  expect(byDigest(many)).toMatch(/^sha256:[0-9a-f]{64} \(registry.example\/shop\/web:0\), .*\(registry.example\/shop\/web:4\) and 2 more$/);
});
