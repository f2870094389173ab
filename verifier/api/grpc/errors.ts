/** Errors of the core as gRPC statuses, in one place. */
import { type RpcCode, RpcError } from "@hullmark/proto/rpc";
import { AdministrationError, type AdministrationErrorCode } from "../../core/fleet/administration.ts";
import { SessionError, type SessionErrorCode } from "../../core/session/errors.ts";
import { RegistryError } from "../../ports/registry.ts";
import { StoreError } from "../../ports/store.ts";

const SESSION_STATUS: Readonly<Record<SessionErrorCode, { readonly status: RpcCode; readonly fix: string }>> = {
  PROTOCOL: { status: "INVALID_ARGUMENT", fix: "agent and verifier must be of matching versions" },
  MALFORMED_EVIDENCE: { status: "INVALID_ARGUMENT", fix: "agent and verifier must be of matching versions" },
  CHAIN_FORK: { status: "FAILED_PRECONDITION", fix: "start a new chain" },
  EVIDENCE_GAP: { status: "FAILED_PRECONDITION", fix: "reconnect and send what follows the durable number" },
  RESYNC_FAILED: { status: "FAILED_PRECONDITION", fix: "restart the agent" },
  SUPERSEDED: { status: "ABORTED", fix: "one agent a node" },
  NODE_IN_USE: {
    status: "ABORTED",
    fix: "after a restart, wait for two heartbeat intervals; otherwise this node or the other one is a copy: see hullmark node show",
  },
  REVOKED: { status: "PERMISSION_DENIED", fix: "an admin must allow the node again" },
  CERTIFICATE_EXPIRED: { status: "UNAUTHENTICATED", fix: "enrol again" },
  STORE: { status: "UNAVAILABLE", fix: "reconnect" },
  OVERLOADED: { status: "RESOURCE_EXHAUSTED", fix: "reconnect" },
  STOPPING: { status: "UNAVAILABLE", fix: "reconnect" },
};

const ADMINISTRATION_STATUS: Readonly<Partial<Record<AdministrationErrorCode, RpcCode>>> = {
  NOT_FOUND: "NOT_FOUND",
  OWN_REQUEST: "PERMISSION_DENIED",
  REVOKED: "UNAUTHENTICATED",
  NOT_EXCUSABLE: "INVALID_ARGUMENT",
  TOO_BROAD: "INVALID_ARGUMENT",
};

/** @param want in words: what the field must be */
export function invalid(field: string, want: string): RpcError {
  return new RpcError("INVALID_ARGUMENT", `${field}: want ${want}`, { reason: "ARGUMENT", field });
}

export function rpcErrorOf(thrown: unknown): RpcError {
  if (thrown instanceof SessionError) {
    const { status, fix } = SESSION_STATUS[thrown.code];
    return new RpcError(status, thrown.message, { reason: thrown.code, fix, cause: thrown });
  }
  if (thrown instanceof AdministrationError) {
    const { code, message, fix } = thrown;
    return new RpcError(ADMINISTRATION_STATUS[code] ?? "FAILED_PRECONDITION", message, { reason: code, ...(fix !== "" && { fix }) });
  }
  if (thrown instanceof StoreError) {
    if (thrown.code === "STORE_CONFLICT")
      return new RpcError("ABORTED", "changed by someone else meanwhile", { reason: "CONFLICT", retryable: true, cause: thrown });
    return new RpcError("UNAVAILABLE", "the verifier's storage does not answer", { reason: "STORE", cause: thrown });
  }
  if (thrown instanceof RegistryError)
    return new RpcError("UNAVAILABLE", `the image's registry: ${thrown.message}`, { reason: "REGISTRY", retryable: thrown.retryable, cause: thrown });
  return RpcError.from(thrown);
}
