/** `hullmark node quote|revoke|rm|approve|show --ear` as people run it, against a whole verifier and nodes that say what they are told to say. */
import { TrustLevel } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { hullmarkOf } from "../fakes/hullmark.ts";
import { pushImage } from "../fakes/images.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { startFakeRegistry } from "../fakes/registry.ts";
import { scriptedWeb } from "../fakes/scripted-web.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const verifier = new TestVerifier();
let hullmark: Awaited<ReturnType<typeof hullmarkOf>>;

beforeAll(async () => {
  await verifier.start();
  hullmark = await hullmarkOf(verifier);
});
afterAll(() => verifier.dispose());

test("a quote is asked for and waited for: held, refused, and not to be had", async () => {
  const attester = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
  expect(await hullmark("node", "quote", "w-1")).toMatchObject({ code: 2 });
  await attester.enrol();
  expect(await hullmark("node", "quote", "w-1")).toMatchObject({ code: 3, err: expect.stringMatching(/not connected/) });
  await attester.connect();
  await attester.report();
  expect(await hullmark("node", "quote", "w-1")).toMatchObject({ code: 0, out: expect.stringMatching(/^holds: asked for at 20/) });
  attester.answering = false;
  // Whatever was answered before has been judged when Evidence sent after it is durable.
  await new Promise((resolve) => setImmediate(resolve));
  await attester.report([]);
  const asked = hullmark("node", "quote", "w-1");
  attester.send({ case: "quote", value: await attester.quote(await attester.next("challenge"), new FakeQuoter()) });
  expect(await asked).toMatchObject({ code: 1, out: expect.stringMatching(/^refused: wrong-signer/) });
  attester.answering = true;
  expect(await hullmark("node", "quote", "w-1")).toMatchObject({ code: 0 });
  const ear = await hullmark("node", "show", "w-1", "--ear");
  expect(ear.out.trim().split(".")).toHaveLength(3);
  await attester.close();
});

test("a node that was revoked may come back when it is approved; one without TPM by a new token alone", async () => {
  const attester = verifier.attester({ name: "w-2", quoter: new FakeQuoter() });
  await attester.enrol();
  expect(await hullmark("node", "revoke", "w-2", "--reason", "sold")).toMatchObject({ code: 0 });
  await expect(attester.enrol()).rejects.toMatchObject({ detail: { refusal: "revoked" } });
  expect(await hullmark("node", "approve", "nobody")).toMatchObject({ code: 2 });
  expect(await hullmark("node", "approve", "w-2")).toMatchObject({ code: 0, out: expect.stringMatching(/^node [0-9a-f]{16} may join again\n$/) });
  await attester.enrol();
  // Allowed by somebody, though its maker is not known.
  expect((await verifier.query.getNode({ id: "w-2" })).node).toMatchObject({ revoked: false, trustLevel: TrustLevel.TPM_TOFU });

  const { token } = await verifier.adminClient.createJoinToken({ nodeName: "t-1", ttlSeconds: 600 });
  await verifier.attester({ name: "t-1", joinToken: token }).enrol();
  expect(await hullmark("node", "quote", "t-1")).toMatchObject({ code: 3, err: expect.stringMatching(/no TPM/) });
  expect(await hullmark("node", "revoke", "t-1", "--reason", "sold")).toMatchObject({ code: 0 });
  expect(await hullmark("node", "approve", "t-1")).toMatchObject({ code: 3, err: expect.stringMatching(/new join token/) });
});

test("a node that was removed is shown and counted no more, over a restart too, and stays out until people allow it by its id", async () => {
  const registry = await startFakeRegistry();
  onTestFinished(() => registry.close());
  const image = await pushImage(`${registry.host}/acme/web`);
  const quoter = new FakeQuoter();
  const attester = verifier.attester({ name: "w-3", quoter });
  await attester.connect();
  attester.set(scriptedWeb(image, 1, ["etc/added"]));
  await attester.report();
  const id = attester.credential?.nodeId ?? "";
  const drifts = async () =>
    (await verifier.query.listDrift({ nodeId: id, states: [DriftState.OPEN, DriftState.RESOLVED], pageSize: 10 })).drifts.map(({ state }) => state);
  const names = async () => (await verifier.query.listNodes({ pageSize: 100 })).nodes.map(({ name }) => name);
  const containers = async () => (await verifier.query.listWorkloads({ nodeId: id, pageSize: 10 })).workloads.length;
  await expect.poll(drifts, { timeout: 30_000 }).toEqual([DriftState.OPEN]);

  expect(await hullmark("node", "rm", "w-3", "--reason", "sold")).toMatchObject({
    code: 3,
    err: expect.stringMatching(/revoke it first[\s\S]*hullmark node revoke/),
  });
  expect(await containers()).toBe(1);
  expect(await hullmark("node", "revoke", "w-3", "--reason", "sold")).toMatchObject({ code: 0 });
  expect(await hullmark("node", "rm", "w-3", "--reason", "sold")).toMatchObject({ code: 0, out: `removed: ${id} stays revoked\n` });
  const gone = async (): Promise<void> => {
    expect([(await names()).includes("w-3"), await containers(), await drifts()]).toEqual([false, 0, [DriftState.RESOLVED]]);
    expect(await hullmark("node", "show", "w-3")).toMatchObject({ code: 2 });
    expect(await hullmark("node", "rm", id, "--reason", "again")).toMatchObject({ code: 2 });
    attester.options = { ...attester.options, mainAddress: verifier.mainAddress, enrolmentAddress: `localhost:${verifier.running?.enrolmentPort}` };
    await expect(attester.enrol()).rejects.toMatchObject({ detail: { refusal: "revoked" } });
    // By the certificate that it has still.
    await expect(attester.connect()).rejects.toMatchObject({ detail: { reason: "REVOKED" } });
    expect((await names()).includes("w-3")).toBe(false);
  };
  await gone();
  await verifier.stop();
  await verifier.start();
  hullmark = await hullmarkOf(verifier);
  await gone();

  expect(await hullmark("node", "approve", "w-3")).toMatchObject({ code: 2 });
  expect(await hullmark("node", "approve", id)).toMatchObject({ code: 0 });
  // As an agent that finds that the verifier knows nothing of its chain.
  const again = verifier.attester({ name: "w-3", quoter });
  await again.connect();
  again.set(scriptedWeb(image, 1, []));
  await again.report();
  expect([(await names()).includes("w-3"), await containers(), again.credential?.nodeId]).toEqual([true, 1, id]);
  await again.close();
});

test("of two nodes of one name the one that was not revoked is meant; a token's node that was removed comes back by nobody's word", async () => {
  const joined = async () => {
    const { token } = await verifier.adminClient.createJoinToken({ nodeName: "t-2", ttlSeconds: 600 });
    const attester = verifier.attester({ name: "t-2", joinToken: token });
    await attester.enrol();
    return attester;
  };
  const first = await joined();
  expect(await hullmark("node", "revoke", "t-2", "--reason", "sold")).toMatchObject({ code: 0 });
  const second = await joined();
  expect((await verifier.query.getNode({ id: "t-2" })).node?.id).toBe(second.credential?.nodeId);
  const id = first.credential?.nodeId ?? "";
  expect(await hullmark("node", "rm", id, "--reason", "sold")).toMatchObject({ code: 0 });
  await expect(first.connect()).rejects.toMatchObject({ detail: { reason: "REVOKED" } });
  expect(await hullmark("node", "approve", id)).toMatchObject({ code: 3, err: expect.stringMatching(/new join token/) });
  await second.connect();
  await second.close();
});
