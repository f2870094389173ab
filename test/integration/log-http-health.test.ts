/** Health and metrics beside the log: what orchestrator and Prometheus see, and what strangers do not. */
import { buildHttpServer } from "@hullmark/verifier/api/http/server";
import type { Readiness } from "@hullmark/verifier/core/fleet/health";
import type { LogReader } from "@hullmark/verifier/ports/log-store";
import { Counter, Registry } from "prom-client";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const broken: LogReader = {
  readTile: async () => undefined,
  readEntries: async () => [],
  readCheckpoint: async () => {
    throw new Error("secret detail of the store");
  },
};
const WELL = { store: "ok", log: "ok", listeners: "ok", policy: "ok" } as const;
let readiness: Readiness = { ready: true, components: WELL };
let server: ReturnType<typeof buildHttpServer>;
let url: string;

beforeEach(async () => {
  const metrics = new Registry();
  new Counter({ name: "hullmark_test_total", help: "counts", registers: [metrics] }).inc(3);
  server = buildHttpServer({ log: broken, metrics, readiness: () => readiness, jwks: () => ({ keys: [] }) });
  await server.listen({ host: "127.0.0.1", port: 0 });
  url = `http://127.0.0.1:${(server.server.address() as { port: number }).port}`;
});
afterEach(() => server.close());

describe("verifier over HTTP", () => {
  it("is alive always and ready only when it is", async () => {
    expect(await (await fetch(`${url}/healthz`)).text()).toBe("ok\n");
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    readiness = { ready: false, components: { ...WELL, store: "failing" } };
    const response = await fetch(`${url}/readyz`);
    expect([response.status, await response.json()]).toEqual([503, readiness]);
    expect(response.headers.get("cache-control")).toBe("no-store");
  });

  it("gives Prometheus its text", async () => {
    const response = await fetch(`${url}/metrics`);
    expect(response.headers.get("content-type")).toMatch(/^text\/plain/);
    expect(await response.text()).toContain("hullmark_test_total 3");
  });

  it("tells nobody what went wrong inside, and takes nothing it does not know", async () => {
    const failed = await fetch(`${url}/log/checkpoint`);
    expect([failed.status, await failed.text()]).toEqual([500, "internal error\n"]);
    for (const [path, init] of [
      ["/", {}],
      ["/admin", {}],
      ["/healthz", { method: "POST", body: "x".repeat(10_000) }],
      ["/log/tile/%", {}],
      [`/log/tile/${"9".repeat(9000)}`, {}],
    ] as const) {
      const response = await fetch(`${url}${path}`, init);
      expect(response.status, path).toBeGreaterThanOrEqual(400);
      expect(response.status, path).toBeLessThan(500);
      expect((await response.text()).length).toBeLessThan(100);
    }
  });
});
