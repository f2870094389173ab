/** The chart and the images as they are shipped, on a real cluster: install, join, rights, a drift in a pod, upgrade, uninstall. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { credentials, Metadata } from "@grpc/grpc-js";
import { type EnrolmentOptions, enrol } from "@hullmark/agent/adapters/grpc/enrolment";
import { RpcChannel } from "@hullmark/proto/rpc";
import { Admin } from "@hullmark/proto/v1/admin";
import { Query } from "@hullmark/proto/v1/query";
import { ownAgentRule } from "@hullmark/verifier/core/policy/own-agent";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { PodTarget } from "../../../cli/drill/pod-target.ts";
import { Kubectl } from "../../../cli/kubectl/kubectl.ts";
import { buildEarlier } from "../../../deploy/images/earlier.ts";
import { freePort } from "../../../deploy/testbed/http-service.ts";
import { type Kubernetes, startTestbed, type Testbed } from "../../../deploy/testbed/index.ts";
import { externalCluster } from "../../../deploy/testbed/kubernetes/external.ts";
import { tool } from "../../../deploy/testbed/kubernetes/tools.ts";
import { REPOSITORY, STATE_ROOT } from "../../../deploy/testbed/paths.ts";
import { HttpReceiver } from "../../fakes/http-receiver.ts";
import { TestVerifier } from "../../fakes/verifier.ts";
import { acceptanceImage } from "../images/acceptance.ts";
import { loadPrograms, type Programs } from "../images/programs.ts";
import { type PushedImage, pushImage } from "../images/push.ts";
import { LONG } from "../long.ts";
import { anyCluster } from "./any-cluster.ts";
import { eventually as lastSeen } from "./attacks.ts";
import { CHART, chartHelm, chartSettings, shipImages } from "./chart-release.ts";
import { contexts } from "./contexts.ts";
import { inPodAgent } from "./in-pod-agent.ts";
import { type NodeTraces, nodeTraces } from "./node-traces.ts";
import { objectStatuses } from "./object-statuses.ts";
import { type DriftView, playbooks, trainingLab } from "./on-call.ts";
import { ownPods } from "./own-pods.ts";
import { pluginEnvironment, runPlugin } from "./plugin.ts";
import type { ReleaseBed } from "./release-bed.ts";
import { rotatedCertificates } from "./rotated-certificates.ts";
import { runningPods } from "./running-pods.ts";
import { tpmNodes } from "./tpm-nodes.ts";
import { wholeRights } from "./whole-rights.ts";

const execute = promisify(execFile);
const NAMESPACE = "hullmark";
const AGENT = `system:serviceaccount:${NAMESPACE}:hullmark-agent`;
const VERIFIER = `system:serviceaccount:${NAMESPACE}:hullmark-verifier`;

let home: string;
let bed: Testbed;
let cluster: Kubernetes;
let programs: Programs;
let workload: PushedImage;
let forward: ChildProcess | undefined;
/** PEM of the key that signed agent and verifier. */
let releaseKey: string;

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "hullmark-chart-"));
  bed = await startTestbed({ name: "e2e-chart", parts: { kubernetes: true, registry: true, tpms: 1 } });
  if (!bed.kubernetes || !bed.registry) throw new Error("no cluster");
  cluster = bed.kubernetes;
  releaseKey = await shipImages(home, bed.registry.host, ["hullmark-agent", "hullmark-verifier"]);
  await buildEarlier(STATE_ROOT);
  programs = await loadPrograms();
  workload = await pushImage(bed.registry.host, "acme/web", "1", acceptanceImage(programs));
  await cluster.kubectl(["create", "namespace", NAMESPACE]);
  for (const kinds of ["openreports.yaml", "podmonitors.yaml"]) await cluster.kubectl(["apply", "--server-side", `--filename=${tool(kinds)}`]);
}, 1_800_000);

afterAll(async () => {
  vi.unstubAllEnvs();
  forward?.kill();
  await bed?.down();
  if (home) rmSync(home, { recursive: true, force: true });
});

const kubectl = (...args: string[]): Promise<string> => cluster.kubectl(args);
const here = (...args: string[]): Promise<string> => cluster.kubectl(["--namespace", NAMESPACE, ...args]);
const apply = (...items: object[]): Promise<string> => cluster.kubectl(["apply", "--filename=-"], JSON.stringify({ apiVersion: "v1", kind: "List", items }));

const helm = (...args: string[]): Promise<string> => chartHelm(cluster, home, args);

const settings = (): string[] => [
  ...["--namespace", NAMESPACE],
  ...chartSettings(cluster, bed.registry?.host ?? ""),
  ...["--set", "openReports.enabled=true", "--set", "agent.contents.allow={/etc/nginx/*}", "--set", "verifier.persistence.storageClassName=by-hand"],
];

/** How a verifier outside the cluster reaches its API server. @param token file of `home` */
function apiServerSettings(token: string): string {
  const { clusters } = parse(readFileSync(cluster.kubeconfig, "utf8")) as {
    clusters: { cluster: { server: string; "certificate-authority-data": string } }[];
  };
  const [{ cluster: found } = { cluster: undefined }] = clusters;
  if (!found) throw new Error("no cluster in the kubeconfig");
  writeFileSync(join(home, "api-ca.crt"), Buffer.from(found["certificate-authority-data"], "base64"));
  return `kubernetes:
  apiServer: ${found.server}
  caFile: ${join(home, "api-ca.crt")}
  tokenFile: ${join(home, token)}`;
}

async function eventually<T>(look: () => Promise<T>, done: (seen: T) => boolean, withinMs = 120_000): Promise<T> {
  const seen = await lastSeen(look, done, withinMs);
  if (done(seen)) return seen;
  throw new Error(`not within ${withinMs} ms: ${JSON.stringify(seen).slice(0, 4000)}\n${await here("get", "pods,events").catch(String)}`);
}

describe("a token is taken only", () => {
  let verifier: TestVerifier;
  let pod: string;

  beforeAll(async () => {
    const account = (name: string, namespace = NAMESPACE) => ({ apiVersion: "v1", kind: "ServiceAccount", metadata: { name, namespace } });
    const rule = { apiGroups: ["authentication.k8s.io"], resources: ["tokenreviews"], verbs: ["create"] };
    await apply(
      ...[account("reviewer"), account("hullmark-agent"), account("other"), account("hullmark-agent", "default")],
      { apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRole", metadata: { name: "test-review" }, rules: [rule] },
      {
        ...{ apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRoleBinding", metadata: { name: "test-review" } },
        roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "test-review" },
        subjects: [{ kind: "ServiceAccount", name: "reviewer", namespace: NAMESPACE }],
      },
    );
    writeFileSync(join(home, "own-token"), await here("create", "token", "reviewer"));
    pod = await holder("hullmark-agent");
    verifier = await new TestVerifier().start(`${apiServerSettings("own-token")}
  join: { namespace: ${NAMESPACE}, serviceAccount: hullmark-agent }
enrolment: { acceptJoinTokens: false }
people:
  listen: 127.0.0.1:0
  kubernetes: {}
  roles:
    - { role: viewer, groups: ["kubernetes:system:serviceaccounts:${NAMESPACE}"] }
    - { role: responder, users: ["kubernetes:system:serviceaccount:${NAMESPACE}:other"] }`);
  });
  afterAll(async () => {
    await verifier?.dispose();
    await kubectl("delete", "clusterrole,clusterrolebinding", "test-review");
    await here("delete", "pod", "--all", "--grace-period=0", "--force", "--wait=true");
    await here("delete", "serviceaccount", "reviewer", "hullmark-agent", "other");
  });

  /** A pod of the account, to which tokens can be bound. */
  async function holder(serviceAccount: string, namespace = NAMESPACE): Promise<string> {
    const name = `holder-${serviceAccount}-${randomUUID().slice(0, 8)}`;
    await apply({
      ...{ apiVersion: "v1", kind: "Pod", metadata: { name, namespace } },
      spec: {
        serviceAccountName: serviceAccount,
        terminationGracePeriodSeconds: 0,
        containers: [{ name: "x", image: workload.reference, command: ["/bin/sleep", "9999"] }],
      },
    });
    await kubectl("--namespace", namespace, "wait", "--for=condition=PodScheduled", `pod/${name}`, "--timeout=60s");
    return name;
  }
  const token = (account: string, audience: string, boundTo?: string, namespace = NAMESPACE): Promise<string> =>
    kubectl(
      ...["--namespace", namespace, "create", "token", account, ...audience.split(",").map((each) => `--audience=${each}`)],
      ...(boundTo ? ["--bound-object-kind=Pod", `--bound-object-name=${boundTo}`] : []),
    ).then((text) => text.trim());
  function join_(text: string, nodeName = cluster.nodeName) {
    const address = verifier.attester({ name: nodeName }).options.enrolmentAddress;
    const common: Omit<EnrolmentOptions, "serviceAccountToken"> = {
      address,
      caCertificate: verifier.ca,
      nodeName,
      bootId: randomUUID(),
      quoter: undefined,
      joinToken: undefined,
      pcrs: [0],
    };
    return enrol({ ...common, serviceAccountToken: () => text }, new AbortController().signal);
  }
  const refused = (reason: string) => ({ code: "PERMISSION_DENIED", detail: { reason } });

  test("when it is of the agent's account, for this audience, and bound to a pod on that node", async () => {
    expect((await join_(await token("hullmark-agent", "hullmark", pod))).nodeId).toMatch(/^[0-9a-f]{16}$/);
    const { nodes } = await verifier.query.listNodes({});
    expect(nodes).toMatchObject([{ name: cluster.nodeName }]);
  });

  test("not for another node", async () => {
    await expect(join_(await token("hullmark-agent", "hullmark", pod), "node-2")).rejects.toMatchObject(refused("TOKEN"));
  });

  test("not of another account, nor of one of that name in another namespace", async () => {
    await expect(join_(await token("other", "hullmark", await holder("other")))).rejects.toMatchObject(refused("TOKEN"));
    await expect(join_(await token("hullmark-agent", "hullmark", await holder("hullmark-agent", "default"), "default"))).rejects.toMatchObject(
      refused("TOKEN"),
    );
  });

  test("not bound to no pod", async () => {
    await expect(join_(await token("hullmark-agent", "hullmark"))).rejects.toMatchObject(refused("TOKEN"));
  });

  test.each(["https://kubernetes.default.svc", "hullmark2", "hullmark,https://kubernetes.default.svc"])("not for the audience %s", async (audience) => {
    await expect(join_(await token("hullmark-agent", audience, pod))).rejects.toMatchObject(refused("TOKEN"));
  });

  test("not after its pod is gone, nor changed by a byte", async () => {
    const brief = await holder("hullmark-agent");
    const text = await token("hullmark-agent", "hullmark", brief);
    await join_(text);
    const [head, claims, signature] = text.split(".");
    await expect(join_([head, claims, `${signature?.slice(0, -8)}AAAAAAAA`].join("."))).rejects.toMatchObject(refused("TOKEN"));
    await here("delete", "pod", brief, "--grace-period=0", "--force", "--wait=true");
    // The API server remembers a review for ten seconds at most.
    await eventually(
      () =>
        join_(text).then(
          () => "taken",
          (error: { detail?: { reason?: string } }) => error.detail?.reason,
        ),
      (seen) => seen === "TOKEN",
      30_000,
    );
  });

  /** Somebody who comes to the listener for people with it. */
  async function asking(bearer: string) {
    const sent = credentials.createFromMetadataGenerator((_call, callback) => {
      const metadata = new Metadata();
      metadata.set("authorization", `Bearer ${bearer}`);
      callback(null, metadata);
    });
    const secure = credentials.combineChannelCredentials(credentials.createSsl(verifier.ca), sent);
    return verifier.track(new RpcChannel(`localhost:${verifier.running?.peoplePort}`, secure));
  }

  test("of a person, or an account that asks as one, when it is for this audience: with the role of its user, or of its groups", async () => {
    const as = async (account: string, audience: string, namespace = NAMESPACE) => await asking(await token(account, audience, undefined, namespace));
    const quote = (channel: RpcChannel) => channel.client(Admin).requestQuote({ nodeId: "nobody" });
    const status = (channel: RpcChannel) => channel.client(Query).getStatus({});
    const other = await as("other", "hullmark");
    await status(other);
    await expect(quote(other)).rejects.toMatchObject({ code: "NOT_FOUND" });
    const viewer = await as("hullmark-agent", "hullmark");
    await status(viewer);
    await expect(quote(viewer)).rejects.toMatchObject({ code: "PERMISSION_DENIED", message: expect.stringContaining(`kubernetes:${AGENT} has viewer`) });
    await expect(status(await as("hullmark-agent", "hullmark", "default"))).rejects.toMatchObject({ code: "PERMISSION_DENIED", detail: { reason: "ROLE" } });
    // For whom the API server itself takes it, or for somebody else.
    for (const audience of ["https://kubernetes.default.svc", "vault"])
      await expect(status(await as("other", audience))).rejects.toMatchObject({ code: "UNAUTHENTICATED", detail: { reason: "TOKEN" } });
    const good = await token("other", "hullmark");
    await expect(status(await asking(`${good.slice(0, -6)}AAAAAA`))).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
  });

  test("not when the verifier may not ask, and that is no verdict on the token", async () => {
    await kubectl("delete", "clusterrolebinding", "test-review");
    const outcome = async () =>
      join_(await token("hullmark-agent", "hullmark", pod)).then(
        () => "taken",
        (error: { code: string; detail: { reason: string } }) => `${error.code} ${error.detail.reason}`,
      );
    expect(await eventually(outcome, (seen) => seen !== "taken", 30_000)).toBe("UNAVAILABLE REVIEW");
    await kubectl("create", "clusterrolebinding", "test-review", "--clusterrole=test-review", `--serviceaccount=${NAMESPACE}:reviewer`);
  });
});

describe("an AttestationPolicy", () => {
  let verifier: TestVerifier;
  const policy = (spec: object) => ({ apiVersion: "hullmark.dev/v1", kind: "AttestationPolicy", metadata: { name: "hullmark", namespace: NAMESPACE }, spec });
  const inForce = async () =>
    (
      await here(
        "get",
        "attestationpolicy",
        "hullmark",
        '--output=jsonpath={.status.conditions[?(@.type=="InForce")].status} {.metadata.generation} {.status.conditions[0].observedGeneration}',
      )
    ).trim();
  const named = () => verifier.query.getStatus({}).then(({ policyName }) => policyName);

  beforeAll(async () => {
    await kubectl("apply", "--filename", join(CHART, "crd/attestationpolicies.yaml"));
    // Of one that has no conditions yet kubectl waits for none: it fails.
    const established = () => kubectl("wait", "--for=condition=Established", "crd/attestationpolicies.hullmark.dev", "--timeout=60s");
    await vi.waitFor(established, { timeout: 60_000, interval: 500 });
    const rules = [
      { apiGroups: ["hullmark.dev"], resources: ["attestationpolicies"], verbs: ["list", "watch"] },
      { apiGroups: ["hullmark.dev"], resources: ["attestationpolicies/status"], resourceNames: ["hullmark"], verbs: ["patch"] },
    ];
    await apply(
      { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "follower", namespace: NAMESPACE } },
      { apiVersion: "rbac.authorization.k8s.io/v1", kind: "Role", metadata: { name: "follower", namespace: NAMESPACE }, rules },
      {
        ...{ apiVersion: "rbac.authorization.k8s.io/v1", kind: "RoleBinding", metadata: { name: "follower", namespace: NAMESPACE } },
        roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: "follower" },
        subjects: [{ kind: "ServiceAccount", name: "follower", namespace: NAMESPACE }],
      },
    );
    writeFileSync(join(home, "follower-token"), await here("create", "token", "follower"));
    verifier = new TestVerifier();
    const file = verifier.policy("apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: from-file }\n");
    await verifier.start(`policyFile: ${file}
${apiServerSettings("follower-token")}
  policy: { namespace: ${NAMESPACE}, name: hullmark }`);
  });
  afterAll(async () => {
    await verifier?.dispose();
    await here("delete", "role,rolebinding,serviceaccount", "follower", "--ignore-not-found");
    await kubectl("delete", "crd", "attestationpolicies.hullmark.dev");
  });

  test("is in force once it is there, and says so; until then the file is", async () => {
    expect(await named()).toBe("from-file");
    await apply(policy({ intervals: { heartbeat: "7s" } }));
    expect(await eventually(inForce, (seen) => seen.startsWith("True"))).toBe("True 1 1");
    expect(await eventually(named, (seen) => seen === "hullmark")).toBe("hullmark");
  });

  test("with a mistake is refused as a whole, and the one before stays", async () => {
    await apply(policy({ intervals: { heartbeat: "7 parsecs" } }));
    expect(await eventually(inForce, (seen) => seen.endsWith("2 2"))).toBe("False 2 2");
    expect(await here("get", "attestationpolicy", "hullmark", "--output=jsonpath={.status.conditions[0].message}")).toContain("is not a duration");
    expect(await named()).toBe("hullmark");
  });

  test("that other people write is not followed", async () => {
    await apply({ ...policy({ intervals: { heartbeat: "9s" } }), metadata: { name: "other", namespace: NAMESPACE } });
    await apply(policy({ intervals: { heartbeat: "8s" } }));
    expect(await eventually(inForce, (seen) => seen.endsWith("3 3"))).toBe("True 3 3");
    expect(await here("get", "attestationpolicy", "other", "--output=jsonpath={.status}")).toBe("");
  });

  test("that is deleted gives way to the file", async () => {
    await here("delete", "attestationpolicy", "hullmark");
    expect(await eventually(named, (seen) => seen === "from-file")).toBe("from-file");
  });
});

/** For one claim, of a folder that its writer owns. */
const persistentVolume = (name: string, path: string): object => ({
  ...{ apiVersion: "v1", kind: "PersistentVolume", metadata: { name } },
  spec: {
    capacity: { storage: "10Gi" },
    accessModes: ["ReadWriteOnce"],
    storageClassName: "by-hand",
    hostPath: { path },
    persistentVolumeReclaimPolicy: "Retain",
  },
});

/** Where the verifier's state is on the node. */
const volume = (): string => join(cluster.containerdRoot, "../volume");

/** What a service account may do in Hullmark's namespace beyond what everybody may. */
async function rights(as: string): Promise<readonly string[]> {
  const listed = await here("auth", "can-i", "--list", "--no-headers", `--as=${as}`, "--as-group=system:serviceaccounts", "--as-group=system:authenticated");
  return listed
    .split("\n")
    .map((line) => line.trim().replaceAll(/\s+/g, " "))
    .filter((line) => line !== "" && !line.startsWith("selfsubject") && !line.startsWith("["))
    .sort();
}

// Of the bed nothing but what somebody else's cluster would be given by.
describe("by its kubeconfig alone", () => {
  const folder = (): string => join(cluster.containerdRoot, "../volume-given");

  beforeAll(async () => {
    mkdirSync(folder(), { recursive: true });
    chownSync(folder(), 65532, 65532);
    await apply(persistentVolume("given", folder()));
    const values = {
      agent: { runtime: { rootDirectory: cluster.containerdRoot, otherContainers: "ignore" } },
      verifier: { registries: { plainHttp: [bed.registry?.host] }, persistence: { storageClassName: "by-hand" } },
    };
    const file = join(home, "given-values.yaml");
    writeFileSync(file, JSON.stringify(values));
    vi.stubEnv("HULLMARK_TEST_KUBECONFIG", cluster.kubeconfig);
    vi.stubEnv("HULLMARK_TEST_REGISTRY", bed.registry?.host);
    vi.stubEnv("HULLMARK_TEST_VALUES", file);
  });
  afterAll(async () => {
    vi.unstubAllEnvs();
    await kubectl("delete", "persistentvolume", "given", "--ignore-not-found");
  });

  anyCluster(() => {
    const given = externalCluster();
    if (!given) throw new Error("no cluster is given");
    return {
      ...{ cluster: given, shipped: `${given.registry}/ship`, workload: workload.tagged, home },
      hullmark: (...args) => plugin(given.kubeconfig, ...args),
    };
  });
});

describe("the chart", () => {
  test("is clean, and refuses values that it does not know", async () => {
    expect(await helm("lint", "--strict", CHART)).toContain("0 chart(s) failed");
    // Whoever brings a policy is told where it forgets the agent itself.
    const notes = (name: string, policy: string): Promise<string> => {
      writeFileSync(join(home, name), `apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: p }\nspec:\n  rules:\n${policy}  - { name: all }\n`);
      return helm("install", "hullmark", CHART, "--namespace", NAMESPACE, "--dry-run=client", "--set-file", `policy=${join(home, name)}`);
    };
    expect(await notes("forgets.yaml", "")).toMatch(/The policy does not name Hullmark's own agent\.[\s\S]*\n {2}- name: hullmark-agent\n {4}select: /);
    expect(await notes("names.yaml", `  ${ownAgentRule({ namespace: NAMESPACE, name: "hullmark" })}\n`)).not.toContain("does not name Hullmark's own agent");
    await expect(helm("template", "hullmark", CHART, "--kube-version=1.33.0", "--set", "agent.privilegd=true")).rejects.toThrow("privilegd");
    await expect(helm("template", "hullmark", CHART, "--kube-version=1.33.0", "--set", "agent.runtime.rootDirectory=var")).rejects.toThrow("rootDirectory");
    const device = ["--set", "agent.tpm.tcti=device:/dev/tpmrm0"];
    await expect(helm("template", "hullmark", CHART, "--kube-version=1.33.0", ...device, "--set", "agent.privileged=true")).rejects.toThrow("state.hostPath");
    await expect(helm("template", "hullmark", CHART, "--kube-version=1.33.0", ...device, "--set", "agent.state.hostPath=/var/lib/hullmark")).rejects.toThrow(
      "agent.tpm.deviceResource",
    );
    // The folder of the socket is mounted: neither one that the pod has itself nor another than is written.
    for (const socket of ["/run/tpm.sock", "/run/swtpm/../tpm.sock"])
      await expect(
        helm("template", "hullmark", CHART, "--kube-version=1.33.0", "--set", `agent.tpm.tcti=swtpm:path=${socket},agent.state.hostPath=/var/lib/hullmark`),
      ).rejects.toThrow(/agent.tpm.tcti/);
    // Of Docker's own folder nothing is there; where its images are in containerd's store it is besides that.
    const docker = (more = "") => helm("template", "hullmark", CHART, "--kube-version=1.33.0", "--set", `agent.runtime.kind=docker${more}`);
    for (const more of ["", ",agent.runtime.extraHostPaths={/var/lib/containerd/}"])
      await expect(docker(more)).rejects.toThrow(/rootDirectory.*extraHostPaths/);
    expect(await docker(",agent.runtime.extraHostPaths={/var/lib/docker}")).toContain('mountPath: "/var/lib/docker"');
    // A capture that goes with the agent's pod is none.
    await expect(helm("template", "hullmark", CHART, "--kube-version=1.33.0", "--set", "agent.capture.recipients={age1x}")).rejects.toThrow("state.hostPath");
  });

  test.each<[string, string[]]>([
    ["as it is", []],
    ["with nothing kept", ["verifier.persistence.enabled=false"]],
    ["with a TPM, privileged", ["agent.tpm.tcti=device:/dev/tpmrm0", "agent.privileged=true", "agent.state.hostPath=/var/lib/hullmark/agent"]],
    [
      "with a TPM by a device plug-in",
      [
        "agent.tpm.tcti=device:/dev/tpmrm0",
        "agent.tpm.deviceResource=squat.ai/tpm",
        "agent.state.hostPath=/var/lib/hullmark/agent",
        "verifier.enrolment.makerRootsConfigMap=tpm-makers",
      ],
    ],
    [
      "with others who may ask",
      [
        "networkPolicy.from[0].namespaceSelector.matchLabels.team=monitoring",
        "networkPolicy.agents[0].ipBlock.cidr=192.0.2.0/24",
        "admission.enabled=true",
        "actuator.enabled=true",
        "dashboard.enabled=true",
        "people.enabled=true",
      ],
    ],
    [
      "with Docker",
      ["agent.runtime.kind=docker", "agent.runtime.rootDirectory=/var/lib/docker", "agent.runtime.socketDirectory=/run", "agent.runtime.socket=docker.sock"],
    ],
    [
      "with everything else",
      [
        "verifier.registries.dockerConfigSecret=pull",
        "verifier.registries.caConfigMap=ca",
        "agent.appArmorProfile.type=Unconfined",
        "podDisruptionBudget.enabled=false",
        "networkPolicy.enabled=false",
        "verifier.persistence.keepOnUninstall=true",
        "image.pullSecrets={a,b}",
        "admission.enabled=true",
        "admission.failurePolicy=Fail",
        "admission.clientCaConfigMap=api-server",
        "podEvents.enabled=false",
        "podMonitor.enabled=true",
        "podMonitor.labels.release=prometheus",
        "verifier.pods.enabled=false",
        "actuator.enabled=true",
        "actuator.limits.protect={payments/*}",
        "actuator.rollback.enabled=true",
        "actuator.rollback.namespaces={hullmark}",
        "actuator.rollback.halt=true",
        "actuator.rollback.gitops=pause",
        "actuator.isolation.enabled=true",
        "actuator.isolation.namespaces={hullmark}",
        "actuator.isolation.enforced=true",
        "verifier.pkcs11.uri=pkcs11:token=hullmark?module-path=/opt/token/module.so",
        "verifier.pkcs11.pinSecret=token-pin",
        "verifier.alertSecret=alert-receivers",
        "people.enabled=true",
        "people.caConfigMap=issuer-ca",
        "people.clientSecret=oidc-client",
        "verifier.pkcs11.volumes[0].name=module",
        "verifier.pkcs11.volumeMounts[0].name=module",
        "verifier.pkcs11.volumeMounts[0].mountPath=/opt/token",
      ],
    ],
  ])("is taken whole by the API server, strictly: %s", async (_, values) => {
    const objects = await helm("template", "hullmark", CHART, "--kube-version=1.33.0", "--namespace", NAMESPACE, "--set", values.join(","));
    const taken = await cluster.kubectl(["--namespace", NAMESPACE, "apply", "--dry-run=server", "--validate=strict", "--filename=-"], objects);
    expect(
      taken
        .trim()
        .split("\n")
        .every((line) => line.endsWith("(server dry run)")),
    ).toBe(true);
    expect(taken).toMatch(/daemonset.apps\/hullmark-agent created/);
  });

  test("lets agents that are not of the release in where it is told where they are, and to no more than its own", async () => {
    const shown = ["--kube-version=1.33.0", "--show-only", "templates/availability.yaml", "--set", "networkPolicy.agents[0].ipBlock.cidr=192.0.2.0/24"];
    const objects = parseAllDocuments(await helm("template", "hullmark", CHART, ...shown)).map((each) => each.toJS());
    const { spec } = objects.find((each) => each?.kind === "NetworkPolicy" && each.metadata.name === "hullmark-verifier");
    expect(spec.ingress).toEqual([
      {
        from: [{ podSelector: { matchLabels: expect.objectContaining({ "app.kubernetes.io/component": "agent" }) } }, { ipBlock: { cidr: "192.0.2.0/24" } }],
        ports: [{ port: "main" }, { port: "enrolment" }],
      },
    ]);
  });

  test("gives the right to get ConfigMaps where it is asked for, and to nothing more of them", async () => {
    const rulesOf = async (...values: readonly string[]) => {
      const rendered = await helm("template", "hullmark", CHART, "--kube-version=1.33.0", "--show-only", "templates/rbac.yaml", ...values);
      const roles = parseAllDocuments(rendered).map((each) => each.toJS());
      return roles
        .find(({ kind, metadata }) => kind === "ClusterRole" && metadata.name.endsWith("-pods"))
        .rules.filter(({ resources }: { resources: string[] }) => resources.includes("configmaps"));
    };
    expect(await rulesOf()).toEqual([]);
    expect(await rulesOf("--set", "verifier.pods.configMaps=true")).toEqual([{ apiGroups: [""], resources: ["configmaps"], verbs: ["get"] }]);
  });

  test("mounts what issuers of people need, where its values say that configuration finds it", async () => {
    const people = ["people.enabled=true", "people.caConfigMap=issuer-ca", "people.clientSecret=oidc-client"];
    const objects = parseAllDocuments(
      await helm("template", "hullmark", CHART, "--kube-version=1.33.0", "--show-only", "templates/verifier.yaml", "--set", people.join(",")),
      // As Kubernetes reads it, to which 0440 is octal.
      { version: "1.1" },
    );
    const deployment = objects.map((each) => each.toJS()).find((each) => each?.kind === "Deployment");
    const { containers, volumes } = deployment.spec.template.spec;
    const mountPathOf = ({ name }: { name: string }) => containers[0].volumeMounts.find((each: { name: string }) => each.name === name);
    const [ca] = volumes.filter(({ configMap }: { configMap?: { name: string } }) => configMap?.name === "issuer-ca");
    const [secret] = volumes.filter((each: { secret?: { secretName: string } }) => each.secret?.secretName === "oidc-client");
    expect(mountPathOf(ca)).toMatchObject({ mountPath: "/etc/hullmark/people/ca", readOnly: true });
    expect(mountPathOf(secret)).toMatchObject({ mountPath: "/etc/hullmark/people/secrets", readOnly: true });
    // The pod's group alone may read it.
    expect(secret.secret.defaultMode).toBe(0o440);
  });

  test("has each folder of the node in the agent's pod follow what the node mounts and unmounts there", async () => {
    const rendered = await helm("template", "hullmark", CHART, "--kube-version=1.33.0", "--set", "agent.runtime.extraHostPaths={/mnt/second}");
    const agent = parseAllDocuments(rendered)
      .map((each) => each.toJS())
      .find((each) => each?.kind === "DaemonSet");
    const { containers, volumes } = agent.spec.template.spec;
    const ofNode = volumes.flatMap(({ name, hostPath }: { name: string; hostPath?: { type: string } }) => (hostPath?.type === "Directory" ? [name] : []));
    const mounts = containers[0].volumeMounts.filter(({ name }: { name: string }) => ofNode.includes(name));
    expect(mounts).toHaveLength(4);
    for (const mount of mounts) expect(mount).toMatchObject({ readOnly: true, mountPropagation: "HostToContainer" });
  });

  test("has the agent keep captures for as long as its values say, also where nobody is named any more to open others", async () => {
    const agent = ["--show-only", "templates/agent.yaml", "--set", "agent.capture.keepHours=720,agent.state.hostPath=/var/lib/hullmark/agent"];
    for (const recipients of [[], ["--set", "agent.capture.recipients={age1x}"]]) {
      const rendered = await helm("template", "hullmark", CHART, "--kube-version=1.33.0", ...agent, ...recipients);
      const config = parseAllDocuments(rendered)
        .map((each) => each.toJS())
        .find((each) => each?.kind === "ConfigMap");
      expect(parse(config.data["agent.yaml"]).capture).toMatchObject({ keepHours: 720 });
    }
  });

  let before: readonly string[];
  let traces: NodeTraces;

  test("installs: verifier ready, agents joined by the cluster's word, everything judged", async () => {
    before = await everything();
    traces = await nodeTraces(cluster);
    const folder = volume();
    mkdirSync(folder, { recursive: true });
    chownSync(folder, 65532, 65532);
    await apply(persistentVolume("by-hand", folder));
    await helm("install", "hullmark", CHART, ...settings(), "--wait", "--timeout", "300s");
    await openForward();
    const nodes = await eventually(
      () => json<NodeView[]>("nodes"),
      (seen) => seen.length === 1 && seen[0]?.verdict !== "unknown",
    );
    expect(nodes[0]).toMatchObject({ name: cluster.nodeName, trust: "none" });
  });

  test("gives no rights but those that are needed", async () => {
    expect(await rights(AGENT)).toEqual([]);
    expect(await rights(VERIFIER)).toEqual([
      "attestationpolicies.hullmark.dev [] [hullmark] [list watch]",
      "attestationpolicies.hullmark.dev/status [] [hullmark] [patch]",
      "clusterreports.openreports.io [] [] [create patch delete]",
      "clusterroles.rbac.authorization.k8s.io [] [hullmark-hullmark-reports] [get]",
      "configmaps [] [hullmark-ca] [patch]",
      "controllerrevisions.apps [] [] [get]",
      "driftexceptions.hullmark.dev [] [] [list watch]",
      "driftexceptions.hullmark.dev/status [] [] [patch]",
      "events.events.k8s.io [] [] [create patch]",
      "jobs.batch [] [] [get]",
      "pods [] [] [list watch]",
      "replicasets.apps [] [] [get]",
      "reports.openreports.io [] [] [list create patch delete]",
      "secrets [] [hullmark-admin] [patch]",
      "secrets [] [hullmark-responder] [patch]",
      "secrets [] [hullmark-viewer] [patch]",
      "tokenreviews.authentication.k8s.io [] [] [create]",
    ]);
    const admin = (verb: string, what: string, as = VERIFIER) => here("auth", "can-i", verb, what, `--as=${as}`).catch(() => "no");
    for (const [verb, what] of [
      ["get", "secrets"],
      ["patch", "secrets/other"],
      ["get", "secrets/hullmark-admin"],
      ["get", "configmaps/hullmark-ca"],
      ["list", "configmaps"],
      ["get", "pods"],
      ["create", "pods"],
    ] as const)
      expect(await admin(verb, what), `${verb} ${what}`).toMatch(/^no/);
  });

  wholeRights(atWork, CHART);

  runningPods(atWork);

  test("runs the verifier as nobody and the agent with named capabilities, both on a root that cannot be written", async () => {
    const { items } = JSON.parse(await here("get", "pods", "--output=json")) as {
      items: { metadata: { labels: Record<string, string> }; spec: { hostPID?: boolean; containers: { securityContext: object }[] } }[];
    };
    const of = (component: string) => items.find(({ metadata }) => metadata.labels["app.kubernetes.io/component"] === component)?.spec;
    expect(of("agent")?.containers[0]?.securityContext).toMatchObject({
      privileged: false,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ["ALL"], add: ["SYS_ADMIN", "DAC_READ_SEARCH", "DAC_OVERRIDE", "SYS_PTRACE"] },
    });
    expect(of("verifier")?.containers[0]?.securityContext).toMatchObject({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ["ALL"] },
    });
    expect(of("verifier")?.hostPID).toBeUndefined();
    const [node] = await json<NodeView[]>("nodes");
    expect(node?.reasons?.map(({ code }) => code)).not.toContain("capability");
  });

  test("sees a drift in a pod, and its own pods", async () => {
    await apply({ apiVersion: "v1", kind: "Pod", metadata: { name: "web" }, spec: { containers: [{ name: "web", image: workload.reference }] } });
    await kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=120s");
    const seen = await eventually(
      () => json<WorkloadView[]>("workloads"),
      (all) => all.some(({ container, content }) => container.name.startsWith("default/web/") && content === "affirming"),
    );
    for (const own of ["hullmark-agent", "hullmark-verifier"]) expect(seen.map(({ container }) => container.name).join(" ")).toContain(own);
    await kubectl("exec", "web", "--", "/bin/sh", "-c", "echo x >> /etc/nginx/nginx.conf");
    const drifts = await eventually(
      async () => (await json<{ drifts: DriftView[] }>("drift", "ls")).drifts,
      (found) => found.some(({ container, path }) => container.name.startsWith("default/web/") && path === "/etc/nginx/nginx.conf"),
    );
    expect(drifts.find(({ path }) => path === "/etc/nginx/nginx.conf")?.node.name).toBe(cluster.nodeName);
  });

  test("tells of the drift by an Event on the pod", async () => {
    const told = async () => JSON.parse(await kubectl("get", "events.events.k8s.io", "--output=json")) as { items: TestEvent[] };
    const { items } = await eventually(told, (seen) => seen.items.some(({ regarding, reason }) => regarding.name === "web" && reason === "Drifted"));
    const ours = items.filter(({ reportingController }) => reportingController === "hullmark.dev/verifier");
    const uid = await kubectl("get", "pod", "web", "--output=jsonpath={.metadata.uid}");
    const drifted = ours.filter(({ regarding, reason }) => regarding.name === "web" && reason === "Drifted");
    expect(drifted[0]).toMatchObject({ type: "Warning", regarding: { kind: "Pod", uid } });
    // A graver drift would be an Event of its own; more of the same is counted.
    expect(drifted.length).toBeLessThan(3);
    expect(await kubectl("describe", "pod", "web")).toContain("kubectl hullmark drift show D-");
  });

  describe("kubectl hullmark", () => {
    test("shows the context's namespace, the one that is named, or all, and counts what is elsewhere", async () => {
      const drifts = async (...args: string[]) => {
        const { code, stdout, stderr } = await plugin(cluster.kubeconfig, "drift", "ls", "--output=json", ...args);
        return { code, stderr, containers: (JSON.parse(stdout) as { drifts: DriftView[] }).drifts.map(({ container }) => container.name) };
      };
      const [own, named, all] = [await drifts(), await drifts("-n", "default"), await drifts("-A")];
      for (const { code, containers } of [own, named]) {
        expect(code).toBe(1);
        expect(containers.length).toBeGreaterThan(0);
        expect(containers.every((name) => name.startsWith("default/"))).toBe(true);
      }
      expect(all.containers).toEqual(expect.arrayContaining([...own.containers]));
      expect((await drifts("--namespace=kube-public")).containers).toEqual([]);
      const elsewhere = await plugin(cluster.kubeconfig, "drift", "ls", "-n", "kube-public");
      expect(elsewhere.stdout).toMatch(/^no drift in namespace kube-public; [1-9]\d* open elsewhere \(-A\)$/m);
      const listed = await plugin(cluster.kubeconfig, "workloads", "--output=json", "-n", NAMESPACE);
      expect((JSON.parse(listed.stdout) as WorkloadView[]).every(({ container }) => container.name.startsWith(`${NAMESPACE}/`))).toBe(true);
    });

    test("names the cluster as kubectl does, also when it has to wait", async () => {
      const current = (await kubectl("config", "current-context")).trim();
      const { stdout } = await plugin(cluster.kubeconfig, "status", "--wait", "60");
      expect(stdout.split("  ")[0]).toBe(current);
      expect(stdout).toMatch(/^Nodes +1\/1 attested$/m);
      expect((await plugin(cluster.kubeconfig, "--context=none-such", "status")).code).toBe(2);
    });

    test("lets everybody ask as what Kubernetes lets them be, and nobody else", async () => {
      await here("create", "serviceaccount", "onlooker");
      await here("create", "serviceaccount", "stranger");
      await here("create", "rolebinding", "onlooker", "--role=hullmark-viewer", `--serviceaccount=${NAMESPACE}:onlooker`);
      const [onlooker, stranger] = [await kubeconfigOf("onlooker"), await kubeconfigOf("stranger")];
      const seen = await plugin(onlooker, "drift", "ls", "-A", "--output=json");
      expect(seen).toMatchObject({ code: 1 });
      const id = (JSON.parse(seen.stdout) as { drifts: { id: string }[] }).drifts[0]?.id ?? "";
      const refused = await plugin(onlooker, "drift", "ack", id, "-m", "not mine to say");
      expect(refused).toMatchObject({ code: 2, stderr: expect.stringMatching(/this needs the role [a-z ]+; .* has viewer/) });
      expect(await plugin(onlooker, "drill", "run", "canary-file")).toMatchObject({
        code: 2,
        stderr: expect.stringMatching(/this needs the role [a-z ]+; .* has viewer/),
      });
      expect(await kubectl("get", "pods", "--all-namespaces", "--selector=hullmark.dev/drill", "--output=name")).toBe("");
      expect(await plugin(onlooker, "status", "--as-role=admin")).toMatchObject({ code: 2, stderr: expect.stringContaining("you may read no Secret") });
      expect(await plugin(stranger, "status")).toMatchObject({ code: 2, stdout: "", stderr: expect.stringContaining("bind the role hullmark-viewer") });
      expect(await plugin(cluster.kubeconfig, "status", "--release=default/other")).toMatchObject({ code: 2, stderr: expect.stringContaining("--release") });
      await here("delete", "rolebinding,serviceaccount", "onlooker", "stranger", "--ignore-not-found");
    });

    test("drills: measures until a drift of its own is known and told, and leaves nothing", { timeout: 400_000 }, async () => {
      await using receiver = await new HttpReceiver().start(cluster.network.hostAddress);
      const allow = { env: ["**"], mounts: ["/**"], args: true, workingDirectory: true, users: ["**"] };
      const alerts = { routes: [{ name: "drills", type: "webhook", url: receiver.url, minSeverity: "info" }] };
      const metadata = { name: "hullmark", namespace: NAMESPACE };
      await apply({ apiVersion: "hullmark.dev/v1", kind: "AttestationPolicy", metadata, spec: { rules: [{ name: "all", allow }], alerts } });
      const policy = async () => (JSON.parse((await plugin(cluster.kubeconfig, "status", "-o", "json")).stdout) as { policy: { name: string } }).policy.name;
      await eventually(policy, (name) => name === "hullmark");
      const objectives = ["--detect-within=60000", "--alert-within=60000", "--timeout=180"];
      const { code, stdout, stderr } = await plugin(cluster.kubeconfig, "drill", "run", "canary-file", "--output=json", ...objectives);
      expect(code, `${stdout}${stderr}`).toBe(0);
      const report = JSON.parse(stdout) as { path: string; detect: { ms: number }; alert: { ms: number } };
      expect(report).toMatchObject({ outcome: "passed", alertRoutes: ["drills"], recorded: true, drift: expect.stringMatching(/^D-/) });
      expect(report.alert.ms).toBeGreaterThanOrEqual(report.detect.ms);
      await receiver.waitFor(({ body }) => (body.includes(report.path) ? body : undefined));
      expect(await kubectl("get", "pods", "--all-namespaces", "--selector=hullmark.dev/drill", "--output=name")).toBe("");
      const exec = await plugin(cluster.kubeconfig, "drill", "run", "canary-exec", "--output=json", ...objectives);
      expect(exec.code, `${exec.stdout}${exec.stderr}`).toBe(0);
      expect(JSON.parse(exec.stdout)).toMatchObject({
        outcome: "passed",
        actor: expect.stringContaining("/hullmark-canary-"),
        contain: { state: "not-asked" },
      });
      const late = await plugin(cluster.kubeconfig, "drill", "run", "canary-file", "--detect-within=1", "--alert-within=1", "--timeout=180");
      expect(late).toMatchObject({ code: 1, stdout: expect.stringMatching(/^FAILED .*which is more than 1$/m) });
      await here("delete", "attestationpolicy", "hullmark");
    });

    test("a drill touches no pod without its label, whatever its name", async () => {
      vi.stubEnv("PATH", pluginEnvironment(home, cluster.kubeconfig)["PATH"]);
      const [run, signal] = ["0123456789", AbortSignal.timeout(120_000)];
      const release = { namespace: NAMESPACE, name: "hullmark" };
      const target = new PodTarget({
        ...{ kubectl: new Kubectl({ kubeconfig: cluster.kubeconfig }), release, namespace: "default", run, image: undefined, startSeconds: 90 },
      });
      await target.start(signal);
      await kubectl("label", "pod", `hullmark-drill-${run}`, "hullmark.dev/drill=another", "--overwrite");
      await expect(target.write("/x", signal)).rejects.toMatchObject({ code: "FOREIGN" });
      await target.remove();
      expect(await kubectl("get", "pod", `hullmark-drill-${run}`, "--output=jsonpath={.status.phase}")).toBe("Running");
      await kubectl("label", "pod", `hullmark-drill-${run}`, `hullmark.dev/drill=${run}`, "--overwrite");
      await target.remove();
      expect(await kubectl("get", "pods", "--selector=hullmark.dev/drill", "--output=name")).toBe("");
    });

    test("verifies and copies the log of the cluster's verifier, by the key beside its credentials, without being told where", async () => {
      const verified = await plugin(cluster.kubeconfig, "log", "verify", "--output=json");
      expect(verified, verified.stderr).toMatchObject({ code: 0 });
      const { verdict, checkpoint } = JSON.parse(verified.stdout) as { verdict: string; checkpoint: { size: number } };
      expect(verdict).toBe("ok");
      const copy = join(home, "log-copy");
      expect(await plugin(cluster.kubeconfig, "log", "export", copy)).toMatchObject({ code: 0 });
      const offline = await plugin(cluster.kubeconfig, "log", "verify", "--dir", copy, "--output=json");
      expect((JSON.parse(offline.stdout) as { checkpoint: { size: number } }).checkpoint.size).toBeGreaterThanOrEqual(checkpoint.size);
      writeFileSync(join(home, "other.pub"), "other+1234abcd+AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB\n");
      expect((await plugin(cluster.kubeconfig, "log", "verify", "--key", join(home, "other.pub"))).code).not.toBe(0);
      expect(await plugin(cluster.kubeconfig, "log", "verify", "--release=default/other")).toMatchObject({
        code: 2,
        stderr: expect.stringContaining("--release"),
      });
    });

    playbooks(onCall);

    contexts(atWork);

    test("completes", async () => {
      const { stdout } = await execute(tool("kubectl"), ["__complete", "hullmark", "-n", "default", "drift", ""], {
        env: pluginEnvironment(home, cluster.kubeconfig),
      });
      expect(stdout).toMatch(/^ls\t/m);
      expect(stdout).toMatch(/^:4$/m);
    });
  });

  test("a team's exception excuses its own file as far as the cluster's policy allows it, until its end", async () => {
    const PATH = "/etc/nginx/nginx.conf";
    const expires = new Date(Date.now() + 86_400_000).toISOString();
    const exception = (name: string, spec: object) => ({
      apiVersion: "hullmark.dev/v1",
      kind: "DriftException",
      metadata: { name, namespace: "default" },
      spec,
    });
    const said = (name: string) =>
      kubectl("--namespace=default", "get", "driftexception", name, '--output=jsonpath={.status.conditions[?(@.type=="InForce")].reason}');
    const drifted = async () =>
      (JSON.parse((await plugin(cluster.kubeconfig, "drift", "ls", "-n", "default", "-o", "json")).stdout) as { drifts: DriftView[] }).drifts.some(
        ({ container, path }) => container.name.startsWith("default/web/") && path === PATH,
      );
    await expect(apply(exception("no-day", { workload: "web", paths: [PATH], reason: "x" }))).rejects.toThrow("expires");
    await expect(apply(exception("all", { workload: "web", paths: ["/etc/**"], expires, reason: "x" }))).rejects.toThrow("spec.paths[0]");
    await apply(exception("known", { workload: "web", paths: [PATH], expires, reason: "INC-1" }));
    expect(await eventually(() => said("known"), Boolean)).toBe("NotAllowed");
    expect(await drifted()).toBe(true);
    const allow = { env: ["**"], mounts: ["/**"], args: true, workingDirectory: true, users: ["**"] };
    const metadata = { name: "hullmark", namespace: NAMESPACE };
    const spec = { rules: [{ name: "all", allow }], exceptions: { classes: ["data"], namespaces: ["default"] } };
    await apply({ apiVersion: "hullmark.dev/v1", kind: "AttestationPolicy", metadata, spec });
    await eventually(
      () => said("known"),
      (reason) => reason === "Good",
    );
    await eventually(drifted, (still) => !still);
    await kubectl("--namespace=default", "delete", "driftexception", "known");
    await eventually(drifted, Boolean);
    await here("delete", "attestationpolicy", "hullmark");
  });

  objectStatuses(atWork);

  test("a namespace's own policy asks for more of what runs there; what would loosen does nothing, and both is told", async () => {
    const team = (spec: object) => ({ apiVersion: "hullmark.dev/v1", kind: "AttestationPolicy", metadata: { name: "hullmark", namespace: "default" }, spec });
    const said = async () => {
      const output =
        "--output=jsonpath={.metadata.generation} {.status.conditions[0].observedGeneration} {.status.conditions[0].reason} {.status.conditions[0].message}";
      const [generation, observed, ...words] = (await kubectl("--namespace=default", "get", "attestationpolicy", "hullmark", output)).split(" ");
      return generation === observed ? words.join(" ") : "";
    };
    const writable = async () =>
      (JSON.parse((await plugin(cluster.kubeconfig, "drift", "ls", "-A", "-o", "json")).stdout) as { drifts: DriftView[] }).drifts
        .filter(({ kind }) => kind === "read-only-root")
        .map(({ container }) => container.name);
    // The cluster's allows no more than the pods here need.
    const allow = { env: ["**"], mounts: ["/**"], args: true, workingDirectory: true, users: ["**"] };
    await apply({
      apiVersion: "hullmark.dev/v1",
      kind: "AttestationPolicy",
      metadata: { name: "hullmark", namespace: NAMESPACE },
      spec: { rules: [{ name: "all", allow }] },
    });
    expect(await writable()).toEqual([]);
    await apply(team({ rules: [{ name: "web", select: { workloads: ["default/web"] }, require: { readOnlyRoot: true }, allow: { privileged: true } }] }));
    expect(await eventually(said, (words) => words.startsWith("InPart"))).toBe(
      "InPart spec.rules[0].allow.privileged: has no effect: no rule of the cluster's policy allows it",
    );
    expect(await eventually(writable, (names) => names.length > 0)).toEqual(["default/web/web"]);
    // It outlives the verifier.
    await here("rollout", "restart", "deployment/hullmark-verifier");
    await here("rollout", "status", "deployment/hullmark-verifier", "--timeout=180s");
    await openForward();
    await eventually(writable, (names) => names.join() === "default/web/web");
    await apply(team({ alerts: { routes: [] } }));
    expect(await eventually(said, (words) => words.startsWith("Refused"))).toBe("Refused spec.alerts: only the cluster's policy may say this");
    expect(await writable()).toEqual(["default/web/web"]);
    await kubectl("--namespace=default", "delete", "attestationpolicy", "hullmark");
    // The agent finds the verifier that came again in its own time.
    await eventually(writable, (names) => names.length === 0, 300_000);
    await here("delete", "attestationpolicy", "hullmark");
  }, 600_000);

  test("reports its verdicts, by namespace and of the nodes", async () => {
    const report = async (...args: string[]) => JSON.parse(await kubectl("get", ...args, "hullmark", "--output=json").catch(() => "{}")) as TestReport;
    const own = await eventually(
      () => report("report.openreports.io", "--namespace=default"),
      ({ summary }) => (summary?.fail ?? 0) > 0,
    );
    expect(own.results).toContainEqual(
      expect.objectContaining({ result: "fail", source: "hullmark", resources: [{ apiVersion: "v1", kind: "Pod", namespace: "default", name: "web" }] }),
    );
    expect(own.results.filter(({ result }) => result === "pass")).toEqual([]);
    const nodes = await eventually(
      () => report("clusterreport.openreports.io"),
      ({ summary }) => summary !== undefined,
    );
    expect(Object.values(nodes.summary ?? {}).reduce((sum, count) => sum + count, 0)).toBe(1);
  });

  ownPods(() => ({ ...atWork(), releaseKey, volume: volume(), openForward, json }));

  inPodAgent(() => ({ ...atWork(), programs, image: workload.tagged, openForward, json }));

  test("upgrades: the verifier comes again with its CA and log, nothing open is lost, and nobody is paged", { timeout: 600_000 }, async () => {
    await using receiver = await new HttpReceiver().start(cluster.network.hostAddress);
    const metadata = { name: "hullmark", namespace: NAMESPACE };
    // What docs/kubernetes.md has a policy begin with: without it the agent's own pods are drift, anew with each upgrade.
    const allow = { env: ["**"], mounts: ["/**"], args: true, workingDirectory: true, users: ["**"] };
    const own = { capabilities: ["SYS_ADMIN", "DAC_READ_SEARCH", "DAC_OVERRIDE", "SYS_PTRACE"], hostNamespaces: ["pid"] };
    const agent = { name: "hullmark-agent", select: { workloads: [`${NAMESPACE}/hullmark-agent`] }, allow: { ...allow, ...own } };
    const alerts = { routes: [{ name: "pager", type: "webhook", url: receiver.url, minSeverity: "info" }] };
    await apply({ apiVersion: "hullmark.dev/v1", kind: "AttestationPolicy", metadata, spec: { rules: [agent, { name: "all", allow }], alerts } });
    const open = async () => (await json<{ drifts: DriftView[] }>("drift", "ls")).drifts;
    await eventually(open, (found) => found.some(({ path }) => path === "/etc/nginx/nginx.conf") && found.every(({ alertedAt }) => alertedAt !== null));
    const pages = () =>
      receiver.received.flatMap(({ body }) => (JSON.parse(body) as { data: { alerts: { status: string; kind: string; summary: string }[] } }).data.alerts);
    const told = pages().length;
    const before = await here("get", "configmap", "hullmark-ca", "--output=jsonpath={.data}");
    const acting = "actuator.enabled=true,actuator.replicas=2,actuator.persistence.enabled=false,actuator.rollback.enabled=true";
    const logging = "verifier.logLevel=debug,agent.logLevel=debug";
    await helm("upgrade", "hullmark", CHART, ...settings(), "--set", logging, "--set", acting, "--wait", "--timeout", "300s");
    expect(await here("get", "configmap", "hullmark-ca", "--output=jsonpath={.data}")).toBe(before);
    await openForward();
    const nodes = await eventually(
      () => json<NodeView[]>("nodes"),
      (seen) => seen.length === 1 && seen[0]?.verdict !== "unknown",
    );
    expect(nodes[0]?.name).toBe(cluster.nodeName);
    await eventually(open, (found) => found.some(({ path }) => path === "/etc/nginx/nginx.conf"));
    // Everything that runs now has been judged, by the agent that came again; what is told now comes after whatever that led to.
    const judged = async () => (await json<WorkloadView[]>("workloads")).filter(({ container }) => container.name.startsWith(`${NAMESPACE}/`));
    await eventually(
      judged,
      (all) => all.some(({ container }) => container.name.includes("/hullmark-actuator-")) && all.every(({ content }) => content !== "unknown"),
    );
    await json("alert", "test", "pager");
    await receiver.waitFor(({ body }) => (body.includes('"kind":"test"') ? body : undefined));
    expect(
      pages()
        .slice(told)
        .filter(({ kind }) => kind !== "test"),
    ).toEqual([]);
    await here("delete", "attestationpolicy", "hullmark");
  });

  test("of two actuators one acts, with the rights that were asked for alone, and the other takes its place", async () => {
    expect(await rights(`system:serviceaccount:${NAMESPACE}:hullmark-actuator`)).toEqual([
      "applications.argoproj.io [] [] [get]",
      "controllerrevisions.apps [] [] [get]",
      "daemonsets.apps [] [] [get patch]",
      "deployments.apps [] [] [get patch]",
      "events.events.k8s.io [] [] [create]",
      "gitrepositories.source.toolkit.fluxcd.io [] [] [get]",
      "helmreleases.helm.toolkit.fluxcd.io [] [] [get]",
      "kustomizations.kustomize.toolkit.fluxcd.io [] [] [get]",
      "leases.coordination.k8s.io [] [hullmark-actuator] [get patch]",
      "pods [] [] [get list]",
      "pods/eviction [] [] [create]",
      "replicasets.apps [] [] [get]",
      "statefulsets.apps [] [] [get patch]",
    ]);
    const holder = (): Promise<string> => here("get", "lease/hullmark-actuator", "--output=jsonpath={.spec.holderIdentity}");
    const first = await eventually(holder, (seen) => seen !== "");
    const pod = first.slice(0, first.indexOf("_"));
    // It has the Lease before the API server knows that it has begun.
    const started = (name: string) =>
      eventually(
        () => here("logs", name).catch(() => ""),
        (seen) => seen.includes("actuator started"),
      );
    await started(pod);
    // Killed: it gives nothing back.
    await here("delete", "pod", pod, "--grace-period=0", "--force");
    const second = await eventually(holder, (seen) => seen !== "" && !seen.startsWith(`${pod}_`));
    await started(second.slice(0, second.indexOf("_")));
  });

  if (LONG) trainingLab(onCall);

  test("keeps out what the policy refuses, where that is asked for, and nothing of its own", async () => {
    const key = generateKeyPairSync("ed25519").publicKey.export({ type: "spki", format: "pem" });
    const file = join(home, "policy.yaml");
    writeFileSync(
      file,
      `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: door }
spec:
  authorities: [{ name: release, key: ${JSON.stringify(key)} }]
  rules: [{ name: acme, select: { images: ["**/acme/**"] }, require: { signatures: { authorities: [release] } } }, { name: others }]
  admission: { mode: enforce }
`,
    );
    const asks = ["--set", "admission.enabled=true", "--set", "admission.failurePolicy=Fail", "--set-file", `policy=${file}`];
    await helm("upgrade", "hullmark", CHART, ...settings(), ...asks, "--wait", "--timeout", "300s");
    const create = async (name: string, image: string) =>
      await kubectl("run", name, `--image=${image}`, "--restart=Never", "--dry-run=server").catch((error: Error) => error.message);
    // Until the verifier has written its CA into the webhook, the API server cannot ask it.
    const refused = await eventually(
      () => create("bad", workload.reference),
      (seen) => seen.includes("denied the request"),
    );
    expect(refused).toContain('admission webhook "fail.admission.hullmark.dev" denied the request');
    expect(refused).toContain('is refused by rule "acme": not signed');
    expect(await create("other", "registry.nowhere.example/thing:1")).toContain("created");
    expect(await here("run", "own", `--image=${workload.reference}`, "--restart=Never", "--dry-run=server")).toContain("created");
    // A team's policy asks for more, in its namespace alone.
    await kubectl("create", "namespace", "elsewhere");
    const team = { authorities: [{ name: "team", key }], rules: [{ name: "signed", require: { signatures: { authorities: ["team"] } } }] };
    const metadata = { name: "hullmark", namespace: "default" };
    await apply({ apiVersion: "hullmark.dev/v1", kind: "AttestationPolicy", metadata, spec: team });
    const own = `${bed.registry?.host}/ship/hullmark-cli:0.1.0`;
    const kept = await eventually(
      () => create("unsigned", own),
      (seen) => seen.includes("denied the request"),
    );
    expect(kept).toContain('is refused by rule "default/signed": not signed');
    expect(await kubectl("--namespace=elsewhere", "run", "unsigned", `--image=${own}`, "--restart=Never", "--dry-run=server")).toContain("created");
    await kubectl("--namespace=default", "delete", "attestationpolicy", "hullmark");
    await kubectl("delete", "namespace", "elsewhere");
    const rights = await here("auth", "can-i", "patch", "validatingwebhookconfigurations/hullmark-hullmark", `--as=${VERIFIER}`);
    expect(rights.trim()).toBe("yes");
    expect(await here("auth", "can-i", "patch", "validatingwebhookconfigurations/other", `--as=${VERIFIER}`).catch(() => "no")).toMatch(/^no/);
  });

  if (LONG) rotatedCertificates(atWork);

  if (LONG)
    tpmNodes(() => {
      const [tpm] = bed.tpms;
      if (!tpm) throw new Error("no TPM");
      return {
        ...{ cluster, tpm, namespace: NAMESPACE, apply, eventually, upgrade },
        hullmark: (...args) => plugin(cluster.kubeconfig, ...args),
      };
    });

  test("uninstalls, and leaves nothing", async () => {
    forward?.kill();
    await helm("uninstall", "hullmark", "--namespace", NAMESPACE, "--wait", "--timeout", "180s");
    await kubectl("delete", "pod", "web", "--grace-period=0", "--force", "--wait=true");
    await kubectl("delete", "persistentvolume", "by-hand");
    expect(await eventually(everything, (seen) => seen.join() === before.join(), 60_000)).toEqual(before);
    // What is there now and was not before. The kubelet takes its time, before as well: of what other tests had there it may have cleared more by now.
    const more = async (): Promise<readonly string[]> => {
      const [seen, had] = [await nodeTraces(cluster), new Set(Object.values(traces).flat())];
      return Object.values(seen)
        .flat()
        .filter((each) => !had.has(each));
    };
    expect(await eventually(more, ({ length }) => length === 0, 60_000).catch(more)).toEqual([]);
  });
});

/** Every object of the cluster but those that come and go by themselves. */
async function everything(): Promise<readonly string[]> {
  const kinds = (await kubectl("api-resources", "--verbs=list", "--output=name")).trim().split("\n");
  const lasting = kinds.filter((kind) => !/^(events|componentstatuses|leases|endpoints)\b/.test(kind));
  const found = await kubectl("get", lasting.join(","), "--all-namespaces", "--output=name", "--ignore-not-found");
  return [...new Set(found.trim().split("\n"))].sort();
}

interface NodeView {
  readonly name: string;
  readonly verdict: string;
  readonly trust: string;
  readonly reasons?: readonly { readonly code: string }[];
}
interface WorkloadView {
  readonly container: { readonly name: string };
  readonly content: string;
}
interface TestReport {
  readonly summary?: { readonly pass: number; readonly fail: number; readonly warn: number; readonly error: number; readonly skip: number };
  readonly results: readonly { readonly result: string }[];
}
interface TestEvent {
  readonly reason: string;
  readonly type: string;
  readonly reportingController: string;
  readonly regarding: { readonly kind: string; readonly name: string; readonly uid: string };
}

const upgrade = (...values: readonly string[]): Promise<string> =>
  helm("upgrade", "hullmark", CHART, ...settings(), "--set", values.join(","), "--wait", "--timeout", "300s");
const atWork = (): ReleaseBed => ({ cluster, namespace: NAMESPACE, home, helm, upgrade, apply, plugin, eventually });

const onCall = () => ({
  cluster,
  registry: bed.registry?.host ?? "",
  home,
  namespace: NAMESPACE,
  environment: (kubeconfig: string) => pluginEnvironment(home, kubeconfig),
});

/** As NOTES.txt tells people to: the Secret's files, and the verifier's port brought here. */
async function openForward(): Promise<void> {
  forward?.kill();
  const { data } = JSON.parse(await here("get", "secret", "hullmark-admin", "--output=json")) as { data: Record<string, string> };
  const port = await freePort();
  for (const [name, value] of Object.entries(data)) {
    const text = Buffer.from(value, "base64").toString();
    writeFileSync(join(home, name), name === "config.yaml" ? text.replace("localhost:7443", `localhost:${port}`) : text, { mode: 0o600 });
  }
  const args = ["--kubeconfig", cluster.kubeconfig, "--namespace", NAMESPACE, "port-forward", "deployment/hullmark-verifier", `${port}:7443`];
  forward = spawn(tool("kubectl"), args, { stdio: "ignore", env: { ...process.env, ...bed.env } });
}

async function json<T>(...args: string[]): Promise<T> {
  const command = [join(REPOSITORY, "dist/hullmark.js"), "--config", join(home, "config.yaml"), ...args, "-o", "json"];
  const { stdout } = await execute(process.execPath, command, { maxBuffer: 16 << 20 }).catch((error: { stdout?: string; code?: number; message: string }) => {
    // 1: there is drift. 3: the port is not brought here yet, or nothing is known yet.
    if (error.stdout) return { stdout: error.stdout };
    return { stdout: args[0] === "drift" ? '{"drifts":[]}' : "[]" };
  });
  return JSON.parse(stdout) as T;
}

const plugin = (kubeconfig: string, ...args: string[]) => runPlugin(home, kubeconfig, args);

/** Of a service account of the release's namespace. */
async function kubeconfigOf(account: string): Promise<string> {
  const file = join(home, `${account}.kubeconfig`);
  const whole = parse(readFileSync(cluster.kubeconfig, "utf8")) as { users: { user: object }[] };
  const token = (await here("create", "token", account)).trim();
  writeFileSync(file, JSON.stringify({ ...whole, users: whole.users.map((each) => ({ ...each, user: { token } })) }), { mode: 0o600 });
  return file;
}
