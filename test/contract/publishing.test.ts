/** The verifier's CA and credentials, kept in the cluster's objects, whatever becomes of these. On a real API server: test/e2e/kubernetes. */
import type { ApiServer } from "@hullmark/verifier/adapters/kubernetes/index";
import { publishing } from "@hullmark/verifier/cluster";
import { parseConfig } from "@hullmark/verifier/config";
import { pino } from "pino";
import { expect, test, vi } from "vitest";

const TARGETS = "{ namespace: hullmark, caConfigMap: hullmark-ca, adminSecret: hullmark-admin }";
const CONFIG = parseConfig(`stateDirectory: /nowhere\nkubernetes: { apiServer: 'https://localhost', publish: ${TARGETS} }`, "test");
const BOTH = ["/api/v1/namespaces/hullmark/configmaps/hullmark-ca", "/api/v1/namespaces/hullmark/secrets/hullmark-admin"];

test("they are written again every five minutes, since whoever makes the objects anew makes them empty, and sooner after a failure", async () => {
  const patched: string[] = [];
  const statuses: number[] = [];
  const api = {
    patch: async (path: string) => {
      patched.push(path);
      return { status: statuses.shift() ?? 200, body: {} };
    },
  } as unknown as ApiServer;
  let due: { readonly delayMs: number; readonly run: () => void } | undefined;
  const clock = {
    nowMs: () => 0,
    after: (delayMs: number, run: () => void) => {
      due = { delayMs, run };
      return () => {
        due = undefined;
      };
    },
  };
  const next = async (): Promise<number> => {
    const { delayMs, run } = await vi.waitFor(() => due ?? expect.unreachable("nothing is due"));
    due = undefined;
    run();
    return delayMs;
  };
  const end = publishing(api, CONFIG, () => ({ "ca.crt": "PEM" }), clock, pino({ level: "silent" }));
  await vi.waitFor(() => expect(patched).toEqual(BOTH));
  patched.length = 0;
  // One that is gone keeps none of the others from what is theirs, and is asked for less and less often.
  statuses.push(404, 200, 404, 200);
  expect(await next()).toBe(300_000);
  expect(await next()).toBe(5_000);
  expect(await next()).toBe(10_000);
  await vi.waitFor(() => expect(patched).toEqual([...BOTH, ...BOTH, ...BOTH]));
  await vi.waitFor(() => expect(due).toMatchObject({ delayMs: 300_000 }));
  end();
  expect(due).toBeUndefined();
});
