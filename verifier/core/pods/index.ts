export { PodJoin, type PodRules } from "./pod-join.ts";
export { type PodStanding, podStanding } from "./standing.ts";
