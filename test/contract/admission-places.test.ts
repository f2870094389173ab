/** Places for questions at the webhook: whoever asks from one address leaves others half of them. */
import { once } from "node:events";
import { type AddressInfo, connect, type Socket } from "node:net";
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

interface Asked {
  readonly asked: PromiseWithResolvers<never>[];
  readonly server: ReturnType<typeof buildAdmissionServer>;
}

function open(): Asked {
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
  return { asked, server };
}

test("one address takes half of them at most, and what it gives back is there again", async () => {
  const { asked, server } = open();
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

test("before anything is read there is room for all that is said, for one address half of it", async () => {
  const { asked, server } = open();
  const large = { ...review("u"), padding: "x".repeat(8_000_000) };
  const ask = (remoteAddress: string, payload: object, headers = {}) =>
    server.inject({ method: "POST", url: "/admission/ignore", payload, headers, remoteAddress });
  const waiting = Array.from({ length: 4 }, () => ask("192.0.2.1", large));
  await expect.poll(() => asked.length, { timeout: 30_000 }).toBe(4);
  expect((await ask("192.0.2.1", large)).statusCode).toBe(503);
  const other = ask("192.0.2.2", large);
  await expect.poll(() => asked.length, { timeout: 30_000 }).toBe(5);
  // Nor is anything read of which nobody says how much it is.
  expect((await ask("192.0.2.3", review("u"), { "transfer-encoding": "chunked" })).statusCode).toBe(411);
  asked[0]?.reject(new Error("over"));
  expect((await waiting[0])?.statusCode).toBe(500);
  const again = ask("192.0.2.1", large);
  await expect.poll(() => asked.length, { timeout: 30_000 }).toBe(6);
  for (const { reject } of asked) reject(new Error("over"));
  await Promise.all([...waiting, other, again]);
  await server.close();
});

test("one address has a quarter of the connections at most", async () => {
  const { server } = open();
  await server.listen({ host: "0.0.0.0", port: 0 });
  const { port } = server.server.address() as AddressInfo;
  let closed = 0;
  const connectFrom = async (localAddress: string): Promise<Socket> => {
    const socket = connect({ host: "127.0.0.1", port, localAddress });
    socket.on("error", () => undefined).once("close", () => closed++);
    await once(socket, "connect");
    return socket;
  };
  const sockets: Socket[] = [];
  // One after the other: of more than the kernel's queue holds some would be connected for their end alone.
  for (let i = 0; i < 1025; i++) sockets.push(await connectFrom("127.0.0.1"));
  await expect.poll(() => closed, { timeout: 30_000 }).toBe(1);
  sockets.push(await connectFrom("127.0.0.2"));
  for (const socket of sockets) socket.destroy();
  await server.close();
  expect(closed).toBeGreaterThan(1);
});
