/** An API server that has just started, on a script: what it forbids then is asked again. Of a real one that is killed: test/e2e/kubernetes/actuator.test.ts. */
import { KubernetesRollouts } from "@hullmark/actuator/adapters/kubernetes/kubernetes-rollouts";
import { ReadyApiServer } from "@hullmark/actuator/adapters/kubernetes/ready-api-server";
import type { ApiAnswer } from "@hullmark/daemon/api-server";
import { expect, test } from "vitest";

const FORBIDDEN: ApiAnswer = { status: 403, body: { message: 'deployments.apps "web" is forbidden: User "actuator" cannot get it' } };
const OWNER = { kind: "Deployment", name: "web", uid: "0b0f5a9e-0000-4000-8000-000000000001" };

/** @param answers to what is asked, in turn @param readiness to /readyz, in turn */
function server(answers: readonly ApiAnswer[], readiness: readonly number[]) {
  const [left, ready, asked] = [[...answers], [...readiness], [] as string[]];
  const answer = async (path: string): Promise<ApiAnswer> => {
    asked.push(path);
    if (path === "/readyz") return { status: ready.shift() ?? 0, body: undefined };
    return left.shift() ?? { status: 0, body: undefined };
  };
  return { asked, api: new ReadyApiServer({ get: answer, post: answer, patch: answer }) };
}

const find = (api: ReadyApiServer) => new KubernetesRollouts(api).find("shop", OWNER);

test.each([[403], [500]])("before it is ready (%s) what it forbids is no refusal: it is asked again later", async (readiness) => {
  const { api, asked } = server([FORBIDDEN, { status: 404, body: {} }], [readiness]);
  await expect(find(api)).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE", message: expect.stringMatching(/not ready.*cannot get it/) });
  expect(asked).toHaveLength(2);
  expect(await find(api)).toBeUndefined();
});

test("one that became ready meanwhile answers the same question", async () => {
  const { api, asked } = server([FORBIDDEN, { status: 404, body: {} }], [200]);
  expect(await find(api)).toBeUndefined();
  expect(asked).toEqual([asked[0], "/readyz", asked[0]]);
});

test("what one that is ready forbids is refused, and names the right", async () => {
  const { api } = server([FORBIDDEN, FORBIDDEN], [200]);
  await expect(find(api)).rejects.toMatchObject({ code: "ENGINE_REFUSED", message: expect.stringMatching(/403.*needs the right to get deployments/) });
});

test("any other answer is taken as it is", async () => {
  const { api, asked } = server([{ status: 404, body: {} }], []);
  expect(await find(api)).toBeUndefined();
  expect(asked).toHaveLength(1);
});
