import type { ContainerFacts } from "@hullmark/agent/ports/container-runtime";

/** What an engine would say of a container that was asked for nothing special. */
export function facts(change: Partial<ContainerFacts>): ContainerFacts {
  return {
    ...{
      id: "",
      name: "c",
      pid: 1,
      startedAtMs: 0,
      rootPath: undefined,
      workload: "c",
      imageReference: "i",
      imageId: "sha256:1",
      repoDigests: [],
      configBlobPath: undefined,
    },
    ...{
      labels: {},
      unlisted: false,
      pod: undefined,
      args: ["run"],
      env: [],
      user: "",
      workingDirectory: "/",
      capabilities: [],
      privileged: false,
      readOnlyRoot: false,
    },
    ...{ noNewPrivileges: false, seccomp: "default", apparmor: "", hostNamespaces: [], devices: [], mounts: [], maskedPaths: [], hostname: "c" },
    ...{ extraHosts: [], addresses: [], networkNames: [], engineFiles: [] },
    ...change,
  };
}
