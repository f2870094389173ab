/** A replayed layer as the expected side of a descent. */

import type { ExpectedPosition, ExpectedTree } from "../appraisal/descent.ts";
import type { LayerTree } from "../reference-value/layer-tree.ts";

export function expectedTree(layer: LayerTree): ExpectedTree {
  return {
    root: layer.root,
    descend(key, bits): ExpectedPosition {
      const at = layer.descend(key, bits);
      if (at.kind === "leaf") return { kind: "leaf", path: at.path, record: at.record, hash: at.hash };
      return at.kind === "node" ? { kind: "node", bitlen: at.bitlen, hash: at.hash, left: at.left, right: at.right } : at;
    },
    *entriesBelow(key, bits) {
      const pending: { key: Uint8Array; bits: number }[] = [{ key, bits }];
      for (let next = pending.pop(); next; next = pending.pop()) {
        const at = layer.descend(next.key, next.bits);
        if (at.kind === "leaf") yield { path: at.path, record: at.record };
        if (at.kind === "node") for (const side of [1, 0] as const) pending.push({ key: childKey(at.prefix, at.bitlen, side), bits: at.bitlen + 1 });
      }
    },
  };
}

function childKey(prefix: Buffer, bitlen: number, side: 0 | 1): Buffer {
  const key = Buffer.alloc(32);
  prefix.copy(key);
  const mask = 0x80 >> (bitlen & 7);
  key[bitlen >> 3] = side ? (key[bitlen >> 3] ?? 0) | mask : (key[bitlen >> 3] ?? 0) & ~mask;
  return key;
}
