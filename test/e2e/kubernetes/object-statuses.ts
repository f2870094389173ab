/** What the cluster's own objects say of themselves: conditions of an AttestationPolicy and of DriftExceptions, as `kubectl get` and `kubectl wait` read them. */
import { afterAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import type { DriftView } from "./on-call.ts";
import type { ReleaseBed } from "./release-bed.ts";

const PATH = "/etc/nginx/nginx.conf";
const EVERYTHING = { env: ["**"], mounts: ["/**"], args: true, workingDirectory: true, users: ["**"] };
/** Of an exception: time to be seen in force, which the test waits for. */
const LIVES_MS = 45_000;

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration: number;
  readonly lastTransitionTime: string;
}

/** Declares the tests. @param of the bed; `default/web` has a drift of {@link PATH} */
export function objectStatuses(of: () => ReleaseBed): void {
  describe("the cluster's objects say of themselves", { timeout: 400_000 }, () => {
    const kubectl = (...args: string[]): Promise<string> => of().cluster.kubectl(args);
    const said = async (namespace: string, object: string, reason: string): Promise<Condition> =>
      await of().eventually(
        async () => {
          const { metadata, status } = JSON.parse(await kubectl("--namespace", namespace, "get", object, "--output=json")) as {
            metadata: { generation: number };
            status?: { conditions?: Condition[] };
          };
          const condition = status?.conditions?.find(({ type }) => type === "InForce");
          return (condition?.observedGeneration === metadata.generation ? condition : undefined) as Condition;
        },
        (condition) => condition?.reason === reason,
      );
    const policy = (...rules: readonly object[]) => {
      const spec = { rules, exceptions: { classes: ["data"], namespaces: ["default"] } };
      return of().apply({ apiVersion: "hullmark.dev/v1", kind: "AttestationPolicy", metadata: { name: "hullmark", namespace: of().namespace }, spec });
    };
    const exception = (name: string, expires: string, more: object = {}) =>
      of().apply({
        ...{ apiVersion: "hullmark.dev/v1", kind: "DriftException", metadata: { name, namespace: "default" } },
        spec: { workload: "web", paths: [PATH], expires, reason: "INC-2", ...more },
      });
    const drifted = async (): Promise<boolean> => {
      const { stdout } = await of().plugin(of().cluster.kubeconfig, "drift", "ls", "-n", "default", "-o", "json");
      return (JSON.parse(stdout || '{"drifts":[]}') as { drifts: DriftView[] }).drifts.some(({ path }) => path === PATH);
    };
    const row = async (namespace: string, kind: string, name: string): Promise<string> =>
      (await kubectl("--namespace", namespace, "get", kind, name)).split("\n").join(" | ").replaceAll(/ {2,}/g, " ");

    afterAll(async () => {
      await kubectl("--namespace", of().namespace, "delete", "attestationpolicy", "hullmark", "--ignore-not-found");
      await kubectl("--namespace", "default", "delete", "driftexception", "--all");
    });

    test("a policy that forgets Hullmark's own agent is in force and Warned, with the rule to paste; Good with it, in force since the same moment", async () => {
      const { namespace } = of();
      const all = { name: "all", allow: EVERYTHING };
      await policy(all);
      const warned = await said(namespace, "attestationpolicy/hullmark", "Warned");
      expect(warned).toMatchObject({ status: "True", message: expect.stringContaining(`${namespace}/hullmark-agent`) });
      expect(await row(namespace, "attestationpolicy", "hullmark")).toMatch(/^NAME IN FORCE WHY AGE \| hullmark True Warned \S+ /);
      // What is pasted from its message is enough.
      const [, rule = ""] = /before the others: (.*)$/m.exec(warned.message) ?? [];
      await policy(...(parse(rule) as object[]), all);
      const good = await said(namespace, "attestationpolicy/hullmark", "Good");
      expect(good).toMatchObject({ status: "True", message: "", lastTransitionTime: warned.lastTransitionTime });
      await kubectl("--namespace", namespace, "wait", "--for=condition=InForce", "attestationpolicy/hullmark", "--timeout=10s");
    });

    test("an exception that cannot be read is Refused, with the field; one that counts Good, and Expired at its end, with its drift back", async () => {
      await exception("unread", "tomorrow");
      expect(await said("default", "driftexception/unread", "Refused")).toMatchObject({ status: "False", message: expect.stringMatching(/^expires: /) });
      const endsMs = Date.now() + LIVES_MS;
      await exception("brief", new Date(endsMs).toISOString());
      expect(await said("default", "driftexception/brief", "Good")).toMatchObject({ status: "True", message: "" });
      await of().eventually(drifted, (still) => !still);
      expect(await row("default", "driftexception", "brief")).toMatch(/^NAME IN FORCE WHY WORKLOAD EXPIRES AGE \| brief True Good web /);
      expect(await said("default", "driftexception/brief", "Expired")).toMatchObject({ status: "False" });
      expect(Date.now()).toBeGreaterThanOrEqual(endsMs);
      await of().eventually(drifted, Boolean);
    });
  });
}
