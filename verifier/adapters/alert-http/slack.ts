/**
 * Slack, through an incoming webhook: a message a notification, its end a message too. Names of files and workloads are chosen by whoever made them, so nothing
 * in them may become a mention, a link or formatting.
 * https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks · https://docs.slack.dev/reference/block-kit/blocks
 */
import { SEVERITIES, severityRank } from "../../core/policy/kinds.ts";
import type { AlertEvent, AlertNotification, Notifier } from "../../ports/notifier.ts";
import { NotifierError } from "../../ports/notifier.ts";
import { httpPost } from "./http-post.ts";
import { rateLimitNote } from "./rate-limit.ts";
import type { Secret } from "./secrets.ts";

const MAX_HEADER = 150;
const MAX_SECTION = 3000;
/** Characters of all sections together, as JSON: Slack refuses a message of some 13,000 (`msg_blocks_too_long`), without having published the figure. */
const MAX_MESSAGE = 10_000;
/** What a section takes beside its text. */
const SECTION_OVERHEAD = 70;
/** Slack takes 50 blocks: header and notes are two. */
const MAX_SECTIONS = 48;

export interface SlackOptions {
  readonly route: string;
  readonly webhookUrl: Secret;
  readonly timeoutMs: number;
  /** Where people reach the verifier; undefined: left out. */
  readonly externalUrl: string | undefined;
  /** PEM certificates for https. */
  readonly ca: string | undefined;
}

export function slackNotifier({ route, webhookUrl, timeoutMs, externalUrl, ca }: SlackOptions): Notifier {
  return {
    route,
    type: "slack",
    async notify(notification, signal) {
      const url = checkedUrl(await webhookUrl());
      const body = JSON.stringify(slackMessage(notification, externalUrl));
      return await httpPost({ url, headers: { "content-type": "application/json" }, body, timeoutMs, ca }, signal);
    },
  };
}

/** Its path is the secret: never a part of an error, and never sent in the clear but to this host itself. */
function checkedUrl(text: string): string {
  const { protocol, hostname } = URL.parse(text) ?? {};
  if (protocol === "https:" || (protocol === "http:" && hostname === "127.0.0.1")) return text;
  throw new NotifierError("NOTIFY_SECRET", "the secret is not an https URL, as Slack shows it for an incoming webhook");
}

/** The body of the request. */
function slackMessage(notification: AlertNotification, externalUrl: string | undefined): Record<string, unknown> {
  // What has no room is counted: that must be the least of it.
  const alerts = notification.alerts.toSorted((a, b) => weight(b) - weight(a));
  const limit = rateLimitNote(notification);
  const title = titleOf(alerts);
  const sections: string[] = [];
  let left = MAX_MESSAGE;
  for (const alert of alerts) {
    const text = alertText(alert, alerts.length > 1);
    const length = JSON.stringify(text).length + SECTION_OVERHEAD;
    if (length > left || sections.length === MAX_SECTIONS) break;
    left -= length;
    sections.push(text);
  }
  const more = alerts.length - sections.length;
  const notes = [
    ...(more > 0 ? [`and ${more} more: \`hullmark drift ls\``] : []),
    ...(limit === "" ? [] : [limit]),
    ...(externalUrl === undefined ? [] : [`<${escaped(new URL(externalUrl).href)}|Hullmark>`]),
  ];
  return {
    // What notifications and screen readers show instead of the blocks.
    text: escaped(title),
    blocks: [
      { type: "header", text: { type: "plain_text", text: cut(title, MAX_HEADER), emoji: false } },
      ...sections.map((text) => ({ type: "section", text: { type: "mrkdwn", text, verbatim: true } })),
      ...(notes.length === 0 ? [] : [{ type: "context", elements: [{ type: "mrkdwn", text: notes.join(" · "), verbatim: true }] }]),
    ],
  };
}

function weight({ status, severity }: AlertEvent): number {
  return (status === "firing" ? SEVERITIES.length : 0) + severityRank(severity);
}

/** @param alerts the gravest first */
function titleOf(alerts: readonly AlertEvent[]): string {
  const [first] = alerts;
  const mark = ({ status, summary }: AlertEvent) => (status === "resolved" ? `RESOLVED ${summary}` : summary);
  if (alerts.length === 1 && first) return mark(first);
  const resolved = alerts.filter(({ status }) => status === "resolved").length;
  const counts = [...(resolved < alerts.length ? [`${alerts.length - resolved} alerts`] : []), ...(resolved > 0 ? [`${resolved} resolved`] : [])].join(", ");
  return first ? `${counts}: ${mark(first)}` : counts;
}

/** 1 to MAX_SECTION characters. */
function alertText(alert: AlertEvent, titled: boolean): string {
  const resolved = alert.status === "resolved";
  const over = alert.endsAtMs === undefined ? "" : `Over ${new Date(alert.endsAtMs).toISOString()}`;
  const head = titled ? `*${resolved ? "RESOLVED " : ""}${inline(alert.summary)}*` : "";
  const foot = resolved || alert.playbook === "" ? "" : `Playbook ${inline(alert.playbook)}`;
  const text = (resolved ? over : alert.description).replaceAll("`", "'");
  const quoted = text === "" ? "" : `\`\`\`${cutEscaped(text, MAX_SECTION - head.length - foot.length - 8)}\`\`\``;
  return [head, quoted, foot].filter((part) => part !== "").join("\n") || inline(alert.summary) || "alert";
}

/** In a line with formatting: none of it is the text's own. */
function inline(text: string): string {
  return escaped(text.replaceAll(/[*_~`]/g, (mark) => `\u200b${mark}\u200b`));
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** Escaped, and then at most `max` characters, without an entity cut in two. */
function cutEscaped(text: string, max: number): string {
  const whole = escaped(text);
  if (whole.length <= max) return whole;
  return `${whole
    .slice(0, max - 1)
    .replace(/&[a-z]{0,3}$/, "")
    .toWellFormed()}…`;
}

function cut(text: string, max: number): string {
  return text.length <= max ? text : `${text.slice(0, max - 1).toWellFormed()}…`;
}
