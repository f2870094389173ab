export { ApiServer, apiServerOfPod } from "@hullmark/daemon/api-server";
export { inForce } from "./follow.ts";
export { EXCEPTIONS, type FollowedObject, followObjects, type ObjectKind, reportObject, teamPolicies } from "./objects.ts";
export { writePodEvent } from "./pod-events.ts";
export { PodWatch } from "./pod-watch.ts";
export { followPolicy, type PolicyObject } from "./policy-object.ts";
export { type PublishTargets, publish, publishWebhookCa } from "./publish.ts";
export { deleteReport, reportedNamespaces, reportOwner, writeReport } from "./reports.ts";
export { KubernetesTokenReviewer } from "./token-reviewer.ts";
