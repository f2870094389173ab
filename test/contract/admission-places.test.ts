/** Places for questions at the webhook: whoever asks from one address leaves others half of them. */
import { buildAdmissionServer } from "@hullmark/verifier/api/admission/server";
import { expect, test } from "vitest";

const review = (uid: string) => ({
  apiVersion: "admission.k8s.io/v1",
  kind: "AdmissionReview",
  request: {
    ...{ uid, operation: "CREATE", namespace: "shop", name: "web", userInfo: { username: "u", groups: [] } },
    ...{ kind: { group: "", version: "v1", kind: "Pod" }, resource: { group: "", version: "v1", resource: "pods" } },
    object: { metadata: { name: "web" }, spec: { containers: [{ name: "web", image: "registry.example/web:1" }] } },
  },
});

test("one address takes half of them at most, and what it gives back is there again", async () => {
  const asked: PromiseWithResolvers<never>[] = [];
  const server = buildAdmissionServer({
    service: {
      answer: () => {
        const asking = Promise.withResolvers<never>();
        asked.push(asking);
        return asking.promise;
      },
    },
    ...{ certificateChain: undefined, privateKey: undefined, clientCa: undefined, onError: () => {} },
  } as unknown as Parameters<typeof buildAdmissionServer>[0]);
  const ask = (remoteAddress: string) => server.inject({ method: "POST", url: "/admission/ignore", payload: review(`u${asked.length}`), remoteAddress });
  const waiting = Array.from({ length: 256 }, () => ask("192.0.2.1"));
  await expect.poll(() => asked.length, { timeout: 30_000 }).toBe(256);
  expect((await ask("192.0.2.1")).statusCode).toBe(503);
  const others = [ask("192.0.2.2"), ask("192.0.2.2")];
  await expect.poll(() => asked.length, { timeout: 30_000 }).toBe(258);
  asked[0]?.reject(new Error("over"));
  expect((await waiting[0])?.statusCode).toBe(500);
  const again = ask("192.0.2.1");
  await expect.poll(() => asked.length, { timeout: 30_000 }).toBe(259);
  for (const { reject } of asked) reject(new Error("over"));
  await Promise.all([...waiting, ...others, again]);
  await server.close();
});
