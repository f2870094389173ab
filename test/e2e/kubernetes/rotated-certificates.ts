/** Certificates of a cluster are made and renewed by Hullmark itself: nodes' while they are at work, everybody's when the CA gives way. With that, what guards the verifier's pod. */
import { type ChildProcess, spawn } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "node:tls";
import { credentials } from "@grpc/grpc-js";
import { type Credential, enrol } from "@hullmark/agent/adapters/grpc/enrolment";
import { RpcChannel } from "@hullmark/proto/rpc";
import { Query } from "@hullmark/proto/v1/query";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freePort } from "../../../deploy/testbed/http-service.ts";
import { onlyPod, type ReleaseBed } from "./release-bed.ts";

const LIFE_MS = 60_000;
/** Of a node without TPM. */
const STANDS = "warning";
const SAMPLE_MS = 2000;
const never = new AbortController().signal;

interface Enrolled {
  readonly atMs: number;
  readonly notAfterMs: number;
}

const rootsIn = (pem: string): X509Certificate[] =>
  (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map((text) => new X509Certificate(text));

/** Declares the tests. @param of the bed, with nodes that joined by the cluster's word */
export function rotatedCertificates(of: () => ReleaseBed): void {
  const here = (...args: string[]): Promise<string> => of().cluster.kubectl(["--namespace", of().namespace, ...args]);
  const hullmark = (...args: string[]) => of().plugin(of().cluster.kubeconfig, ...args);
  const channels: RpcChannel[] = [];
  let forward: ChildProcess | undefined;
  let [mainPort, enrolmentPort] = [0, 0];
  let [agent, verifier] = ["", ""];

  const caOfAgents = (): Promise<string> => here("get", "configmap", "hullmark-ca", "--output=jsonpath={.data.ca\\.crt}");
  const secret = async (name: string, file: string): Promise<string> => {
    const { data } = JSON.parse(await here("get", "secret", name, "--output=json")) as { data: Record<string, string> };
    return Buffer.from(data[file] ?? "", "base64").toString();
  };
  const adminSecret = async () => ({ certificate: await secret("hullmark-admin", "client.crt"), key: await secret("hullmark-admin", "client.key") });
  function asking(ca: string, key: string, certificate: string) {
    const channel = new RpcChannel(`localhost:${mainPort}`, credentials.createSsl(Buffer.from(ca), Buffer.from(key), Buffer.from(certificate)));
    channels.push(channel);
    return () => channel.client(Query).getStatus({});
  }
  /** Of which root the certificate is that the verifier's main listener shows. */
  const shown = (): Promise<X509Certificate> =>
    new Promise((resolve, reject) => {
      const socket = connect({ host: "127.0.0.1", port: mainPort, rejectUnauthorized: false, ALPNProtocols: ["h2"] }, () => {
        const certificate = socket.getPeerX509Certificate();
        socket.destroy();
        if (certificate) resolve(certificate);
        else reject(new Error("no certificate"));
      });
      socket.on("error", reject);
    });
  /** Every certificate that the agent's pod has been given. */
  async function enrolments(): Promise<readonly Enrolled[]> {
    const lines = (await here("logs", agent)).split("\n").filter((line) => line.includes('"msg":"enrolled"'));
    return lines.map((line) => {
      const { time, notAfter } = JSON.parse(line) as { time: string | number; notAfter: string };
      return { atMs: new Date(time).getTime(), notAfterMs: Date.parse(notAfter) };
    });
  }
  const nodes = async () => JSON.parse((await hullmark("nodes", "--output=json")).stdout || "[]") as { name: string; verdict: string; connected: boolean }[];
  const actuators = async () => (JSON.parse((await hullmark("status", "--output=json")).stdout || "{}") as { actuators?: number }).actuators;
  /** Looks again and again until the agent has been given so many more certificates. @returns every verdict of the node meanwhile */
  async function verdictsUntilRenewed(times: number): Promise<readonly string[]> {
    const seen: string[] = [];
    const before = (await enrolments()).length;
    await of().eventually(
      async () => {
        seen.push(...(await nodes()).map(({ verdict }) => verdict));
        await sleep(SAMPLE_MS);
        return (await enrolments()).length;
      },
      (now) => now >= before + times,
      240_000,
    );
    return [...new Set(seen)];
  }
  /** A certificate of the node as its agent has them, which are in its memory alone. */
  async function oneOfTheNode(): Promise<Credential> {
    const options = ["--audience=hullmark", "--bound-object-kind=Pod", `--bound-object-name=${agent}`];
    const token = (await here("create", "token", "hullmark-agent", ...options)).trim();
    return await enrol(
      {
        ...{ address: `localhost:${enrolmentPort}`, caCertificate: Buffer.from(await caOfAgents()), nodeName: of().cluster.nodeName, quoter: undefined },
        ...{ bootId: readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim(), joinToken: undefined, serviceAccountToken: () => token, pcrs: [0] },
      },
      never,
    );
  }

  describe("a release whose nodes have certificates for a minute, and whose verifier no drain may take", { timeout: 600_000 }, () => {
    beforeAll(async () => {
      await of().upgrade(
        ...["verifier.enrolment.certificateMinutes=1", "podDisruptionBudget.maxUnavailable=0"],
        ...["admission.enabled=true", "admission.failurePolicy=Fail", "actuator.enabled=true", "actuator.persistence.enabled=false"],
      );
      // The agent has a certificate for an hour, by which the next verifier knows it too; in need of a shorter one is who begins anew.
      await of().eventually(nodes, ([node]) => node?.verdict === STANDS && node.connected);
      await here("rollout", "restart", "daemonset/hullmark-agent");
      await here("rollout", "status", "daemonset/hullmark-agent", "--timeout=300s");
      [agent, verifier] = [(await onlyPod(of(), "agent")).metadata.name, (await onlyPod(of(), "verifier")).metadata.name];
      [mainPort, enrolmentPort] = [await freePort(), await freePort()];
      const ports = [`${mainPort}:7443`, `${enrolmentPort}:7444`];
      forward = spawn(of().cluster.kubectlPath, ["--namespace", of().namespace, "port-forward", `pod/${verifier}`, ...ports], {
        env: { ...process.env, KUBECONFIG: of().cluster.kubeconfig },
        stdio: "ignore",
      });
      await of().eventually(nodes, ([node]) => node?.verdict === STANDS && node.connected);
    }, 600_000);
    afterAll(() => {
      for (const channel of channels) channel.close();
      forward?.kill();
    });

    test("an eviction of the only verifier is refused, and by default let through", async () => {
      const { metadata } = await onlyPod(of(), "verifier");
      const evict = (options: object) =>
        of().cluster.kubectl(
          ["create", "--raw", `/api/v1/namespaces/${of().namespace}/pods/${metadata.name}/eviction`, "--filename=-"],
          JSON.stringify({ apiVersion: "policy/v1", kind: "Eviction", metadata: { name: metadata.name, namespace: of().namespace }, deleteOptions: options }),
        );
      await expect(evict({})).rejects.toThrow("disruption budget");
      expect((await onlyPod(of(), "verifier")).metadata.uid).toBe(metadata.uid);
      await here("patch", "poddisruptionbudget", "hullmark-verifier", "--type=merge", "--patch", '{"spec":{"maxUnavailable":1}}');
      const allowed = () => here("get", "poddisruptionbudget", "hullmark-verifier", "--output=jsonpath={.status.disruptionsAllowed}");
      await of().eventually(allowed, (n) => n === "1");
      await evict({ dryRun: ["All"] });
    });

    test("the node's is renewed over and over while its verdict stands, an old one opens nothing; so it is with a new CA, which everybody learns of by themselves", async () => {
      const { eventually, cluster } = of();
      await eventually(actuators, (n) => n === 1);
      const before = await onlyPod(of(), "agent");
      const [oldCa, oldAdmin, old] = [await caOfAgents(), await adminSecret(), await oneOfTheNode()];
      const asNode = asking(oldCa, old.privateKey, old.certificateChain);
      const asAdmin = asking(oldCa, oldAdmin.key, oldAdmin.certificate);
      const itEndsMs = new X509Certificate(old.certificateChain).validToDate.getTime();
      expect(itEndsMs - Date.now()).toBeLessThanOrEqual(LIFE_MS);
      // It is the node's, who may not ask this; not nobody's.
      await expect(asNode()).rejects.toMatchObject({ code: "PERMISSION_DENIED" });
      await asAdmin();

      const rotated = await hullmark("keys", "rotate", "ca", "-m", "a test of ours");
      expect(rotated, rotated.stderr).toMatchObject({ code: 0 });
      const roots = rootsIn(await eventually(caOfAgents, (pem) => rootsIn(pem).length === 2));
      const [oldRoot] = rootsIn(oldCa);
      const root = roots.find(({ fingerprint256 }) => fingerprint256 !== oldRoot?.fingerprint256);
      if (!root) throw new Error("no new root");
      expect((await shown()).verify(root.publicKey)).toBe(true);
      // By certificates of the old one, those who hold them are still who they are.
      await asAdmin();
      expect(await verdictsUntilRenewed(3)).toEqual([STANDS]);

      expect(Date.now()).toBeGreaterThan(itEndsMs);
      await expect(asNode()).rejects.toMatchObject({ code: "UNAUTHENTICATED", detail: { reason: "CERTIFICATE_EXPIRED" } });
      await expect(asking(oldCa, old.privateKey, old.certificateChain)()).rejects.toMatchObject({ code: expect.stringMatching(/^UNA/) });

      const retired = await hullmark("keys", "retire", "ca", "-m", "a test of ours");
      expect(retired, retired.stderr).toMatchObject({ code: 0 });
      expect(rootsIn(await eventually(caOfAgents, (pem) => rootsIn(pem).length === 1))[0]?.fingerprint256).toBe(root.fingerprint256);
      await expect(asking(await caOfAgents(), oldAdmin.key, oldAdmin.certificate)()).rejects.toMatchObject({ code: expect.stringMatching(/^UNA/) });
      expect(rootsIn((await adminSecret()).certificate)[0]?.verify(root.publicKey)).toBe(true);
      expect(await verdictsUntilRenewed(1)).toEqual([STANDS]);
      await eventually(actuators, (n) => n === 1);
      // The API server, which lets nothing in where it cannot believe the verifier's certificate.
      const asked = () => cluster.kubectl(["run", "asked", "--image=registry.example/none:1", "--dry-run=server"]).catch(String);
      await eventually(asked, (said) => said.includes("created"), 400_000);

      const after = await onlyPod(of(), "agent");
      expect([after.metadata.uid, after.status.containerStatuses?.[0]?.restartCount]).toEqual([
        before.metadata.uid,
        before.status.containerStatuses?.[0]?.restartCount,
      ]);
      const lives = (await enrolments()).map(({ atMs, notAfterMs }) => notAfterMs - atMs);
      expect(Math.max(...lives)).toBeLessThanOrEqual(LIFE_MS + 1000);
    });
  });
}
