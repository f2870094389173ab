/** Nodes that join by their TPM, as docs/kubernetes.md has it: the chart's agent, unprivileged, on the socket of a TPM that the node has. */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { Kubernetes, Tpm } from "../../../deploy/testbed/index.ts";

/** Where a cluster observes itself, and nodes joined by the cluster's word so far. */
export interface TpmNodesBed {
  readonly cluster: Kubernetes;
  readonly tpm: Tpm;
  /** Of the release `hullmark`. */
  readonly namespace: string;
  /** Applies the release with these values besides those that it has. */
  upgrade(...values: readonly string[]): Promise<unknown>;
  apply(...objects: readonly object[]): Promise<unknown>;
  hullmark(...args: readonly string[]): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }>;
  eventually<T>(look: () => Promise<T>, done: (seen: T) => boolean, withinMs?: number): Promise<T>;
}

interface NodeView {
  readonly id: string;
  readonly name: string;
  readonly verdict: string;
  readonly trust: string;
  readonly revoked: boolean;
  readonly lastQuote: string | null;
  readonly reasons: readonly { readonly code: string }[];
}

const PCR_OF_NO_FIRMWARE = "00".repeat(32);
const OTHER_PCR = "11".repeat(32);

export function tpmNodes(of: () => TpmNodesBed): void {
  const here = (...args: string[]): Promise<string> => of().cluster.kubectl(["--namespace", of().namespace, ...args]);
  const stateDirectory = (): string => join(of().cluster.containerdRoot, "../agent-state");

  async function nodes(): Promise<readonly NodeView[]> {
    const { stdout } = await of().hullmark("nodes", "--output=json");
    // The verifier may be on its way.
    return stdout === "" ? [] : (JSON.parse(stdout) as NodeView[]).filter(({ revoked }) => !revoked);
  }
  const becomes = async (what: (node: NodeView) => boolean): Promise<NodeView> => {
    const [node] = await of().eventually(nodes, (seen) => seen.length === 1 && seen.every(what), 180_000);
    if (!node) throw new Error("no node");
    return node;
  };
  const affirmed = ({ verdict, trust }: NodeView): boolean => verdict === "affirming" && trust === "tpm";
  const believed = async (): Promise<readonly string[]> => {
    const { stdout } = await of().hullmark("workloads", "-A", "--output=json");
    const all = JSON.parse(stdout) as { verdict: string; container: { name: string } }[];
    return all.filter(({ verdict }) => verdict === "affirming").map(({ container }) => container.name);
  };
  const booted = (pcr: string): Promise<unknown> => {
    const allow = { env: ["**"], mounts: ["/**"], args: true, workingDirectory: true, users: ["**"] };
    const own = { capabilities: ["SYS_ADMIN", "DAC_READ_SEARCH", "DAC_OVERRIDE", "SYS_PTRACE"], hostNamespaces: ["pid"] };
    const agent = { name: "hullmark-agent", select: { workloads: [`${of().namespace}/hullmark-agent`] }, allow: { ...allow, ...own } };
    const spec = {
      rules: [agent, { name: "all", allow }],
      nodes: [{ name: "all", boot: { eventLog: "optional" }, pcrs: { "0": [pcr] } }],
      intervals: { quote: "10s", heartbeat: "2s" },
    };
    return of().apply({ apiVersion: "hullmark.dev/v1", kind: "AttestationPolicy", metadata: { name: "hullmark", namespace: of().namespace }, spec });
  };
  const keyOnNode = (): string =>
    createHash("sha256")
      .update(readFileSync(join(stateDirectory(), "tpm/ak.json")))
      .digest("hex");

  describe("nodes with a TPM", { timeout: 400_000 }, () => {
    afterAll(() => rmSync(stateDirectory(), { recursive: true, force: true }));

    test("join by its certificate once their endorsement key is allowed, and the identity without TPM has been revoked", async () => {
      const { tpm, cluster, namespace, hullmark, eventually } = of();
      const [before] = await nodes();
      expect(before).toMatchObject({ name: cluster.nodeName, trust: "none" });
      const makers = tpm.endorsementRoots.map((path) => readFileSync(path, "utf8")).join("\n");
      await of().apply({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "tpm-makers", namespace }, data: { "makers.pem": makers } });
      await booted(PCR_OF_NO_FIRMWARE);
      mkdirSync(stateDirectory(), { recursive: true });
      const values = [`agent.tpm.tcti=${tpm.tcti}`, `agent.state.hostPath=${stateDirectory()}`, "verifier.enrolment.makerRootsConfigMap=tpm-makers"];
      await of().upgrade(...values);
      const refused = await eventually(
        () => here("logs", "deployment/hullmark-verifier"),
        (log) => log.includes("is not on the allow-list"),
      );
      const [, endorsementKey = ""] = /EK ([0-9a-f]{64}) is not on the allow-list/.exec(refused) ?? [];
      expect(await hullmark("node", "allow", endorsementKey, "--name", cluster.nodeName)).toMatchObject({ code: 0 });
      await eventually(
        () => here("logs", "deployment/hullmark-verifier"),
        (log) => log.includes(`another node is called ${cluster.nodeName}`),
      );
      expect(await hullmark("node", "revoke", cluster.nodeName, "--reason", "joins by its TPM")).toMatchObject({ code: 0 });
      const node = await becomes(affirmed);
      expect(node).toMatchObject({ name: cluster.nodeName, id: endorsementKey.slice(0, 16) });
      expect((await hullmark("nodes")).stdout).toMatch(new RegExp(`^${cluster.nodeName} +affirming +tpm `, "m"));
      expect(await hullmark("node", "rm", before?.id ?? "", "--reason", "joins by its TPM")).toMatchObject({ code: 0 });
    });

    test("have an agent that is not privileged, and sees of the TPM no more than its socket", async () => {
      const { items } = JSON.parse(await here("get", "pods", "--selector=app.kubernetes.io/component=agent", "--output=json")) as {
        items: { spec: { containers: { securityContext: object; volumeMounts: { name: string; mountPath: string; readOnly?: boolean }[] }[] } }[];
      };
      const [container] = items[0]?.spec.containers ?? [];
      expect(container?.securityContext).toMatchObject({
        ...{ privileged: false, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true },
        capabilities: { drop: ["ALL"], add: ["SYS_ADMIN", "DAC_READ_SEARCH", "DAC_OVERRIDE", "SYS_PTRACE"] },
        seccompProfile: { type: "RuntimeDefault" },
      });
      const mount = container?.volumeMounts.find(({ name }) => name === "tpm");
      expect(mount).toEqual({ name: "tpm", mountPath: dirname(of().tpm.socketPath), readOnly: true });
    });

    test("are quoted again and again, and on demand", async () => {
      const { lastQuote } = await becomes(affirmed);
      await becomes((node) => affirmed(node) && node.lastQuote !== lastQuote);
      const asked = await of().hullmark("node", "quote", of().cluster.nodeName);
      expect(asked, asked.stderr).toMatchObject({ code: 0, stdout: expect.stringMatching(/^holds: /) });
    });

    test("are held to what policy says of their PCRs", async () => {
      await booted(OTHER_PCR);
      await becomes(({ verdict }) => verdict === "contraindicated");
      expect((await of().hullmark("node", "show", of().cluster.nodeName)).stdout).toContain("PCR 0");
      expect(await believed()).toEqual([]);
      await booted(PCR_OF_NO_FIRMWARE);
      await becomes(affirmed);
    });

    test("keep their attestation key when the agent's pod is replaced", async () => {
      const [before, key] = [await becomes(affirmed), keyOnNode()];
      await here("rollout", "restart", "daemonset/hullmark-agent");
      await here("rollout", "status", "daemonset/hullmark-agent", "--timeout=180s");
      const after = await becomes((node) => affirmed(node) && node.lastQuote !== before.lastQuote);
      expect(after.id).toBe(before.id);
      expect(keyOnNode()).toBe(key);
    });

    test("are unknown while it does not answer, and after it was reset under a running kernel", async () => {
      const { tpm } = of();
      await tpm.kill();
      const { reasons } = await becomes(({ verdict }) => verdict === "unknown");
      expect(["tpm", "quote-stale"]).toContain(reasons[0]?.code);
      expect(await believed()).toEqual([]);
      await tpm.start();
      const reset = await becomes((node) => node.reasons.some(({ code }) => code === "tpm-reset"));
      expect(reset.verdict).toBe("unknown");
      await here("delete", "attestationpolicy", "hullmark");
      await here("delete", "configmap", "tpm-makers");
    });
  });
}
