/** Hosted receivers, against fakes made from what they publish: whole episodes, the largest alerts, hostile names, and what they refuse. */
import { pagerdutyNotifier, slackNotifier } from "@hullmark/verifier/adapters/alert-http/index";
import { AlertBook, type AlertSubject, dispatchDue } from "@hullmark/verifier/core/alerting/index";
import type { PagerdutyRoute } from "@hullmark/verifier/core/policy/types";
import type { AlertEvent, AlertNotification, Notifier } from "@hullmark/verifier/ports/notifier";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ALONE, largestAlerts, subject, webhookRoute } from "../fakes/alert-subjects.ts";
import { MemoryOutbox } from "../fakes/memory-outbox.ts";
import { Pagerduty } from "../fakes/pagerduty.ts";
import { Slack } from "../fakes/slack.ts";

const never = new AbortController().signal;
const common = { route: "hook", timeoutMs: 5000, externalUrl: "https://hullmark.example", ca: undefined };

/** Tells a route what a book has to say of the subjects. */
async function tell(book: AlertBook, notifier: Notifier, subjects: AlertSubject[], nowMs: number): Promise<AlertNotification[]> {
  const plan = book.plan(subjects, [webhookRoute({ groupBy: [] })], nowMs);
  book.apply(plan);
  for (const notification of plan.commit.notifications) await notifier.notify(notification, never);
  return [...plan.commit.notifications];
}

describe("PagerDuty", () => {
  let pagerduty: Pagerduty;
  beforeEach(async () => {
    pagerduty = await new Pagerduty().start();
  });
  afterEach(() => pagerduty[Symbol.asyncDispose]());
  const make = (key = Pagerduty.KEY) => pagerdutyNotifier({ ...common, url: `${pagerduty.url}/v2/enqueue`, routingKey: async () => key });

  it("opens one alert, adds to it when it is told again, ends it, and opens another when it comes back", async () => {
    const book = new AlertBook();
    const [sent] = await tell(book, make(), [subject()], 1_790_000_000_000);
    await make().notify(sent as AlertNotification, never);
    const fingerprint = sent?.alerts[0]?.fingerprint;
    expect(pagerduty.alerts).toMatchObject([{ key: fingerprint, alert: { state: "triggered", events: [{}, {}] } }]);
    expect(pagerduty.alerts[0]?.alert.events[0]).toMatchObject({
      client_url: "https://hullmark.example",
      payload: {
        summary: "CRITICAL shop/cart: /usr/bin/curl altered in an image layer on w-07",
        ...{ source: "w-07", severity: "critical", component: "shop/cart", group: "shop", class: "content", timestamp: "2026-09-21T14:13:20.000Z" },
        custom_details: {
          path: "/usr/bin/curl",
          next: "hullmark drift show D-7K2Q",
          drift: "D-7K2Q",
          description: expect.stringContaining("on the host, pid 22910"),
        },
      },
    });
    await tell(book, make(), [subject({ state: "resolved" })], 1_790_000_060_000);
    await tell(book, make(), [subject({ driftId: "D-2" })], 1_790_000_120_000);
    expect(pagerduty.alerts.map(({ key, alert }) => [key, alert.state])).toEqual([
      [fingerprint, "resolved"],
      [fingerprint, "triggered"],
    ]);
  });

  it("is told once that somebody has acknowledged all of it, and of what comes after that", async () => {
    const { headers: _headers, hmacKeys: _keys, ...rest } = webhookRoute({ groupBy: [] });
    const route: PagerdutyRoute = { ...rest, type: "pagerduty", routingKey: { fromFile: "key" } };
    let book = new AlertBook();
    const actions = async (subjects: AlertSubject[], atMs: number) => {
      const plan = book.plan(subjects, [route, webhookRoute({ name: "other" })], atMs);
      book.apply(plan);
      const before = pagerduty.received.length;
      for (const each of plan.commit.notifications.filter((one) => one.route === route.name && one.alerts.length > 0)) await make().notify(each, never);
      const told = pagerduty.received.slice(before).map(({ body }) => (JSON.parse(body) as { event_action: string }).event_action);
      return [...told, ...plan.commit.notifications.filter((one) => one.route === "other").map(() => "other")];
    };
    const on = (node: number, state: AlertSubject["state"]) => subject({ driftId: `D-${node}`, nodeName: `w-${node}`, state });
    const T0 = 1_790_000_000_000;
    expect(await actions([on(1, "open"), on(2, "open")], T0)).toEqual(["trigger", "other"]);
    expect(await actions([on(1, "acknowledged")], T0 + 1000)).toEqual([]);
    expect(await actions([on(2, "acknowledged")], T0 + 2000)).toEqual(["acknowledge"]);
    expect(pagerduty.alerts[0]?.alert.state).toBe("acknowledged");
    book = new AlertBook([...book.alerts()].map(({ record, members }) => ({ record, members: [...members.values()] })));
    expect(await actions([], T0 + 3000)).toEqual([]);
    // It spreads: news, for people who have to acknowledge it anew.
    expect(await actions([on(3, "open")], T0 + 4000)).toEqual(["trigger", "other"]);
    expect(await actions([on(3, "acknowledged")], T0 + 5000)).toEqual(["acknowledge"]);
    expect(await actions([on(1, "resolved"), on(2, "resolved"), on(3, "resolved")], T0 + 6000)).toEqual(["resolve", "other"]);
    expect(pagerduty.alerts.map(({ alert }) => alert.state)).toEqual(["resolved"]);
  });

  it("opens an alert that was acknowledged before it was told, and then says so", async () => {
    const { headers: _headers, hmacKeys: _keys, ...rest } = webhookRoute({ groupBy: [] });
    const route: PagerdutyRoute = { ...rest, type: "pagerduty", routingKey: { fromFile: "key" } };
    const book = new AlertBook();
    const outbox = new MemoryOutbox();
    for (const subjects of [[subject({ state: "acknowledged" })], []]) {
      const plan = book.plan(subjects, [route], 1_790_000_000_000);
      await outbox.commitAlerts(plan.commit);
      book.apply(plan);
      for (const each of plan.commit.notifications) await make().notify(each, never);
    }
    expect(pagerduty.alerts.map(({ alert }) => [alert.state, alert.events.length])).toEqual([["acknowledged", 2]]);
    // Two notifications of one moment are not taken for one.
    expect((await outbox.counts()).pending).toBe(2);
  });

  it("is within their limits with the largest alerts", async () => {
    for (const text of ["é", "\u{1f980}", '"', "&"]) await make().notify(largestAlerts(text, 3), never);
    expect(pagerduty.alerts.length).toBe(3);
  });

  it("says which alerts were refused, and tells the rest", async () => {
    const refused = await make("0".repeat(32))
      .notify(largestAlerts("x", 1), never)
      .catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: "NOTIFY_REJECTED", retryable: false, message: expect.stringContaining("Invalid routing key") });
    const bad = largestAlerts("x", 3);
    const alerts = bad.alerts.map((alert, i) => (i === 0 ? { ...alert, summary: "" } : alert));
    const partly = await make()
      .notify({ ...bad, alerts }, never)
      .catch((error: unknown) => error);
    expect(partly).toMatchObject({
      code: "NOTIFY_REJECTED",
      message: expect.stringMatching(/^NOTIFY_REJECTED: 1 of 3 alerts refused: HTTP 400: .*payload.summary/),
    });
    expect(pagerduty.alerts.length).toBe(2);
  });

  it("goes on where their throttle stopped it, and pages nobody twice", async () => {
    const outbox = new MemoryOutbox();
    const subjects = Array.from({ length: 5 }, (_, i) => subject({ driftId: `D-${i}`, path: Buffer.from(`/bin/${i}`) }));
    await outbox.commitAlerts(new AlertBook().plan(subjects, [webhookRoute({ groupBy: [] })], 1).commit);
    const take = pagerduty.answer;
    pagerduty.answer = (response, request) => (pagerduty.received.length === 3 ? response.writeHead(429).end() : take(response, request));
    let nowMs = 1000;
    const environment = { now: () => nowMs, random: () => 0.5, leaseMs: 60_000, ...ALONE };
    expect(await dispatchDue(outbox, make(), environment, never)).toMatchObject({ retried: 1 });
    nowMs += 61_000;
    expect(await dispatchDue(outbox, make(), environment, never)).toMatchObject({ delivered: 1 });
    expect(pagerduty.alerts.length).toBe(5);
  });
});

describe("Slack", () => {
  let slack: Slack;
  beforeEach(async () => {
    slack = await new Slack().start();
  });
  afterEach(() => slack[Symbol.asyncDispose]());
  const make = (url = slack.webhookUrl) => slackNotifier({ ...common, webhookUrl: async () => url });

  it("tells what, where and what to type next, and its end", async () => {
    const book = new AlertBook();
    await tell(book, make(), [subject()], 1_790_000_000_000);
    await tell(book, make(), [subject({ state: "resolved" })], 1_790_000_060_000);
    const [firing, resolved] = slack.messages;
    expect(firing?.text).toBe("CRITICAL shop/cart: /usr/bin/curl altered in an image layer on w-07");
    expect(firing?.blocks).toMatchObject([
      { type: "header", text: { text: firing?.text } },
      {
        type: "section",
        text: { text: expect.stringMatching(/^```[^`]*on the host, pid 22910[^`]*Next {3}hullmark drift show D-7K2Q[^`]*```\nPlaybook docs/) },
      },
      { type: "context", elements: [{ text: "<https://hullmark.example/|Hullmark>" }] },
    ]);
    expect(resolved?.text).toBe("RESOLVED CRITICAL shop/cart: /usr/bin/curl altered in an image layer on w-07");
    expect(resolved?.blocks[1]).toMatchObject({ text: { text: "```Over 2026-09-21T14:14:20.000Z```" } });
  });

  it("is within their limits with the most and the largest alerts, and counts the rest", async () => {
    for (const text of ["é", "\u{1f980}", "&", "<", "*", "`", '"']) await make().notify(largestAlerts(text, 100), never);
    expect(slack.messages.length).toBe(7);
    const context = slack.messages.at(-1)?.blocks.at(-1);
    expect(context).toMatchObject({
      type: "context",
      elements: [{ text: expect.stringMatching(/^and 9\d more: `hullmark drift ls` · 3 alerts of this route waited for its rate limit; 2 wait for it still/) }],
    });
  });

  it("is within their limits with the most and the smallest alerts: a hundred that end at once", async () => {
    const { alerts, ...rest } = largestAlerts("x", 100);
    for (const length of [1, 20, 60, 100, 200]) {
      const summary = "x".repeat(length);
      await make().notify({ ...rest, alerts: alerts.map((alert) => ({ ...alert, summary, status: "resolved", endsAtMs: 1_790_000_000_000 })) }, never);
    }
    expect(slack.messages.map(({ text }) => text.slice(0, 14))).toEqual(Array(5).fill("100 resolved: "));
    for (const { blocks } of slack.messages) expect(blocks.at(-1)).toMatchObject({ elements: [{ text: expect.stringMatching(/^and \d+ more: /) }] });
  });

  it("shows the gravest of what fires, however many there are before it", async () => {
    const { alerts, ...rest } = largestAlerts("x", 100);
    const [grave, ...others] = alerts.toReversed() as [AlertEvent, ...AlertEvent[]];
    const over = others.map((alert, i): AlertEvent => (i % 2 ? { ...alert, severity: "low" } : { ...alert, status: "resolved", endsAtMs: 1_790_000_000_000 }));
    await make().notify({ ...rest, alerts: [...over, { ...grave, summary: "CRITICAL shop/cart: /bin/x altered" }] }, never);
    expect(slack.messages[0]?.text).toBe("50 alerts, 50 resolved: CRITICAL shop/cart: /bin/x altered");
    expect(slack.messages[0]?.blocks[1]).toMatchObject({ text: { text: expect.stringContaining("CRITICAL shop/cart: /bin/x altered") } });
  });

  it("lets no name call people, lead anywhere or become formatting", async () => {
    const evil = "<!channel> <@U012AB3CD> <https://evil.example|Hullmark> *x* `y` ```";
    const subjects = [1, 2].map((i) =>
      subject({
        driftId: `D-${i}`,
        path: Buffer.from(`/${i}${evil}`),
        workload: evil,
        containerName: evil,
        imageReference: evil,
        summary: evil,
        layerHistory: evil,
      }),
    );
    await tell(new AlertBook(), make(), subjects, 1_790_000_000_000);
    await tell(new AlertBook(), make(), [subjects[0] as AlertSubject], 1_790_000_000_000);
    expect(slack.messages.length).toBe(2);
    // A header is plain text, in which Slack looks for nothing.
    const parsed = JSON.stringify(slack.messages.map(({ text, blocks }) => [text, blocks.slice(1)]));
    expect([...parsed.matchAll(/<[^>]*>/g)].map(([found]) => found)).toEqual(Array(2).fill("<https://hullmark.example/|Hullmark>"));
    for (const { blocks } of slack.messages) for (const block of blocks) if (block.type === "section") expect(block.text.text.match(/```/g)?.length).toBe(2);
  });

  it("waits as long as it is told, and gives up what was withdrawn", async () => {
    const notification = largestAlerts("x", 1);
    slack.ill.push(
      { status: 429, reason: "rate_limited", retryAfter: "30" },
      { status: 500, reason: "rollup_error" },
      { status: 410, reason: "channel_is_archived" },
    );
    const outcome = (notifier = make()) => notifier.notify(notification, never).catch((error: unknown) => error);
    expect(await outcome()).toMatchObject({ code: "NOTIFY_THROTTLED", retryAfterMs: 30_000, retryable: true });
    expect(await outcome()).toMatchObject({ code: "NOTIFY_SERVER_ERROR", retryable: true });
    expect(await outcome()).toMatchObject({ code: "NOTIFY_REJECTED", message: "NOTIFY_REJECTED: HTTP 410: channel_is_archived" });
    expect(await outcome(make(`${slack.url}/services/T0/B0/revoked`))).toMatchObject({ message: "NOTIFY_REJECTED: HTTP 404: no_service" });
    expect(await outcome(make("http://hooks.slack.example/services/T0/B0/s3cr3t"))).toMatchObject({
      code: "NOTIFY_SECRET",
      message: expect.not.stringContaining("s3cr3t"),
    });
    expect(await outcome()).toBe("HTTP 200: ok");
  });
});
