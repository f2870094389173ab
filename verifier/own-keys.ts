/** Composition of the verifier's own keys: which there are, and who must be told where one changes. No decisions here. */
import { hash, X509Certificate } from "node:crypto";
import { statSync } from "node:fs";
import type { EarKeys } from "./adapters/ear-keys/index.ts";
import type { LogKeys } from "./adapters/log-signer/index.ts";
import { type HmacNonceSource, replaceRegionKey } from "./adapters/nonce/index.ts";
import { parseVerifierKey } from "./core/transparency/note.ts";
import type { CertificateAuthority } from "./ports/certificate-authority.ts";
import type { OwnKey } from "./ports/own-key.ts";

/** @param changed the listeners and files that hold certificates and roots of it are brought the new ones */
export function caKey(authority: CertificateAuthority, changed: () => Promise<void>): OwnKey {
  return {
    name: "ca",
    facts: () =>
      authority.trusted.map((der, index) => {
        const { publicKey, validFromDate } = new X509Certificate(der);
        return { id: keyId(publicKey.export({ type: "spki", format: "der" })), madeAtMs: validFromDate.getTime(), state: index === 0 ? "in-use" : "accepted" };
      }),
    rotate: async () => {
      await authority.rotate();
      await changed();
    },
    retire: async () => {
      await authority.retire();
      await changed();
    },
  };
}

/** One that gave way signs beside the one in use until it is retired. @param changed files that hold the public lines are written anew */
export function noteKey(name: "log" | "intent", keys: LogKeys, changed: () => Promise<void> = async () => {}): OwnKey {
  return {
    name,
    facts: () =>
      keys.signing.map(({ verifierKey }, index) => {
        const { publicKey } = parseVerifierKey(verifierKey);
        const id = keyId(publicKey.export({ type: "spki", format: "der" }));
        return { id, madeAtMs: keys.madeAtMs[index] ?? 0, state: index === 0 ? "in-use" : "accepted" };
      }),
    rotate: async () => {
      keys.rotate();
      await changed();
    },
    retire: async () => {
      keys.retire();
      await changed();
    },
  };
}

export function earKey(keys: EarKeys): OwnKey {
  return {
    name: "ear",
    facts: () => keys.facts(),
    rotate: () => keys.replace(),
    retire: async () => keys.retire(),
  };
}

/** One that gave way is accepted for the nonces that it made, in this process's memory, and for no longer than they live: there is nothing to retire. */
export function nonceKey(file: string, nonces: HmacNonceSource): OwnKey {
  return {
    name: "nonce",
    facts: () => [{ id: nonces.keyId, madeAtMs: Math.floor(statSync(file).mtimeMs), state: "in-use" }],
    rotate: async () => nonces.replaceKey(await replaceRegionKey(file)),
    retire: async () => {},
  };
}

function keyId(spki: Buffer): string {
  return hash("sha256", spki).slice(0, 16);
}
