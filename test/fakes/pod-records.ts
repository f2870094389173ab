/** Pods as the verifier keeps them, where a test cares for a few fields only. */
import type { PodContainer, PodRecord } from "@hullmark/verifier/ports/pod-view";

export function podContainer(name: string, more: Partial<PodContainer> = {}): PodContainer {
  return {
    ...{ name, role: "container", image: "", command: [], args: [], env: [], envFrom: [], workingDirectory: "", user: undefined, group: undefined },
    ...{
      privileged: false,
      readOnlyRoot: false,
      noEscalation: false,
      addedCapabilities: [],
      droppedCapabilities: [],
      seccomp: "",
      mounts: [],
      volumeDevices: [],
      terminationMessagePath: "/dev/termination-log",
      extended: false,
    },
    ...more,
  };
}

export function podRecord(more: Partial<PodRecord> = {}): PodRecord {
  return {
    ...{
      uid: "u1",
      namespace: "shop",
      name: "cart",
      madeMs: 0,
      nodeName: "n1",
      mirror: false,
      origin: undefined,
      template: undefined,
      running: [],
      ending: [],
      groups: [],
      hostNamespaces: [],
      hostAliases: [],
      fields: new Map(),
    },
    containers: [podContainer("web"), podContainer("look", { role: "ephemeral" })],
    ...more,
  };
}
