/** A verifier that can be asked, however it is reached. */
import type { RpcChannel } from "@hullmark/proto/rpc";
import type { Kubectl } from "../kubectl/kubectl.ts";
import type { Release } from "../kubectl/release.ts";

export interface Connection {
  readonly channel: RpcChannel;
  /** Of the context, as people call the place that they ask about. */
  readonly name: string;
  /** Lists show only what is in this namespace; undefined: everything, as on a host without namespaces. */
  readonly namespace: string | undefined;
  /** The cluster, where the verifier is reached through one. */
  readonly cluster: { readonly kubectl: Kubectl; readonly release: Release } | undefined;
  close(): Promise<void>;
}

/** Whether something stands in the namespace that was asked for. A pod's container is called `NAMESPACE/POD/CONTAINER`; whatever else there is has no namespace. */
export function isIn(namespace: string | undefined, { containerName }: { readonly containerName: string }): boolean {
  return namespace === undefined || containerName.startsWith(`${namespace}/`);
}
