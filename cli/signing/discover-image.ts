/** Who has signed and attested an image, as far as that can be verified: what a first policy for it can rest on. */
import type { Authority, TrustRoot } from "@hullmark/verifier/core/policy/types";
import type { BuildSource, ProvenanceVerdict } from "@hullmark/verifier/core/provenance/index";
import type { Registry } from "@hullmark/verifier/ports/registry";
import { examineImage } from "./examine-image.ts";
import type { FoundImage } from "./registry.ts";

export interface DiscoverOptions {
  readonly publicKeyPem: string | undefined;
  /** `trusted_root.json`; undefined: nobody is known by a certificate. */
  readonly trustRootJson: string | undefined;
  readonly platform: string | undefined;
  readonly nowMs: number;
}

export interface DiscoveredIdentity {
  readonly issuer: string;
  readonly subject: string;
  readonly signed: boolean;
}

export interface DiscoveredImage {
  readonly image: FoundImage;
  readonly keySigned: boolean;
  /** In order of appearance. */
  readonly identities: readonly DiscoveredIdentity[];
  /** SLSA provenance by one of them; `by` is an index into `identities`, or `key`. */
  readonly build: { readonly source: BuildSource; readonly by: number | "key" } | undefined;
  /** What was found and could not be verified, one line each. */
  readonly unverified: readonly string[];
}

const ROOT = "root";
const KEY = "key";

/** @throws RegistryError, ProvenanceError, SigningError where nothing can be told */
export async function discoverImage(registry: Registry, reference: string, options: DiscoverOptions, signal: AbortSignal): Promise<DiscoveredImage> {
  const examined = await examineImage(registry, reference, options, signal);
  const trustRoots: TrustRoot[] = options.trustRootJson === undefined ? [] : [{ name: ROOT, json: options.trustRootJson, requireLog: true, requireSct: true }];
  const always = { notBeforeMs: undefined, notAfterMs: undefined };
  const byKey: Authority[] =
    options.publicKeyPem === undefined ? [] : [{ name: KEY, signers: [{ kind: "key", publicKeyPem: options.publicKeyPem, ...always }] }];
  const person = (name: string, issuer: string, exact: string): Authority => ({
    name,
    signers: [{ kind: "keyless", trustRoot: ROOT, issuer, subject: { exact }, extensions: {}, ...always }],
  });
  const judge = (authorities: readonly Authority[]): ProvenanceVerdict => examined.judge({ authorities, trustRoots });
  // Nobody has an empty name: whoever a certificate names turns up as a stranger first. Without an issuer a policy cannot name him.
  const strangers = judge([...byKey, ...(trustRoots.length > 0 ? [person("nobody", "", "")] : [])]).artefacts.flatMap(({ identity }) =>
    identity && identity.issuer !== "" ? [identity] : [],
  );
  const found = [...new Map(strangers.map((identity) => [JSON.stringify(identity), identity])).values()];
  const verdict = judge([...byKey, ...found.map(({ issuer, subject }, i) => person(`signer-${i}`, issuer, subject))]);
  const attested = verdict.artefacts.find(({ code, source }) => code === "attestation" && source);
  const [by] = attested?.authorities ?? [];
  return {
    image: examined.image,
    keySigned: verdict.signedBy.includes(KEY),
    identities: found.map(({ issuer, subject }, i) => ({ issuer, subject, signed: verdict.signedBy.includes(`signer-${i}`) })),
    build: attested?.source && by !== undefined ? { source: attested.source, by: by === KEY ? KEY : Number(by.slice("signer-".length)) } : undefined,
    unverified: verdict.artefacts
      .filter(({ code }) => code !== "signature" && code !== "attestation")
      .map(({ manifestDigest, text }) => `${manifestDigest.slice(0, 19)}… ${text}`),
  };
}
