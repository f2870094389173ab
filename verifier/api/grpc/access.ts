/** Who may call what: one line a procedure, checked by the compiler to be complete. */

import type { DescService } from "@bufbuild/protobuf";
import { type CallContext, type Guard, type RpcCode, RpcError } from "@hullmark/proto/rpc";
import type { Admin } from "@hullmark/proto/v1/admin";
import type { Attestation } from "@hullmark/proto/v1/attestation";
import type { Enrollment } from "@hullmark/proto/v1/enrollment";
import type { Query } from "@hullmark/proto/v1/query";
import type { Actuation, Response } from "@hullmark/proto/v1/response";
import { type Bearers, NoRoleError } from "../../core/people/bearers.ts";
import { type Grants, grantsOf, grantsText, type Reach, reachOf } from "../../core/people/grants.ts";
import type { Credential } from "../../core/people/people.ts";
import { type ActuatorName, actuatorName } from "../../core/response/index.ts";
import type { OperatorRole } from "../../ports/certificate-authority.ts";
import { TokenError, type TokenErrorCode } from "../../ports/token-authenticator.ts";
import { type Identify, type NodeIdentity, type OperatorIdentity, type PeerIdentity, TokenCaller } from "./identity.ts";
import { type PeopleProcedure, SCOPES } from "./scopes.ts";

export type Procedures<S extends DescService, N extends string> = `/hullmark.v1.${N}/${Capitalize<Extract<keyof S["method"], string>>}`;
type Procedure =
  | Procedures<typeof Enrollment, "Enrollment">
  | Procedures<typeof Attestation, "Attestation">
  | Procedures<typeof Query, "Query">
  | Procedures<typeof Admin, "Admin">
  | Procedures<typeof Actuation, "Actuation">
  | Procedures<typeof Response, "Response">;

/** `node`, `actuator` (a node's or the cluster's): certificates of that kind and nobody else. A role: operators with at least it. */
export const ACCESS: Readonly<Record<Procedure, "node" | "actuator" | OperatorRole | "nobody">> = {
  // On this listener a node without TPM renews by the certificate that it has; beginning is for strangers, on the other one.
  "/hullmark.v1.Enrollment/Begin": "nobody",
  "/hullmark.v1.Enrollment/Complete": "node",
  "/hullmark.v1.Attestation/Attest": "node",
  "/hullmark.v1.Attestation/UploadPodCapture": "node",
  "/hullmark.v1.Query/GetStatus": "viewer",
  "/hullmark.v1.Query/ListNodes": "viewer",
  "/hullmark.v1.Query/GetNode": "viewer",
  "/hullmark.v1.Query/IssueEar": "viewer",
  "/hullmark.v1.Query/WatchNodes": "viewer",
  "/hullmark.v1.Query/ListWorkloads": "viewer",
  "/hullmark.v1.Query/GetWorkload": "viewer",
  // It asks nodes, and tells of Secrets whether they are equal.
  "/hullmark.v1.Query/CompareVariables": "responder",
  "/hullmark.v1.Query/WatchWorkloads": "viewer",
  "/hullmark.v1.Query/ListImages": "viewer",
  "/hullmark.v1.Query/GetImage": "viewer",
  "/hullmark.v1.Query/WatchImages": "viewer",
  "/hullmark.v1.Query/ListDrift": "viewer",
  "/hullmark.v1.Query/GetDrift": "viewer",
  "/hullmark.v1.Query/WatchDrift": "viewer",
  "/hullmark.v1.Query/ListIncidents": "viewer",
  "/hullmark.v1.Query/GetIncident": "viewer",
  "/hullmark.v1.Query/ListLogEntries": "viewer",
  "/hullmark.v1.Query/ListBaselines": "viewer",
  "/hullmark.v1.Query/ReportBaselines": "viewer",
  "/hullmark.v1.Query/ListKeys": "viewer",
  // Reads only, and costs what a change of policy costs.
  "/hullmark.v1.Query/SimulatePolicy": "responder",
  "/hullmark.v1.Query/SimulateHistory": "responder",
  "/hullmark.v1.Query/ListPeople": "viewer",
  "/hullmark.v1.Query/ListVulnerabilities": "viewer",
  "/hullmark.v1.Query/GetVulnerabilities": "viewer",
  "/hullmark.v1.Query/ListNotifications": "viewer",
  "/hullmark.v1.Query/ListDrills": "viewer",
  "/hullmark.v1.Query/ListExceptions": "viewer",
  "/hullmark.v1.Admin/AcknowledgeDrift": "responder",
  "/hullmark.v1.Admin/AssignIncident": "responder",
  "/hullmark.v1.Admin/ResolveIncident": "responder",
  // It shows what is in a file, where the node's owner allows that at all.
  "/hullmark.v1.Admin/DiffDrift": "responder",
  "/hullmark.v1.Admin/RequestQuote": "responder",
  "/hullmark.v1.Admin/AllowNode": "admin",
  "/hullmark.v1.Admin/RevokeNode": "admin",
  "/hullmark.v1.Admin/RemoveNode": "admin",
  "/hullmark.v1.Admin/CreateJoinToken": "admin",
  "/hullmark.v1.Admin/ReloadPolicy": "admin",
  "/hullmark.v1.Admin/RefreshImage": "admin",
  "/hullmark.v1.Admin/TestAlert": "admin",
  "/hullmark.v1.Admin/RetryNotifications": "responder",
  "/hullmark.v1.Admin/RecordDrill": "responder",
  // That a drill is due no more silences the alert that it does not come.
  "/hullmark.v1.Admin/ScheduleDrill": "admin",
  "/hullmark.v1.Admin/RecordPromotion": "responder",
  "/hullmark.v1.Admin/AcceptHistory": "admin",
  "/hullmark.v1.Admin/IssueActuatorCertificate": "admin",
  "/hullmark.v1.Admin/RotateKey": "admin",
  "/hullmark.v1.Admin/RetireKey": "admin",
  "/hullmark.v1.Admin/IssuePersonCertificate": "admin",
  "/hullmark.v1.Admin/RevokePerson": "admin",
  "/hullmark.v1.Admin/AllowPerson": "admin",
  // What it opens is what the caller may do anyway.
  "/hullmark.v1.Admin/OpenDashboard": "viewer",
  // A report without findings, or a statement that excuses one, can make policy content.
  "/hullmark.v1.Admin/ImportVulnerabilities": "admin",
  "/hullmark.v1.Admin/RemoveVulnerabilities": "admin",
  "/hullmark.v1.Actuation/PullIntents": "actuator",
  "/hullmark.v1.Actuation/ReportOutcome": "actuator",
  "/hullmark.v1.Actuation/UploadCapture": "actuator",
  "/hullmark.v1.Response/ListActions": "viewer",
  "/hullmark.v1.Response/GetAction": "viewer",
  // Sealed: who opens it needs a responder's key besides.
  "/hullmark.v1.Response/FetchCapture": "responder",
  "/hullmark.v1.Response/ApproveAction": "approver",
  "/hullmark.v1.Response/DenyAction": "approver",
  "/hullmark.v1.Response/UndoAction": "approver",
  "/hullmark.v1.Response/PurgeLayer": "approver",
  // Stopping to act is easier than beginning again.
  "/hullmark.v1.Response/PauseActions": "responder",
  "/hullmark.v1.Response/ResumeActions": "approver",
  "/hullmark.v1.Admin/RequestException": "responder",
  "/hullmark.v1.Admin/ApproveException": "approver",
  "/hullmark.v1.Admin/DenyException": "approver",
  // Seeing more again is easier than seeing less.
  "/hullmark.v1.Admin/RevokeException": "responder",
  "/hullmark.v1.Admin/ProposeBaseline": "responder",
  "/hullmark.v1.Admin/ApproveBaseline": "approver",
  "/hullmark.v1.Admin/ExpireBaseline": "approver",
};

export interface AccessServices {
  readonly identify: Identify;
  readonly nowMs: () => number;
  /** Enrolled, and not revoked. */
  readonly nodeMayAttest: (nodeId: string) => boolean;
  /** Whether a name, of a person or of what they are known by, was not revoked, or what they come with counts since. */
  readonly personMay: (name: string, shown: Credential) => boolean;
  /** Who somebody is, by what they are known by. */
  readonly subjectOf: (credential: string) => string;
  /** The cluster that the verifier watches: the actuator of no other may ask. undefined: it watches none. */
  readonly cluster: string | undefined;
}

const NOTHING: Grants = { cluster: undefined, namespaces: new Map() };

type Caller = Exclude<PeerIdentity, { kind: "operator" }> | OperatorIdentity;

/** Whoever calls. @throws RpcError UNAUTHENTICATED */
export function callerOf(context: CallContext, services: Pick<AccessServices, "identify" | "nowMs" | "personMay" | "subjectOf">): Caller {
  const { nowMs, personMay } = services;
  const identity = context.caller instanceof TokenCaller ? context.caller.identity : certified(context, services);
  const byToken = context.caller instanceof TokenCaller;
  // TLS checks dates at the handshake only; a connection can outlive its certificate, and a stream its token.
  if (nowMs() >= identity.notAfterMs)
    throw byToken
      ? new RpcError("UNAUTHENTICATED", "the token has expired", { reason: "TOKEN_EXPIRED", fix: "get a new one" })
      : new RpcError("UNAUTHENTICATED", "the client certificate has expired", { reason: "CERTIFICATE_EXPIRED", fix: "enrol again" });
  if (identity.kind === "operator" && ![identity.credential, identity.name].every((name) => personMay(name, identity)))
    throw new RpcError("UNAUTHENTICATED", `this ${byToken ? "person" : "certificate"} was revoked`, { reason: "REVOKED", fix: "ask an admin for another" });
  return identity;
}

function certified({ peerCertificate }: CallContext, { identify, subjectOf }: Pick<AccessServices, "identify" | "subjectOf">): Caller {
  const identity = peerCertificate && identify(peerCertificate);
  if (!identity)
    throw new RpcError("UNAUTHENTICATED", "no client certificate of this verifier", { reason: "CERTIFICATE", fix: "enrol, or ask an admin for a certificate" });
  if (identity.kind !== "operator") return identity;
  const { kind, role, namespaces, name, certificateSha256, notAfterMs } = identity;
  const grants = grantsOf([{ role, namespaces }]) ?? NOTHING;
  return { kind, grants, name: subjectOf(name), credential: name, certificateSha256, issuedAtMs: undefined, notAfterMs, shownAs: undefined };
}

export function mainGuard(services: AccessServices): (context: CallContext) => void {
  return (context) => {
    const caller = callerOf(context, services);
    const wanted = ACCESS[context.path as Procedure];
    if (wanted === "node" || wanted === "actuator") {
      if (wanted === "actuator" && caller.kind === "cluster-actuator") {
        if (caller.cluster === services.cluster) return;
        throw new RpcError("PERMISSION_DENIED", "this verifier watches no cluster of that name", {
          reason: "REVOKED",
          fix: "an admin must issue a certificate",
        });
      }
      if (caller.kind === "operator" || caller.kind !== wanted)
        throw new RpcError("PERMISSION_DENIED", `only for certificates of ${wanted}s`, { reason: "ROLE" });
      if (!services.nodeMayAttest(caller.nodeId))
        throw new RpcError("PERMISSION_DENIED", "this node is not enrolled, or was revoked", { reason: "REVOKED", fix: "an admin must allow the node again" });
      return;
    }
    if (caller.kind !== "operator") throw new RpcError("PERMISSION_DENIED", "a node's certificate may only attest, an actuator's only act", { reason: "ROLE" });
    const reach = granted(context.path, caller.grants);
    if (reach === "cluster" || reach.size > 0) return;
    const where =
      (SCOPES as Partial<Record<string, string>>)[context.path] === "namespace" ? "" : caller.grants.namespaces.size > 0 ? " in the whole cluster" : "";
    throw new RpcError("PERMISSION_DENIED", `this needs the role ${wanted ?? "of nobody"}${where}; ${caller.credential} has ${grantsText(caller.grants)}`, {
      reason: "ROLE",
      fix: "ask an admin",
    });
  };
}

/** Where these let a procedure look and act: nowhere (an empty set), where it is not in both tables. */
function granted(path: string, grants: Grants): Reach {
  const wanted = ACCESS[path as Procedure];
  const scope: "cluster" | "namespace" | undefined = SCOPES[path as PeopleProcedure];
  if (!scope || !wanted || wanted === "nobody" || wanted === "node" || wanted === "actuator") return new Set();
  const reach = reachOf(grants, wanted);
  return reach === "cluster" || scope === "namespace" ? reach : new Set();
}

/** What became of a token, or of a call that came without one. */
export type TokenResult = "accepted" | "refused" | "unavailable" | "busy" | "no-role";

export interface TokenGuardServices {
  readonly bearers: Pick<Bearers, "authenticate">;
  readonly onToken: (result: TokenResult) => void;
  /** Somebody with a role has come by the connection of this peer. */
  readonly onProven: (peer: string) => void;
}

/** Who comes with a token is asked for it first, and then as everybody else. @param guard of whom it names */
export function tokenGuard({ bearers, onToken, onProven }: TokenGuardServices, guard: (context: CallContext) => void): Guard {
  return async (context) => {
    const { bearerToken, peer } = context;
    const fix = "tokenFile or tokenCommand of the context names a token";
    try {
      if (bearerToken === undefined) throw new TokenError("REFUSED", "no bearer token");
      context.caller = new TokenCaller(await bearers.authenticate(bearerToken, peer));
    } catch (error) {
      if (error instanceof NoRoleError) {
        onToken("no-role");
        throw new RpcError("PERMISSION_DENIED", error.message, { reason: "ROLE", fix: "people.roles of the verifier's configuration" });
      }
      if (!(error instanceof TokenError)) throw error;
      onToken(TOKEN_RESULT[error.code]);
      throw new RpcError(TOKEN_STATUS[error.code], error.message, { reason: "TOKEN", cause: error, ...(bearerToken === undefined && { fix }) });
    }
    onToken("accepted");
    onProven(peer);
    guard(context);
  };
}

const TOKEN_RESULT: Readonly<Record<TokenErrorCode, TokenResult>> = { REFUSED: "refused", UNAVAILABLE: "unavailable", BUSY: "busy" };
const TOKEN_STATUS: Readonly<Record<TokenErrorCode, RpcCode>> = { REFUSED: "UNAUTHENTICATED", UNAVAILABLE: "UNAVAILABLE", BUSY: "RESOURCE_EXHAUSTED" };

/** After {@link mainGuard} has passed: the caller is a node, or its actuator, as the procedure wants. */
export function nodeOf(context: CallContext, services: AccessServices): NodeIdentity {
  const caller = callerOf(context, services);
  if (!("nodeId" in caller)) throw new RpcError("PERMISSION_DENIED", "only nodes", { reason: "ROLE" });
  return caller;
}

/** After {@link mainGuard} has passed: whose actuator the caller is. */
export function actuatorOf(context: CallContext, services: AccessServices): ActuatorName {
  const caller = callerOf(context, services);
  if (caller.kind === "cluster-actuator") return actuatorName.ofCluster(caller.cluster);
  if (caller.kind !== "actuator") throw new RpcError("PERMISSION_DENIED", "only actuators", { reason: "ROLE" });
  return actuatorName.ofNode(caller.nodeId);
}

/** After {@link mainGuard} has passed: the caller is a person. */
export function operatorOf(context: CallContext, services: AccessServices): OperatorIdentity {
  const caller = callerOf(context, services);
  if (caller.kind !== "operator") throw new RpcError("PERMISSION_DENIED", "only people", { reason: "ROLE" });
  return caller;
}

/** After {@link mainGuard} has passed: where the caller may do what is asked. */
export function reachIn(context: CallContext, services: Pick<AccessServices, "identify" | "nowMs" | "personMay" | "subjectOf">): Reach {
  const caller = callerOf(context, services);
  return caller.kind === "operator" ? granted(context.path, caller.grants) : new Set();
}
