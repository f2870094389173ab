/** Composition of the verifier's own keys: which there are, and who must be told where one changes. No decisions here. */
import { hash, X509Certificate } from "node:crypto";
import { statSync } from "node:fs";
import type { Logger } from "pino";
import type { EarKeys } from "./adapters/ear-keys/index.ts";
import type { LogKeys } from "./adapters/log-signer/index.ts";
import { type HmacNonceSource, replaceRegionKey } from "./adapters/nonce/index.ts";
import { Pkcs11Token } from "./adapters/pkcs11/index.ts";
import type { VerifierConfig } from "./config.ts";
import { parseVerifierKey } from "./core/transparency/note.ts";
import type { CertificateAuthority } from "./ports/certificate-authority.ts";
import type { OwnKey, OwnKeyName } from "./ports/own-key.ts";
import type { KeyToken } from "./ports/signing-key.ts";

export interface OwnToken extends KeyToken {
  /** Whether the newest key of this name was in the token before, put there by whoever may. */
  wasTaken(name: OwnKeyName): boolean;
  /** To be called at the end. */
  close(): Promise<void>;
}

/** The token in which the configuration has new keys made. A key that cannot be removed from it is told, and stops nothing; so is one that it had already. undefined: they are made in files. */
export function keyToken(
  { keys, region, verifierId }: VerifierConfig,
  environment: Readonly<Record<string, string | undefined>>,
  logger: Pick<Logger, "error" | "warn">,
): OwnToken | undefined {
  if (keys.pkcs11 === undefined) return undefined;
  const taken = new Set<string>();
  const onTaken = (name: string, label: string): void => {
    taken.add(name);
    logger.warn(
      { key: label },
      "a key under the label that is next was in the token already, and is taken: if nobody put it there on purpose, somebody else may have it",
    );
  };
  const token = new Pkcs11Token({ uri: keys.pkcs11, environment, labelPrefix: `hullmark/${region}/${verifierId}`, unattended: true, onTaken });
  return {
    wasTaken: (name) => taken.has(name),
    make: (kind, name, after) => {
      taken.delete(name);
      return token.make(kind, name, after);
    },
    open: (uri) => token.open(uri),
    hmac: (uri, message) => token.hmac(uri, message),
    drop: (key) =>
      token.drop(key).catch((error: unknown) => logger.error({ key, err: error }, "a key that gave way could not be removed from its token: remove it there")),
    close: () => token.close(),
  };
}

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
      await keys.rotate();
      await changed();
    },
    retire: async () => {
      await keys.retire();
      await changed();
    },
  };
}

export function earKey(keys: EarKeys): OwnKey {
  return {
    name: "ear",
    facts: () => keys.facts(),
    rotate: () => keys.replace(),
    retire: () => keys.retire(),
  };
}

/** One that gave way is accepted for the nonces that it made, in this process's memory, and for no longer than they live: there is nothing to retire. */
export function nonceKey(file: string, nonces: HmacNonceSource, token: KeyToken | undefined): OwnKey {
  return {
    name: "nonce",
    facts: () => [{ id: nonces.keyId, madeAtMs: Math.floor(statSync(file).mtimeMs), state: "in-use" }],
    rotate: async () => nonces.replaceKey(await replaceRegionKey(file, token)),
    retire: async () => {},
  };
}

function keyId(spki: Buffer): string {
  return hash("sha256", spki).slice(0, 16);
}
