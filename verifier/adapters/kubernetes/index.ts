export { ApiServer, apiServerOfPod } from "./api-server.ts";
export { KubernetesTokenReviewer } from "./token-reviewer.ts";
