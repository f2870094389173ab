/** Which containers of a node do not run: asked of its agent where a person looks, and never taken for none where it is not told. */
import { create, toBinary } from "@bufbuild/protobuf";
import { StoppedContainers } from "@hullmark/agent/core/stopped-containers";
import type { StoppedContainer } from "@hullmark/agent/ports/container-runtime";
import { StoppedRequestSchema, type StoppedResponse, StoppedResponseSchema } from "@hullmark/proto/v1/attestation";
import { GetNodeResponseSchema } from "@hullmark/proto/v1/query";
import { askStopped } from "@hullmark/verifier/core/session/stopped-containers";
import { expect, test } from "vitest";

const asked = (id: bigint) => create(StoppedRequestSchema, { id });
const many = (count: number): StoppedContainer[] => Array.from({ length: count }, (_, i) => ({ id: `i${i}`, name: `n${i}`, imageId: "sha256:1" }));
const never = new AbortController().signal;
const none = () => [];

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
  const problem = async (of: Parameters<typeof askStopped>[0]) => (await askStopped(of, none, never)).problem;
  expect(await problem(undefined)).toBe("the node is not connected");
  expect(await problem(session(create(StoppedResponseSchema, {}), false))).toMatch(/version that does not tell/);
  expect(await problem(session(undefined))).toBe("the node did not answer");
  expect(await problem(session(create(StoppedResponseSchema, { problem: "p".repeat(600) })))).toBe("p".repeat(512));
  expect(await problem({ tellsStopped: true, askStopped: () => Promise.reject(new Error("too late")) })).toBe("the node did not answer");
  const gone = new AbortController();
  gone.abort(new Error("nobody waits"));
  await expect(askStopped(session(undefined), none, gone.signal)).rejects.toThrow("nobody waits");
});

test("an agent that tells more than it may has the rest counted, as far as an answer has room for the count", async () => {
  const containers = many(1003).map(({ id, name, imageId }) => ({ containerId: id, name, imageId }));
  const told = async (more: number) =>
    await askStopped({ tellsStopped: true, askStopped: async () => create(StoppedResponseSchema, { containers, more }) }, none, never);
  const few = await told(4);
  expect([few.problem, few.containers.length, few.more]).toEqual(["", 1000, 7]);
  expect(few.containers[1]).toEqual({ name: "n1", configDigests: [] });
  const stopped = { more: (await told(0xffff_ffff)).more };
  expect(toBinary(GetNodeResponseSchema, create(GetNodeResponseSchema, { stopped })).length).toBeGreaterThan(0);
});

test("its image is found by whichever digest the runtime names it, of an index each that it may be; one whose layers are not known is none", async () => {
  const sha256 = (digit: string): string => `sha256:${digit.repeat(64)}`;
  const image = (config: string, manifest: string, diffIds: string[]) => ({
    ...{ configDigest: sha256(config), manifestDigests: [sha256(manifest)], indexDigests: [sha256("f")], diffIds },
  });
  const images = [image("a", "1", ["d"]), image("b", "2", ["d"]), image("c", "3", [])];
  const names = [sha256("a"), "a".repeat(64), `r.example/a@${sha256("1")}`, sha256("f"), sha256("c"), "r.example/a:1", ""];
  const containers = names.map((imageId) => ({ name: "n", imageId }));
  const answer = create(StoppedResponseSchema, { containers });
  const told = await askStopped({ tellsStopped: true, askStopped: async () => answer }, () => images, never);
  const found = told.containers.map(({ configDigests }) => configDigests.map((digest) => digest.charAt("sha256:".length)).join(""));
  expect(found).toEqual(["a", "a", "a", "ab", "", "", ""]);
});
