/** Refusals and break-glass as entries of the transparency log, and as alerts: break-glass until it ends, a refusal at the commit that the image was built from. Bounded: who asks again and again writes once. */
import { hash } from "node:crypto";
import type { Clock } from "../../ports/clock.ts";
import type { SourceCommit } from "../../ports/notifier.ts";
import type { AlertSubject } from "../alerting/subject.ts";
import type { Draft } from "../fleet/committer.ts";
import { entry, text } from "../fleet/log-facts.ts";
import type { Severity } from "../policy/kinds.ts";
import type { LogEntry } from "../transparency/entry.ts";
import { RefusedCommits } from "./refused-commits.ts";
import type { AdmissionRecorder, Happening } from "./service.ts";

export interface RecorderServices {
  readonly clock: Clock;
  readonly submit: (draft: Draft) => Promise<unknown>;
  /** Of an alert of break-glass, as policy has it. */
  readonly severity: () => Severity;
  /** What the alerts call the cluster. */
  readonly cluster: string;
  /** Ids by which alerts were open when the verifier started. */
  readonly openIds: Iterable<string>;
  readonly onProblem: (error: unknown) => void;
}

/** The same refusal again within it is the same fact: controllers try for ever. */
const AGAIN_MS = 600_000;
const MINUTE_MS = 60_000;
/** Entries a minute, of each kind: the log only grows, and whoever can make pods can ask. */
const MAX_A_MINUTE = 60;
const MAX_REMEMBERED = 4096;
const ID = /^(?:break-glass|refused)-([0-9a-z]{1,11})-[0-9a-f-]{16,33}$/;

export class LogRecorder implements AdmissionRecorder {
  readonly #services: RecorderServices;
  readonly #told = new Map<string, { readonly atMs: number; readonly durable: Promise<unknown> }>();
  readonly #minute = { refused: { sinceMs: 0, count: 0, omitted: 0 }, "break-glass": { sinceMs: 0, count: 0, omitted: 0 } };
  readonly #ends = new Map<string, () => void>();
  readonly #commits: RefusedCommits;

  constructor(services: RecorderServices) {
    this.#services = services;
    const openIds = [...services.openIds];
    this.#commits = new RefusedCommits(openIds);
    for (const id of openIds) this.#endLater(id);
  }

  stop(): void {
    for (const cancel of this.#ends.values()) cancel();
    this.#ends.clear();
  }

  async record(happening: Happening): Promise<void> {
    const { clock, submit } = this.#services;
    const nowMs = clock.nowMs();
    const key = keyOf(happening);
    const before = this.#told.get(key);
    const news = happening.grant ? [] : this.#commits.refused(happening, this.#subject(happening, "", nowMs), nowMs);
    if (before && nowMs - before.atMs < AGAIN_MS && news.length === 0) {
      await before.durable;
      return;
    }
    const minute = this.#minute[happening.decision];
    if (nowMs - minute.sinceMs >= MINUTE_MS || nowMs < minute.sinceMs) Object.assign(minute, { sinceMs: nowMs, count: 0 });
    if (minute.count >= MAX_A_MINUTE) {
      this.#commits.forget(...news);
      minute.omitted++;
      if (happening.decision === "refused") return;
      throw new Error(`more than ${MAX_A_MINUTE} uses of break-glass within a minute`);
    }
    minute.count++;
    const fact = factOf(happening, minute.omitted, nowMs);
    minute.omitted = 0;
    const subjects = happening.grant ? [this.#subject(happening, key, nowMs)] : news;
    const durable = submit({ entries: [fact], build: () => ({}), subjects });
    this.#remember(key, nowMs, durable);
    durable.catch(() => this.#commits.forget(...news));
    await durable;
    for (const { driftId } of subjects) this.#endLater(driftId);
  }

  accepted(workload: string, sources: readonly SourceCommit[]): void {
    for (const id of this.#commits.accepted(workload, sources)) this.#end(id);
  }

  #remember(key: string, atMs: number, durable: Promise<unknown>): void {
    this.#told.set(key, { atMs, durable });
    durable.catch(() => this.#told.delete(key));
    for (const oldest of this.#told.keys()) {
      if (this.#told.size <= MAX_REMEMBERED) break;
      this.#told.delete(oldest);
    }
  }

  #subject({ pod, request, objections, grant }: Happening, key: string, nowMs: number): AlertSubject {
    const [first] = objections;
    const until = new Date(grant?.untilMs ?? nowMs).toISOString();
    return {
      ...EMPTY,
      driftId: `break-glass-${(grant?.untilMs ?? nowMs).toString(36)}-${hash("sha256", key).slice(0, 16)}`,
      severity: this.#services.severity(),
      nodeName: this.#services.cluster,
      workload: pod.workload,
      imageReference: first?.container.image ?? "",
      containerName: `${pod.namespace}/${pod.name}`,
      summary: `let in until ${until} by ${grant?.by ?? ""} (${request.user.name}): ${grant?.reason ?? ""}; ${first?.text ?? ""}`,
      sinceMs: nowMs,
    };
  }

  #end(id: string): void {
    const { submit, onProblem } = this.#services;
    this.#ends.get(id)?.();
    this.#ends.delete(id);
    submit({ entries: [], build: () => ({}), subjects: [{ ...EMPTY, driftId: id, state: "resolved" }] }).catch(onProblem);
  }

  /** The alert is over when the time is. */
  #endLater(id: string): void {
    const { clock } = this.#services;
    const untilMs = Number.parseInt(ID.exec(id)?.[1] ?? "", 36);
    if (Number.isNaN(untilMs) || this.#ends.has(id)) return;
    const end = (): void => {
      if (clock.nowMs() < untilMs) {
        // A clock that was put back, or a wait beyond what a timer takes.
        this.#ends.set(id, clock.after(Math.min(untilMs - clock.nowMs(), MINUTE_MS), end));
        return;
      }
      this.#commits.forget({ driftId: id });
      this.#end(id);
    };
    this.#ends.set(id, clock.after(Math.max(0, Math.min(untilMs - clock.nowMs(), MINUTE_MS)), end));
  }
}

const EMPTY: AlertSubject = {
  ...{ driftId: "", state: "open", kind: "break-glass", place: "image", severity: "high", nodeName: "", workload: "", imageReference: "", containerName: "" },
  ...{
    incident: "",
    image: "",
    path: new Uint8Array(0),
    summary: "",
    layerIndex: -1,
    layerHistory: "",
    actor: undefined,
    provenance: "",
    sinceMs: 0,
    logIndex: -1,
  },
};

function keyOf({ decision, request, pod, objections, grant }: Happening): string {
  const what = objections.map(({ container, digest, text: why }) => [container.image, digest, why]);
  return JSON.stringify([decision, pod.namespace, pod.workload, what, grant ? [grant.by, grant.reason, grant.untilMs] : request.user.name]);
}

function factOf({ decision, request, pod, objections, grant }: Happening, omitted: number, nowMs: number): LogEntry {
  return entry("admission", nowMs, {
    decision,
    namespace: text(pod.namespace),
    kind: text(request.kind),
    name: text(pod.name),
    workload: text(pod.workload),
    user: text(request.user.name),
    images: objections
      .slice(0, 16)
      .map(({ container, digest, rule, text: why }) => ({ image: text(container.image), digest, rule: text(rule), why: text(why) })),
    ...(grant && { by: text(grant.by), reason: text(grant.reason), until: Math.floor(grant.untilMs) }),
    ...(omitted > 0 && { omitted }),
  });
}
