export { PodJoin, type PodRules } from "./pod-join.ts";
export { asSpecified } from "./specified-image.ts";
export { type PodStanding, podStanding } from "./standing.ts";
export { type Told, type UnseenContainer, unseenContainers } from "./unseen.ts";
