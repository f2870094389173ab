/** The verifier, killed at every place of deciding and settling: one action for one drift, whatever is on disk when it dies. */
import { fromBinary } from "@bufbuild/protobuf";
import { Admin } from "@hullmark/proto/v1/admin";
import { ActionState, IntentSchema, Outcome, Response } from "@hullmark/proto/v1/response";
import { RESPONSE_FAILPOINTS } from "@hullmark/verifier/core/response/index";
import { afterEach, beforeEach, expect, test } from "vitest";
import { admitActuator } from "../fakes/admit-actuator.ts";
import { Attester } from "../fakes/attester.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { scriptedWeb } from "../fakes/scripted-web.ts";
import { VerifierProcess } from "../fakes/verifier-process.ts";

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

let registry: FakeRegistry;
let image: PushedImage;
let verifier: VerifierProcess;

beforeEach(async () => {
  registry = await startFakeRegistry();
  image = await pushImage(`${registry.host}/acme/web`);
  verifier = new VerifierProcess(POLICY);
});
afterEach(async () => {
  await verifier.dispose();
  await registry.close();
});

/** Plays the actuator: reports each intent that it is handed as done. */
async function actuator(nodeId: string): Promise<string[]> {
  const { client } = await admitActuator(verifier, { node: nodeId });
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
  await verifier.start(failpoint);
  const node = new Attester({ ...verifier.addresses, ca: verifier.ca, name: "w-1", quoter: new FakeQuoter() });
  await node.enrol();
  const nodeId = node.credential?.nodeId ?? "";
  const drift = async (): Promise<void> => {
    await node.connect();
    node.set(scriptedWeb(image, 1, ["etc/added"]));
    await node.report();
    await verifier.admin().client(Admin).requestQuote({ nodeId });
  };
  const before = await actuator(nodeId);
  // It may die before the last answer has arrived.
  await drift().catch(() => undefined);
  // A place that is not passed would leave it running.
  expect(await verifier.died).toBe("SIGKILL");
  await node.close();
  await verifier.start();
  node.options = { ...node.options, ...verifier.addresses };
  const after = await actuator(nodeId);
  await drift();
  const listed = async () => (await verifier.admin().client(Response).listActions({})).actions.map(({ state }) => ActionState[state]);
  await expect.poll(listed, POLL).toEqual(["DONE"]);
  expect(new Set([...before, ...after]).size).toBe(1);
  await node.close();
});
