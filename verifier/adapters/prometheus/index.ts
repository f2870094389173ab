export { type PrometheusMeter, prometheusMeter } from "./meter.ts";
export { countLookups, countRequests } from "./registry.ts";
