/**
 * Where a role must hold for a procedure that people may call: one line a procedure, checked by the compiler to be complete. `cluster`: in the whole cluster, for what is
 * asked is of no namespace, or of many. `namespace`: in one at least, and the procedure itself shows and changes nothing outside those (reach.ts).
 */
import type { Admin } from "@hullmark/proto/v1/admin";
import type { Query } from "@hullmark/proto/v1/query";
import type { Response } from "@hullmark/proto/v1/response";
import type { Procedures } from "./access.ts";

export type PeopleProcedure = Procedures<typeof Query, "Query"> | Procedures<typeof Admin, "Admin"> | Procedures<typeof Response, "Response">;

export const SCOPES: Readonly<Record<PeopleProcedure, "cluster" | "namespace">> = {
  "/hullmark.v1.Query/GetStatus": "namespace",
  "/hullmark.v1.Query/ListNodes": "cluster",
  "/hullmark.v1.Query/GetNode": "cluster",
  // It says of its node what that one's other containers are part of.
  "/hullmark.v1.Query/IssueEar": "cluster",
  "/hullmark.v1.Query/WatchNodes": "cluster",
  "/hullmark.v1.Query/ListWorkloads": "namespace",
  "/hullmark.v1.Query/GetWorkload": "namespace",
  "/hullmark.v1.Query/CompareVariables": "namespace",
  "/hullmark.v1.Query/WatchWorkloads": "namespace",
  // Images, and what is known of their vulnerabilities, belong to whoever runs them: nobody's namespace.
  "/hullmark.v1.Query/ListImages": "cluster",
  "/hullmark.v1.Query/GetImage": "cluster",
  "/hullmark.v1.Query/WatchImages": "cluster",
  "/hullmark.v1.Query/ListVulnerabilities": "cluster",
  "/hullmark.v1.Query/GetVulnerabilities": "cluster",
  "/hullmark.v1.Query/ListDrift": "namespace",
  "/hullmark.v1.Query/GetDrift": "namespace",
  "/hullmark.v1.Query/WatchDrift": "namespace",
  "/hullmark.v1.Query/ListIncidents": "namespace",
  "/hullmark.v1.Query/GetIncident": "namespace",
  // One log for all.
  "/hullmark.v1.Query/ListLogEntries": "cluster",
  "/hullmark.v1.Query/ListBaselines": "cluster",
  "/hullmark.v1.Query/ReportBaselines": "cluster",
  "/hullmark.v1.Query/ListKeys": "cluster",
  "/hullmark.v1.Query/SimulatePolicy": "cluster",
  "/hullmark.v1.Query/SimulateHistory": "cluster",
  "/hullmark.v1.Query/ListPeople": "cluster",
  // One notification is about many things.
  "/hullmark.v1.Query/ListNotifications": "cluster",
  "/hullmark.v1.Query/ListDrills": "cluster",
  "/hullmark.v1.Query/ListExceptions": "namespace",
  "/hullmark.v1.Admin/AcknowledgeDrift": "namespace",
  // Whose an incident is, and that it is done with, holds for all of it.
  "/hullmark.v1.Admin/AssignIncident": "cluster",
  "/hullmark.v1.Admin/ResolveIncident": "cluster",
  "/hullmark.v1.Admin/DiffDrift": "namespace",
  "/hullmark.v1.Admin/RequestQuote": "cluster",
  "/hullmark.v1.Admin/AllowNode": "cluster",
  "/hullmark.v1.Admin/RevokeNode": "cluster",
  "/hullmark.v1.Admin/RemoveNode": "cluster",
  "/hullmark.v1.Admin/CreateJoinToken": "cluster",
  "/hullmark.v1.Admin/ReloadPolicy": "cluster",
  "/hullmark.v1.Admin/RefreshImage": "cluster",
  "/hullmark.v1.Admin/TestAlert": "cluster",
  "/hullmark.v1.Admin/RetryNotifications": "cluster",
  "/hullmark.v1.Admin/RecordDrill": "cluster",
  "/hullmark.v1.Admin/ScheduleDrill": "cluster",
  "/hullmark.v1.Admin/RecordPromotion": "cluster",
  "/hullmark.v1.Admin/AcceptHistory": "cluster",
  "/hullmark.v1.Admin/IssueActuatorCertificate": "cluster",
  "/hullmark.v1.Admin/RotateKey": "cluster",
  "/hullmark.v1.Admin/RetireKey": "cluster",
  "/hullmark.v1.Admin/IssuePersonCertificate": "cluster",
  "/hullmark.v1.Admin/RevokePerson": "cluster",
  "/hullmark.v1.Admin/AllowPerson": "cluster",
  // Each call of the page is looked at as any other.
  "/hullmark.v1.Admin/OpenDashboard": "namespace",
  "/hullmark.v1.Admin/ImportVulnerabilities": "cluster",
  "/hullmark.v1.Admin/RemoveVulnerabilities": "cluster",
  "/hullmark.v1.Response/ListActions": "namespace",
  "/hullmark.v1.Response/GetAction": "namespace",
  "/hullmark.v1.Response/FetchCapture": "namespace",
  "/hullmark.v1.Response/ApproveAction": "namespace",
  "/hullmark.v1.Response/DenyAction": "namespace",
  "/hullmark.v1.Response/UndoAction": "namespace",
  "/hullmark.v1.Response/PurgeLayer": "cluster",
  "/hullmark.v1.Response/PauseActions": "cluster",
  "/hullmark.v1.Response/ResumeActions": "cluster",
  "/hullmark.v1.Admin/RequestException": "namespace",
  "/hullmark.v1.Admin/ApproveException": "namespace",
  "/hullmark.v1.Admin/DenyException": "namespace",
  "/hullmark.v1.Admin/RevokeException": "namespace",
  "/hullmark.v1.Admin/ProposeBaseline": "cluster",
  "/hullmark.v1.Admin/ApproveBaseline": "cluster",
  "/hullmark.v1.Admin/ExpireBaseline": "cluster",
};
