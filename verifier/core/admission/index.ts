export type { AdmissionAnswer } from "./answer.ts";
export { exceptionAtTheDoor } from "./break-glass.ts";
export { LogRecorder } from "./recorder.ts";
export { AdmissionError, type AdmissionRequest, readReview } from "./review.ts";
export { AdmissionService, type FailurePolicy } from "./service.ts";
