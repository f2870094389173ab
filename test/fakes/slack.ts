/**
 * Slack's incoming webhooks as their pages describe them: the reasons of "Handling errors", and Block Kit's limits for the blocks that the notifier may use.
 * Other blocks are refused, though Slack has more. https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
 */
import * as z from "zod";
import { HttpReceiver } from "./http-receiver.ts";

const plainText = (max: number) => z.strictObject({ type: z.literal("plain_text"), text: z.string().min(1).max(max), emoji: z.boolean().optional() });
const mrkdwn = (max: number) => z.strictObject({ type: z.literal("mrkdwn"), text: z.string().min(1).max(max), verbatim: z.boolean().optional() });
const blockId = { block_id: z.string().max(255).optional() };
const block = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("header"), text: plainText(150), ...blockId }),
  z.strictObject({ type: z.literal("section"), text: z.discriminatedUnion("type", [plainText(3000), mrkdwn(3000)]), ...blockId }),
  z.strictObject({
    type: z.literal("context"),
    elements: z
      .array(z.discriminatedUnion("type", [plainText(3000), mrkdwn(3000)]))
      .min(1)
      .max(10),
    ...blockId,
  }),
  z.strictObject({ type: z.literal("divider"), ...blockId }),
]);
const message = z.strictObject({ text: z.string().max(40_000).optional(), blocks: z.array(z.unknown()).optional() });
export type SlackBlock = z.infer<typeof block>;

/** Not published; seen by those who ran into it: https://github.com/slackapi/bolt-js/issues/2509 */
const MAX_BLOCKS_LENGTH = 13_000;

export class Slack extends HttpReceiver {
  static readonly PATH = "/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX";
  readonly messages: { readonly text: string; readonly blocks: readonly SlackBlock[] }[] = [];
  /** Answers that come before it takes anything again. */
  readonly ill: { readonly status: number; readonly reason: string; readonly retryAfter?: string }[] = [];

  get webhookUrl(): string {
    return `${this.url}${Slack.PATH}`;
  }

  override answer: HttpReceiver["answer"] = (response, { method, url, headers, body }) => {
    const refuse = (status: number, reason: string) => response.writeHead(status, { "content-type": "text/html" }).end(reason);
    const trouble = this.ill.shift();
    if (trouble) return response.writeHead(trouble.status, trouble.retryAfter === undefined ? {} : { "retry-after": trouble.retryAfter }).end(trouble.reason);
    if (method !== "POST" || url !== Slack.PATH) return refuse(404, "no_service");
    if (headers["content-type"] !== "application/json") return refuse(400, "invalid_payload");
    let json: unknown;
    try {
      json = JSON.parse(body);
    } catch {
      return refuse(400, "invalid_payload");
    }
    const { data } = message.safeParse(json);
    if (!data) return refuse(400, "invalid_payload");
    if (!data.text && !data.blocks?.length) return refuse(400, "no_text");
    const blocks = z
      .array(block)
      .max(50)
      .safeParse(data.blocks ?? []);
    if (!blocks.success) return refuse(400, "invalid_blocks");
    if (JSON.stringify(data.blocks ?? []).length > MAX_BLOCKS_LENGTH) return refuse(400, "msg_blocks_too_long");
    this.messages.push({ text: data.text ?? "", blocks: blocks.data });
    return response.writeHead(200, { "content-type": "text/html" }).end("ok");
  };

  /** What in the messages would call people, or lead somewhere: `<!channel>`, `<@U…>`, `<#C…>`, links. */
  get references(): string[] {
    return this.messages.flatMap((each) => [...JSON.stringify(each).matchAll(/<[^>]*>/g)].map(([text]) => text));
  }
}
