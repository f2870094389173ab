/** Commit statuses, against fakes made from what GitHub and GitLab publish: whole episodes, the largest alerts, and provenance that would have the token sent elsewhere. */
import { commitStatusNotifier } from "@hullmark/verifier/adapters/alert-http/index";
import { AlertBook, type AlertSubject, standingBeside } from "@hullmark/verifier/core/alerting/index";
import type { CommitService } from "@hullmark/verifier/core/policy/types";
import type { AlertEvent, AlertNotification } from "@hullmark/verifier/ports/notifier";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { largestAlerts, subject, webhookRoute } from "../fakes/alert-subjects.ts";
import { Github, Gitlab } from "../fakes/code-hosts.ts";

const never = new AbortController().signal;
const SHA = "3e1f".repeat(10);
const T0 = 1_790_000_000_000;

describe.each(["github", "gitlab"] as const)("%s", (service: CommitService) => {
  const fails = service === "github" ? "failure" : "failed";
  let host: Github | Gitlab;
  let book: AlertBook;
  beforeEach(async () => {
    host = await (service === "github" ? new Github() : new Gitlab()).start();
    host.repositories.set("acme/shop", [SHA]).set("acme/elsewhere", [SHA]);
    book = new AlertBook();
  });
  afterEach(() => host[Symbol.asyncDispose]());

  const origin = () => host.url.replace("http:", "https:");
  const base = () => (service === "github" ? host.url : `${host.url}/api/v4`);
  const of = (change: Partial<AlertSubject> = {}) => subject({ source: { repository: `${origin()}/acme/shop`, commit: SHA }, ...change });
  const make = (token = Github.TOKEN, repositories = [`${origin()}/acme/shop`]) =>
    commitStatusNotifier({
      ...{
        route: "hook",
        service,
        url: base(),
        token: async () => token,
        repositories,
        timeoutMs: 5000,
        externalUrl: "https://hullmark.example",
        ca: undefined,
      },
      standing: (alert) => standingBeside(book.alerts(), "hook", alert),
    });
  /** Tells what the book has to say of the subjects. */
  async function tell(subjects: AlertSubject[], nowMs: number): Promise<AlertNotification[]> {
    const plan = book.plan(subjects, [webhookRoute({ groupBy: [] })], nowMs);
    book.apply(plan);
    for (const notification of plan.commit.notifications) await make().notify(notification, never);
    return [...plan.commit.notifications];
  }
  const states = () => host.statuses.map(({ context, state }) => `${context} ${state}`);

  it("fails the commit while something of a workload differs, and passes it when nothing does any more", async () => {
    const one = of();
    const other = of({ driftId: "D-2", path: Buffer.from("/etc/x"), severity: "medium" });
    await tell([one], T0);
    expect(host.statuses).toEqual([
      {
        ...{ repository: "acme/shop", sha: SHA, context: "hullmark/shop/cart", state: fails },
        description: `critical content /usr/bin/curl on 1 node: hullmark incident show ${one.incident}`,
      },
    ]);
    await tell([other, of({ driftId: "D-3", workload: "shop/web", kind: "setuid" })], T0 + 1000);
    expect(states().sort()).toEqual([`hullmark/shop/cart ${fails}`, `hullmark/shop/web ${fails}`]);
    expect(host.statuses.find(({ context }) => context === "hullmark/shop/cart")?.description).toContain("medium content /etc/x on 1 node, and 1 more");
    // The last word is no pass as long as the other stands.
    await tell([{ ...one, state: "resolved" }], T0 + 60_000);
    expect(host.statuses.find(({ context }) => context === "hullmark/shop/cart")).toMatchObject({
      state: fails,
      description: "1 difference from what was signed still, medium",
    });
    await tell([{ ...other, state: "resolved" }], T0 + 120_000);
    expect(states().sort()).toEqual(["hullmark/shop/cart success", `hullmark/shop/web ${fails}`]);
  });

  it("calls no workload well that still differs where another opened the incident, or in what stands for many", async () => {
    const joint = of({ driftId: "D-1", incident: "I-1", workload: "shop/web" });
    const own = of({ driftId: "D-2", incident: "I-2", path: Buffer.from("/etc/x") });
    await tell([joint, own], T0);
    await tell([{ ...joint, driftId: "D-3", workload: "shop/cart" }], T0 + 1000);
    await tell([{ ...own, state: "resolved" }], T0 + 60_000);
    expect(states()).toContain(`hullmark/shop/cart ${fails}`);

    book = new AlertBook();
    host.statuses.length = 0;
    const many = Array.from({ length: 51 }, (_, i) => of({ driftId: `M-${i}`, incident: `I-m${i}`, path: Buffer.from(`/${i}`) }));
    await tell(many, T0 + 120_000);
    expect([...book.alerts()].filter(({ record }) => record.storm)).toHaveLength(1);
    await tell(
      many.slice(0, 50).map((each) => ({ ...each, state: "resolved" as const })),
      T0 + 180_000,
    );
    expect(states()).toEqual([`hullmark/shop/cart ${fails}`]);
  });

  it("tells the others where a commit that provenance names is none", async () => {
    const unknown = of({ driftId: "D-9", incident: "I-9", workload: "shop/web", source: { repository: `${origin()}/acme/shop`, commit: "0".repeat(40) } });
    await expect(tell([of(), unknown], T0)).rejects.toMatchObject({ code: "NOTIFY_REJECTED" });
    expect(states()).toEqual([`hullmark/shop/cart ${fails}`]);
    host.statuses.length = 0;
    const later = [{ ...unknown, driftId: "D-8", incident: "I-8" }, of({ driftId: "D-7", incident: "I-7" })];
    await expect(tell(later, T0 + 1000)).rejects.toMatchObject({ code: "NOTIFY_REJECTED" });
    expect(states()).toEqual([`hullmark/shop/cart ${fails}`]);
  });

  it("says nothing of commits that nobody listed, that are none, or are unknown", async () => {
    const sources = [
      { repository: `${origin()}/acme/elsewhere`, commit: SHA },
      { repository: `${origin()}/acme/shop/../elsewhere`, commit: SHA },
      { repository: "https://evil.example/acme/shop", commit: SHA },
      { repository: `${origin()}.evil.example/acme/shop`, commit: SHA },
      { repository: `${origin()}@evil.example/acme/shop`, commit: SHA },
      { repository: `${origin()}/acme/shop?x=`, commit: SHA },
      { repository: `${origin()}/acme/shop`, commit: "main" },
      { repository: `${origin()}/acme/shop`, commit: `${SHA}/../../..` },
      { repository: "", commit: "" },
      undefined,
    ];
    for (const [i, source] of sources.entries()) {
      const [sent] = await tell([of({ source, driftId: `D-${i}`, path: Buffer.from(JSON.stringify(source ?? "")) })], T0);
      expect(await make().notify(sent as AlertNotification, never)).toContain("nothing to say");
      // Whatever the policy's globs let through.
      const wide = make(Github.TOKEN, [`${origin()}/acme/**`, "https://**"]);
      if (source?.repository !== `${origin()}/acme/elsewhere`) expect(await wide.notify(sent as AlertNotification, never)).toContain("nothing to say");
    }
    expect(host.received).toEqual([]);
    expect(states()).toEqual([]);
  });

  it("takes repositories as builders write them", async () => {
    for (const end of [".git", "/", ""])
      await tell([of({ driftId: `D${end}`, path: Buffer.from(`/${end}x`), source: { repository: `${origin()}/acme/shop${end}`, commit: SHA } })], T0);
    expect(host.received.length).toBe(3);
    expect(states()).toEqual([`hullmark/shop/cart ${fails}`]);
  });

  it("is within their limits with the largest alerts", async () => {
    for (const text of ["é", "\u{1f980}", '"', "/"]) {
      const { alerts, ...rest } = largestAlerts(text, 1);
      const source = { repository: `${origin()}/acme/shop`, commit: SHA };
      await make().notify({ ...rest, alerts: alerts.map((alert): AlertEvent => ({ ...alert, source })) }, never);
    }
    expect(host.statuses.length).toBe(4);
  });

  it("tries again what is refused for now, gives up what is refused for good, and tells no token", async () => {
    const [sent] = await tell([of()], T0);
    const outcome = async (notifier = make()) => notifier.notify(sent as AlertNotification, never).catch((error: unknown) => error);
    host.ill.push({ status: 403, headers: { "retry-after": "60" } }, { status: 403, headers: { "x-ratelimit-remaining": "0" } }, { status: 502, headers: {} });
    expect(await outcome()).toMatchObject({ code: "NOTIFY_THROTTLED", retryAfterMs: 60_000, retryable: true });
    expect(await outcome()).toMatchObject({ code: "NOTIFY_THROTTLED", retryable: true });
    expect(await outcome()).toMatchObject({ code: "NOTIFY_SERVER_ERROR", retryable: true });
    const bad = await outcome(make("wrong-token-of-somebody"));
    expect(bad).toMatchObject({ code: "NOTIFY_REJECTED", retryable: false });
    expect(String(bad)).not.toContain("wrong-token");
    host.repositories.set("acme/shop", []);
    expect(await outcome()).toMatchObject({ code: "NOTIFY_REJECTED" });
  });

  it("tries the token where it is tested, and posts nothing", async () => {
    const { alerts, ...rest } = largestAlerts("x", 1);
    const test = { ...rest, alerts: alerts.map((alert): AlertEvent => ({ ...alert, kind: "test" })) };
    expect(await make().notify(test, never)).toMatch(/^HTTP 200/);
    await expect(make("wrong-token-of-somebody").notify(test, never)).rejects.toMatchObject({ code: "NOTIFY_REJECTED" });
    expect(states()).toEqual([]);
  });
});
