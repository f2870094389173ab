/** Every right of every service account of a release with everything on: what the documentation lists, and not one more. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import type { ReleaseBed } from "./release-bed.ts";

const NAMESPACE = "hullmark-whole";
const ON = [
  ...[
    "admission.enabled=true",
    "actuator.enabled=true",
    "openReports.enabled=true",
    "dashboard.enabled=true",
    "people.enabled=true",
    "podMonitor.enabled=true",
  ],
  ...["actuator.rollback.enabled=true", "actuator.rollback.halt=true", "actuator.rollback.gitops=pause", "actuator.isolation.enabled=true"],
  ...["actuator.nodes.enabled=true", "verifier.pods.configMaps=true"],
];

interface Item {
  readonly kind: string;
  readonly metadata: { readonly name: string };
}

/** Declares the tests. @param of the bed */
export function wholeRights(of: () => ReleaseBed, chart: string): void {
  describe("with everything on", () => {
    let items: readonly Item[] = [];

    beforeAll(async () => {
      const rendered = await of().helm("template", "hullmark", chart, "--kube-version=1.33.0", "--namespace", NAMESPACE, "--set", ON.join(","));
      const all = parseAllDocuments(rendered).map((each) => each.toJS() as Item | null);
      items = all.filter((each): each is Item => each !== null && /^(ServiceAccount|(Cluster)?Role(Binding)?)$/.test(each.kind));
      await of().cluster.kubectl(["create", "namespace", NAMESPACE]);
      await of().cluster.kubectl(["--namespace", NAMESPACE, "apply", "--filename=-"], JSON.stringify({ apiVersion: "v1", kind: "List", items }));
    });
    afterAll(async () => {
      const ofCluster = items.filter(({ kind }) => kind.startsWith("Cluster")).map(({ kind, metadata }) => `${kind}/${metadata.name}`);
      await of().cluster.kubectl(["delete", ...ofCluster, `namespace/${NAMESPACE}`]);
    });

    /** `RESOURCE [NAMES]` with its verbs, beyond what every account may. */
    async function rights(account: string, namespace: string): Promise<readonly string[]> {
      const as = [`--as=system:serviceaccount:${NAMESPACE}:${account}`, "--as-group=system:serviceaccounts", "--as-group=system:authenticated"];
      const listed = await of().cluster.kubectl(["--namespace", namespace, "auth", "can-i", "--list", "--no-headers", ...as]);
      const found = new Map<string, Set<string>>();
      for (const line of listed.split("\n")) {
        const [, resource = "", names = "", verbs = ""] = /^(\S+) +\[\] +\[([^\]]*)\] +\[([^\]]*)\]/.exec(line) ?? [];
        if (resource === "" || resource.startsWith("selfsubject")) continue;
        const key = names === "" ? resource : `${resource} [${names}]`;
        found.set(key, new Set([...(found.get(key) ?? []), ...verbs.split(" ")]));
      }
      return [...found].map(([key, verbs]) => `${key}: ${[...verbs].sort().join(" ")}`).sort();
    }

    test("there are three accounts: the agent's may do nothing, nor what has none of its own, and the others no more than this, in their own namespace and in any", async () => {
      const accounts = items.filter(({ kind }) => kind === "ServiceAccount").map(({ metadata }) => metadata.name);
      expect(accounts.sort()).toEqual(["hullmark-actuator", "hullmark-agent", "hullmark-verifier"]);
      for (const [account, { anywhere, own }] of Object.entries(RIGHTS)) {
        expect(await rights(account, "kube-system"), `${account} anywhere`).toEqual([...anywhere].sort());
        expect(await rights(account, NAMESPACE), `${account} in its own namespace`).toEqual([...anywhere, ...own].sort());
      }
    });
  });
}

const NONE = { anywhere: [], own: [] };
/** As docs/kubernetes.md has them (Rights). */
const RIGHTS: Readonly<Record<string, { readonly anywhere: readonly string[]; readonly own: readonly string[] }>> = {
  default: NONE,
  "hullmark-agent": NONE,
  "hullmark-verifier": {
    anywhere: [
      "attestationpolicies.hullmark.dev [hullmark]: list watch",
      "attestationpolicies.hullmark.dev/status [hullmark]: patch",
      "clusterreports.openreports.io: create delete patch",
      "clusterroles.rbac.authorization.k8s.io [hullmark-hullmark-whole-reports]: get",
      "configmaps: get",
      "controllerrevisions.apps: get",
      "driftexceptions.hullmark.dev: list watch",
      "driftexceptions.hullmark.dev/status: patch",
      "events.events.k8s.io: create patch",
      "jobs.batch: get",
      "pods: list watch",
      "replicasets.apps: get",
      "reports.openreports.io: create delete list patch",
      "tokenreviews.authentication.k8s.io: create",
      "validatingwebhookconfigurations.admissionregistration.k8s.io [hullmark-hullmark-whole]: patch",
    ],
    own: ["configmaps [hullmark-ca]: patch", ...["actuator", "admin", "responder", "viewer"].map((role) => `secrets [hullmark-${role}]: patch`)],
  },
  "hullmark-actuator": {
    anywhere: [
      "applications.argoproj.io: get patch",
      "controllerrevisions.apps: get",
      "daemonsets.apps: get patch",
      "deployments.apps: get patch",
      "events.events.k8s.io: create",
      "gitrepositories.source.toolkit.fluxcd.io: get",
      "helmreleases.helm.toolkit.fluxcd.io: get patch",
      "kustomizations.kustomize.toolkit.fluxcd.io: get patch",
      "networkpolicies.networking.k8s.io [hullmark-isolated]: get patch",
      "networkpolicies.networking.k8s.io: create list",
      "nodes: get patch",
      "pods/eviction: create",
      "pods: get list patch",
      "replicasets.apps: get",
      "statefulsets.apps: get patch",
    ],
    own: ["leases.coordination.k8s.io [hullmark-actuator]: get patch"],
  },
};
