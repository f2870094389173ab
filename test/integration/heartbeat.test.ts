/** A verifier says that it is alive: a real Alertmanager holds an alert as long as it does, and pages when the verifier is killed; pings come while it is ready. */
import { heartbeatFor } from "@hullmark/verifier/adapters/alert-http/index";
import { startHeartbeats } from "@hullmark/verifier/core/fleet/heartbeats";
import { expect, test } from "vitest";
import { Alertmanager } from "../fakes/alertmanager.ts";
import { HttpReceiver } from "../fakes/http-receiver.ts";
import { VerifierProcess } from "../fakes/verifier-process.ts";

const POLL = { timeout: 120_000, interval: 100 };
const POLICY = "apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: p }\nspec: {}\n";

test("the alert fires as long as the verifier lives, ends by itself when it is killed, and fires again when it is back", { timeout: 300_000 }, async () => {
  await using pager = await new HttpReceiver().start();
  await using pings = await new HttpReceiver().start();
  await using alertmanager = await Alertmanager.start(pager.url, ["alertname"]);
  const beats = `heartbeats:
  - { name: watchdog, type: alertmanager, url: "${alertmanager.url}", everySeconds: 5 }
  - { name: checks, type: ping, url: { fromEnv: PING_URL }, everySeconds: 5 }
  - { name: got, type: ping, url: "${pings.url}/got", method: GET, everySeconds: 5 }
`;
  const verifier = new VerifierProcess(POLICY, beats, { PING_URL: `${pings.url}/secret-uuid` });
  try {
    const pages = () => pager.received.map(({ body }) => (JSON.parse(body) as { status: string }).status);
    const held = async () => (await alertmanager.alerts()).map(({ labels: { alertname, verifier: of } }) => [alertname, of]);
    await verifier.start();
    await expect.poll(pages, POLL).toEqual(["firing"]);
    const posted = () => pings.received.filter(({ method, url }) => method === "POST" && url === "/secret-uuid").map(({ body }) => body);
    await expect.poll(() => posted().length, POLL).toBeGreaterThanOrEqual(2);
    expect(posted()[0]).toBe("hullmark verifier v1 (default) is ready\n");
    expect(pings.received.some(({ method, url, body }) => method === "GET" && url === "/got" && body === "")).toBe(true);
    // Beat after beat it is one alert, which pages nobody.
    expect(await held()).toEqual([["HullmarkHeartbeat", "v1"]]);
    expect(pages()).toEqual(["firing"]);
    await verifier.kill();
    const { length } = pings.received;
    await expect.poll(pages, POLL).toEqual(["firing", "resolved"]);
    expect(await held()).toEqual([]);
    expect(pings.received.length).toBe(length);
    await verifier.start();
    await expect.poll(pages, POLL).toEqual(["firing", "resolved", "firing"]);
  } finally {
    await verifier.dispose();
  }
});

test("a verifier that is not ready falls silent, a beat that fails is told once, and the next one counts", async () => {
  const waiting: (() => void)[] = [];
  const clock = {
    after: (_delayMs: number, run: () => void) => {
      waiting.push(run);
      return () => {};
    },
  };
  const turn = async (): Promise<void> => {
    for (let at = 0; at < 10; at++) await Promise.resolve();
    for (const run of waiting.splice(0)) run();
    for (let at = 0; at < 10; at++) await Promise.resolve();
  };
  let ready = true;
  let fails = false;
  const taken: string[] = [];
  const silent: [string, unknown][] = [];
  const beat = async (): Promise<void> => {
    if (fails) throw new Error("nobody there");
    taken.push("beat");
  };
  const end = startHeartbeats([{ name: "h", everyMs: 1000, beat }], { clock, ready: () => ready, onSilent: (...what) => void silent.push(what) });
  await turn();
  expect(taken.length).toBe(2);
  ready = false;
  for (let at = 0; at < 3; at++) await turn();
  expect([taken.length, silent]).toEqual([2, [["h", undefined]]]);
  [ready, fails] = [true, true];
  for (let at = 0; at < 3; at++) await turn();
  expect([taken.length, silent.length]).toEqual([2, 1]);
  fails = false;
  await turn();
  fails = true;
  await turn();
  expect([taken.length, silent]).toEqual([
    3,
    [
      ["h", undefined],
      ["h", new Error("nobody there")],
    ],
  ]);
  end();
  await turn();
  await turn();
  expect([taken.length, waiting.length]).toEqual([3, 0]);
});

test("a heartbeat whose variable is missing keeps the verifier from starting; a secret is in no error", async () => {
  const surroundings = {
    environment: { BAD: "no-url" },
    secretsDirectory: "/nowhere",
    readFile: () => "",
    verifierId: "v1",
    region: "eu-1",
    externalUrl: undefined,
  };
  const common = { name: "checks", type: "ping", method: "POST", everySeconds: 60, timeoutSeconds: 1 } as const;
  expect(() => heartbeatFor({ ...common, url: { fromEnv: "ABSENT" } }, surroundings)).toThrow("heartbeat checks: environment variable ABSENT is not set");
  const beat = (url: string | { fromEnv: string } | { fromFile: string }) =>
    heartbeatFor({ ...common, url }, surroundings)
      .beat(new AbortController().signal)
      .catch((error: unknown) => String(error));
  expect(await beat({ fromEnv: "BAD" })).toBe("NotifierError: NOTIFY_SECRET: the secret is no http or https URL");
  expect(await beat({ fromFile: "ping" })).toMatch(/NOTIFY_SECRET: the secret ping cannot be read: ENOENT/);
  expect(await beat("http://127.0.0.1:9/secret-uuid")).toMatch(/^NotifierError: NOTIFY_UNREACHABLE: (?!.*secret-uuid)/);
});
