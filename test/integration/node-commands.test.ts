/** `hullmark node quote|revoke|approve|show --ear` as people run it, against a whole verifier and nodes that say what they are told to say. */
import { TrustLevel } from "@hullmark/proto/v1/common";
import { afterAll, beforeAll, expect, test } from "vitest";
import { hullmarkOf } from "../fakes/hullmark.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
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
