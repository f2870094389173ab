export { ACCESS, type AccessServices, mainGuard } from "./access.ts";
export { type AdminServices, adminService } from "./admin.ts";
export { type AttestationServices, attestationService } from "./attestation.ts";
export type { TlsMaterial } from "./credentials.ts";
export { type EnrollmentServices, enrollmentService, renewalService } from "./enrollment.ts";
export { identifier } from "./identity.ts";
export { type QueryServices, queryService } from "./query.ts";
export { type ListenOptions, listen, type RunningServer } from "./server.ts";
