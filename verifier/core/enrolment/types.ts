/** What enrolment takes and gives. Times are Unix milliseconds; bytes of requests come from strangers. */
import type { CertificateAuthority } from "../../ports/certificate-authority.ts";
import type { Clock } from "../../ports/clock.ts";
import type { EnrolledNode, EnrolmentRecords, TrustGrade } from "../../ports/enrolment-records.ts";
import type { NonceSource } from "../../ports/nonce-source.ts";
import type { TokenReviewer } from "../../ports/token-reviewer.ts";
import type { MakerTrust } from "../endorsement/ek-certificate.ts";
import type { PcrSelection } from "../endorsement/tpm-attest.ts";
import type { PcrValue } from "../endorsement/verify-quote.ts";
import type { EnrolmentPolicy } from "./decide.ts";
import type { PendingLimits } from "./pending.ts";
import type { Refused } from "./refusals.ts";

/** Whose tokens count. */
export interface ServiceAccountRule {
  /** A token must be for this audience and no other: one that is for the API server too would let the verifier act as the agent. */
  readonly audience: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

export interface EnrolmentOptions {
  readonly records: EnrolmentRecords;
  readonly nonces: NonceSource;
  readonly authority: Pick<CertificateAuthority, "issueNode" | "trusted">;
  readonly clock: Pick<Clock, "nowMs">;
  /** Whether this node is not to have a certificate as a node, but one for reporting alone. Default: no. A rejection is one of the enrolment. */
  readonly withheld?: (nodeId: string) => Promise<boolean>;
  readonly policy: EnrolmentPolicy;
  /** Whose service-account tokens count, and who says whether they are good. undefined: nobody's. */
  readonly serviceAccounts?: { readonly rule: ServiceAccountRule; readonly reviewer: TokenReviewer } | undefined;
  readonly trust: MakerTrust;
  readonly verifierId: string;
  readonly region: string;
  /** PCRs that a quote must cover, at enrolment as later: the agent's configuration names the same. */
  readonly selection: readonly PcrSelection[];
  /** Default and at most one hour. */
  readonly certificateLifetimeMs?: number;
  /** Time between the two steps. Default 60,000: slow TPMs take seconds. */
  readonly challengeLifetimeMs?: number;
  readonly pendingLimits?: PendingLimits;
  /** Enrolments that may begin in a second, see {@link EnrolmentRate}. Default 100. */
  readonly beginsPerSecond?: number;
}

export interface TpmEvidence {
  readonly kind: "tpm";
  /** TPM2B_PUBLIC. */
  readonly ekPublic: Uint8Array;
  readonly akPublic: Uint8Array;
  /** DER; empty where the TPM holds none. */
  readonly ekCertificate: Uint8Array;
  readonly ekIntermediates: readonly Uint8Array[];
}
export interface TokenEvidence {
  readonly kind: "token";
  readonly token: string;
}
/** A projected service-account token of the agent's pod. */
export interface ServiceAccountEvidence {
  readonly kind: "service-account";
  readonly token: string;
}
export interface BeginEnrolment {
  readonly nodeName: string;
  readonly bootId: string;
  readonly evidence: TpmEvidence | TokenEvidence | ServiceAccountEvidence;
}
export interface Challenge {
  readonly ok: true;
  readonly session: string;
  /** TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET; empty without TPM. */
  readonly credentialBlob: Buffer;
  readonly encryptedSecret: Buffer;
  readonly nonce: Buffer;
  readonly nodeId: string;
  readonly expiresAtMs: number;
}

export interface CompleteEnrolment {
  readonly session: string;
  /** What ActivateCredential returned. */
  readonly activatedSecret: Uint8Array;
  /** undefined without TPM. `pcrs` undefined: of a bank that is none. */
  readonly quote: { readonly attest: Uint8Array; readonly signature: Uint8Array; readonly pcrs: readonly PcrValue[] | undefined } | undefined;
  /** PKCS#10. */
  readonly certificateRequest: Uint8Array;
}
export interface Enrolled {
  readonly ok: true;
  /** DER, leaf first. */
  readonly chain: readonly Buffer[];
  readonly notAfterMs: number;
  /** From when it was issued. */
  readonly lifetimeMs: number;
  /** Roots by which the verifier is known from now on, DER. */
  readonly authorities: readonly Buffer[];
  readonly trust: TrustGrade;
  /** As recorded; undefined at a renewal by certificate, which changes nothing. */
  readonly node: EnrolledNode | undefined;
}
export type BeginResult = Challenge | Refused;
export type CompleteResult = Enrolled | Refused;
