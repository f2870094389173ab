export { type ActuatorName, actuatorName } from "./actuator-name.ts";
export { agentName, CaptureTransferError, CaptureTransfers, type CaptureWanted, keeperOf } from "./capture-transfers.ts";
export { ResponseEngine } from "./engine.ts";
export { isInPod } from "./eviction.ts";
export { CAPTURING_FAILPOINTS, LISTS_ACTIONS, noSuchAction, RESPONSE_FAILPOINTS, ResponseError, type ResponseFailpoint } from "./services.ts";
export { toRevision } from "./steps.ts";
