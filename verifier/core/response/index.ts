export { RESPONSE_FAILPOINTS, ResponseEngine, ResponseError, type ResponseFailpoint } from "./engine.ts";
