/** The Notary Project in tests: certificates, envelopes of both formats by our own hand, and notation-go (test/interop-notary) as a program. */
import { execFile } from "node:child_process";
import { constants, createPublicKey, generateKeyPairSync, type KeyObject, sign as nodeSign } from "node:crypto";
import { accessSync, constants as fsConstants, mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import type { TrustStore } from "@hullmark/verifier/core/policy/types";
import "reflect-metadata";
import * as x509 from "@peculiar/x509";
import { encode, Tagged } from "cborg";
import { issueAuthority } from "./sigstore/ca.ts";
import { newKey, P256, pem, type TestKey } from "./sigstore/keys.ts";
import type { FakeTsa } from "./sigstore/tsa.ts";

const run = promisify(execFile);
const REPOSITORY = new URL("../..", import.meta.url).pathname;
const ROOT_NAME = "CN=test notary root,O=acme,ST=WA,C=US";
const SIGNER_NAME = "CN=release,O=acme,ST=WA,C=US";

export type KeyKind = "P-256" | "P-384" | "P-521" | "RSA-2048" | "RSA-3072";
const ALGORITHMS = { "P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "RSA-2048": "PS256", "RSA-3072": "PS384" } as const;
const COSE_ALGORITHMS = { ES256: -7, ES384: -35, ES512: -36, PS256: -37, PS384: -38 } as const;

export interface NotaryIdentity {
  readonly kind: KeyKind;
  readonly privateKey: KeyObject;
  /** DER, leaf first, root last. */
  readonly chain: readonly Buffer[];
}

export interface IdentityOptions {
  readonly kind?: KeyKind;
  readonly name?: string;
  readonly usage?: string;
  readonly keyUsage?: x509.KeyUsageFlags;
  readonly notBeforeMs?: number;
  readonly notAfterMs?: number;
  /** Whose key it is for; a new one where left out. */
  readonly pair?: NotaryIdentity;
  /** Further extensions. */
  readonly more?: readonly x509.Extension[];
}

export class NotaryCa {
  readonly root: Buffer;
  readonly #key: TestKey;

  private constructor(root: Buffer, key: TestKey) {
    this.root = root;
    this.#key = key;
  }

  static async create(): Promise<NotaryCa> {
    const key = await newKey();
    return new NotaryCa(await issueAuthority(ROOT_NAME, ROOT_NAME, key, key), key);
  }

  get rootPem(): string {
    return pem("CERTIFICATE", this.root);
  }

  async identity(options: IdentityOptions = {}): Promise<NotaryIdentity> {
    const {
      kind = options.pair?.kind ?? "P-256",
      name = SIGNER_NAME,
      usage = x509.ExtendedKeyUsage.codeSigning,
      keyUsage = x509.KeyUsageFlags.digitalSignature,
    } = options;
    const { notBeforeMs = Date.now() - 60_000, notAfterMs = Date.now() + 86_400_000 } = options;
    const privateKey = options.pair?.privateKey ?? newPrivateKey(kind);
    const publicKey = new x509.PublicKey(createPublicKey(privateKey).export({ type: "spki", format: "der" }));
    const certificate = await x509.X509CertificateGenerator.create({
      ...{ serialNumber: "0102030405", subject: name, issuer: ROOT_NAME, publicKey },
      ...{ notBefore: new Date(notBeforeMs), notAfter: new Date(notAfterMs), signingKey: this.#key.signer, signingAlgorithm: P256 },
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(keyUsage, true),
        new x509.ExtendedKeyUsageExtension([usage]),
        await x509.AuthorityKeyIdentifierExtension.create(this.#key.verifier),
        ...(options.more ?? []),
      ],
    });
    return { kind, privateKey, chain: [Buffer.from(certificate.rawData), this.root] };
  }
}

function newPrivateKey(kind: KeyKind): KeyObject {
  if (kind.startsWith("P-")) return generateKeyPairSync("ec", { namedCurve: kind }).privateKey;
  return generateKeyPairSync("rsa", { modulusLength: Number(kind.slice(4)) }).privateKey;
}

/** Who trusts that CA and its timestamp authority, and asks whether certificates were taken back. */
export function trustStoreOf(ca: NotaryCa, tsa: FakeTsa): TrustStore {
  return {
    name: "acme",
    scheme: "ca",
    certificates: [ca.rootPem],
    timestampAuthorities: [pem("CERTIFICATE", tsa.chain[1] ?? Buffer.alloc(0))],
    requireTimestamp: false,
    revocation: "enforce",
    revocationLists: [],
  };
}

export interface EnvelopeOptions {
  readonly format?: "jws" | "cose";
  readonly scheme?: string;
  readonly algorithm?: string;
  /** Seconds since 1970. */
  readonly signingTime?: number;
  readonly authenticTime?: number;
  readonly expiry?: number;
  readonly critical?: readonly string[];
  /** Further protected attributes. */
  readonly more?: Readonly<Record<string, string>>;
  readonly token?: (signature: Buffer) => Buffer;
  readonly contentType?: string;
}

export interface Envelope {
  readonly mediaType: string;
  readonly bytes: Buffer;
}

/** The payload that names an image. */
export function notaryPayload(digest: string, size = 7): Buffer {
  return Buffer.from(JSON.stringify({ targetArtifact: { mediaType: "application/vnd.oci.image.manifest.v1+json", digest, size } }));
}

/** Signs by the letter of the specifications, or beside it as the options say. */
export function signNotary(identity: NotaryIdentity, payload: Buffer, options: EnvelopeOptions = {}): Envelope {
  const { format = "jws", scheme = "notary.x509", signingTime = Math.floor(Date.now() / 1000), authenticTime, expiry, more = {} } = options;
  const { algorithm = ALGORITHMS[identity.kind], contentType = "application/vnd.cncf.notary.payload.v1+json" } = options;
  const prefix = "io.cncf.notary.";
  const times = { ...(authenticTime === undefined ? { signingTime } : { authenticSigningTime: authenticTime }), ...(expiry !== undefined && { expiry }) };
  const critical =
    options.critical ??
    ["signingScheme", ...(authenticTime === undefined ? [] : ["authenticSigningTime"]), ...(expiry === undefined ? [] : ["expiry"])].map(
      (name) => prefix + name,
    );
  if (format === "jws") {
    const protectedHeader = {
      ...{ alg: algorithm, cty: contentType, crit: critical, [`${prefix}signingScheme`]: scheme, ...more },
      ...Object.fromEntries(Object.entries(times).map(([name, seconds]) => [prefix + name, new Date(seconds * 1000).toISOString().replace(".000", "")])),
    };
    const [head, body] = [Buffer.from(JSON.stringify(protectedHeader)).toString("base64url"), payload.toString("base64url")];
    const signature = rawSign(identity, Buffer.from(`${head}.${body}`));
    const header = {
      x5c: identity.chain.map((der) => der.toString("base64")),
      ...(options.token && { [`${prefix}timestampSignature`]: options.token(signature).toString("base64") }),
    };
    return {
      mediaType: "application/jose+json",
      bytes: Buffer.from(JSON.stringify({ payload: body, protected: head, header, signature: signature.toString("base64url") })),
    };
  }
  const label = COSE_ALGORITHMS[algorithm as keyof typeof COSE_ALGORITHMS] ?? 0;
  const protectedBytes = cbor(
    new Map<unknown, unknown>([
      [1, label],
      [2, critical],
      [3, contentType],
      [`${prefix}signingScheme`, scheme],
      ...Object.entries(times).map(([name, seconds]): [string, unknown] => [prefix + name, new Tagged(1, seconds)]),
      ...Object.entries(more),
    ]),
  );
  const signature = rawSign(identity, cbor(["Signature1", protectedBytes, Buffer.alloc(0), payload]));
  const unprotected = new Map<unknown, unknown>([
    [33, identity.chain],
    ...(options.token ? ([[`${prefix}timestampSignature`, options.token(signature)]] as const) : []),
  ]);
  return { mediaType: "application/cose", bytes: cbor(new Tagged(18, [protectedBytes, unprotected, payload, signature])) };
}

function rawSign({ kind, privateKey: key }: NotaryIdentity, bytes: Buffer): Buffer {
  const digest = `sha${ALGORITHMS[kind].slice(2)}`;
  if (kind.startsWith("P-")) return nodeSign(digest, bytes, { key, dsaEncoding: "ieee-p1363" });
  return nodeSign(digest, bytes, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST });
}

export function cbor(value: unknown): Buffer {
  return Buffer.from(encode(value));
}

/** A timestamp authority over HTTP, as signing tools speak to one. */
export async function serveTsa(tsa: FakeTsa): Promise<{ readonly url: string; close(): Promise<void> }> {
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    response.writeHead(200, { "content-type": "application/timestamp-reply" }).end(tsa.answer(Buffer.concat(chunks)));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

/** Runs notation-go. Rejects with what it says. */
export async function notary(...args: readonly string[]): Promise<string> {
  const path = join(process.env["HULLMARK_STATE"] ?? join(REPOSITORY, ".hullmark"), "tools", "bin", "notary");
  accessSync(path, fsConstants.X_OK);
  const { stdout } = await run(path, [...args], { timeout: 60_000, env: { PATH: process.env["PATH"] ?? "" } });
  return stdout;
}

/** Files that notation-go signs with. */
export function identityFiles(folder: string, { privateKey, chain }: NotaryIdentity): { readonly key: string; readonly chain: string } {
  const files = { key: join(folder, "signer.key"), chain: join(folder, "signer.crt") };
  writeFileSync(files.key, privateKey.export({ type: "pkcs8", format: "pem" }));
  writeFileSync(files.chain, chain.map((der) => pem("CERTIFICATE", der)).join(""));
  return files;
}

/** notation's configuration: one trust store, one policy at level strict. */
export function notationConfig(folder: string, rootPem: string, identity: string, revocation: "enforce" | "skip" = "skip"): void {
  const store = join(folder, "truststore/x509/ca/acme/root.crt");
  mkdirSync(dirname(store), { recursive: true });
  writeFileSync(store, rootPem);
  const policy = {
    name: "all",
    registryScopes: ["*"],
    signatureVerification: { level: "strict", override: { revocation } },
    trustStores: ["ca:acme"],
    trustedIdentities: [identity],
  };
  writeFileSync(join(folder, "trustpolicy.json"), JSON.stringify({ version: "1.0", trustPolicies: [policy] }));
}
