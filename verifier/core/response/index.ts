export { type ActuatorName, actuatorName } from "./actuator-name.ts";
export { RESPONSE_FAILPOINTS, ResponseEngine, ResponseError, type ResponseFailpoint } from "./engine.ts";
export { isInPod } from "./eviction.ts";
export { toRevision } from "./steps.ts";
