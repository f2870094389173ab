/** A pod as the API server tells it, cut to what appraisal needs. */
import { z } from "zod";
import type { ContainerRole, PodContainer, PodRecord } from "../../ports/pod-view.ts";

/** The kubelet writes a pod from its own folder to the API server under another uid, with its own here. */
const MIRROR = "kubernetes.io/config.mirror";

const Containers = z.array(z.object({ name: z.string() })).optional();
const Pod = z.object({
  metadata: z.object({
    uid: z.string(),
    namespace: z.string(),
    name: z.string(),
    resourceVersion: z.string(),
    annotations: z.record(z.string(), z.string()).optional(),
  }),
  spec: z.object({ nodeName: z.string().optional(), containers: Containers, initContainers: Containers, ephemeralContainers: Containers }),
});

export interface ListedPod {
  /** The object's own, by which a deletion is told. */
  readonly objectUid: string;
  readonly resourceVersion: string;
  readonly record: PodRecord;
}

/** @throws ZodError where it is no pod */
export function readPod(raw: unknown): ListedPod {
  const { metadata, spec } = Pod.parse(raw);
  const own = metadata.annotations?.[MIRROR];
  const named = (role: ContainerRole, containers: z.infer<typeof Containers> = []): PodContainer[] => containers.map(({ name }) => ({ name, role }));
  return {
    objectUid: metadata.uid,
    resourceVersion: metadata.resourceVersion,
    record: {
      uid: own ?? metadata.uid,
      namespace: metadata.namespace,
      name: metadata.name,
      nodeName: spec.nodeName ?? "",
      mirror: own !== undefined,
      containers: [...named("container", spec.containers), ...named("init", spec.initContainers), ...named("ephemeral", spec.ephemeralContainers)],
    },
  };
}
