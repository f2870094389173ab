/** How a namespace's policy counts beside the cluster's: what runs there must please both, so that the one can take away and give nothing. */
import { Severity } from "@hullmark/proto/v1/common";
import type { ContainerRules } from "../appraisal/types.ts";
import type { AdmissionMode, Policy } from "./types.ts";

/** The policy of the namespace that the container says it is of; undefined: none has one. */
export function teamPolicy({ teams }: Pick<Policy, "teams">, containerName: string): Policy | undefined {
  const namespace = containerName.split("/", 1)[0] ?? "";
  return Object.hasOwn(teams, namespace) ? teams[namespace] : undefined;
}

/** What both let pass. A policy of a namespace can so take away, and give nothing: whether there is a policy at all is the cluster's. */
export function tightened(cluster: ContainerRules, team: ContainerRules): ContainerRules {
  const [a, b] = [cluster.allow, team.allow];
  const both = (left: (name: string) => boolean, right: (name: string) => boolean) => (name: string) => left(name) && right(name);
  return {
    hasPolicy: cluster.hasPolicy,
    require: {
      noNewPrivileges: cluster.require.noNewPrivileges || team.require.noNewPrivileges,
      readOnlyRoot: cluster.require.readOnlyRoot || team.require.readOnlyRoot,
      // An engine's own init is nothing that pods have.
      engineInits: cluster.require.engineInits,
    },
    // Somebody has looked at that one difference.
    excepted: cluster.excepted,
    mutable: (path, executable) => cluster.mutable(path, executable) && team.mutable(path, executable),
    severity: (place, kind, builtIn) => Math.max(cluster.severity(place, kind, builtIn), team.severity(place, kind, Severity.UNSPECIFIED)),
    allow: {
      env: both(a.env, b.env),
      args: a.args && b.args,
      workingDirectory: a.workingDirectory && b.workingDirectory,
      user: both(a.user, b.user),
      capability: both(a.capability, b.capability),
      privileged: a.privileged && b.privileged,
      hostNamespace: both(a.hostNamespace, b.hostNamespace),
      device: both(a.device, b.device),
      mount: both(a.mount, b.mount),
      seccomp: both(a.seccomp, b.seccomp),
      apparmor: both(a.apparmor, b.apparmor),
      code: both(a.code, b.code),
      staticPods: a.staticPods && b.staticPods,
      injected: a.injected && b.injected,
    },
  };
}

const STRICTNESS: Readonly<Record<AdmissionMode, number>> = { audit: 0, warn: 1, enforce: 2 };

/** The stricter of two. */
export function stricterMode(a: AdmissionMode, b: AdmissionMode): AdmissionMode {
  return STRICTNESS[a] >= STRICTNESS[b] ? a : b;
}

/** The policy with those of namespaces. What the cluster trusts no more counts nowhere, whoever names it. */
export function withTeams(policy: Policy, teams: Readonly<Record<string, Policy>>): Policy {
  const extended = Object.entries(teams).map(([namespace, team]) => [namespace, { ...team, revocations: [...policy.revocations, ...team.revocations] }]);
  return { ...policy, teams: Object.fromEntries(extended) };
}
