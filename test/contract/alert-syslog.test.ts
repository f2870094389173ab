/** Syslog routes: what a real rsyslog makes of the messages, held against OCSF's published schema; and receivers that do not take them. */

import type { AddressInfo } from "node:net";
import { createServer, type Server, type Socket } from "node:net";
import { syslogNotifier } from "@hullmark/verifier/adapters/alert-syslog/index";
import { syslogFrame } from "@hullmark/verifier/adapters/alert-syslog/message";
import { detectionFinding } from "@hullmark/verifier/adapters/alert-syslog/ocsf";
import { AlertBook, dispatchDue } from "@hullmark/verifier/core/alerting/index";
import type { SyslogRoute } from "@hullmark/verifier/core/policy/types";
import type { AlertNotification } from "@hullmark/verifier/ports/notifier";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { ALONE, largestAlerts, subject, webhookRoute } from "../fakes/alert-subjects.ts";
import { MemoryOutbox } from "../fakes/memory-outbox.ts";
import { ocsfProblems } from "../fakes/ocsf.ts";
import { hasRsyslog, Rsyslog } from "../fakes/rsyslog.ts";

const never = new AbortController().signal;
const surroundings = { hostname: "eu-1.hullmark", version: "0.1.0", externalUrl: "https://hullmark.example" };
const AUTHPRIV = 10;

function route(change: Partial<SyslogRoute>): SyslogRoute {
  const { url: _url, headers: _headers, hmacKeys: _keys, ...common } = webhookRoute();
  return { ...common, host: "127.0.0.1", port: 1, transport: "tcp", facility: AUTHPRIV, maxBytes: 8192, timeoutSeconds: 20, ...change, type: "syslog" };
}

function episode(): AlertNotification[] {
  const book = new AlertBook();
  return (["open", "resolved"] as const).flatMap((state, i) => {
    const plan = book.plan([subject({ state })], [webhookRoute()], 1_790_000_000_000 + i * 60_000);
    book.apply(plan);
    return [...plan.commit.notifications];
  });
}

describe("a real rsyslog", () => {
  if (!hasRsyslog && process.env["CI"])
    it("is there under CI", () => {
      throw new Error("rsyslog or rsyslog-openssl is missing");
    });

  describe.runIf(hasRsyslog).each(["tls", "tcp"] as const)("over %s", (transport) => {
    let rsyslog: Rsyslog;
    beforeAll(async () => {
      rsyslog = await Rsyslog.start(transport);
    });
    afterAll(() => rsyslog[Symbol.asyncDispose]());
    const trusting = () => (transport === "tls" ? { caFile: rsyslog.caFile } : {});
    const make = (change: Partial<SyslogRoute> = {}) => syslogNotifier(route({ transport, port: rsyslog.port, ...trusting(), ...change }), surroundings);

    it("reads a finding as it begins and ends, and OCSF has nothing against it", async () => {
      for (const each of episode()) expect(await make().notify(each, never)).toBe(`1 messages read by 127.0.0.1:${rsyslog.port}, which ended the connection`);
      const [firing, resolved] = await rsyslog.messages(2);
      expect(firing).toMatchObject({ pri: "82", hostname: "eu-1.hullmark", programname: "hullmark", procid: "-", msgid: "firing", "structured-data": "-" });
      const [begin, end] = [firing, resolved].map((message) => JSON.parse(message?.msg ?? "") as Record<string, unknown>);
      expect([begin, end].map(ocsfProblems)).toEqual([[], []]);
      expect(begin).toMatchObject({
        ...{ class_uid: 2004, type_uid: 200401, severity: "Critical", status: "New", is_alert: true, time: 1_790_000_000_000 },
        message: "CRITICAL shop/cart: /usr/bin/curl altered in an image layer on w-07",
        resources: [
          { type: "node", name: "w-07", hostname: "w-07" },
          { type: "workload", name: "cart", namespace: "shop" },
          { type: "image", uid: "registry.example/acme/cart:1" },
        ],
        evidences: [{ file: { name: "curl", path: "/usr/bin/curl" }, container: { name: "cart-1" } }],
        metadata: { correlation_uid: subject().incident },
      });
      expect(end).toMatchObject({ type_uid: 200403, status: "Resolved", is_alert: false, end_time: 1_790_000_060_000 });
      const findings = [begin, end].map((each) => each?.["finding_info"] as { uid: string } | undefined);
      expect(findings[1]?.uid).toBe(findings[0]?.uid);
    });

    it("gets the largest alerts whole, in as many messages, whatever is in their names", async () => {
      const before = (await rsyslog.messages(0)).length;
      const texts = ["é", "\u{1f980}", "\u2028", '"', "\\", "<13>1 - - - - - - "];
      for (const text of texts) await make().notify(largestAlerts(text, 3), never);
      const messages = (await rsyslog.messages(before + texts.length * 3)).slice(before);
      expect(messages.length).toBe(texts.length * 3);
      for (const { msg, msgid } of messages) {
        expect(msgid).toBe("firing");
        expect(ocsfProblems(JSON.parse(msg))).toEqual([]);
      }
    });

    it("is told what came while it was away, once", async () => {
      const before = (await rsyslog.messages(0)).length;
      const outbox = new MemoryOutbox();
      await outbox.commitAlerts(new AlertBook().plan([subject()], [webhookRoute()], 1).commit);
      let nowMs = 1000;
      const environment = { now: () => nowMs, random: () => 0.5, leaseMs: 60_000, ...ALONE };
      const notifier = { ...make(), route: "hook" };
      await rsyslog.down();
      expect(await dispatchDue(outbox, notifier, environment, never)).toMatchObject({ retried: 1 });
      await rsyslog.up();
      nowMs += 61_000;
      expect(await dispatchDue(outbox, notifier, environment, never)).toMatchObject({ delivered: 1 });
      expect((await rsyslog.messages(before + 1)).length).toBe(before + 1);
    });

    if (transport === "tls")
      it("is not told anything where its certificate is nobody's", async () => {
        const before = (await rsyslog.messages(0)).length;
        const [notification] = episode();
        for (const change of [{ caFile: undefined }, { host: "localhost" }])
          await expect(make(change).notify(notification as AlertNotification, never)).rejects.toMatchObject({ code: "NOTIFY_UNREACHABLE", retryable: true });
        expect((await rsyslog.messages(0)).length).toBe(before);
      });
  });
});

describe("a receiver that does not take it", () => {
  async function receiver(behave: (socket: Socket) => void): Promise<number> {
    const sockets: Socket[] = [];
    const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
      sockets.push(socket);
      socket.on("error", () => {});
      behave(socket);
    });
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return (server.address() as AddressInfo).port;
  }
  const outcome = async (change: Partial<SyslogRoute>, signal = never) => {
    const [notification] = episode();
    return await syslogNotifier(route(change), surroundings)
      .notify(notification as AlertNotification, signal)
      .catch((error: unknown) => error);
  };

  it("is tried again: nobody there, cut off before it had read everything, or never done", async () => {
    expect(await outcome({ port: 9 })).toMatchObject({ code: "NOTIFY_UNREACHABLE", retryable: true });
    expect(await outcome({ port: await receiver((socket) => socket.resetAndDestroy()) })).toMatchObject({ code: "NOTIFY_UNREACHABLE" });
    expect(await outcome({ port: await receiver((socket) => socket.once("data", () => socket.resetAndDestroy())) })).toMatchObject({
      code: "NOTIFY_UNREACHABLE",
    });
    expect(await outcome({ port: await receiver((socket) => socket.resume()), timeoutSeconds: 1 })).toMatchObject({ code: "NOTIFY_TIMEOUT", retryable: true });
    expect(await outcome({ port: await receiver((socket) => socket.resume().on("end", () => socket.end())) })).toMatch(/^1 messages read by/);
  });

  it("holds nobody up who is told to end", async () => {
    const controller = new AbortController();
    const pending = outcome({ port: await receiver((socket) => socket.resume()) }, controller.signal);
    controller.abort(new Error("shutting down"));
    expect(await pending).toMatchObject({ message: "shutting down" });
    expect(await outcome({}, AbortSignal.abort(new Error("already")))).toMatchObject({ message: "already" });
  });
});

it.each(["é", "\u{1f980}", "\u2028", '"', "\\", "x"])(
  "fits the largest alert of %j into the shortest message that policy allows, and cuts no character in two",
  (text) => {
    const notification = largestAlerts(text, 1);
    const header = { facility: 23, severity: "critical", atMs: 0, hostname: "h".repeat(64), messageId: "resolved" } as const;
    for (const maxBytes of [2048, 3000, 8192]) {
      const finding = detectionFinding(notification.alerts[0] as AlertNotification["alerts"][0], notification, surroundings);
      const [, length, rest = ""] = /^(\d+) (.*)$/s.exec(syslogFrame(header, finding, maxBytes)) ?? [];
      expect(Number(length)).toBeLessThanOrEqual(maxBytes);
      const parsed = JSON.parse(rest.slice(rest.indexOf("{"))) as { finding_info: { uid: string }; message: string };
      expect(parsed.finding_info.uid).toBe(notification.alerts[0]?.fingerprint);
      expect(parsed.message.isWellFormed()).toBe(true);
      expect(parsed.message.startsWith(text)).toBe(true);
    }
  },
);

it("makes one frame of ASCII, with its length before it, of any text", () => {
  const header = { facility: 23, severity: "low", atMs: 0, hostname: "a b\né", messageId: "firing" } as const;
  fc.assert(
    fc.property(
      fc.dictionary(fc.string({ unit: "binary" }), fc.oneof(fc.string({ unit: "binary", maxLength: 6000 }), fc.array(fc.string({ unit: "binary" })))),
      (content) => {
        let frame = "";
        try {
          frame = syslogFrame(header, content, 8192);
        } catch (error) {
          // Names of fields are ours: only these can be too many.
          expect(error).toBeInstanceOf(RangeError);
          return;
        }
        const [, length, rest = ""] = /^(\d+) (.*)$/s.exec(frame) ?? [];
        expect(Number(length)).toBe(Buffer.byteLength(rest));
        expect(Number(length)).toBeLessThanOrEqual(8192);
        expect(rest).toMatch(/^<189>1 1970-01-01T00:00:00\.000Z ab hullmark - firing - \{[\x20-\x7e]*\}$/);
        const parsed = JSON.parse(rest.slice(rest.indexOf("{"))) as Record<string, unknown>;
        if (JSON.stringify(content).length < 1000) expect(Object.keys(parsed).length).toBe(Object.keys(content).length);
      },
    ),
  );
});
