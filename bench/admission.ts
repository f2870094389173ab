/**
 * Time of an answer at the cluster's door, of one verifier process as shipped (dist/verifier.js): HTTPS on one kept connection as the API server has it, a registry on loopback.
 *
 *   node bench/admission.ts [--warm 2000] [--cold 200] [--json FILE]
 *
 * "Floor" is a question about a kind that holds no pod: TLS, HTTP and JSON, without a judgement. "Warm": a signed image that is
 * known. "Cold": an image that nobody asked about, looked up in the registry.
 */
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import { stringify } from "yaml";
import { freePort } from "../deploy/testbed/http-service.ts";
import { REPOSITORY, STATE_ROOT } from "../deploy/testbed/paths.ts";
import { startDaemon } from "../deploy/testbed/run.ts";
import { pushImage } from "../test/fakes/images.ts";
import { signByKey } from "../test/fakes/key-signed.ts";
import { startFakeRegistry } from "../test/fakes/registry.ts";
import { cpuMs, percentile } from "./support/process-usage.ts";

const { values } = parseArgs({ options: { warm: { type: "string", default: "2000" }, cold: { type: "string", default: "200" }, json: { type: "string" } } });
const key = generateKeyPairSync("ec", { namedCurve: "P-256" });

const POLICY = `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: bench }
spec:
  authorities: [{ name: release, key: ${JSON.stringify(key.publicKey.export({ type: "spki", format: "pem" }))} }]
  rules: [{ name: all, require: { signatures: { authorities: [release] } } }]
  admission: { mode: enforce }
`;

interface Figures {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly cpuMsEach: number;
}

mkdirSync(join(STATE_ROOT, "bench"), { recursive: true });
const directory = mkdtempSync(join(STATE_ROOT, "bench/admission-"));
const registry = await startFakeRegistry();
const client = new OciRegistry();
const agent = new Agent({ keepAlive: true, maxSockets: 1 });
let stop = async (): Promise<void> => {};
try {
  const ports = { main: await freePort(), enrolment: await freePort(), http: await freePort(), admission: await freePort() };
  const policyFile = join(directory, "policy.yaml");
  writeFileSync(policyFile, POLICY);
  const config = join(directory, "verifier.yaml");
  const listen = { main: `127.0.0.1:${ports.main}`, enrolment: `127.0.0.1:${ports.enrolment}`, http: `127.0.0.1:${ports.http}` };
  const settings = { stateDirectory: join(directory, "state"), verifierId: "bench", listen, registries: { plainHttp: [registry.host] }, policyFile };
  writeFileSync(config, stringify({ ...settings, admission: { listen: `127.0.0.1:${ports.admission}` } }));
  const daemon = await startDaemon({
    name: "verifier",
    argv: [process.execPath, join(REPOSITORY, "dist/verifier.js"), "--config", config],
    env: {},
    logPath: join(directory, "verifier.log"),
    ready: async () => (await fetch(`http://127.0.0.1:${ports.http}/readyz`)).ok,
  });
  stop = () => daemon.stop();
  const ca = readFileSync(join(directory, "state/admin/ca.crt"));

  const ask = (kind: string, image: string): Promise<boolean> =>
    new Promise((resolve, reject) => {
      const object = { metadata: { name: "web", labels: { app: "web" } }, spec: { containers: [{ name: "web", image }] } };
      const asked = { uid: randomUUID(), kind: { kind }, namespace: "shop", operation: "CREATE", userInfo: { username: "ann" }, object };
      const options = { host: "127.0.0.1", port: ports.admission, path: "/admission/fail?timeout=10s", method: "POST", ca, servername: "localhost", agent };
      const call = request({ ...options, headers: { "content-type": "application/json" } }, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("end", () => {
          const text = Buffer.concat(chunks).toString();
          // An exception here would end the process and leave the verifier.
          if (response.statusCode !== 200) reject(new Error(text));
          else resolve((JSON.parse(text) as { response: { allowed: boolean } }).response.allowed);
        });
        response.on("error", reject);
      });
      call.on("error", reject);
      call.end(JSON.stringify({ apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", request: asked }));
    });
  const measure = async (questions: readonly (readonly [kind: string, image: string])[]): Promise<Figures> => {
    const times: number[] = [];
    const before = cpuMs(daemon.process.pid);
    for (const [kind, image] of questions) {
      const startedMs = performance.now();
      if (!(await ask(kind, image))) throw new Error(`${image} was refused`);
      times.push(performance.now() - startedMs);
    }
    return { p50Ms: percentile(times, 0.5), p99Ms: percentile(times, 0.99), cpuMsEach: (cpuMs(daemon.process.pid) - before) / times.length };
  };
  const signed = async (name: string): Promise<string> => {
    const image = await pushImage(`${registry.host}/bench/${name}`, { tag: "1", layers: [{ name }] });
    await signByKey(client, image, key.privateKey);
    return `${image.repository}@${image.manifestDigest}`;
  };

  const known = await signed("known");
  const cold = await Promise.all(Array.from({ length: Number(values.cold) }, (_, i) => signed(`cold-${i}`)));
  const many = (kind: string) => Array.from({ length: Number(values.warm) }, () => [kind, known] as const);
  await measure(many("ConfigMap").slice(0, 200));
  await measure(many("Pod").slice(0, 200));
  const results: Record<string, Figures> = { floor: await measure(many("ConfigMap")), warm: await measure(many("Pod")) };
  results["cold"] = await measure(cold.map((image) => ["Pod", image] as const));
  for (const [name, { p50Ms, p99Ms, cpuMsEach }] of Object.entries(results))
    console.log(`${name.padStart(6)}: p50 ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms; verifier CPU ${cpuMsEach.toFixed(2)} ms each`);
  const { floor, warm } = results;
  if (floor && warm) console.log(`  warm over floor: ${(warm.p50Ms / floor.p50Ms).toFixed(2)} (p50), ${(warm.cpuMsEach / floor.cpuMsEach).toFixed(2)} (CPU)`);
  if (values.json) writeFileSync(values.json, `${JSON.stringify({ bench: "admission", results })}\n`);
} finally {
  agent.destroy();
  await stop();
  client.close();
  await registry.close();
  rmSync(directory, { recursive: true });
}
