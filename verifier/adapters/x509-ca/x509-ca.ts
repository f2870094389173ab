/** The verifier's CA with @peculiar/x509: one P-256 root, leaves with exactly the names and uses that their holder has. */
import { generateKeyPairSync, X509Certificate as NodeCertificate, randomBytes } from "node:crypto";
import { isIP } from "node:net";
import "reflect-metadata";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type Extension,
  type JsonGeneralName,
  KeyUsageFlags,
  KeyUsagesExtension,
  PublicKey,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";
import { isP256 } from "../../core/enrolment/certificate-request.ts";
import {
  actuatorUri,
  areNamespaces,
  clusterActuatorUri,
  NODE_ID_PATTERN,
  nodeUri,
  OPERATOR_NAME_PATTERN,
  operatorUri,
  REGION_PATTERN,
  untrustedNodeUri,
} from "../../core/enrolment/peer-identity.ts";
import { isTokenKey, openStoredKey } from "../../core/keys/signing-key.ts";
import { type CertificateAuthority, CertificateAuthorityError, type IssuedCertificate, type OperatorRole } from "../../ports/certificate-authority.ts";
import type { Clock } from "../../ports/clock.ts";
import { SignerError } from "../../ports/signer.ts";
import type { KeyToken } from "../../ports/signing-key.ts";
import { type CaSigner, caSigner } from "./signing.ts";
import { type CaFiles, forgetPrevious, readCa, writeCa } from "./state.ts";

export const MAX_NODE_LIFETIME_MS = 3_600_000;
const MAX_LEAF_LIFETIME_MS = 398 * 86_400_000;
const ROOT_LIFETIME_MS = 10 * 365 * 86_400_000;
/** Who pinned a root that is older by more rotations must be brought the present one. */
const MAX_CROSS_CERTIFICATES = 4;
/** Peers' clocks may be behind ours: by that much, and they still take the certificates of a CA that was made just now. */
const BACKDATE_MS = 86_400_000;
const MAX_SERVER_NAMES = 32;
const DNS_NAME = /^(?=.{1,253}$)(?:[a-zA-Z0-9_](?:[a-zA-Z0-9_-]{0,61}[a-zA-Z0-9])?)(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$/;
const SIGNING = { name: "ECDSA", hash: "SHA-256" };
const ROLES: ReadonlySet<string> = new Set<OperatorRole>(["viewer", "responder", "approver", "admin"]);

export interface X509CaOptions {
  /** Holds the CA's key: backed up and guarded like one. Made when absent. */
  readonly stateDir: string;
  readonly region: string;
  readonly clock: Pick<Clock, "nowMs">;
  /** Where new keys are made. undefined: in files below `stateDir`. */
  readonly token?: KeyToken | undefined;
}

/** The key in use, and what is known of those before it. */
interface Roots {
  readonly root: X509Certificate;
  readonly key: CaSigner;
  /** The same as it is kept. */
  readonly stored: string;
  /** Gave way, and is trusted still. */
  readonly previous: X509Certificate | undefined;
  /** The present key certified by roots that gave way, the newest first. */
  readonly cross: readonly X509Certificate[];
}

export class X509Ca implements CertificateAuthority {
  readonly #options: X509CaOptions;
  #roots: Roots;
  /** What was found of certificates, and under which roots. */
  readonly #issued = new WeakMap<Buffer, { readonly roots: Roots; readonly by: boolean }>();

  private constructor(options: X509CaOptions, roots: Roots) {
    this.#options = options;
    this.#roots = roots;
  }

  /** Opens the CA below `stateDir`, or makes it. @throws CertificateAuthorityError; SignerError where its token does not do what is asked of it */
  static async open(options: X509CaOptions): Promise<X509Ca> {
    if (!REGION_PATTERN.test(options.region)) throw new CertificateAuthorityError("BAD_NAME", `region ${JSON.stringify(options.region)}`);
    const files = (await readCa(options.stateDir)) ?? (await makeCa(options));
    try {
      const { key, publicKey } = await openCaKey(options, files.key);
      const [root, previous] = [new X509Certificate(files.certificatePem), readCertificates(files.previousPem)[0]];
      if (!Buffer.from(publicKey.rawData).equals(Buffer.from(root.publicKey.rawData))) throw new Error("another key's certificate");
      return new X509Ca(options, { root, key, stored: files.key, previous, cross: readCertificates(files.crossPem) });
    } catch (cause) {
      if (cause instanceof SignerError && cause.code !== "KEY_MALFORMED") throw cause;
      throw new CertificateAuthorityError("STATE", "the CA's certificate is damaged or not of its key", { cause });
    }
  }

  get rootPem(): string {
    return pemOf([this.#roots.root]);
  }

  get trusted(): readonly Buffer[] {
    const { root, previous } = this.#roots;
    return [root, ...(previous ? [previous] : [])].map(({ rawData }) => Buffer.from(rawData));
  }

  get trustedPem(): string {
    const { root, previous } = this.#roots;
    return pemOf([root, ...(previous ? [previous] : [])]);
  }

  get serverChainPem(): string {
    const { root, cross } = this.#roots;
    // With the root itself beside them, those who pin an older one would end at it.
    return pemOf(cross.length > 0 ? cross : [root]);
  }

  async rotate(): Promise<void> {
    const { root: old, key: oldKey, stored: oldStored, cross: before } = this.#roots;
    if (this.#roots.previous) throw new CertificateAuthorityError("STATE", "the root before this one is trusted still: retire it first");
    const stored = await newKey(this.#options, oldStored);
    const { key, publicKey } = await openCaKey(this.#options, stored);
    const [root, crossed] = [await certifyCa(this.#options, publicKey, old.subject, key), await certifyCa(this.#options, publicKey, old.subject, oldKey, old)];
    const cross = [crossed, ...before].slice(0, MAX_CROSS_CERTIFICATES);
    await writeCa(this.#options.stateDir, { key: stored, certificatePem: pemOf([root]), previousPem: pemOf([old]), crossPem: pemOf(cross) });
    this.#roots = { root, key, stored, previous: old, cross };
    // As the file of a key is overwritten, so one in a token goes.
    if (isTokenKey(oldStored)) await this.#options.token?.drop(oldStored);
  }

  /** Whether a root that counts has signed it. TLS asks that of who connects, and of nobody later. @param certificateDer of a leaf; whoever brings it controls every byte */
  hasIssued(certificateDer: Buffer): boolean {
    const known = this.#issued.get(certificateDer);
    if (known?.roots === this.#roots) return known.by;
    const by = this.#signed(certificateDer);
    this.#issued.set(certificateDer, { roots: this.#roots, by });
    return by;
  }

  #signed(certificateDer: Buffer): boolean {
    try {
      const leaf = new NodeCertificate(certificateDer);
      return this.trusted.some((root) => leaf.verify(new NodeCertificate(root).publicKey));
    } catch {
      return false;
    }
  }

  async retire(): Promise<void> {
    await forgetPrevious(this.#options.stateDir);
    this.#roots = { ...this.#roots, previous: undefined };
  }

  async issueNode(nodeId: string, spki: Uint8Array, lifetimeMs: number, as: "node" | "untrusted" = "node"): Promise<IssuedCertificate> {
    if (!NODE_ID_PATTERN.test(nodeId)) throw new CertificateAuthorityError("BAD_NAME", `node id ${JSON.stringify(nodeId)}`);
    const names: JsonGeneralName[] = [{ type: "url", value: (as === "node" ? nodeUri : untrustedNodeUri)(this.#options.region, nodeId) }];
    return this.#issue(spki, names, ExtendedKeyUsage.clientAuth, Math.min(lifetimeMs, MAX_NODE_LIFETIME_MS));
  }

  async issueActuator(nodeId: string, spki: Uint8Array, lifetimeMs: number): Promise<IssuedCertificate> {
    if (!NODE_ID_PATTERN.test(nodeId)) throw new CertificateAuthorityError("BAD_NAME", `node id ${JSON.stringify(nodeId)}`);
    const names: JsonGeneralName[] = [{ type: "url", value: actuatorUri(this.#options.region, nodeId) }];
    return this.#issue(spki, names, ExtendedKeyUsage.clientAuth, lifetimeMs);
  }

  async issueClusterActuator(cluster: string, spki: Uint8Array, lifetimeMs: number): Promise<IssuedCertificate> {
    if (!REGION_PATTERN.test(cluster)) throw new CertificateAuthorityError("BAD_NAME", `cluster ${JSON.stringify(cluster)}`);
    const names: JsonGeneralName[] = [{ type: "url", value: clusterActuatorUri(this.#options.region, cluster) }];
    return this.#issue(spki, names, ExtendedKeyUsage.clientAuth, lifetimeMs);
  }

  async issueOperator(role: OperatorRole, name: string, spki: Uint8Array, lifetimeMs: number, namespaces?: readonly string[]): Promise<IssuedCertificate> {
    if (namespaces && !areNamespaces(namespaces)) throw new CertificateAuthorityError("BAD_NAME", `namespaces ${JSON.stringify(namespaces.slice(0, 20))}`);
    if (!ROLES.has(role) || !OPERATOR_NAME_PATTERN.test(name)) throw new CertificateAuthorityError("BAD_NAME", `operator ${JSON.stringify(`${role}/${name}`)}`);
    const names: JsonGeneralName[] = [{ type: "url", value: operatorUri(this.#options.region, role, name, namespaces) }];
    return this.#issue(spki, names, ExtendedKeyUsage.clientAuth, lifetimeMs);
  }

  async issueServer(serverNames: readonly string[], spki: Uint8Array, lifetimeMs: number): Promise<IssuedCertificate> {
    if (serverNames.length === 0 || serverNames.length > MAX_SERVER_NAMES)
      throw new CertificateAuthorityError("BAD_NAME", `${serverNames.length} server names`);
    const names = serverNames.map((value): JsonGeneralName => {
      if (isIP(value)) return { type: "ip", value };
      if (!DNS_NAME.test(value)) throw new CertificateAuthorityError("BAD_NAME", `server name ${JSON.stringify(value)}`);
      return { type: "dns", value };
    });
    return this.#issue(spki, names, ExtendedKeyUsage.serverAuth, lifetimeMs);
  }

  async #issue(spki: Uint8Array, names: JsonGeneralName[], usage: ExtendedKeyUsage, lifetimeMs: number): Promise<IssuedCertificate> {
    if (!isP256(spki)) throw new CertificateAuthorityError("BAD_KEY", "not a P-256 public key");
    const { root, key } = this.#roots;
    const nowMs = this.#options.clock.nowMs();
    const notAfterMs = Math.floor(Math.min(nowMs + Math.min(lifetimeMs, MAX_LEAF_LIFETIME_MS), root.notAfter.getTime()) / 1000) * 1000;
    const publicKey = new PublicKey(new Uint8Array(spki));
    const extensions: Extension[] = [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([usage], true),
      // Critical as RFC 5280, 4.2.1.6 demands of a certificate with an empty subject.
      new SubjectAlternativeNameExtension(names, true),
      await AuthorityKeyIdentifierExtension.create(root.publicKey),
      await SubjectKeyIdentifierExtension.create(publicKey),
    ];
    const leaf = await X509CertificateGenerator.create(
      {
        ...{ serialNumber: serialNumber(), subject: "", issuer: root.subjectName, extensions, publicKey },
        ...{ notBefore: new Date(nowMs - BACKDATE_MS), notAfter: new Date(notAfterMs), signingKey: key.signingKey, signingAlgorithm: SIGNING },
      },
      key.provider,
    );
    return { chain: [Buffer.from(leaf.rawData)], notAfterMs };
  }
}

/** Positive, 127 random bits. */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] as number) & 0x7f) | 0x40;
  return bytes.toString("hex");
}

async function makeCa(options: X509CaOptions): Promise<CaFiles> {
  const stored = await newKey(options, "");
  const { key, publicKey } = await openCaKey(options, stored);
  const root = await certifyCa(options, publicKey, `CN=Hullmark ${options.region} ${randomBytes(4).toString("hex")}`, key);
  const files = { key: stored, certificatePem: pemOf([root]), previousPem: "", crossPem: "" };
  await writeCa(options.stateDir, files);
  return files;
}

/** @param before the one that it follows, as it is kept; empty: none */
async function newKey({ token }: X509CaOptions, before: string): Promise<string> {
  if (token) return await token.make("p256", "ca", isTokenKey(before) ? before : undefined);
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return privateKey.export({ format: "pem", type: "pkcs8" }).toString();
}

/** @throws SignerError; CertificateAuthorityError STATE */
async function openCaKey({ stateDir, token }: X509CaOptions, stored: string): Promise<{ key: CaSigner; publicKey: PublicKey }> {
  const file = `${stateDir}/ca-key.pem`;
  const key = await openStoredKey(stored, file, token);
  if (!isP256(key.spki)) throw new CertificateAuthorityError("STATE", `${file} is no P-256 key`);
  return { key: caSigner(key), publicKey: new PublicKey(new Uint8Array(key.spki)) };
}

/**
 * A certificate of a CA's key: by itself, or by the CA before it. All keys of a CA have one name, so that one by the CA before is self-issued and no link
 * of a path that its length would forbid (RFC 5280, 4.2.1.9; RFC 4210, 4.4 has the scheme).
 */
async function certifyCa({ clock }: X509CaOptions, publicKey: PublicKey, name: string, { signingKey, provider }: CaSigner, by?: X509Certificate) {
  const endsMs = Math.min(clock.nowMs() + ROOT_LIFETIME_MS, by?.notAfter.getTime() ?? Number.POSITIVE_INFINITY);
  const authority = by ? [await AuthorityKeyIdentifierExtension.create(by.publicKey)] : [];
  const extensions = [
    new BasicConstraintsExtension(true, 0, true),
    new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    ...authority,
    await SubjectKeyIdentifierExtension.create(publicKey),
  ];
  return await X509CertificateGenerator.create(
    {
      ...{ serialNumber: serialNumber(), subject: name, issuer: name, publicKey, signingKey, signingAlgorithm: SIGNING, extensions },
      ...{ notBefore: new Date(clock.nowMs() - BACKDATE_MS), notAfter: new Date(endsMs) },
    },
    provider,
  );
}

function pemOf(certificates: readonly X509Certificate[]): string {
  return certificates.map((certificate) => `${certificate.toString("pem")}\n`).join("");
}

function readCertificates(pem: string): X509Certificate[] {
  return (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map((text) => new X509Certificate(text));
}
