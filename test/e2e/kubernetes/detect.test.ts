/** A real cluster, watched: untouched pods of every kind are believed, every attack inside a pod is found and told with the pod's names. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generateX25519Identity, identityToRecipient } from "age-encryption";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Stack, startStack, tail } from "../../../deploy/stack/stack.ts";
import { cgroupName } from "../../../deploy/testbed/cgroup.ts";
import { type Kubernetes, startTestbed, type Testbed } from "../../../deploy/testbed/index.ts";
import { RUNTIME_MOUNT } from "../../../deploy/testbed/mount-points.ts";
import { run } from "../../../deploy/testbed/run.ts";
import { type CosignKey, cosign, cosignKeyPair } from "../../fakes/cosign.ts";
import { HttpReceiver } from "../../fakes/http-receiver.ts";
import type { ExpectedDrift } from "../expected-drift.ts";
import { ACCEPTANCE, acceptanceImage } from "../images/acceptance.ts";
import { loadPrograms, type Programs } from "../images/programs.ts";
import { type PushedImage, pushImage } from "../images/push.ts";
import { LONG } from "../long.ts";
import { CANARY, plantCanary, type Scenario } from "../scenarios.ts";
import { Acting } from "./acting.ts";
import { ALARMING, alarms } from "./alarms.ts";
import { attacked, type DriftView, describeAll, eventually, assertFound as findDrifts, HOSTS_LINE, inLayer, POD_SCENARIOS, type Watched } from "./attacks.ts";
import { EVICTING, evictions } from "./evictions.ts";
import { podFollower, READING_CONFIG_MAPS, REVIEWING, TELLING_PODS } from "./follower.ts";
import { injectSidecars } from "./inject-sidecars.ts";
import { ISOLATING, isolations } from "./isolations.ts";
import { CLIMBING, ladder } from "./ladder.ts";
import { namespacedPeople, PEOPLE } from "./namespaces.ts";
import { smuggle } from "./past-the-kubelet.ts";
import { PodVictim } from "./pod-victim.ts";
import { POISONED, poisonedLayer } from "./poisoned-layer.ts";
import { hardened, privileges } from "./privileges.ts";
import { ROLLING_BACK, rollbacks } from "./rollbacks.ts";
import { rotatedSecret } from "./rotated-secret.ts";
import { SILENT, silentAgents } from "./silent-agents.ts";
import { TWO_WORDS, twoNodes } from "./two-nodes.ts";
import { untrustedKinds } from "./untrusted-kinds.ts";
import { everyKind, pod, podSpec } from "./workloads.ts";

interface WorkloadView {
  readonly container: { readonly id: string; readonly name: string };
  readonly workload: string;
  readonly verdict: string;
  readonly content: string;
  readonly provenance: { readonly status: string };
  readonly reasons: readonly { readonly code: string; readonly detail: string }[];
  readonly openDrifts: number;
}

const SETTLED_WITHIN_MS = 90_000;

/** What only the comparison with the pod's specification says. */
const SMUGGLED = [
  /runs another command than its pod's specification/,
  /variable TZ is set, which neither image nor pod's specification does/,
  /capability SYS_ADMIN, which its pod's specification does not give/,
  /another path is mounted than that of the pod's specification at \/shared/,
  /is of group 6, which its pod's specification does not say/,
  /variable TIER has not the value of the pod's specification/,
  /variable ADDRESS has not the value of the pod's specification/,
  /variable MEMORY has not the value of the pod's specification/,
  /variable COLOUR has not the value of the pod's specification/,
  /variable APP_COLOUR has not the value of the pod's specification/,
  /runs as .*, which neither image nor pod's specification says/,
  /may write to its root, which its pod's specification forbids/,
  /may gain privileges, which its pod's specification forbids/,
  /runs without the seccomp profile of its pod's specification/,
];

/** What of it a container that is started past the kubelet has not. */
const PROTECTED = { runAsUser: 33, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, seccompProfile: { type: "RuntimeDefault" } };

/** Variables of the downward API, and of a ConfigMap. */
const byField = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } });
const OF_THE_POD = [
  ...[byField("TIER", "metadata.labels['tier']"), byField("NOTE", "metadata.annotations['example.com/note']"), byField("ADDRESS", "status.podIP")],
  ...[byField("ADDRESSES", "status.podIPs"), byField("NODE_ADDRESS", "status.hostIP"), byField("NODE", "spec.nodeName"), byField("UID", "metadata.uid")],
  { name: "MEMORY", valueFrom: { resourceFieldRef: { resource: "limits.memory", divisor: "1Mi" } } },
  { name: "COLOUR", valueFrom: { configMapKeyRef: { name: "colours", key: "COLOUR" } } },
  // The node's, since the container has none.
  { name: "PROCESSORS", valueFrom: { resourceFieldRef: { resource: "limits.cpu" } } },
];

let bed: Testbed;
let cluster: Kubernetes;
let stack: Stack;
/** Opens what is captured. */
let responder: string;
let programs: Programs;
let image: PushedImage;
/** The same files with a command that does not listen. */
let side: PushedImage;
let key: CosignKey;
/** Signs as well, until it is revoked. */
let retiring: CosignKey;
let home: string;
/** Whoever is told that actions are held back, and of files that were added. */
const pager = new HttpReceiver();

const authority = (name: string, { publicKeyPath }: CosignKey): string => `
    - name: ${name}
      key: |
${readFileSync(publicKeyPath, "utf8").trim().replace(/^/gm, "        ")}`;

const policy = (): string => `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: cluster }
spec:
  mode: enforce
  authorities:${authority("release", key)}${authority("retiring", retiring)}
  rules:
    - name: fixed
      select: { images: ["**/acme/**"], workloads: [default/fixed-node-1] }
      require: { signatures: { authorities: [release] } }
      allow: { staticPods: true }
    - name: strict
      select: { images: ["**/acme/**"], workloads: [default/strict] }
      require: { signatures: { authorities: [release, retiring] } }
    - name: obeying
      select: { images: ["**/acme/**"], workloads: [shop/web, pay/web] }
      require: { signatures: { authorities: [release] } }
      allow: { args: true }${hardened("release")}
    - name: placed
      select: { images: ["**/acme/**"], workloads: [default/roll-risk] }
      require: { signatures: { authorities: [release] }, registries: ["**/acme/roll"] }
      allow: { env: [TZ], users: ["33"], injected: true }
    - name: acme
      select: { images: ["**/acme/**"] }
      require: { signatures: { authorities: [release, retiring] } }
      allow: { env: [TZ], users: ["33"], injected: true }
    - name: everything-else
      allow: { env: ["**"], args: true }
  alerts: { routes: [{ name: page, type: webhook, url: "${pager.url}", minSeverity: info, match: { kinds: [breaker, added] } }] }
  intervals: { quote: 10s, heartbeat: 2s, rescan: 60s }
  response:
    pause: 1m
    hourlyPercent: 100
    rules:${ALARMING}${CLIMBING}${EVICTING}${ISOLATING}${POISONED}${ROLLING_BACK}${SILENT}${TWO_WORDS}`;

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "hullmark-e2e-"));
  await pager.start();
  [bed, programs] = await Promise.all([startTestbed({ name: "e2e-cluster", parts: { kubernetes: true, registry: true, tpms: 4 } }), loadPrograms()]);
  if (!bed.kubernetes) throw new Error("no cluster");
  cluster = bed.kubernetes;
  key = await cosignKeyPair("v2", home, "release");
  retiring = await cosignKeyPair("v2", home, "retiring");
  image = await pushImage(bed.registry?.host ?? "", "acme/web", "1", acceptanceImage(programs));
  const definition = acceptanceImage(programs);
  side = await pushImage(bed.registry?.host ?? "", "acme/side", "1", { ...definition, config: { ...definition.config, Cmd: [ACCEPTANCE.tool, "wait"] } });
  for (const { reference } of [image, side]) await cosign("v2", home, signing(key, reference));
  const kubernetes = {
    ...(await podFollower(cluster, home, [REVIEWING, READING_CONFIG_MAPS, TELLING_PODS])),
    podEvents: true,
    pods: { graceSeconds: 5, templates: true, configMaps: true },
  };
  responder = await generateX25519Identity();
  const capture = { recipients: [await identityToRecipient(responder)], maxSeconds: 60 };
  stack = await startStack({ bed, policy: policy(), kubernetes, people: PEOPLE, capture });
});

afterAll(async () => {
  await bed?.down();
  await pager[Symbol.asyncDispose]();
  if (home) rmSync(home, { recursive: true, force: true });
});

function signing(key: CosignKey, reference: string): string[] {
  const offline = ["--tlog-upload=false", "--allow-insecure-registry", "--allow-http-registry", "--yes"];
  return ["sign", "--key", key.privateKey, ...offline, reference];
}

const apply = (items: readonly object[]): Promise<string> =>
  cluster.kubectl(["apply", "--filename=-"], JSON.stringify({ apiVersion: "v1", kind: "List", items }));

async function workloads(): Promise<readonly WorkloadView[]> {
  return stack.json<WorkloadView[]>("workloads");
}

async function drifts(container: string): Promise<readonly DriftView[]> {
  const { drifts: found } = await stack.json<{ drifts: DriftView[] }>("drift", "ls", "--all", "--container", container);
  return found.filter(({ state }) => state === "open" || state === "acknowledged");
}

/** Waits until the containers that match are `count`, and each is judged. */
async function settled(name: RegExp, count: number): Promise<readonly WorkloadView[]> {
  const look = async (): Promise<readonly WorkloadView[]> => (await workloads()).filter(({ container }) => name.test(container.name));
  const seen = await eventually(look, (found) => found.length === count && found.every(({ verdict }) => verdict !== "unknown"), SETTLED_WITHIN_MS);
  if (seen.length !== count || seen.some(({ verdict }) => verdict === "unknown")) {
    const pods = await cluster.kubectl(["get", "pods", "--output=wide"]);
    const logs = ["verifier.log", "agent-0.log"].map((file) => tail(join(bed.directory, file), 20)).join("\n");
    throw new Error(`${name}: wanted ${count}, saw ${JSON.stringify(seen)}\n${pods}\n${logs}`);
  }
  return seen;
}

/** What is looked at, and how. */
const watched = (): Watched => ({
  ...{ cluster, programs, image: image.tagged, drifts },
  settled: (container) => settled(new RegExp(`^${container}$`), 1),
});
const assertFound = (name: string, expected: readonly ExpectedDrift[]): Promise<void> => findDrifts(watched(), name, expected);

describe("untouched", () => {
  /** Names of a pod's containers, and the workload that they belong to. */
  const KINDS: readonly (readonly [name: RegExp, count: number, workload: string])[] = [
    [/^default\/web-[a-z0-9]+-[a-z0-9]{5}\/(web|sidecar)$/, 4, "default/web"],
    [/^default\/store-0\/web$/, 1, "default/store"],
    [/^default\/each-[a-z0-9]{5}\/web$/, 1, "default/each"],
    [/^default\/often-\d+-[a-z0-9]{5}\/web$/, 1, "default/often"],
    [/^default\/fixed-node-1\/web$/, 1, "default/fixed-node-1"],
  ];

  beforeAll(async () => {
    writeFileSync(join(cluster.manifests, "fixed.json"), JSON.stringify(pod("fixed", image.tagged)));
    await apply(everyKind(image.tagged, side.tagged));
  });

  for (const [name, count, workload] of KINDS)
    test(`${workload}: ${count} container${count === 1 ? "" : "s"} affirming`, async () => {
      for (const each of await settled(name, count)) {
        const found = describeAll(await drifts(each.container.name));
        expect({ ...each, found }).toMatchObject({
          verdict: "affirming",
          content: "affirming",
          provenance: { status: "signed" },
          openDrifts: 0,
          workload,
          found: "",
        });
      }
    });

  test("an ephemeral container is one like any other", async () => {
    await cluster.kubectl(["debug", "store-0", `--image=${side.tagged}`, "--container=looker", "--target=web"]);
    const [looker] = await settled(/^default\/store-0\/looker$/, 1);
    expect({ ...looker, found: describeAll(await drifts("default/store-0/looker")) }).toMatchObject({ verdict: "affirming", found: "" });
    const { drifts: told } = await stack.json<{ drifts: DriftView[] }>("drift", "ls", "--all", "--container", "default/store-0/looker");
    expect(told.map(({ kind, state }) => `${kind} ${state}`)).toContain("debug-container notice");
  });

  test("sandboxes are measured too", async () => {
    await settled(/^default\/store-0\/\(sandbox\)$/, 1);
    expect(describeAll(await drifts("default/store-0/(sandbox)"))).toBe("");
  });
});

describe("variables", () => rotatedSecret(() => ({ cluster, stack, image: image.tagged })));

describe("people of namespaces", () => namespacedPeople(() => ({ cluster, stack, image: image.tagged, home })));

describe("what pods ask for", () => privileges(() => ({ cluster, stack, image: side.tagged })));

describe("untrusted images", () => {
  let stranger: CosignKey;
  beforeAll(async () => {
    stranger = await cosignKeyPair("v2", home, "stranger");
  });
  untrustedKinds(() => ({ bed, cluster, stack, programs, signByStranger: (reference) => cosign("v2", home, signing(stranger, reference)) }));
});

describe("acting", () => {
  let acting: Acting;
  const of = () => ({ bed, cluster, stack, programs, image: image.tagged });
  const sign = (reference: string, by = key): Promise<unknown> => cosign("v2", home, signing(by, reference));

  beforeAll(async () => {
    acting = await Acting.start(of());
  });
  afterAll(() => acting?.stop());

  // First: later ones use up what the limits of the hour allow.
  describe("alarms", () =>
    alarms(
      () => ({ ...of(), sign, retiring, pager }),
      () => acting,
    ));
  describe("evictions", () =>
    evictions(
      () => ({ ...of(), responder, pager }),
      () => acting,
    ));
  describe("silent agents", () =>
    silentAgents(
      () => ({ ...of(), responder }),
      () => acting,
    ));
  describe("isolations", () => isolations(of, () => acting));
  describe("a poisoned layer", () =>
    poisonedLayer(
      () => ({ ...of(), sign, retiring }),
      () => acting,
    ));
  // After it: each marks the node.
  describe("the ladder", () =>
    ladder(
      () => ({ ...of(), sign, retiring }),
      () => acting,
    ));
  describe("rollbacks", () =>
    rollbacks(
      () => ({ ...of(), sign, retiring }),
      () => acting,
    ));
  describe("two nodes", () =>
    twoNodes(
      () => ({ ...of(), sign, retiring }),
      () => acting,
    ));
});

describe("attacks", () => {
  const attacks = (scenarios: readonly Scenario[]): void => {
    for (const scenario of scenarios)
      test(`${scenario.name}${scenario.expected.length === 0 ? " is no drift" : ""}`, () =>
        attacked(watched(), scenario, `victim-${scenarios.indexOf(scenario)}${inLayer(scenario) ? "-layer" : ""}`));
  };

  // All of them are tried at the runtime's port (cri.test.ts), some in an agent's own pod (in-pod-agent.ts), at every change.
  describe.concurrent("each on a pod of its own", () => attacks([...(LONG ? POD_SCENARIOS.filter((each) => !inLayer(each)) : []), HOSTS_LINE]));
  // Every pod of the image has them.
  describe("on a layer", () => attacks(POD_SCENARIOS.filter(inLayer)));

  test("in an init container that runs, a sidecar and an ephemeral container, while no other container of the pod runs", async () => {
    const initContainers = [
      { name: "sidecar", image: side.tagged, restartPolicy: "Always" },
      { name: "prepare", image: side.tagged },
    ];
    await apply([pod("starting", image.tagged, { spec: { initContainers } })]);
    await cluster.kubectl(["wait", "--for=jsonpath={.status.initContainerStatuses[1].state.running}", "pod/starting", "--timeout=60s"]);
    await cluster.kubectl(["debug", "starting", `--image=${side.tagged}`, "--container=looker"]);
    const names = ["sidecar", "prepare", "looker"];
    const all = await settled(/^default\/starting\/(?!\(sandbox\))/, names.length);
    expect(all.map(({ container, verdict }) => [container.name, verdict]).sort()).toEqual(
      names.map((name) => [`default/starting/${name}`, "affirming"]).sort(),
    );
    for (const name of names) {
      const victim = new PodVictim(cluster, programs, "starting", name);
      await plantCanary(victim);
      await assertFound(victim.container, [CANARY]);
    }
    await cluster.kubectl(["delete", "pod", "starting", "--wait=false"]);
  });

  test("whether the container's own process wrote a file, somebody by exec or cp, or a debug container", async () => {
    const own = "while [ ! -e /tmp/go ]; do sleep 1; done; echo x > /srv/own; exec sleep 3600";
    await apply([pod("whose", image.tagged, { container: { command: ["/bin/sh", "-c", own] } })]);
    const victim = new PodVictim(cluster, programs, "whose");
    await settled(/^default\/whose\/web$/, 1);
    await victim.sh("ln -s /bin/busybox /bin/tar; touch /tmp/go; echo x > /srv/exec");
    const local = join(home, "copied.txt");
    writeFileSync(local, "x");
    await cluster.kubectl(["cp", "--container=web", local, "whose:/srv/copied"]);
    await cluster.kubectl(["debug", "whose", `--image=${side.tagged}`, "--target=web", "--container=helper"]);
    await settled(/^default\/whose\/helper$/, 1);
    await new PodVictim(cluster, programs, "whose", "helper").sh("echo x > /proc/1/root/srv/helped");
    const wanted = { own: ["main", "web"], exec: ["exec", "web"], copied: ["exec", "web"], helped: ["exec", "helper"] };
    const look = async () => (await drifts(victim.container)).filter(({ path }) => Object.keys(wanted).some((name) => path === `/srv/${name}`));
    const found = await eventually(look, (seen) => seen.length === Object.keys(wanted).length);
    const who = found.map(({ path, actor }) => [path.slice("/srv/".length), [actor?.entry, actor?.containerName.split("/").at(-1)]]);
    expect(Object.fromEntries(who)).toEqual(wanted);
    expect((await stack.hullmark("drift", "ls", "--all", "--container", victim.container)).stdout).toMatch(/\/srv\/copied .*exec:busybox/);
    await cluster.kubectl(["delete", "pod", "whose", "--wait=false"]);
  });

  test("a container that a webhook put into a pod, and one that kubectl debug did, unless policy lets signed ones in", async () => {
    const webhook = await injectSidecars(cluster, home, { name: "put-in", image: side.tagged });
    try {
      const labels = { "acme.example/inject": "true" };
      const deployment = (name: string) => ({
        ...{ apiVersion: "apps/v1", kind: "Deployment", metadata: { name } },
        spec: {
          replicas: 1,
          selector: { matchLabels: { app: name } },
          template: { metadata: { labels: { app: name, ...labels } }, spec: podSpec(image.tagged) },
        },
      });
      await apply([deployment("strict"), deployment("lenient")]);
      const [[strict], [lenient]] = [await settled(/^default\/strict-\w+-\w+\/put-in$/, 1), await settled(/^default\/lenient-\w+-\w+\/put-in$/, 1)];
      const kindsOf = async (name: string | undefined) => (await drifts(name ?? "none")).map(({ kind }) => kind);
      const addedTo = (name: string | undefined) =>
        eventually(
          () => kindsOf(name),
          (kinds) => kinds.includes("added-container"),
        );
      expect(await addedTo(strict?.container.name)).toEqual(["added-container"]);
      expect({ ...lenient, found: describeAll(await drifts(lenient?.container.name ?? "")) }).toMatchObject({ verdict: "affirming", found: "" });
      // What the template has is as it was.
      const [own] = await settled(/^default\/strict-\w+-\w+\/web$/, 1);
      expect({ ...own, found: describeAll(await drifts(own?.container.name ?? "")) }).toMatchObject({ verdict: "affirming", found: "" });
      const podName = own?.container.name.split("/")[1] ?? "";
      await cluster.kubectl(["debug", podName, `--image=${side.tagged}`, "--container=looker"]);
      expect(await addedTo(`default/${podName}/looker`)).toEqual(["added-container"]);
    } finally {
      await webhook.stop();
      await cluster.kubectl(["delete", "deployment", "strict", "lenient", "--wait=false"]);
    }
  });

  test("by the name that the pod asks for, where its image has another one on the node, which another rule selects", async () => {
    // Of several names containerd 1 tells the first.
    const elsewhere = await pushImage(bed.registry?.host ?? "", "aaa/web", "1", acceptanceImage(programs));
    expect(elsewhere.configDigest).toBe(image.configDigest);
    const env = [{ name: "EXTRA", value: "1" }];
    await apply([pod("named-elsewhere", elsewhere.tagged, { env })]);
    await settled(/^default\/named-elsewhere\/web$/, 1);
    await apply([pod("named-here", image.tagged, { env })]);
    const [here] = await settled(/^default\/named-here\/web$/, 1);
    const kinds = async (name: string) => (await drifts(`default/${name}/web`)).map(({ kind }) => kind);
    expect({ ...here, kinds: await kinds("named-here") }).toMatchObject({ image: { reference: image.tagged }, kinds: ["env"] });
    expect(await kinds("named-elsewhere")).toEqual([]);
    await cluster.kubectl(["delete", "pod", "named-elsewhere", "named-here", "--wait=false"]);
  });

  test("a path of the node and a foreign hosts file are mounts that need permission", async () => {
    const volumes = [
      { name: "node", hostPath: { path: "/etc" } },
      { name: "part", hostPath: { path: "/usr" } },
      // A link on this node.
      { name: "link", hostPath: { path: "/bin" } },
      // Where the runtime mounts of each pod its network namespace, and of each container its root.
      { name: "runtime", hostPath: { path: RUNTIME_MOUNT } },
    ];
    const volumeMounts = [
      { name: "node", mountPath: "/node" },
      { name: "part", mountPath: "/part", subPath: "bin" },
      { name: "link", mountPath: "/link" },
      { name: "runtime", mountPath: "/runtime", readOnly: true, mountPropagation: "HostToContainer" },
    ];
    await apply([pod("mounts", image.tagged, { container: { volumeMounts }, spec: { volumes } })]);
    await settled(/^default\/mounts\/web$/, 1);
    await apply([pod("mounted-later", image.tagged)]);
    await settled(/^default\/mounted-later\/web$/, 1);
    const found = await drifts("default/mounts/web");
    expect(found.map(({ kind, path }) => `${kind} ${path}`).sort()).toEqual(["mount /link", "mount /node", "mount /part", "mount /runtime"]);
    // As the specification has them: only policy has something against them.
    expect(describeAll(found)).not.toMatch(/specification/);
  });

  test("a container that was started in a pod's sandbox over the runtime's socket", async () => {
    const volumes = [{ name: "shared", hostPath: { path: "/srv" } }];
    const container = {
      volumeMounts: [{ name: "shared", mountPath: "/shared" }],
      securityContext: PROTECTED,
      env: OF_THE_POD,
      envFrom: [{ prefix: "APP_", configMapRef: { name: "colours" } }],
      resources: { limits: { memory: "64Mi" } },
    };
    const made = pod("host-of-another", image.tagged, { container, spec: { volumes, securityContext: { fsGroup: 2000 } } });
    const colours = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "colours" }, data: { COLOUR: "blue", SHADE: "dark" } };
    await apply([colours, { ...made, metadata: { name: "host-of-another", labels: { tier: "gold" } } }]);
    await settled(/^default\/host-of-another\/web$/, 1);
    // What is changed later has nothing to do with what runs.
    await cluster.kubectl(["patch", "configmap", "colours", "--type=merge", '--patch={"data":{"SHADE":"light"}}']);
    await cluster.kubectl(["label", "pod", "host-of-another", "tier=iron", "--overwrite"]);
    const sandbox = (await workloads()).find((each) => each.container.name === "default/host-of-another/(sandbox)")?.container.id ?? "";
    // A kubelet that runs ends what it finds without its labels, within seconds.
    await cluster.services.kubelet.stop();
    try {
      await smuggle(cluster.criSocket, sandbox, { name: "miner", image: image.tagged, command: [ACCEPTANCE.tool, "wait"] });
      await assertFound("default/host-of-another/miner", [{ path: "", place: "configuration", kinds: ["injected-container"] }]);
      expect(describeAll(await drifts("default/host-of-another/web"))).not.toMatch(/specification/);
      // Under the name of the pod's own container, with what policy allows a specification to ask for (TZ) and what it does not.
      const command = [ACCEPTANCE.tool, "wait"];
      const past = {
        mounts: { "/shared": "/etc" },
        groups: [6],
        env: { TZ: "UTC", TIER: "hunter2", COLOUR: "hunter2", APP_COLOUR: "hunter2", APP_SHADE: "any", ADDRESS: "203.0.113.1", MEMORY: "65" },
        capabilities: ["SYS_ADMIN"],
      };
      await smuggle(cluster.criSocket, sandbox, { name: "web", image: image.tagged, command, ...past });
      const found = await eventually(
        () => drifts("default/host-of-another/web"),
        (seen) => SMUGGLED.every((summary) => seen.some((drift) => summary.test(drift.summary))),
      );
      for (const summary of SMUGGLED) expect(describeAll(found)).toMatch(summary);
      expect(describeAll(found)).not.toMatch(/APP_SHADE has not/);
      expect(JSON.stringify(found)).not.toMatch(/hunter2|203\.0\.113\.1/);
    } finally {
      await cluster.services.kubelet.start();
    }
    await cluster.kubectl(["delete", "pod", "host-of-another", "--wait=false"]);
  });

  test("a pod in the node's manifests folder that policy does not expect", async () => {
    const manifest = join(cluster.manifests, "dropped.json");
    writeFileSync(manifest, JSON.stringify(pod("dropped", image.tagged)));
    try {
      await assertFound("default/dropped-node-1/web", [{ path: "", place: "configuration", kinds: ["static-pod"] }]);
      const victim = new PodVictim(cluster, programs, "dropped-node-1");
      await plantCanary(victim);
      await assertFound(victim.container, [CANARY]);
    } finally {
      rmSync(manifest);
    }
  });

  test("a container that runs on after its pod has gone", async () => {
    await apply([pod("orphan", image.tagged)]);
    await settled(/^default\/orphan\/web$/, 1);
    await cluster.services.kubelet.stop();
    try {
      await cluster.kubectl(["delete", "pod", "orphan", "--force", "--grace-period=0"]);
      await assertFound("default/orphan/web", [{ path: "", place: "configuration", kinds: ["no-pod"] }]);
    } finally {
      await cluster.services.kubelet.start();
    }
  });

  test("what runs on a node that no agent is on is counted, and nothing that an agent tells of", async () => {
    const unseen = async () => (await stack.json<{ claims: { code: string; detail: string }[] }>("status")).claims.filter(({ code }) => code === "pods-unseen");
    expect(await eventually(unseen, (claims) => claims.length === 0)).toEqual([]);
    const node = { apiVersion: "v1", kind: "Node", metadata: { name: "node-9" } };
    await apply([node, pod("elsewhere", image.tagged, { spec: { nodeName: "node-9" } })]);
    const running = {
      name: "web",
      containerID: "containerd://9",
      image: "i",
      imageID: "i",
      ready: true,
      restartCount: 0,
      state: { running: { startedAt: "2026-01-01T00:00:00Z" } },
    };
    const status = JSON.stringify({ status: { phase: "Running", containerStatuses: [running] } });
    await cluster.kubectl(["patch", "pod", "elsewhere", "--subresource=status", "--type=merge", `--patch=${status}`]);
    const [claim] = await eventually(unseen, (claims) => claims.length > 0);
    expect(claim?.detail).toMatch(/: default\/elsewhere\/web on node-9 \(no agent\)$/);
    await cluster.kubectl(["delete", "pod", "elsewhere", "--force", "--grace-period=0"]);
    await cluster.kubectl(["delete", "node", "node-9"]);
    expect(await eventually(unseen, (claims) => claims.length === 0)).toEqual([]);
  });

  test("a container that no kubelet asked for", async () => {
    const [agent] = stack.agents;
    if (!agent) throw new Error("no agent");
    writeFileSync(agent.configPath, readFileSync(agent.configPath, "utf8").replace("otherContainers: ignore", "otherContainers: report"));
    await agent.stop();
    await agent.start();
    // Other test beds of this machine have containers too, all of them with an id in their cgroup's name.
    const id = "smuggled";
    const group = `/${cgroupName(JSON.parse(readFileSync(join(bed.directory, "testbed.json"), "utf8")).id)}/${id}`;
    await run(cluster.ctr("run", "--detach", "--cgroup", group, image.tagged, id, "/app/serve.sh"));
    try {
      const look = async (): Promise<readonly WorkloadView[]> => (await workloads()).filter(({ container }) => container.id.startsWith("mnt-"));
      const found = await eventually(look, (seen) => seen.some(({ verdict }) => verdict === "contraindicated"), SETTLED_WITHIN_MS);
      expect(found).toHaveLength(1);
      expect((await drifts(found[0]?.container.name ?? "")).map(({ kind }) => kind)).toEqual(["unlisted"]);
    } finally {
      await run(cluster.ctr("tasks", "kill", "--signal", "KILL", id));
    }
  });
});
