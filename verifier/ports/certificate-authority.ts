/** The verifier's own CA: who its agents and operators are, in client certificates. Keys of subjects never cross this port. */

export type OperatorRole = "viewer" | "responder" | "approver" | "admin";

export interface IssuedCertificate {
  /** DER, leaf first, without the root. */
  readonly chain: readonly Buffer[];
  /** Unix milliseconds. */
  readonly notAfterMs: number;
}

/** BAD_KEY: the subject's key is none that we certify. BAD_NAME: a name outside its alphabet. STATE: the CA's files are missing a part, damaged or readable by others. */
export type CertificateAuthorityErrorCode = "BAD_KEY" | "BAD_NAME" | "STATE";

export class CertificateAuthorityError extends Error {
  readonly code: CertificateAuthorityErrorCode;

  constructor(code: CertificateAuthorityErrorCode, message: string, options?: ErrorOptions) {
    super(`${code}: ${message}`, options);
    this.name = "CertificateAuthorityError";
    this.code = code;
  }
}

/** Subject keys are SubjectPublicKeyInfo (DER), P-256. All methods reject with {@link CertificateAuthorityError}. */
export interface CertificateAuthority {
  /** The root of the key in use, PEM. */
  readonly rootPem: string;
  /** The roots whose certificates count, DER: that of the key in use, and the one that gave way to it until it is retired. What agents and operators pin. */
  readonly trusted: readonly Buffer[];
  /** The same, PEM. */
  readonly trustedPem: string;
  /** What follows a server's own certificate, PEM, so that also those know it who pin a root that gave way. */
  readonly serverChainPem: string;
  /** A new key and root, at once; the root before stays among {@link trusted}. Durable. STATE where one that gave way is trusted still. */
  rotate(): Promise<void>;
  /** The root that gave way is trusted no more. Durable; idempotent. */
  retire(): Promise<void>;
  /** Client certificate of a node: `spiffe://hullmark/REGION/node/NODEID`, or `untrusted/NODEID` where that is withheld. `lifetimeMs`: at most an hour is given. */
  issueNode(nodeId: string, spki: Uint8Array, lifetimeMs: number, as?: "node" | "untrusted"): Promise<IssuedCertificate>;
  /** Client certificate of a node's actuator: `spiffe://hullmark/REGION/actuator/NODEID`. */
  issueActuator(nodeId: string, spki: Uint8Array, lifetimeMs: number): Promise<IssuedCertificate>;
  /** Client certificate of a cluster's actuator: `spiffe://hullmark/REGION/cluster-actuator/CLUSTER`. */
  issueClusterActuator(cluster: string, spki: Uint8Array, lifetimeMs: number): Promise<IssuedCertificate>;
  /**
   * Client certificate of a person: `spiffe://hullmark/REGION/operator/ROLE/NAME`; with namespaces (1 to 16, where alone the role holds)
   * `spiffe://hullmark/REGION/namespaced-operator/ROLE/NAME/NAMESPACE/…`. BAD_NAME
   */
  issueOperator(role: OperatorRole, name: string, spki: Uint8Array, lifetimeMs: number, namespaces?: readonly string[]): Promise<IssuedCertificate>;
  /** Server certificate for DNS names and IP addresses. */
  issueServer(names: readonly string[], spki: Uint8Array, lifetimeMs: number): Promise<IssuedCertificate>;
}
