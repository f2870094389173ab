/** A container as a scripted node tells it: it runs the small image, with files that it added. */
import { hash } from "node:crypto";
import { encodeRecord } from "@hullmark/proto/codec";
import { dockerInitLayer, LayerTree, MergedTree } from "@hullmark/verifier/core/reference-value/index";
import type { ScriptedContainer } from "./attester.ts";
import type { PushedImage } from "./images.ts";

const directoryRecord = encodeRecord({ type: "d", mode: 0o755, uid: 0, gid: 0, xattrs: [], opaque: false });
const file = (content: string): Buffer =>
  encodeRecord({ type: "f", mode: 0o644, uid: 0, gid: 0, xattrs: [], size: BigInt(content.length), sha256: hash("sha256", content, "buffer") });

/** @param index its name is `web-INDEX` @param added paths below `etc` without leading slash */
export function scriptedWeb(image: PushedImage, index: number, added: readonly string[]): ScriptedContainer {
  const tree = LayerTree.build([
    { path: Buffer.from("etc"), record: directoryRecord, implied: true },
    { path: Buffer.from("etc/app.conf"), record: file("port=80\n"), implied: false },
  ]);
  const upper = new Map([["etc", directoryRecord], ...added.map((path) => [path, file(path)] as const)]);
  return {
    id: index.toString(16).padStart(64, "0"),
    name: `web-${index}`,
    image: { reference: `${image.repository}:${image.tag}`, configDigest: image.configDigest },
    layers: [
      { id: "layer-0", tree },
      { id: "init", tree: dockerInitLayer(MergedTree.of([tree])), runtimeMade: true },
    ],
    upper: added.length > 0 ? upper : new Map(),
  };
}
