/** How agents call the sandbox of a pod, in the place of a container of it (`NAMESPACE/POD/CONTAINER`): none may be called so. */
export const SANDBOX_NAME = "(sandbox)";
