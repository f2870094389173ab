export { type ActuatorName, actuatorName } from "./actuator-name.ts";
export { CaptureTransferError, CaptureTransfers, type CaptureWanted } from "./capture-transfers.ts";
export { RESPONSE_FAILPOINTS, ResponseEngine, ResponseError, type ResponseFailpoint } from "./engine.ts";
export { isInPod } from "./eviction.ts";
export { toRevision } from "./steps.ts";
