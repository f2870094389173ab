/** The verifier's CA with @peculiar/x509: one P-256 root, leaves with exactly the names and uses that their holder has. */
import { createPrivateKey, generateKeyPairSync, X509Certificate as NodeCertificate, randomBytes, type webcrypto } from "node:crypto";
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
import { actuatorUri, NODE_ID_PATTERN, nodeUri, OPERATOR_NAME_PATTERN, operatorUri, REGION_PATTERN } from "../../core/enrolment/peer-identity.ts";
import { type CertificateAuthority, CertificateAuthorityError, type IssuedCertificate, type OperatorRole } from "../../ports/certificate-authority.ts";
import type { Clock } from "../../ports/clock.ts";
import { importSigningKey, readCa, writeCa } from "./state.ts";

export const MAX_NODE_LIFETIME_MS = 3_600_000;
const MAX_LEAF_LIFETIME_MS = 398 * 86_400_000;
const ROOT_LIFETIME_MS = 10 * 365 * 86_400_000;
/** Peers' clocks may be behind ours. */
const BACKDATE_MS = 60_000;
const MAX_SERVER_NAMES = 32;
const DNS_NAME = /^(?=.{1,253}$)(?:[a-zA-Z0-9_](?:[a-zA-Z0-9_-]{0,61}[a-zA-Z0-9])?)(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$/;
const SIGNING = { name: "ECDSA", hash: "SHA-256" };
const ROLES: ReadonlySet<string> = new Set<OperatorRole>(["viewer", "responder", "approver", "admin"]);

export interface X509CaOptions {
  /** Holds the CA's key: backed up and guarded like one. Made when absent. */
  readonly stateDir: string;
  readonly region: string;
  readonly clock: Pick<Clock, "nowMs">;
}

export class X509Ca implements CertificateAuthority {
  readonly rootPem: string;
  readonly #root: X509Certificate;
  readonly #key: webcrypto.CryptoKey;
  readonly #options: X509CaOptions;

  private constructor(options: X509CaOptions, root: X509Certificate, key: webcrypto.CryptoKey) {
    this.rootPem = `${root.toString("pem")}\n`;
    this.#root = root;
    this.#key = key;
    this.#options = options;
  }

  /** Opens the CA below `stateDir`, or makes it. @throws CertificateAuthorityError */
  static async open(options: X509CaOptions): Promise<X509Ca> {
    if (!REGION_PATTERN.test(options.region)) throw new CertificateAuthorityError("BAD_NAME", `region ${JSON.stringify(options.region)}`);
    const files = (await readCa(options.stateDir)) ?? (await makeRoot(options));
    let root: X509Certificate;
    try {
      root = new X509Certificate(files.certificatePem);
      if (!new NodeCertificate(files.certificatePem).checkPrivateKey(createPrivateKey(files.keyPem))) throw new Error("another key's certificate");
    } catch (cause) {
      throw new CertificateAuthorityError("STATE", "the CA's certificate is damaged or not of its key", { cause });
    }
    return new X509Ca(options, root, await importSigningKey(files.keyPem));
  }

  async issueNode(nodeId: string, spki: Uint8Array, lifetimeMs: number): Promise<IssuedCertificate> {
    if (!NODE_ID_PATTERN.test(nodeId)) throw new CertificateAuthorityError("BAD_NAME", `node id ${JSON.stringify(nodeId)}`);
    const names: JsonGeneralName[] = [{ type: "url", value: nodeUri(this.#options.region, nodeId) }];
    return this.#issue(spki, names, ExtendedKeyUsage.clientAuth, Math.min(lifetimeMs, MAX_NODE_LIFETIME_MS));
  }

  async issueActuator(nodeId: string, spki: Uint8Array, lifetimeMs: number): Promise<IssuedCertificate> {
    if (!NODE_ID_PATTERN.test(nodeId)) throw new CertificateAuthorityError("BAD_NAME", `node id ${JSON.stringify(nodeId)}`);
    const names: JsonGeneralName[] = [{ type: "url", value: actuatorUri(this.#options.region, nodeId) }];
    return this.#issue(spki, names, ExtendedKeyUsage.clientAuth, lifetimeMs);
  }

  async issueOperator(role: OperatorRole, name: string, spki: Uint8Array, lifetimeMs: number): Promise<IssuedCertificate> {
    if (!ROLES.has(role) || !OPERATOR_NAME_PATTERN.test(name)) throw new CertificateAuthorityError("BAD_NAME", `operator ${JSON.stringify(`${role}/${name}`)}`);
    const names: JsonGeneralName[] = [{ type: "url", value: operatorUri(this.#options.region, role, name) }];
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
    const nowMs = this.#options.clock.nowMs();
    const notAfterMs = Math.floor(Math.min(nowMs + Math.min(lifetimeMs, MAX_LEAF_LIFETIME_MS), this.#root.notAfter.getTime()) / 1000) * 1000;
    const publicKey = new PublicKey(new Uint8Array(spki));
    const extensions: Extension[] = [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([usage], true),
      // Critical as RFC 5280, 4.2.1.6 demands of a certificate with an empty subject.
      new SubjectAlternativeNameExtension(names, true),
      await AuthorityKeyIdentifierExtension.create(this.#root.publicKey),
      await SubjectKeyIdentifierExtension.create(publicKey),
    ];
    const leaf = await X509CertificateGenerator.create({
      ...{ serialNumber: serialNumber(), subject: "", issuer: this.#root.subjectName, extensions, publicKey },
      ...{ notBefore: new Date(nowMs - BACKDATE_MS), notAfter: new Date(notAfterMs), signingKey: this.#key, signingAlgorithm: SIGNING },
    });
    return { chain: [Buffer.from(leaf.rawData)], notAfterMs };
  }
}

/** Positive, 127 random bits. */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] as number) & 0x7f) | 0x40;
  return bytes.toString("hex");
}

async function makeRoot({ stateDir, region, clock }: X509CaOptions): Promise<{ keyPem: string; certificatePem: string }> {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const keyPem = privateKey.export({ format: "pem", type: "pkcs8" }).toString();
  const rootKey = new PublicKey(new Uint8Array(publicKey.export({ format: "der", type: "spki" })));
  const name = `CN=Hullmark ${region} ${randomBytes(4).toString("hex")}`;
  const root = await X509CertificateGenerator.create({
    ...{ serialNumber: serialNumber(), subject: name, issuer: name, publicKey: rootKey, signingKey: await importSigningKey(keyPem), signingAlgorithm: SIGNING },
    ...{ notBefore: new Date(clock.nowMs() - BACKDATE_MS), notAfter: new Date(clock.nowMs() + ROOT_LIFETIME_MS) },
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(rootKey),
    ],
  });
  const files = { keyPem, certificatePem: `${root.toString("pem")}\n` };
  await writeCa(stateDir, files);
  return files;
}
