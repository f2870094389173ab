/**
 * PagerDuty's Events API v2 as its description publishes it (PagerDuty/api-schema `reference/events-v2/openapiv3.json`, and the limits of its overview page):
 * takes what fits, keeps one alert a `dedup_key`, and refuses the rest with 400. A key that the description does not have is refused too: they would ignore it,
 * and it would be our mistake.
 */
import * as z from "zod";
import { HttpReceiver } from "./http-receiver.ts";

/** "Events API payloads are limited to 512 KB." */
const MAX_BYTES = 512_000;

const url = z.url({ protocol: /^https?$/ });
const event = z
  .strictObject({
    routing_key: z.string().length(32),
    event_action: z.enum(["trigger", "acknowledge", "resolve"]),
    dedup_key: z.string().min(1).max(255).optional(),
    client: z.string().optional(),
    client_url: url.optional(),
    links: z.array(z.strictObject({ href: url, text: z.string().optional() })).optional(),
    images: z.array(z.strictObject({ src: z.url({ protocol: /^https$/ }), href: url.optional(), alt: z.string().optional() })).optional(),
    payload: z
      .strictObject({
        summary: z.string().min(1).max(1024),
        source: z.string().min(1),
        severity: z.enum(["critical", "error", "warning", "info"]),
        timestamp: z.iso.datetime({ offset: true }).optional(),
        component: z.string().optional(),
        group: z.string().optional(),
        class: z.string().optional(),
        custom_details: z.record(z.string(), z.unknown()).optional(),
      })
      .optional(),
  })
  .refine(({ event_action, payload }) => event_action !== "trigger" || payload !== undefined, "'payload' is missing or blank")
  .refine(({ event_action, dedup_key }) => event_action === "trigger" || dedup_key !== undefined, "'dedup_key' is missing or blank");
type PagerdutyEvent = z.infer<typeof event>;

interface PagerdutyAlert {
  readonly state: "triggered" | "acknowledged" | "resolved";
  /** Log entries, the first trigger included. */
  readonly events: readonly PagerdutyEvent[];
}

export class Pagerduty extends HttpReceiver {
  static readonly KEY = "e93facc04764012d7bfb002500d5d1a6";
  /** One a page: a key that was resolved and triggered again is another. */
  readonly alerts: { readonly key: string; alert: PagerdutyAlert }[] = [];

  override answer: HttpReceiver["answer"] = (response, { method, url: path, headers, body }) => {
    const say = (status: number, answer: Record<string, unknown>) =>
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(answer));
    const refuse = (...errors: string[]) => say(400, { status: "invalid event", message: "Event object is invalid", errors });
    if (method !== "POST" || path !== "/v2/enqueue") return say(404, { status: "not found", message: "Not Found" });
    if (Buffer.byteLength(body) > MAX_BYTES) return refuse("Event payload is too large");
    if (headers["content-type"] !== "application/json") return refuse("Content-Type is not application/json");
    let json: unknown;
    try {
      json = JSON.parse(body);
    } catch {
      return say(400, { status: "Unrecognized object", message: "Event object format is unrecognized", errors: ["JSON parse error"] });
    }
    const { data, error } = event.safeParse(json);
    if (!data) return refuse(...error.issues.map(({ path: at, message }) => `${at.join(".")}: ${message}`));
    if (data.routing_key !== Pagerduty.KEY) return refuse("Invalid routing key");
    const key = data.dedup_key ?? crypto.randomUUID();
    this.#take(key, data);
    return say(202, { status: "success", message: "Event processed", dedup_key: key });
  };

  #take(key: string, data: PagerdutyEvent): void {
    const open = this.alerts.findLast((each) => each.key === key && each.alert.state !== "resolved");
    if (!open) {
      // Any other action for an alert that is not open is dropped.
      if (data.event_action === "trigger") this.alerts.push({ key, alert: { state: "triggered", events: [data] } });
      return;
    }
    const { state, events } = open.alert;
    const next = { trigger: state, acknowledge: "acknowledged", resolve: "resolved" } as const;
    open.alert = { state: next[data.event_action], events: [...events, data] };
  }
}
