/** A drifted pod is labelled below a policy that lets nothing through, with the rights that the chart gives; people release it. */
import { POLICY_NAME } from "@hullmark/actuator/adapters/kubernetes/kubernetes-fence";
import { RESPONSE_FAILPOINTS } from "@hullmark/verifier/core/response/index";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually } from "../fault-support.ts";
import { type Acting, type ActingBed, WITHIN_MS } from "./acting.ts";
import { podSpec } from "./workloads.ts";

/** Rules of the policy. */
export const ISOLATING = `
      - name: isolated
        select: { workloads: ["default/isolate-*"] }
        ladder: { low: [isolate], medium: [isolate], high: [isolate], critical: [isolate] }
`;

/** Declares the tests. @param of the bed, once it is up @param actingOf whoever acts, once it runs */
export function isolations(of: () => ActingBed, actingOf: () => Acting): void {
  let acting: Acting;

  beforeAll(() => {
    acting = actingOf();
  });

  afterAll(() =>
    acting.kubectl(
      "delete",
      "deployment/isolate-cart",
      "deployment/isolate-till",
      `networkpolicy/${POLICY_NAME}`,
      "networkpolicy/allow-till",
      "--ignore-not-found",
      "--wait=false",
    ),
  );

  const deployment = (app: string): object => ({
    ...{ apiVersion: "apps/v1", kind: "Deployment", metadata: { name: app } },
    spec: { replicas: 1, selector: { matchLabels: { app } }, template: { metadata: { labels: { app } }, spec: podSpec(of().image) } },
  });

  const marksOf = async (name: string): Promise<{ labels: Record<string, string>; annotations?: Record<string, string>; uid: string }> =>
    JSON.parse(await acting.kubectl("get", "pod", name, "--output=jsonpath={.metadata}"));

  test("a pod that was changed is cut off by label and policy, told as asked for, and released by people; one that a policy lets through is left", {
    timeout: 900_000,
  }, async () => {
    acting.logsOnFailure();
    const allowing = { podSelector: { matchLabels: { app: "isolate-till" } }, policyTypes: ["Ingress"], ingress: [{}] };
    await acting.apply(deployment("isolate-cart"), deployment("isolate-till"), {
      ...{ apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata: { name: "allow-till" }, spec: allowing },
    });
    const [[cart], [till]] = [await acting.clean("isolate-cart", 1), await acting.clean("isolate-till", 1)];
    if (!cart || !till) throw new Error("no pod");
    const { name, uid } = cart.metadata;

    // By a verifier that is killed at each step of it.
    await acting.killedAt(RESPONSE_FAILPOINTS, () => acting.write(name));
    await acting.write(till.metadata.name);

    const all = await acting.actionIs(name, "done", ({ state }) => state === "done");
    expect(all.map(({ kind, state }) => `${kind} ${state}`)).toEqual(["isolate done"]);
    const [done] = all;
    // Nobody has said here that policies are enforced, and nothing enforces them: it is asked for, and no more is said.
    expect(done).toMatchObject({ kind: "isolate", reason: "enforcement-unknown" });
    const address = await acting.kubectl("get", "pod", name, "--output=jsonpath={.status.podIP}");
    expect((await fetch(`http://${address}:8080/`)).ok).toBe(true);
    const { incidents } = await of().stack.json<{ incidents: { workloads: string[]; state: string }[] }>("incident", "ls");
    expect(incidents.filter(({ workloads }) => workloads.includes("default/isolate-cart")).map(({ state }) => state)).toEqual(["open"]);
    expect(await marksOf(name)).toMatchObject({
      uid,
      labels: { app: "isolate-cart", "hullmark.dev/isolated": done?.id },
      annotations: { "hullmark.dev/action": done?.id, "hullmark.dev/drift-log-index": expect.stringMatching(/^\d+$/) },
    });
    const { spec } = JSON.parse(await acting.kubectl("get", "networkpolicy", POLICY_NAME, "--output=json"));
    expect(spec).toEqual({ podSelector: { matchExpressions: [{ key: "hullmark.dev/isolated", operator: "Exists" }] }, policyTypes: ["Ingress", "Egress"] });
    await eventually(
      "the pod's Event",
      () => acting.events(uid),
      (all) => all.some(({ reason }) => reason === "Isolated"),
      WITHIN_MS,
    );
    const refused = await acting.actionIs(till.metadata.name, "refused", ({ state }) => state === "refused");
    expect(refused.find(({ state }) => state === "refused")).toMatchObject({ reason: "allowed-by-policy", detail: expect.stringMatching(/: allow-till$/) });
    expect((await marksOf(till.metadata.name)).labels).not.toHaveProperty("hullmark.dev/isolated");
    const [failed] = await acting.toldWithEntry(till.metadata.name, "IsolationFailed");
    expect((await acting.told(till.metadata.name)).find(({ id }) => id === failed)).toMatchObject({ state: "refused", reason: "allowed-by-policy" });

    expect((await of().stack.hullmark("action", "undo", done?.id ?? "", "-m", "a test of ours")).code).toBe(0);
    await acting.actionIs(name, "released", ({ kind, state }) => kind === "release" && state === "done");
    const [isolation, release] = await acting.toldWithEntry(name, "Isolated", "Released");
    expect(isolation).toBe(done?.id);
    expect((await acting.told(name)).find(({ id }) => id === release)).toMatchObject({ kind: "release", state: "done" });
    const after = await marksOf(name);
    expect(after).toMatchObject({ uid, labels: { app: "isolate-cart" } });
    expect(JSON.stringify(after)).not.toContain("hullmark.dev/");
  });
}
