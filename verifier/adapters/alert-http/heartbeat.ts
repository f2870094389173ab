/**
 * Heartbeats over HTTP. To Alertmanager: an alert that fires as long as it is sent again, and ends by itself when it is not. To anything else that listens for
 * pings (healthchecks.io and its like): a request to its URL.
 */
import type { HeaderValue, SecretSource } from "../../core/policy/types.ts";
import type { Heartbeat } from "../../ports/heartbeat.ts";
import { NotifierError } from "../../ports/notifier.ts";
import { headersOf } from "./headers.ts";
import { httpPost } from "./http-post.ts";
import { type SecretPlaces, secretOf } from "./secrets.ts";

/** Beats that may be lost before Alertmanager takes the verifier for silent, and the one that is due. */
const HELD_BEATS = 3;

interface HeartbeatCommon {
  readonly name: string;
  readonly everySeconds: number;
  readonly timeoutSeconds: number;
  readonly caFile?: string | undefined;
}
export interface AlertmanagerHeartbeat extends HeartbeatCommon {
  readonly type: "alertmanager";
  /** Base URL: `/api/v2/alerts` is added. */
  readonly url: string;
  readonly headers: Readonly<Record<string, HeaderValue>>;
}
export interface PingHeartbeat extends HeartbeatCommon {
  readonly type: "ping";
  /** Whoever knows it can keep the alarm quiet: a secret, unless it is written down as it is. */
  readonly url: string | SecretSource;
  readonly method: "GET" | "POST";
}
export type HeartbeatSettings = AlertmanagerHeartbeat | PingHeartbeat;

export interface HeartbeatSurroundings extends SecretPlaces {
  readonly readFile: (path: string) => string;
  readonly verifierId: string;
  readonly region: string;
  readonly externalUrl: string | undefined;
}

/** @throws Error where a named environment variable is not set, or the CA file cannot be read */
export function heartbeatFor(settings: HeartbeatSettings, surroundings: HeartbeatSurroundings): Heartbeat {
  const { name, everySeconds, timeoutSeconds, caFile } = settings;
  const ca = caFile === undefined ? undefined : surroundings.readFile(caFile);
  const common = { timeoutMs: timeoutSeconds * 1000, ca };
  const everyMs = everySeconds * 1000;
  const secret = (from: SecretSource) => secretOf(from, `heartbeat ${name}`, surroundings);
  if (settings.type === "alertmanager") {
    const url = `${settings.url.replace(/\/+$/, "")}/api/v2/alerts`;
    const headers = headersOf(settings.headers, secret);
    return {
      ...{ name, everyMs },
      async beat(signal) {
        const body = JSON.stringify([heartbeatAlert(surroundings, everyMs, Date.now())]);
        await httpPost({ ...common, url, headers: { ...(await headers()), "content-type": "application/json" }, body }, signal);
      },
    };
  }
  const { url: from, method } = settings;
  const urlOf = typeof from === "string" ? () => Promise.resolve(from) : secret(from);
  const body = method === "POST" ? `hullmark verifier ${surroundings.verifierId} (${surroundings.region}) is ready\n` : "";
  return {
    ...{ name, everyMs },
    async beat(signal) {
      const url = checked(await urlOf());
      await httpPost({ ...common, method, url, headers: body === "" ? {} : { "content-type": "text/plain; charset=utf-8" }, body }, signal);
    },
  };
}

/** Labels that stay: each beat is the same alert to Alertmanager, good for three pauses. */
function heartbeatAlert({ verifierId, region, externalUrl }: HeartbeatSurroundings, everyMs: number, nowMs: number): Record<string, unknown> {
  return {
    labels: { alertname: "HullmarkHeartbeat", severity: "none", verifier: verifierId, region },
    annotations: {
      summary: `Hullmark's verifier ${verifierId} is alive and well`,
      description: "It fires always. When it is resolved, the verifier has fallen silent: nothing is judged, and nobody is told of drift.",
      playbook: "docs/playbooks.md#verifier",
    },
    startsAt: new Date(nowMs).toISOString(),
    endsAt: new Date(nowMs + HELD_BEATS * everyMs).toISOString(),
    ...(externalUrl === undefined ? {} : { generatorURL: externalUrl }),
  };
}

function checked(url: string): string {
  if (/^https?:\/\/[^\s/]/.test(url) && URL.canParse(url)) return url;
  throw new NotifierError("NOTIFY_SECRET", "the secret is no http or https URL");
}
