/** What every HTTP notifier does with good and bad receivers; then each in its own protocol, Alertmanager's by a real one. */
import { execFile } from "node:child_process";
import { createHmac, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { alertmanagerNotifier, notifierFor, pagerdutyNotifier, signBody, slackNotifier, webhookNotifier } from "@hullmark/verifier/adapters/alert-http/index";
import { AlertBook, type AlertSubject, dispatchDue, MAX_ATTEMPTS } from "@hullmark/verifier/core/alerting/index";
import type { AlertRoute } from "@hullmark/verifier/core/policy/types";
import type { AlertNotification, Notifier } from "@hullmark/verifier/ports/notifier";
import { CloudEvent, HTTP } from "cloudevents";
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { ALONE, alertmanagerRoute, subject, webhookRoute } from "../fakes/alert-subjects.ts";
import { Alertmanager, hasAlertmanager } from "../fakes/alertmanager.ts";
import { HttpReceiver } from "../fakes/http-receiver.ts";
import { MemoryOutbox } from "../fakes/memory-outbox.ts";

const runTool = promisify(execFile);
const never = new AbortController().signal;
const SECRET = "Bearer s3cr3t-token";
let receiver: HttpReceiver;
beforeEach(async () => {
  receiver = await new HttpReceiver().start();
});
afterEach(() => receiver[Symbol.asyncDispose]());

function notificationFor(route: AlertRoute, nowMs = Date.now()): AlertNotification {
  const plan = new AlertBook().plan([subject({ sinceMs: nowMs })], [route], nowMs);
  return plan.commit.notifications[0] as AlertNotification;
}

const headers = async () => ({ authorization: SECRET });
const surroundings = { ca: undefined, externalUrl: undefined, standing: () => ({ count: 0, gravest: "info" as const }) };
const kinds: { name: string; route: AlertRoute; make: (url: string, timeoutMs?: number) => Notifier }[] = [
  {
    name: "webhook",
    route: webhookRoute(),
    make: (url, timeoutMs = 5000) =>
      webhookNotifier({ route: "hook", url, headers, timeoutMs, hmacKeys: async () => ["k", "older"], source: "//hullmark/test", ca: undefined }),
  },
  {
    name: "alertmanager",
    route: alertmanagerRoute(),
    make: (url, timeoutMs = 5000) => alertmanagerNotifier({ route: "pager", url, headers, timeoutMs, ...surroundings }),
  },
  {
    name: "pagerduty",
    route: webhookRoute(),
    make: (url, timeoutMs = 5000) => pagerdutyNotifier({ route: "hook", url, routingKey: async () => SECRET, timeoutMs, ...surroundings }),
  },
  {
    name: "slack",
    route: webhookRoute(),
    make: (url, timeoutMs = 5000) => slackNotifier({ route: "hook", webhookUrl: async () => `${url}/services/T0/B0/s3cr3t-token`, timeoutMs, ...surroundings }),
  },
];

describe.each(kinds)("Notifier contract: $name", ({ route, make }) => {
  const failure = async (notifier: Notifier, signal = never) =>
    await notifier.notify(notificationFor(route), signal).catch((error: unknown) => error as Error & { code: string });

  it("delivers with the route's secret, as JSON, once, and says what was answered", async () => {
    receiver.answer = (response) => response.writeHead(202).end("taken\x1b[0m, thanks");
    expect(await make(receiver.url).notify(notificationFor(route), never)).toBe("HTTP 202: taken [0m, thanks");
    expect(receiver.received.length).toBe(1);
    expect(receiver.received[0]).toMatchObject({ method: "POST", headers: { "content-type": expect.stringContaining("json") } });
    expect(JSON.stringify(receiver.received[0])).toContain("s3cr3t-token");
    expect(receiver.received[0]?.body).toContain("/usr/bin/curl altered in an image layer on w-07");
  });

  it("tells refusal from trouble, and never says a secret", async () => {
    for (const [status, code, retryable] of [
      [400, "NOTIFY_REJECTED", false],
      [401, "NOTIFY_REJECTED", false],
      [408, "NOTIFY_TIMEOUT", true],
      [429, "NOTIFY_THROTTLED", true],
      [500, "NOTIFY_SERVER_ERROR", true],
      [503, "NOTIFY_THROTTLED", true],
    ] as const) {
      receiver.answer = (response) => response.writeHead(status, { "retry-after": "7" }).end("no\x1b[31m");
      const error = await failure(make(receiver.url));
      expect(error).toMatchObject({ code, retryable });
      if (code === "NOTIFY_THROTTLED") expect(error).toMatchObject({ retryAfterMs: 7000 });
      expect(String(error)).not.toMatch(/s3cr3t|\x1b/);
    }
  });

  it("shows nothing of a secret where the receiver repeats what it was asked", async () => {
    for (const status of [200, 404, 500]) {
      receiver.answer = (response, { body }) =>
        response.writeHead(status).end(`Cannot POST ${response.req.url} for ${response.req.headers.authorization}: ${/"routing_key":"[^"]*"/.exec(body)?.[0]}`);
      const told = String(await failure(make(receiver.url)));
      expect(told).toContain(`HTTP ${status}: Cannot POST /`);
      expect(told).not.toContain("s3cr3t");
    }
  });

  it("follows no redirect, so that no header goes to another host", async () => {
    await using other = await new HttpReceiver().start();
    for (const status of [301, 302, 307, 308]) {
      receiver.answer = (response) => response.writeHead(status, { location: `${other.url}/stolen` }).end();
      expect(await failure(make(receiver.url))).toMatchObject({ code: "NOTIFY_REDIRECTED", retryable: false });
    }
    expect(other.received).toEqual([]);
  });

  it("gives up on silence, on nobody, and when told to", async () => {
    receiver.answer = () => {};
    expect(await failure(make(receiver.url, 200))).toMatchObject({ code: "NOTIFY_TIMEOUT", retryable: true });
    expect(await failure(make("http://127.0.0.1:9"))).toMatchObject({ code: "NOTIFY_UNREACHABLE", retryable: true });
    receiver.answer = (response) => response.destroy();
    expect(await failure(make(receiver.url))).toMatchObject({ code: "NOTIFY_UNREACHABLE" });
    receiver.answer = () => {};
    const controller = new AbortController();
    const pending = failure(make(receiver.url), controller.signal);
    controller.abort(new Error("shutting down"));
    expect(await pending).toMatchObject({ message: "shutting down" });
    expect(await failure(make(receiver.url), AbortSignal.abort(new Error("already")))).toMatchObject({ message: "already" });
  });

  it("is not held up by an endless answer", async () => {
    receiver.answer = (response) => response.writeHead(200).end("x".repeat(1 << 20));
    await make(receiver.url).notify(notificationFor(route), never);
  });
});

describe("webhook", () => {
  it("sends CloudEvents 1.0 that the library reads back, signed", async () => {
    const sent = notificationFor(webhookRoute());
    await kinds[0]?.make(receiver.url).notify(sent, never);
    const { headers, body } = receiver.received[0] as (typeof receiver.received)[0];
    const event = HTTP.toEvent({ headers, body }) as CloudEvent<{ alerts: { summary: string; startsAt: string; path: string }[] }>;
    expect(event).toBeInstanceOf(CloudEvent);
    expect(event).toMatchObject({
      specversion: "1.0",
      id: sent.id,
      type: "dev.hullmark.alert.v1",
      source: "//hullmark/test",
      subject: "node=,workload=shop/cart",
    });
    expect(event.data?.alerts[0]).toMatchObject({ status: "firing", severity: "critical", path: "/usr/bin/curl", fingerprint: sent.alerts[0]?.fingerprint });
    const [time, ...macs] = String(headers["hullmark-signature"]).split(",");
    const mac = (key: string) =>
      `v1=${createHmac("sha256", key)
        .update(`${time?.slice(2)}.${body}`)
        .digest("hex")}`;
    expect(time).toMatch(/^t=\d+$/);
    // Both while one key replaces the other: the receiver may have either.
    expect(macs).toEqual([mac("k"), mac("older")]);
  });

  it("is taken by the receiver that the documentation shows, and what is old, altered or of another key is not", () => {
    const [, code = ""] = /```js\n(.*?)```/s.exec(readFileSync(new URL("../../docs/alerts.md", import.meta.url), "utf8")) ?? [];
    const receive = new Function("createHmac", "timingSafeEqual", "header", "key", "rawBody", code);
    const outcome = (header: string, key = "k", body = "{}") => {
      try {
        receive(createHmac, timingSafeEqual, header, key, body);
        return "taken";
      } catch (error) {
        return String(error);
      }
    };
    const now = Math.floor(Date.now() / 1000);
    expect(outcome(signBody(["k"], now, "{}"))).toBe("taken");
    expect(["k", "older"].map((key) => outcome(signBody(["k", "older"], now - 240, "{}"), key))).toEqual(["taken", "taken"]);
    const refused = "Error: not from Hullmark, or old";
    expect(outcome(signBody(["k"], now - 400, "{}"))).toBe(refused);
    expect(outcome(signBody(["k"], now + 400, "{}"))).toBe(refused);
    expect(outcome(signBody(["k"], now, "{}"), "k", "{ }")).toBe(refused);
    expect(outcome(signBody(["k"], now, "{}"), "other")).toBe(refused);
    for (const header of ["", "t=,v1=", `t=${now}`, `t=${now},v1=zz`, `v1=${"0".repeat(64)},t=${now}`]) expect(outcome(header)).toBe(refused);
  });

  it("takes secrets from the environment, and refuses to start without them", () => {
    const places = {
      environment: { TOKEN: "t", EMPTY: "" },
      secretsDirectory: "/nowhere",
      readFile: () => "",
      source: "//x",
      externalUrl: undefined,
      standing: () => ({ count: 0, gravest: "info" as const }),
    };
    expect(notifierFor(webhookRoute({ headers: { authorization: { fromEnv: "TOKEN" } } }), places).type).toBe("webhook");
    expect(() => notifierFor(webhookRoute({ headers: { authorization: { fromEnv: "ABSENT" } } }), places)).toThrow(/ABSENT is not set/);
    expect(() => notifierFor(webhookRoute({ hmacKeys: [{ fromEnv: "EMPTY" }] }), places)).toThrow(/EMPTY is not set/);
  });

  it("reads a secret's file anew at each delivery, tells why it cannot, and says nothing of what is in it", async () => {
    const secretsDirectory = await mkdtemp(join(tmpdir(), "hullmark-secrets-"));
    onTestFinished(() => rm(secretsDirectory, { recursive: true }));
    const file = join(secretsDirectory, "token");
    const route = webhookRoute({ url: receiver.url, headers: { authorization: { fromFile: "token" } } });
    const notifier = notifierFor(route, {
      environment: {},
      secretsDirectory,
      readFile: () => "",
      source: "//x",
      externalUrl: undefined,
      standing: () => ({ count: 0, gravest: "info" as const }),
    });
    const outcome = () => notifier.notify(notificationFor(route), never).catch((error: unknown) => String(error));
    expect(await outcome()).toBe("NotifierError: NOTIFY_SECRET: the secret token cannot be read: ENOENT");
    for (const value of ["first", "second"]) {
      await writeFile(file, `${value}\n`);
      await outcome();
      expect(receiver.received.at(-1)?.headers.authorization).toBe(value);
    }
    for (const bad of ["", "two\nlines", "s3cr3t\u0000", "s3cr3t".repeat(1000)]) {
      await writeFile(file, bad);
      expect(await outcome()).toMatch(/^NotifierError: NOTIFY_SECRET: the secret token is not one line of printable ASCII/);
    }
    await rm(file);
    await runTool("mkfifo", [file]);
    expect(await outcome()).toMatch(/NOTIFY_SECRET: the secret token cannot be read/);
    expect(receiver.received.length).toBe(2);
  });
});

describe("outbox dispatch", () => {
  it("retries in order while the receiver is ill, buries what it refuses, and delivers the rest", async () => {
    const route = webhookRoute({ groupBy: ["incident"] });
    const outbox = new MemoryOutbox();
    const book = new AlertBook();
    let nowMs = 1_790_000_000_000;
    for (const node of ["w-1", "w-2", "w-3"]) {
      const plan = book.plan([subject({ driftId: `D-${node}`, nodeName: node, path: Buffer.from(`/${node}`) })], [route], nowMs++);
      await outbox.commitAlerts(plan.commit);
      await outbox.commitAlerts(plan.commit);
      book.apply(plan);
    }
    expect(await outbox.counts()).toMatchObject({ pending: 3, dead: 0 });
    const notifier = (kinds[0] as (typeof kinds)[0]).make(receiver.url);
    const environment = { now: () => nowMs, random: () => 0.5, leaseMs: 60_000, ...ALONE };
    receiver.answer = (response) => response.writeHead(500).end();
    // Each is tried by itself: one that the receiver cannot digest does not hide the others for as long as a claim lasts.
    for (let i = 0; i < 3; i++) expect(await dispatchDue(outbox, notifier, environment, never)).toEqual({ delivered: 0, retried: 1, buried: 0, restMs: 0 });
    expect(await dispatchDue(outbox, notifier, environment, never)).toEqual({ delivered: 0, retried: 0, buried: 0, restMs: 0 });
    receiver.answer = (response, { body }) => response.writeHead(body.includes('"path":"/w-2"') ? 422 : 200).end("cannot");
    nowMs += 61_000;
    expect(await dispatchDue(outbox, notifier, environment, never)).toEqual({ delivered: 2, retried: 0, buried: 1, restMs: 0 });
    const [dead] = await outbox.list({ route: undefined, state: "dead" }, 10);
    expect(dead).toMatchObject({ attempts: 2, lastError: "NOTIFY_REJECTED: HTTP 422: cannot" });
    receiver.answer = (response) => response.writeHead(200).end();
    const plan = book.plan([], [route], nowMs, [], [(await outbox.readDead(dead?.id ?? "")) as AlertNotification]);
    await outbox.commitAlerts(plan.commit);
    expect(await dispatchDue(outbox, notifier, environment, never)).toMatchObject({ delivered: 1 });
    expect(await outbox.counts()).toEqual({ pending: 0, dead: 0, oldestPendingAtMs: undefined });
  });

  it("ends in the dead letters after its last attempt", async () => {
    const route = webhookRoute();
    const outbox = new MemoryOutbox();
    await outbox.commitAlerts(new AlertBook().plan([subject()], [route], 1).commit);
    receiver.answer = (response) => response.writeHead(500).end();
    let nowMs = 1000;
    const environment = { now: () => nowMs, random: () => 0, leaseMs: 60_000, ...ALONE };
    for (let i = 0; i < MAX_ATTEMPTS; i++, nowMs += 400_000) await dispatchDue(outbox, (kinds[0] as (typeof kinds)[0]).make(receiver.url), environment, never);
    expect(receiver.received.length).toBe(MAX_ATTEMPTS);
    expect(await outbox.counts()).toMatchObject({ pending: 0, dead: 1 });
  });
});

interface Page {
  status: string;
  groupKey: string;
  alerts: { status: string; labels: Record<string, string>; annotations: Record<string, string>; generatorURL: string }[];
}

describe("a real Alertmanager", () => {
  if (!hasAlertmanager && process.env["CI"])
    it("is there under CI", () => {
      throw new Error("prometheus-alertmanager is missing");
    });

  it.runIf(hasAlertmanager)("pages once with the text of the alert, keeps it through a refresh, and pages the end", async () => {
    await using alertmanager = await Alertmanager.start(`${receiver.url}/page`);
    const route = alertmanagerRoute();
    const notifier = alertmanagerNotifier({
      route: "pager",
      url: `${alertmanager.url}/`,
      headers: async () => ({}),
      timeoutMs: 5000,
      externalUrl: "https://hullmark.example",
      ca: undefined,
    });
    const book = new AlertBook();
    const tell = async (subjects: Parameters<AlertBook["plan"]>[0]) => {
      const plan = book.plan(subjects, [route], Date.now());
      book.apply(plan);
      for (const notification of plan.commit.notifications) await notifier.notify(notification, never);
    };
    const page = (status: string) =>
      receiver.waitFor(({ body }) => {
        const parsed = JSON.parse(body) as Page;
        return parsed.status === status ? parsed : undefined;
      });
    // Alertmanager does not gather what began longer ago than its group_wait: it would page the first of the two alone.
    const sinceMs = Date.now();
    const second = { driftId: "D-2", path: Buffer.from("/etc/\npasswd"), kind: "added", place: "upper", sinceMs } as const;
    await tell([subject({ sinceMs }), subject(second)]);
    const firing = await page("firing");
    expect(firing.alerts.length).toBe(2);
    const curl = firing.alerts.find(({ labels }) => labels["kind"] === "content");
    expect(curl).toMatchObject({
      status: "firing",
      generatorURL: "https://hullmark.example",
      labels: { alertname: "HullmarkDrift", severity: "critical", workload: "shop/cart", kind: "content", incident: subject().incident },
      annotations: {
        nodes: "w-07",
        summary: "CRITICAL shop/cart: /usr/bin/curl altered in an image layer on w-07",
        next: "hullmark drift show D-7K2Q",
        drift: "D-7K2Q",
      },
    });
    expect(curl?.annotations["description"]).toContain("on the host, pid 22910 /usr/bin/dd, uid 0");
    expect(firing.alerts.find(({ labels }) => labels["kind"] === "added")?.annotations["path"]).toBe("/etc/\\x0apasswd");
    for (const notification of book.refresh(route, Date.now())) await notifier.notify(notification, never);
    expect((await alertmanager.alerts()).map(({ status }) => status.state)).toEqual(["active", "active"]);
    await tell([subject({ state: "resolved" }), subject({ ...second, state: "resolved" })]);
    const resolved = await page("resolved");
    expect(resolved.alerts.map(({ status }) => status)).toEqual(["resolved", "resolved"]);
    // One page for the beginning (the refresh made none), one for the end.
    expect(receiver.received.map(({ body }) => (JSON.parse(body) as Page).status)).toEqual(["firing", "resolved"]);
    expect(await alertmanager.alerts()).toEqual([]);
  });

  it.runIf(hasAlertmanager)("keeps one alert as nodes join, replaces it where it becomes graver, and holds none when it is over", async () => {
    await using alertmanager = await Alertmanager.start(`${receiver.url}/page`, ["incident"]);
    const notifier = alertmanagerNotifier({
      route: "pager",
      url: alertmanager.url,
      headers: async () => ({}),
      timeoutMs: 30_000,
      externalUrl: undefined,
      ca: undefined,
    });
    const route = alertmanagerRoute();
    const book = new AlertBook();
    const sinceMs = Date.now();
    const on = (node: number, change: Partial<AlertSubject> = {}): AlertSubject =>
      subject({ driftId: `D-${node}`, nodeName: `w-${node}`, sinceMs, severity: "medium", ...change });
    const tell = async (...subjects: AlertSubject[]) => {
      const plan = book.plan(subjects, [route], Date.now());
      book.apply(plan);
      for (const notification of [...plan.commit.notifications, ...book.refresh(route, Date.now())]) await notifier.notify(notification, never);
    };
    const held = async () => (await alertmanager.alerts()).map(({ labels: { severity }, annotations: { nodes } }) => [severity, nodes]);
    const pages = () =>
      receiver.received.map(({ body }) => JSON.parse(body) as Page).map(({ status, alerts }) => [status, ...alerts.map((each) => each.status).sort()]);
    await tell(on(1));
    await expect.poll(pages, { timeout: 60_000 }).toEqual([["firing", "firing"]]);
    await tell(on(2), on(3));
    expect(await held()).toEqual([["medium", "w-1, w-2, w-3"]]);
    await tell(on(3, { severity: "critical" }));
    await expect.poll(held, { timeout: 60_000 }).toEqual([["critical", "w-1, w-2, w-3"]]);
    // One page that it is graver, in which the alert of before is over.
    await expect.poll(pages, { timeout: 60_000 }).toEqual([
      ["firing", "firing"],
      ["firing", "firing", "resolved"],
    ]);
    // By a clock that was set back by an hour since: an end that were still to come would be none.
    const plan = book.plan(
      [1, 2, 3].map((node) => on(node, { state: "resolved" })),
      [route],
      Date.now() + 3_600_000,
    );
    book.apply(plan);
    for (const notification of plan.commit.notifications) await notifier.notify(notification, never);
    await expect.poll(held, { timeout: 60_000 }).toEqual([]);
  });
});
