/** Who is calling, as the verified client certificate says. */
import { hash, X509Certificate } from "node:crypto";
import { type PeerIdentity as CertifiedIdentity, readPeerIdentity } from "../../core/enrolment/peer-identity.ts";
import type { Bearer } from "../../core/people/bearers.ts";
import { type Grants, ROLES } from "../../core/people/grants.ts";
import type { OperatorRole } from "../../ports/certificate-authority.ts";

export type PeerIdentity = CertifiedIdentity & { /** Of the DER, hexadecimal. */ readonly certificateSha256: string; readonly notAfterMs: number };
export type NodeIdentity = Extract<PeerIdentity, { nodeId: string }>;
/** A person. `name`: who it is, by whatever credential; what that is called is `credential`, and `certificateSha256` is empty where it is none. */
export interface OperatorIdentity {
  readonly kind: "operator";
  readonly grants: Grants;
  readonly name: string;
  readonly credential: string;
  readonly certificateSha256: string;
  /** Of a token that says when it was made, Unix milliseconds. */
  readonly issuedAtMs: number | undefined;
  readonly notAfterMs: number;
  /** For show alone. */
  readonly shownAs: string | undefined;
}

/** What a guard notes of a caller whom it knows by a token. */
export class TokenCaller {
  readonly identity: OperatorIdentity;

  constructor({ name, credential, shownAs, grants, issuedAtMs, notAfterMs }: Bearer) {
    this.identity = { kind: "operator", grants, name, credential, certificateSha256: "", issuedAtMs, notAfterMs, shownAs };
  }
}

/** Reads the certificate that TLS has verified; undefined where it is not one of ours. */
export type Identify = (certificateDer: Buffer) => PeerIdentity | undefined;

/** Certificates read lately: a client makes many calls with one. */
const MAX_KNOWN = 4096;

export function identifier(region: string): Identify {
  const known = new Map<string, PeerIdentity | undefined>();
  return (der) => {
    const key = der.toString("latin1");
    if (known.has(key)) return known.get(key);
    const identity = readPeerIdentity(der, region);
    const whole = identity && { ...identity, certificateSha256: hash("sha256", der), notAfterMs: new X509Certificate(der).validToDate.getTime() };
    if (known.size >= MAX_KNOWN) known.clear();
    known.set(key, whole);
    return whole;
  };
}

export function isRole(text: string): text is OperatorRole {
  return (ROLES as readonly string[]).includes(text);
}
