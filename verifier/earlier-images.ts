/** What the response engine may go back to for a container: asked of images as if the container ran them, under the policy of now. */

import { serviceOfContainer } from "./core/fleet/affirmed-images.ts";
import type { Images } from "./core/images/types.ts";
import { NO_ROLLBACK, ROLLBACK_LABEL, type Rollback, type Standing } from "./core/response/rollback.ts";
import type { Sessions } from "./core/session/index.ts";
import type { EarlierImage } from "./ports/rows.ts";
import type { Store } from "./ports/store.ts";

export function earlierImages({ sessions, images, store }: { readonly sessions: Sessions; readonly images: Pick<Images, "view">; readonly store: Store }) {
  /** undefined: the node has not told of the container yet, since it or the verifier began anew. */
  return async (nodeId: string, containerId: string): Promise<Rollback | undefined> => {
    const live = sessions.get(nodeId)?.live;
    const container = live?.memory.containers.get(containerId);
    if (!live || !container) return undefined;
    const service = serviceOfContainer(container.identity);
    if (service === undefined) return NO_ROLLBACK;
    const { identity, filesystem } = container;
    const standing = ({ configDigest, imageId, reference }: EarlierImage): Standing => {
      const view = images.view({
        ...{ imageReference: reference, imageId, repoDigests: [reference], configDigest },
        ...{ containerName: identity.name, workload: identity.workload, labels: identity.labels, runtime: identity.runtime },
        ...{ nodeName: live.node.name, architecture: live.memory.node?.architecture ?? "", dialect: filesystem.dialect },
      });
      const statuses = [view.provenance, ...(view.teamProvenance ? [view.teamProvenance] : [])].map(({ status }) => status);
      if (!view.provenance.required || statuses.some((status) => status !== "signed" && status !== "unknown")) return "not-verified";
      if (statuses.includes("unknown")) return view.lookingUp ? "looking-up" : "not-verified";
      return view.configDigest === configDigest ? "verified" : "not-verified";
    };
    const rows = await store.readAffirmedImages(nodeId, service);
    return {
      never: Object.hasOwn(identity.labels, ROLLBACK_LABEL) && identity.labels[ROLLBACK_LABEL] === "never",
      earlier: rows.map(({ configDigest, imageId, reference }) => {
        const image = { configDigest, imageId, reference };
        return { image, standing: standing(image) };
      }),
    };
  };
}
