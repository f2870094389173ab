import type { AlertSubject, DispatchEnvironment, HandledAlerts } from "@hullmark/verifier/core/alerting/index";
import { incidentId } from "@hullmark/verifier/core/incident/incident";
import type { AlertMatch, AlertmanagerRoute, WebhookRoute } from "@hullmark/verifier/core/policy/types";
import type { AlertEvent, AlertNotification } from "@hullmark/verifier/ports/notifier";

/** The drift of UX.md's example, open. */
export function subject(change: Partial<AlertSubject> = {}): AlertSubject {
  const { imageReference, path, kind }: AlertSubject = { ...DRIFT, ...change };
  return { ...DRIFT, incident: incidentId({ image: imageReference, path, kind }), image: imageReference, ...change };
}

const DRIFT: AlertSubject = {
  incident: "",
  image: "",
  driftId: "D-7K2Q",
  state: "open",
  kind: "content",
  place: "layer",
  severity: "critical",
  nodeName: "w-07",
  workload: "shop/cart",
  imageReference: "registry.example/acme/cart:1",
  containerName: "cart-1",
  path: Buffer.from("/usr/bin/curl"),
  summary: "sha256 9f2c… → 41aa…",
  layerIndex: 2,
  layerHistory: "RUN apt-get install curl",
  actor: { executable: "/usr/bin/dd", pid: 22910, uid: 0, inContainer: false, located: true, entry: "" },
  provenance: "signed by release",
  sinceMs: 1_790_000_000_000,
  logIndex: 18203,
};

export const EVERY_ALERT: AlertMatch = { namespaces: [], nodes: [], pools: [], kinds: [], nodeRules: [] };

export function webhookRoute(change: Partial<WebhookRoute> = {}): WebhookRoute {
  return {
    type: "webhook",
    name: "hook",
    url: "http://127.0.0.1:1/",
    headers: {},
    minSeverity: "info",
    match: EVERY_ALERT,
    groupBy: ["node", "workload"],
    groupWaitSeconds: 0,
    repeatSeconds: undefined,
    maxPerMinute: 60,
    timeoutSeconds: 5,
    caFile: undefined,
    hmacKeys: [],
    ...change,
  };
}

export function alertmanagerRoute(change: Partial<AlertmanagerRoute> = {}): AlertmanagerRoute {
  const { hmacKeys: _keys, ...common } = webhookRoute();
  return { ...common, name: "pager", ...change, type: "alertmanager" };
}

/** Nobody else is to know of a delivery. */
export const ALONE: Pick<DispatchEnvironment, "onDelivered" | "passing"> = { onDelivered: async () => {}, passing: () => {} };

/** Nobody's yes is waited for. */
export const NOTHING_WAITS: Pick<HandledAlerts, "unsaid" | "noteRetold"> = { unsaid: () => [], noteRetold: () => {} };

/** Every field as long as the port allows, of characters that take most bytes and escapes. */
export function largestAlerts(text: string, count: number): AlertNotification {
  const fill = (length: number) => text.repeat(length).slice(0, length);
  const many = (length: number) => Array.from({ length: 16 }, () => fill(length));
  const alert = (i: number): AlertEvent => ({
    ...{ fingerprint: i.toString(16).padStart(32, "0"), incident: fill(32), status: "firing", severity: "critical", kind: "content", node: fill(253) },
    ...{ workload: fill(253), image: fill(512), path: fill(1024), containers: many(128), containerCount: 99 },
    ...{ nodes: many(253), nodeCount: 99, workloads: many(253), workloadCount: 99, earlierSeverities: [], acknowledged: false, driftCount: 99, reopened: 9 },
    ...{ driftIds: many(32), startsAtMs: 1, endsAtMs: undefined, summary: fill(512), description: fill(4096) },
    ...{ nextCommand: fill(256), playbook: fill(64) },
  });
  return { id: "n", route: "hook", groupKey: "", alerts: Array.from({ length: count }, (_, i) => alert(i)), suppressed: 3, waiting: 2, createdAtMs: 1 };
}
