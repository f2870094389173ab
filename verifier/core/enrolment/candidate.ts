/** Step 1 as decisions: what a node presents becomes a candidate, or is refused. Step 2 asks again, for the world may have changed in between. */
import { createHash } from "node:crypto";
import type { EnrolmentRecords, KnownNode } from "../../ports/enrolment-records.ts";
import { type AttestationKey, type EndorsementKey, readAttestationKey, readEndorsementKey } from "../endorsement/attestation-key.ts";
import { type EkCertificateResult, type MakerTrust, verifyEkCertificate } from "../endorsement/ek-certificate.ts";
import { type Admission, admitServiceAccount, admitToken, admitTpm, type EnrolmentPolicy, nameOf, nodeIdOfEk, nodeIdOfKubernetesNode } from "./decide.ts";
import { type Refused, refused } from "./refusals.ts";
import type { TokenEvidence, TpmEvidence } from "./types.ts";

const MAX_TOKEN_CHARACTERS = 256;
const MIN_TOKEN_CHARACTERS = 16;

export interface TpmCandidate {
  readonly kind: "tpm";
  readonly ek: EndorsementKey;
  readonly ak: AttestationKey;
  readonly ekPublic: Buffer;
  readonly akPublic: Buffer;
  readonly certificate: EkCertificateResult | undefined;
}
export interface TokenCandidate {
  readonly kind: "token";
  readonly tokenSha256: Buffer;
}
/** Its token was reviewed: the node is the cluster's word. */
export interface ServiceAccountCandidate {
  readonly kind: "service-account";
  readonly nodeName: string;
}
export type Candidate = TpmCandidate | TokenCandidate | ServiceAccountCandidate;

/** Parses and verifies what does not depend on anything stored. */
export function readCandidate(evidence: TpmEvidence | TokenEvidence, trust: MakerTrust, nowMs: number): Candidate | Refused {
  if (evidence.kind === "token") {
    const { token } = evidence;
    if (token.length < MIN_TOKEN_CHARACTERS || token.length > MAX_TOKEN_CHARACTERS) return refused("token-malformed", "not a join token");
    return { kind: "token", tokenSha256: tokenDigest(token) };
  }
  const ek = readEndorsementKey(evidence.ekPublic);
  if (!ek.ok) return refused(`ek-${ek.reason}`, `endorsement key: ${ek.reason}: ${ek.detail}`);
  const ak = readAttestationKey(evidence.akPublic, ek.key);
  if (!ak.ok) return refused(`ak-${ak.reason}`, `attestation key: ${ak.reason}: ${ak.detail}`);
  const certificate =
    evidence.ekCertificate.length === 0 ? undefined : verifyEkCertificate(ek.key, evidence.ekCertificate, evidence.ekIntermediates, trust, nowMs);
  return { kind: "tpm", ek: ek.key, ak: ak.key, ekPublic: Buffer.from(evidence.ekPublic), akPublic: Buffer.from(evidence.akPublic), certificate };
}

/** How a join token is stored and looked up: it has enough entropy of its own for a plain hash. */
export function tokenDigest(token: string): Buffer {
  return createHash("sha256").update("hullmark-join-token-v1").update(token).digest();
}

/** Looks up what the decision needs, and decides. */
export async function admit(
  candidate: Candidate,
  claimedName: string,
  policy: EnrolmentPolicy,
  records: EnrolmentRecords,
  nowMs: number,
): Promise<{ readonly admission: Admission; readonly known: KnownNode | undefined }> {
  if (candidate.kind === "token") {
    const { tokenSha256 } = candidate;
    const token = await records.findJoinToken(tokenSha256, nowMs);
    const sameName = token && (await records.findNodeByName(token.nodeName || claimedName));
    return { admission: admitToken({ tokenSha256, token, claimedName, sameName }, policy), known: sameName };
  }
  if (candidate.kind === "service-account") {
    const { nodeName } = candidate;
    const [known, sameName] = await Promise.all([records.findNode(nodeIdOfKubernetesNode(nodeName)), records.findNodeByName(nodeName)]);
    return { admission: admitServiceAccount({ nodeName, claimedName, known, sameName }), known };
  }
  const ekSha256 = candidate.ek.sha256;
  const [known, byKey, byCertificate] = await Promise.all([
    records.findNode(nodeIdOfEk(ekSha256)),
    records.findAllowedEk(ekSha256),
    candidate.certificate?.ok ? records.findAllowedEk(candidate.certificate.sha256) : undefined,
  ]);
  const allowed = byKey ?? byCertificate;
  const sameName = await records.findNodeByName(nameOf({ allowed, known, claimedName }));
  return { admission: admitTpm({ ekSha256, claimedName, certificate: candidate.certificate, allowed, known, sameName }, policy), known };
}
