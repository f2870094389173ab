/** Which containers of a node do not run: asked of its agent where a person looks, and never taken for none where it is not told. */
import { create } from "@bufbuild/protobuf";
import { StoppedContainers } from "@hullmark/agent/core/stopped-containers";
import type { StoppedContainer } from "@hullmark/agent/ports/container-runtime";
import { StoppedRequestSchema, type StoppedResponse, StoppedResponseSchema } from "@hullmark/proto/v1/attestation";
import { askStopped } from "@hullmark/verifier/core/session/stopped-containers";
import { expect, test } from "vitest";

const asked = (id: bigint) => create(StoppedRequestSchema, { id });
const many = (count: number): StoppedContainer[] => Array.from({ length: count }, (_, i) => ({ id: `i${i}`, name: `n${i}`, imageId: "sha256:1" }));
const never = new AbortController().signal;

test("the agent tells a thousand at most and counts the rest, asks its runtime once at a time, and says why it cannot tell", async () => {
  let looks = 0;
  const agent = new StoppedContainers({
    stopped: async () => {
      looks++;
      return [{ id: "x".repeat(600), name: "y".repeat(600), imageId: "z".repeat(600) }, ...many(1001)];
    },
  });
  const [one, two] = await Promise.all([agent.answer(asked(1n)), agent.answer(asked(2n))]);
  expect([one.id, two.id, looks]).toEqual([1n, 2n, 1]);
  expect([one.containers?.length, one.more]).toEqual([1000, 2]);
  const [first] = one.containers ?? [];
  expect([first?.containerId, first?.name, first?.imageId].map((text) => text?.length)).toEqual([512, 512, 512]);
  await agent.answer(asked(3n));
  expect(looks).toBe(2);
  const ill = new StoppedContainers({ stopped: () => Promise.reject(new Error("the engine is away")) });
  expect(await ill.answer(asked(4n))).toEqual({ id: 4n, problem: "the engine is away" });
});

test("what is not told is no none: of a node that is away, an agent that is too old, or does not answer, or cannot tell", async () => {
  const session = (answer: StoppedResponse | undefined, tellsStopped = true) => ({ tellsStopped, askStopped: async () => answer });
  const problem = async (of: Parameters<typeof askStopped>[0]) => (await askStopped(of, never)).problem;
  expect(await problem(undefined)).toBe("the node is not connected");
  expect(await problem(session(create(StoppedResponseSchema, {}), false))).toMatch(/version that does not tell/);
  expect(await problem(session(undefined))).toBe("the node did not answer");
  expect(await problem(session(create(StoppedResponseSchema, { problem: "p".repeat(600) })))).toBe("p".repeat(512));
  expect(await problem({ tellsStopped: true, askStopped: () => Promise.reject(new Error("too late")) })).toBe("the node did not answer");
  const gone = new AbortController();
  gone.abort(new Error("nobody waits"));
  await expect(askStopped(session(undefined), gone.signal)).rejects.toThrow("nobody waits");
});

test("an agent that tells more than it may has the rest counted", async () => {
  const answer = create(StoppedResponseSchema, { containers: many(1003).map(({ id, name, imageId }) => ({ containerId: id, name, imageId })), more: 4 });
  const told = await askStopped({ tellsStopped: true, askStopped: async () => answer }, never);
  expect([told.problem, told.containers.length, told.more]).toEqual(["", 1000, 7]);
  expect(told.containers[1]).toEqual({ name: "n1", imageId: "sha256:1" });
});
