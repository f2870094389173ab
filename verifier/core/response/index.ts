export { type ActuatorName, actuatorName } from "./actuator-name.ts";
export { agentName, CaptureTransferError, CaptureTransfers, type CaptureWanted, keeperOf } from "./capture-transfers.ts";
export { CAPTURING_FAILPOINTS, RESPONSE_FAILPOINTS, ResponseEngine, ResponseError, type ResponseFailpoint } from "./engine.ts";
export { isInPod } from "./eviction.ts";
export { toRevision } from "./steps.ts";
