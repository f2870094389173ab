/** Enrollment, between the wire and core/enrolment. On the open listener for strangers; on the main one for renewal by certificate. */
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type RpcCode, RpcError, type ServiceImplementation } from "@hullmark/proto/rpc";
import { TrustLevel } from "@hullmark/proto/v1/common";
import { type BeginRequest, type CompleteRequest, Enrollment } from "@hullmark/proto/v1/enrollment";
import type { PcrValue } from "../../core/endorsement/index.ts";
import type { BeginEnrolment, CompleteEnrolment, Enrolled, EnrolmentRefusal, EnrolmentService, Refused } from "../../core/enrolment/index.ts";
import { type AccessServices, nodeOf } from "./access.ts";

export { Enrollment };

export interface EnrollmentServices {
  readonly enrolment: EnrolmentService;
  readonly verifierId: string;
  readonly region: string;
  /** Refusals are security events: logged with who was refused. */
  readonly onRefused: (refused: Refused, nodeName: string, peer: string) => void;
}

const STATUS: Readonly<Partial<Record<EnrolmentRefusal, RpcCode>>> = {
  malformed: "INVALID_ARGUMENT",
  key: "INVALID_ARGUMENT",
  "certificate-request": "INVALID_ARGUMENT",
  busy: "RESOURCE_EXHAUSTED",
  review: "UNAVAILABLE",
  "unknown-session": "NOT_FOUND",
  expired: "DEADLINE_EXCEEDED",
  conflict: "ABORTED",
};

const FIX: Readonly<Partial<Record<EnrolmentRefusal, string>>> = {
  "not-allowed": "put the endorsement key on the allow-list: hullmark node allow",
  "certificate-missing": "give this TPM an EK certificate, or accept TPMs without in the verifier's configuration",
  "name-taken": "give the node another name, or revoke the one that has it",
  revoked: "an admin must allow the node again",
  token:
    "ask an admin for a new join token: hullmark node token NODE; in Kubernetes compare the pod's service account with the verifier's enrolment.kubernetes",
  busy: "try again later",
  review: "the cluster's API server must answer the verifier's TokenReview: see the verifier's log",
};

function refusal(refused: Refused): RpcError {
  const { code, reason, detail } = refused;
  return new RpcError(STATUS[reason] ?? "PERMISSION_DENIED", detail.slice(0, 512), {
    reason: reason.toUpperCase().replaceAll("-", "_"),
    refusal: code,
    fix: FIX[reason] ?? "",
    retryable: reason === "busy" || reason === "conflict" || reason === "review",
  });
}

const LEVEL = { none: TrustLevel.NONE, "tpm-tofu": TrustLevel.TPM_TOFU, tpm: TrustLevel.TPM } as const;

function completed({ chain, notAfterMs, lifetimeMs, trust, authorities }: Enrolled) {
  const lifetimeSeconds = Math.floor(lifetimeMs / 1000);
  return { certificateChain: [...chain], notAfter: timestampFromMs(notAfterMs), lifetimeSeconds, trustLevel: LEVEL[trust], caCertificates: [...authorities] };
}

function beginOf({ nodeName, bootId, evidence }: BeginRequest): BeginEnrolment {
  if (evidence.case === "joinToken") return { nodeName, bootId, evidence: { kind: "token", token: evidence.value } };
  if (evidence.case === "serviceAccountToken") return { nodeName, bootId, evidence: { kind: "service-account", token: evidence.value } };
  if (evidence.case !== "tpm") throw new RpcError("INVALID_ARGUMENT", "neither TPM nor token", { reason: "MALFORMED", field: "evidence" });
  const { ekPublic, akPublic, ekCertificate, ekIntermediates } = evidence.value;
  return { nodeName, bootId, evidence: { kind: "tpm", ekPublic, akPublic, ekCertificate, ekIntermediates } };
}

function completeOf({ session, activatedSecret, quote, certificateRequest }: CompleteRequest): CompleteEnrolment {
  if (!quote) return { session, activatedSecret, quote: undefined, certificateRequest };
  const pcrs = quote.pcrs.flatMap(({ bank, index, value }): PcrValue[] => (bank === "sha256" || bank === "sha384" ? [{ bank, index, value }] : []));
  const known = pcrs.length === quote.pcrs.length ? pcrs : undefined;
  return { session, activatedSecret, quote: { attest: quote.attest, signature: quote.signature, pcrs: known }, certificateRequest };
}

/** For strangers: no identity is asked for, every field is theirs. */
export function enrollmentService({ enrolment, verifierId, region, onRefused }: EnrollmentServices): ServiceImplementation<typeof Enrollment> {
  return {
    async begin(request, { peer }) {
      const result = await enrolment.begin(beginOf(request), peer);
      if (!result.ok) {
        onRefused(result, request.nodeName.slice(0, 64), peer);
        throw refusal(result);
      }
      const { session, credentialBlob, encryptedSecret, nonce, nodeId, expiresAtMs } = result;
      return { session, credentialBlob, encryptedSecret, nonce, nodeId, verifierId, region, expiresAt: timestampFromMs(expiresAtMs) };
    },
    async complete(request, { peer }) {
      const result = await enrolment.complete(completeOf(request));
      if (result.ok) return completed(result);
      onRefused(result, "", peer);
      throw refusal(result);
    },
  };
}

/** For enrolled nodes without TPM, whose token is spent: Complete with an empty session and a request for the new key. */
export function renewalService(services: EnrollmentServices, access: AccessServices): ServiceImplementation<typeof Enrollment> {
  return {
    begin: () => Promise.reject(new RpcError("PERMISSION_DENIED", "enrolment begins on the enrolment listener", { reason: "ROLE" })),
    async complete(request, context) {
      const { nodeId } = nodeOf(context, access);
      if (request.session !== "") throw new RpcError("INVALID_ARGUMENT", "a renewal by certificate has no session", { reason: "MALFORMED", field: "session" });
      const result = await services.enrolment.renewByCertificate(nodeId, request.certificateRequest);
      if (result.ok) return completed(result);
      services.onRefused(result, nodeId, context.peer);
      throw refusal(result);
    },
  };
}
