/** A working Ed25519 note signer whose key is a function of its name and seed. */
import { createPrivateKey, createPublicKey, hash, sign } from "node:crypto";
import { formatVerifierKey } from "@hullmark/verifier/core/transparency/index";
import type { NoteSigner } from "@hullmark/verifier/ports/signer";

export function testNoteSigner(name = "log.example/test", seed = "seed"): NoteSigner {
  const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), hash("sha256", seed, "buffer")]);
  const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  const publicKey = createPublicKey(key).export({ format: "der", type: "spki" }).subarray(-32);
  return { name, verifierKey: formatVerifierKey(name, publicKey), sign: async (message) => sign(null, message, key) };
}
