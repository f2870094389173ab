/** What enrolment knows of nodes, and where its outcome becomes durable together with its log entry. */
import type { TpmClock } from "../core/endorsement/tpm-attest.ts";

/** `none`: no TPM. `tpm-tofu`: a TPM that was accepted without proof of its make or without having been listed. `tpm`: certified and listed. */
export type TrustGrade = "none" | "tpm-tofu" | "tpm";

export interface KnownNode {
  readonly id: string;
  readonly name: string;
  readonly trust: TrustGrade;
  /** Lower-case hex SHA-256 of the EK's SubjectPublicKeyInfo; undefined without TPM. */
  readonly ekSha256: string | undefined;
  /** TPM2B_PUBLIC of the newest AK; undefined without TPM. */
  readonly akPublic: Buffer | undefined;
  readonly clock: TpmClock | undefined;
  readonly revoked: boolean;
}

/** A node that passed: what to store. */
export interface EnrolledNode {
  readonly id: string;
  readonly name: string;
  readonly trust: TrustGrade;
  readonly bootId: string;
  readonly ekSha256: string | undefined;
  /** Of the EK certificate, where one was verified. */
  readonly ekCertificateSha256?: string | undefined;
  /** TPM2B_PUBLIC; needed to appraise quotes after a restart of the verifier. */
  readonly ekPublic: Buffer | undefined;
  readonly akPublic: Buffer | undefined;
  readonly clock: TpmClock | undefined;
  /** What it said of its TPM's make, where the EK certificate was verified; for people. */
  readonly tpmModel: string | undefined;
  /** True where a node that was known came with another AK than before: its state folder was lost, or its TPM was cleared. */
  readonly akReplaced: boolean;
}

export interface EnrolmentRecord {
  readonly node: EnrolledNode;
  /** SHA-256 of the join token to delete, and the nonce to remember. */
  readonly spendToken: { readonly sha256: Buffer; readonly nowMs: number } | undefined;
  readonly spendNonce: { readonly nonce: Buffer; readonly expiresAtMs: number };
}

export interface EnrolmentRecords {
  findNode(nodeId: string): Promise<KnownNode | undefined>;
  /** A node of this name that is not revoked. */
  findNodeByName(name: string): Promise<KnownNode | undefined>;
  /** @param sha256 of an EK, or of its verified certificate: two digests of different things. undefined where it is not on the allow-list. An empty name: the node may choose. */
  findAllowedEk(sha256: string): Promise<{ readonly name: string } | undefined>;
  /** undefined where the token is unknown, used or expired. */
  findJoinToken(sha256: Buffer, nowMs: number): Promise<{ readonly nodeName: string; readonly expiresAtMs: number } | undefined>;
  /**
   * Durable on return, with its log entry, or nothing happened.
   * @returns `spent` where the token or nonce was used by another call in the meantime, `revoked` where the node was revoked in it, `changed` where its attestation
   * key is not what was looked at; `in-use`: it comes with another attestation key, and a stream of the node lives that was opened under the present one
   */
  record(enrolment: EnrolmentRecord): Promise<"recorded" | "spent" | "revoked" | "changed" | "in-use">;
}
