/** Composition of the verifier's own keys: which there are, and who must be told where one changes. No decisions here. */
import { hash, X509Certificate } from "node:crypto";
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

function keyId(spki: Buffer): string {
  return hash("sha256", spki).slice(0, 16);
}
