/**
 * {@link NodeHook} by the API server: label, taint and `spec.unschedulable` of a Node. What is put on names its action, and a merge patch holds for exactly the object
 * that was looked at: what somebody else put on is neither taken over nor taken away.
 */
import type { ApiAnswer, ApiServer } from "@hullmark/daemon/api-server";
import { NodeMark } from "@hullmark/proto/v1/response";
import * as z from "zod";
import { EngineError } from "../../ports/engine.ts";
import type { NodeCall, NodeCallResult, NodeHook, NodeUndone } from "../../ports/node-hook.ts";
import { ask, problem } from "./api-answers.ts";
import { type ActionEvent, MAX_INSTANCE, MAX_NAME, MAX_NOTE, postEvent } from "./events.ts";

/** Key of label and taint; its value is the action. */
export const UNTRUSTED = "hullmark.dev/untrusted";
/** Annotation that says which action made the node unschedulable. */
export const CORDONED = "hullmark.dev/cordoned";
const EFFECT = "NoSchedule";
/** The kubelet writes the same object every few seconds. */
const MAX_TRIES = 5;

const Taint = z.looseObject({ key: z.string(), value: z.string().optional(), effect: z.string() });
const KubeNode = z.object({
  metadata: z.object({
    uid: z.string(),
    resourceVersion: z.string(),
    labels: z.record(z.string(), z.string()).default({}),
    annotations: z.record(z.string(), z.string()).default({}),
  }),
  spec: z.object({ unschedulable: z.boolean().default(false), taints: z.array(Taint).default([]) }).prefault({}),
});
type KubeNode = z.output<typeof KubeNode>;

/** What is to be changed; undefined: it is so already, by nobody that is asked about here. */
type Change = { readonly metadata?: object; readonly spec?: object } | "own" | undefined;

export class KubernetesNodes implements NodeHook {
  readonly #api: Pick<ApiServer, "get" | "patch" | "post">;
  readonly #instance: string;
  readonly #nowMs: () => number;
  readonly #onUntold: (error: unknown) => void;

  /** @param instance of this actuator, for its Events @param onUntold an Event could not be written: nothing depends on one */
  constructor(
    api: Pick<ApiServer, "get" | "patch" | "post">,
    { instance, nowMs, onUntold }: { readonly instance: string; readonly nowMs: () => number; readonly onUntold: (error: unknown) => void },
  ) {
    this.#api = api;
    this.#instance = instance.slice(0, MAX_INSTANCE);
    this.#nowMs = nowMs;
    this.#onUntold = onUntold;
  }

  async call(call: NodeCall): Promise<NodeCallResult> {
    try {
      for (let tries = 0; tries < MAX_TRIES; tries++) {
        const node = await this.#find(call.name);
        if (!node) return { outcome: "failed", detail: `the cluster has no node ${call.name}` };
        const change = call.verb === "mark" ? toMark(node, call) : toLift(node, call);
        if (change === undefined) return { outcome: "there" };
        if (change !== "own") {
          const answer = await this.#patch(call.name, node, change);
          if (answer.status === 409) continue;
          if (answer.status !== 200) throw problem(answer, "patch nodes");
        }
        await this.#tell(call, node).catch(this.#onUntold);
        return { outcome: "done" };
      }
      return { outcome: "failed", detail: `the node ${call.name} was changed by others each time` };
    } catch (error) {
      // What passes is asked for again: a patch that was taken without an answer is known by its action.
      if (!(error instanceof EngineError) || error.code === "ENGINE_UNREACHABLE") throw error;
      return { outcome: "failed", detail: error.message };
    }
  }

  async tell({ verb, name, actionId, logIndex, reason, why }: NodeUndone): Promise<void> {
    const what = verb === "mark" ? `is not to be trusted (${reason}), and was not marked` : "is trusted again, and its marks were not taken away";
    const event = {
      ...{ actionId, logIndex, warning: true, reason: verb === "mark" ? "MarkFailed" : "LiftFailed" },
      note: `${name} ${what}: ${why}`.slice(0, MAX_NOTE - actionId.length - 3).concat(` (${actionId})`),
    };
    try {
      const node = await this.#find(name);
      if (node) await this.#post(verb, name, node, `${verb}-failed`, event);
    } catch (error) {
      this.#onUntold(error);
    }
  }

  async #find(name: string): Promise<KubeNode | undefined> {
    const answer = await ask(() => this.#api.get(path(name)));
    if (answer.status === 404) return undefined;
    if (answer.status !== 200) throw problem(answer, "get nodes");
    const parsed = KubeNode.safeParse(answer.body);
    if (!parsed.success) throw new EngineError("ENGINE_REFUSED", "the API server's answer is no node");
    return parsed.data;
  }

  #patch(name: string, { metadata: { uid, resourceVersion } }: KubeNode, { metadata, spec }: Exclude<Change, "own" | undefined>): Promise<ApiAnswer> {
    const body = { metadata: { ...metadata, uid, resourceVersion }, ...(spec && { spec }) };
    return ask(() => this.#api.patch(path(name), body, "application/merge-patch+json"));
  }

  async #tell({ verb, mark, name, actionId, logIndex, reason }: NodeCall, node: KubeNode): Promise<void> {
    const word = NodeMark[mark].toLowerCase();
    const marking = verb === "mark";
    await this.#post(verb, name, node, `${verb}-${word}`, {
      ...{ actionId, logIndex, warning: marking, reason: marking ? "NodeUntrusted" : "NodeTrusted" },
      note: marking ? `${name} is not to be trusted (${reason}): ${word} put on (${actionId})` : `${name} is trusted again: ${word} taken away (${actionId})`,
    });
  }

  /** @param last what tells it from others of the action */
  async #post(
    verb: NodeCall["verb"],
    name: string,
    { metadata: { uid } }: KubeNode,
    last: string,
    event: Pick<ActionEvent, "actionId" | "logIndex" | "warning" | "reason" | "note">,
  ): Promise<void> {
    const suffix = `.${event.actionId}.${last}`.toLowerCase();
    await postEvent(this.#api, this.#instance, {
      ...event,
      name: `${name.slice(0, MAX_NAME - suffix.length)}${suffix}`,
      ...{ namespace: "default", action: verb === "mark" ? "Mark" : "Lift" },
      regarding: { apiVersion: "v1", kind: "Node", name, uid },
      atMs: this.#nowMs(),
    });
  }
}

function path(name: string): string {
  return `/api/v1/nodes/${encodeURIComponent(name)}`;
}

function toMark({ metadata: { labels, annotations }, spec: { unschedulable, taints } }: KubeNode, { mark, actionId }: NodeCall): Change {
  const by = (value: string | undefined, change: Exclude<Change, undefined>): Change => (value === undefined ? change : value === actionId ? "own" : undefined);
  if (mark === NodeMark.LABEL) return by(labels[UNTRUSTED], { metadata: { labels: { [UNTRUSTED]: actionId } } });
  if (mark === NodeMark.TAINT) {
    const there = taints.find(({ key, effect }) => key === UNTRUSTED && effect === EFFECT);
    return by(there && (there.value ?? ""), { spec: { taints: [...taints, { key: UNTRUSTED, value: actionId, effect: EFFECT }] } });
  }
  const cordon = { metadata: { annotations: { [CORDONED]: actionId } }, spec: { unschedulable: true } };
  return by(unschedulable ? (annotations[CORDONED] ?? "") : undefined, cordon);
}

/** Only what an actuator put on: that it was this one its ledger says. */
function toLift({ metadata: { labels, annotations }, spec: { unschedulable, taints } }: KubeNode, { mark, again }: NodeCall): Change {
  const gone = again ? "own" : undefined;
  if (mark === NodeMark.LABEL) return labels[UNTRUSTED] === undefined ? gone : { metadata: { labels: { [UNTRUSTED]: null } } };
  if (mark === NodeMark.TAINT) {
    const others = taints.filter(({ key, effect }) => key !== UNTRUSTED || effect !== EFFECT);
    return others.length === taints.length ? gone : { spec: { taints: others } };
  }
  // Without the annotation somebody else has cordoned it since.
  if (!unschedulable || annotations[CORDONED] === undefined) return gone;
  return { metadata: { annotations: { [CORDONED]: null } }, spec: { unschedulable: null } };
}
