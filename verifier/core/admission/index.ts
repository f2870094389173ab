export type { AdmissionAnswer } from "./answer.ts";
export { LogRecorder } from "./recorder.ts";
export { AdmissionError, type AdmissionRequest, readReview } from "./review.ts";
export { AdmissionService, type FailurePolicy } from "./service.ts";
