/** The verifier, killed at every place of deciding and settling: one action for one drift, whatever is on disk when it dies. */
import { type ChildProcess, spawn } from "node:child_process";
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fromBinary } from "@bufbuild/protobuf";
import { credentials } from "@grpc/grpc-js";
import { RpcChannel } from "@hullmark/proto/rpc";
import { Admin } from "@hullmark/proto/v1/admin";
import { ActionState, Actuation, IntentSchema, Outcome, Response } from "@hullmark/proto/v1/response";
import { RESPONSE_FAILPOINTS } from "@hullmark/verifier/core/response/index";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Attester } from "../fakes/attester.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { scriptedWeb } from "../fakes/scripted-web.ts";

const MAIN = new URL("../../verifier/main.ts", import.meta.url).pathname;
const POLL = { timeout: 80_000, interval: 100 };
const POLICY = `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: p }
spec:
  mode: enforce
  intervals: { heartbeat: 5m, quote: 1h }
  response:
    rules: [{ name: all, ladder: { low: [recreate], medium: [recreate], high: [recreate], critical: [recreate] } }]
`;

let directory: string;
let registry: FakeRegistry;
let image: PushedImage;
let child: ChildProcess;
let died: Promise<NodeJS.Signals | null>;
let ports: { mainPort: number; enrolmentPort: number };
const channels: RpcChannel[] = [];

async function start(failpoint?: string): Promise<void> {
  const environment = { ...process.env, ...(failpoint !== undefined && { HULLMARK_FAILPOINT: failpoint }) };
  child = spawn(process.execPath, [MAIN, "--config", join(directory, "v.yaml")], { stdio: ["ignore", "pipe", "inherit"], env: environment });
  died = new Promise((resolve) => child.once("exit", (_code, signal) => resolve(signal)));
  if (!child.stdout) throw new Error("no output");
  for await (const line of createInterface({ input: child.stdout })) {
    const message = JSON.parse(line) as { msg: string; mainPort: number; enrolmentPort: number };
    if (message.msg !== "ready") continue;
    ports = message;
    return;
  }
  throw new Error("the verifier did not start");
}

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-response-kill-"));
  registry = await startFakeRegistry();
  image = await pushImage(`${registry.host}/acme/web`);
  const listen = `{ main: "127.0.0.1:0", enrolment: "127.0.0.1:0", http: "127.0.0.1:0" }`;
  const enrolment = "{ mode: tofu, acceptWithoutCertificate: true }";
  const registries = `registries: { allowPrivate: ["127.0.0.1:*"] }`;
  const settings = `stateDirectory: ${directory}/state\nverifierId: v1\nlisten: ${listen}\nenrolment: ${enrolment}\npolicyFile: policy.yaml\n${registries}\n`;
  writeFileSync(join(directory, "v.yaml"), settings);
  writeFileSync(join(directory, "policy.yaml"), POLICY);
});
afterEach(async () => {
  for (const channel of channels.splice(0)) channel.close();
  child.kill("SIGKILL");
  await died;
  await registry.close();
  rmSync(directory, { recursive: true });
});

function channel(key: Buffer, certificate: Buffer): RpcChannel {
  const ca = readFileSync(join(directory, "state/admin/ca.crt"));
  const made = new RpcChannel(`localhost:${ports.mainPort}`, credentials.createSsl(ca, key, certificate));
  channels.push(made);
  return made;
}

const admin = (): RpcChannel =>
  channel(...(["client.key", "client.crt"].map((name) => readFileSync(join(directory, "state/admin", name))) as [Buffer, Buffer]));

/** Plays the actuator: reports each intent that it is handed as done. */
async function actuator(nodeId: string): Promise<string[]> {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const request = { node: nodeId, publicKey: publicKey.export({ type: "spki", format: "der" }) };
  const { certificateChain } = await admin().client(Admin).issueActuatorCertificate(request);
  const pem = certificateChain.map((der) => new X509Certificate(der).toString()).join("");
  const client = channel(Buffer.from(privateKey.export({ type: "pkcs8", format: "pem" })), Buffer.from(pem)).client(Actuation);
  const handed: string[] = [];
  void (async () => {
    for await (const { intent } of client.pullIntents({})) {
      const { id } = fromBinary(IntentSchema, intent?.body ?? new Uint8Array());
      handed.push(Buffer.from(id).toString("hex"));
      await client.reportOutcome({ intentId: id, outcome: Outcome.DONE });
    }
  })().catch(() => undefined); // the verifier dies
  return handed;
}

test.each(RESPONSE_FAILPOINTS)("killed at %s: after a restart there is one action, and it is done", { timeout: 240_000 }, async (failpoint) => {
  await start(failpoint);
  const addresses = () => ({ mainAddress: `localhost:${ports.mainPort}`, enrolmentAddress: `localhost:${ports.enrolmentPort}` });
  const ca = readFileSync(join(directory, "state/admin/ca.crt"));
  const node = new Attester({ ...addresses(), ca, name: "w-1", quoter: new FakeQuoter() });
  await node.enrol();
  const nodeId = node.credential?.nodeId ?? "";
  const drift = async (): Promise<void> => {
    await node.connect();
    node.set(scriptedWeb(image, 1, ["etc/added"]));
    await node.report();
    await admin().client(Admin).requestQuote({ nodeId });
  };
  const before = await actuator(nodeId);
  // It may die before the last answer has arrived.
  await drift().catch(() => undefined);
  // A place that is not passed would leave it running.
  expect(await died).toBe("SIGKILL");
  await node.close();
  await start();
  node.options = { ...node.options, ...addresses() };
  const after = await actuator(nodeId);
  await drift();
  const listed = async () => (await admin().client(Response).listActions({})).actions.map(({ state }) => ActionState[state]);
  await expect.poll(listed, POLL).toEqual(["DONE"]);
  expect(new Set([...before, ...after]).size).toBe(1);
  await node.close();
});
