export { ACCESS, type AccessServices, callerOf, mainGuard } from "./access.ts";
export { type AdminServices, adminService, type DashboardDoor } from "./admin.ts";
export { type AttestationServices, attestationService } from "./attestation.ts";
export type { TlsMaterial } from "./credentials.ts";
export { type EnrollmentServices, enrollmentService, renewalService } from "./enrollment.ts";
export { identifier, type OperatorIdentity, TokenCaller } from "./identity.ts";
export { type QueryServices, queryService } from "./query.ts";
export { SCOPES } from "./scopes.ts";
export { type ListenOptions, listen, type RunningServer } from "./server.ts";
