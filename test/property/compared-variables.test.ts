/** Variables of containers that should be alike: a node tells which are equal and nothing else, and who differs is told without a value. */
import { create } from "@bufbuild/protobuf";
import { comparedVariables } from "@hullmark/agent/core/compared-variables";
import { type VariablesRequest, VariablesRequestSchema, type VariablesResponse, VariablesResponseSchema } from "@hullmark/proto/v1/attestation";
import { readPod } from "@hullmark/verifier/adapters/kubernetes/pod-object";
import { ReplicaVariables } from "@hullmark/verifier/core/contents/replica-variables";
import { uncomparedVariables } from "@hullmark/verifier/core/pods/differing-variables";
import type { Session } from "@hullmark/verifier/core/session/session";
import type { PodRecord, PodView } from "@hullmark/verifier/ports/pod-view";
import fc from "fast-check";
import { describe, expect, test } from "vitest";

const KEY = Buffer.alloc(32, 7);
const ENV = [
  { name: "PASSWORD", valueFrom: { secretKeyRef: { name: "token", key: "password" } } },
  { name: "COLOUR", valueFrom: { configMapKeyRef: { name: "settings", key: "COLOUR" } } },
  { name: "MODE", value: "fast" },
  { name: "NODE", valueFrom: { fieldRef: { fieldPath: "spec.nodeName" } } },
];

interface Container {
  readonly env: readonly string[];
  readonly workload?: string;
  readonly container?: string;
}

const facts = ({ env, workload = "shop/web", container = "web" }: Container) => ({ env, workload, pod: { container } });
const request = (more: Partial<VariablesRequest> = {}): VariablesRequest =>
  create(VariablesRequestSchema, { id: 5n, key: KEY, containerIds: ["a", "b"], names: ["PASSWORD"], ...more });

/** Digests of one variable, of two containers of one node. */
function digests(a: Container, b: Container, name = "PASSWORD"): (string | undefined)[] {
  const all = create(
    VariablesResponseSchema,
    comparedVariables(request({ names: [name] }), (id) => facts(id === "a" ? a : b)),
  );
  return all.containers.map(({ variables }) => variables[0] && Buffer.from(variables[0].digest).toString("hex"));
}

describe("a node", () => {
  test("gives equal digests for equal values of one workload's container, and no others", () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (one, other) => {
        const [a, b] = digests({ env: [`PASSWORD=${one}`] }, { env: ["X=1", "PASSWORD=old", `PASSWORD=${other}`] });
        expect(a === b).toBe(one === other);
        for (const elsewhere of [{ workload: "shop/other" }, { container: "side" }]) {
          const [c, d] = digests({ env: [`PASSWORD=${one}`] }, { env: [`PASSWORD=${one}`], ...elsewhere });
          expect(c).not.toBe(d);
        }
      }),
    );
    expect(digests({ env: ["PASSWORD=1"] }, { env: [] })).toEqual([expect.stringMatching(/^[0-9a-f]{64}$/), undefined]);
  });

  test.each<[string, Partial<VariablesRequest>]>([
    ["a short key", { key: Buffer.alloc(16) }],
    ["none", { key: Buffer.alloc(0) }],
    ["too many containers", { containerIds: Array.from({ length: 129 }, (_, i) => `${i}`) }],
    ["too many names", { names: Array.from({ length: 257 }, (_, i) => `N${i}`) }],
  ])("answers nothing to %s", (_, more) => {
    expect(comparedVariables(request(more), () => facts({ env: ["PASSWORD=1"] }))).toEqual({ id: 5n });
  });

  test("says nothing of what it does not run, of what is in no pod, and of names that nobody asks for", () => {
    expect(comparedVariables(request(), () => undefined)).toEqual({ id: 5n, containers: [] });
    expect(comparedVariables(request(), () => ({ ...facts({ env: ["PASSWORD=1"] }), pod: undefined }))).toEqual({ id: 5n, containers: [] });
    const told = comparedVariables(request({ containerIds: ["a", "a"] }), () => facts({ env: ["OTHER=hunter2"] }));
    expect(told).toEqual({ id: 5n, containers: [{ containerId: "a", variables: [] }] });
  });
});

/** A pod of revision `web-5d8f`, with one running container of its own name. */
function pod(name: string, node = "n1", more: object = {}): PodRecord {
  return readPod({
    metadata: {
      ...{ uid: `uid-${name}`, namespace: "shop", name, resourceVersion: "1", labels: { "pod-template-hash": "5d8f" } },
      ownerReferences: [{ kind: "ReplicaSet", name: "web-5d8f", uid: "rs", controller: true }],
      ...more,
    },
    spec: { nodeName: node, containers: [{ name: "web", env: ENV, envFrom: [{ prefix: "APP_", secretRef: { name: "more" } }] }] },
    status: { containerStatuses: [{ name: "web", containerID: `containerd://${name}`, state: { running: {} } }] },
  }).record;
}

/** @param answer of each node; undefined: it keeps silent */
function compare(
  pods: readonly PodRecord[],
  answer: (node: string, asked: VariablesRequest) => VariablesResponse | undefined,
  present = ["PASSWORD", "APP_KEY", "PATH"],
) {
  const asked: VariablesRequest[] = [];
  const sessions = [...new Set(pods.map(({ nodeName }) => nodeName))].map((name) => {
    const own = pods.filter(({ nodeName }) => nodeName === name);
    const state = (each: PodRecord) => ({
      identity: { name: `shop/${each.name}/web`, pod: { uid: each.uid, container: "web" } },
      configuration: { env: present.map((variable) => ({ name: variable })) },
    });
    return {
      live: { node: { name }, memory: { containers: new Map(own.map((each) => [each.name, state(each)])) } },
      askVariables: async (wanted: object) => {
        const made = create(VariablesRequestSchema, { ...wanted, id: 1n });
        asked.push(made);
        return answer(name, made);
      },
    } as unknown as Session;
  });
  const view = { all: () => pods, get: (uid: string) => pods.find((each) => each.uid === uid) } as unknown as PodView;
  const variables = new ReplicaVariables({
    pods: view,
    sessions: { get: () => sessions[0], all: () => sessions },
    random: (bytes) => Buffer.alloc(bytes, 9),
  });
  return { asked, told: variables.of({ nodeId: "n", containerId: pods[0]?.name ?? "" }, AbortSignal.timeout(5_000)) };
}

/** What the agent of a node says, whose containers have these variables. */
const honest =
  (env: Readonly<Record<string, readonly string[]>>) =>
  (_: string, asked: VariablesRequest): VariablesResponse =>
    create(
      VariablesResponseSchema,
      comparedVariables(asked, (id) => (env[id] ? facts({ env: env[id] }) : undefined)),
    );

describe("the verifier", () => {
  const old = pod("old", "n1", {
    ownerReferences: [{ kind: "ReplicaSet", name: "web-1111", uid: "rs0", controller: true }],
    labels: { "pod-template-hash": "1111" },
  });
  const same = ["PASSWORD=hunter2", "COLOUR=blue", "APP_KEY=1"];

  test("tells who differs in what, over all nodes, of one revision only, and nothing of the values", async () => {
    const { told, asked } = compare(
      [pod("a"), pod("b"), pod("c", "n2"), old],
      honest({ a: same, b: ["PASSWORD=rotated", "COLOUR=blue"], c: same, old: ["PASSWORD=other"] }),
    );
    expect(await told).toEqual({
      ...{ revision: "ReplicaSet/web-5d8f", compared: 3, unknown: 0, variables: 3 },
      differing: [
        {
          ...{ name: "PASSWORD", source: "Secret token" },
          groups: [
            { containers: ["shop/a/web", "shop/c/web"], absent: false },
            { containers: ["shop/b/web"], absent: false },
          ],
        },
        {
          ...{ name: "APP_KEY", source: "Secret more" },
          groups: [
            { containers: ["shop/a/web", "shop/c/web"], absent: false },
            { containers: ["shop/b/web"], absent: true },
          ],
        },
      ],
    });
    expect(asked.map(({ containerIds, names }) => [containerIds, names])).toEqual([
      [
        ["a", "b"],
        ["PASSWORD", "COLOUR", "APP_KEY"],
      ],
      [["c"], ["PASSWORD", "COLOUR", "APP_KEY"]],
    ]);
    // One key for the question: else nothing could be compared.
    expect(new Set(asked.map(({ key }) => Buffer.from(key).toString("hex"))).size).toBe(1);
  });

  test("counts those of whom no node tells, and takes no word about others' containers", async () => {
    const silent = await compare([pod("a"), pod("b", "n2")], (node, asked) => (node === "n2" ? undefined : honest({ a: same })(node, asked))).told;
    expect(silent).toMatchObject({ compared: 1, unknown: 1, differing: [] });
    const lying = await compare([pod("a"), pod("b", "n2")], (node, asked) =>
      node === "n2"
        ? create(VariablesResponseSchema, { containers: [{ containerId: "a" }, { containerId: "b" }, { containerId: "b" }] })
        : honest({ a: same })(node, asked),
    ).told;
    expect(lying).toMatchObject({ compared: 2, unknown: 0 });
    expect(lying.differing[0]).toMatchObject({
      groups: [
        { containers: ["shop/a/web"], absent: false },
        { containers: ["shop/b/web"], absent: true },
      ],
    });
  });

  test("says why where there is nothing to compare with", async () => {
    await expect(compare([pod("a", "n1", { ownerReferences: [], labels: {} })], honest({})).told).rejects.toMatchObject({ code: "NO_REPLICAS" });
    const { told, asked } = compare([{ ...pod("a"), containers: pod("a").containers.map((each) => ({ ...each, env: [], envFrom: [] })) }], honest({}));
    expect(await told).toMatchObject({ variables: 0, compared: 0, unknown: 0 });
    expect(asked).toEqual([]);
  });

  test("asks about what comes from elsewhere: not what is written, the pod's own, a Service's or the runtime's", () => {
    const container = (envFrom: readonly object[]) =>
      readPod({ metadata: { uid: "u", namespace: "n", name: "p", resourceVersion: "1" }, spec: { containers: [{ name: "web", env: ENV, envFrom }] } }).record
        .containers[0];
    const asked = (envFrom: readonly object[], present: readonly string[]) => {
      const found = container(envFrom);
      return found ? uncomparedVariables(found, present).map(({ name, source }) => `${name} ${source}`) : [];
    };
    const present = ["MODE", "PATH", "HOSTNAME", "WEB_SERVICE_HOST", "APP_KEY"];
    const named = ["PASSWORD Secret token", "COLOUR ConfigMap settings"];
    expect(asked([], present)).toEqual(named);
    expect(asked([{ secretRef: { name: "s" } }], present)).toEqual([...named, 'APP_KEY prefix ""']);
    expect(asked([{ prefix: "APP_", configMapRef: { name: "s" } }], present)).toEqual([...named, "APP_KEY ConfigMap s"]);
    const many = Array.from({ length: 300 }, (_, i) => `APP_${i}`);
    expect(asked([{ prefix: "APP_", secretRef: { name: "s" } }], many)).toHaveLength(256);
  });
});
