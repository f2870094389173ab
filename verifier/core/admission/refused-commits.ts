/**
 * What is refused at the door of an image whose signed provenance names a commit: told at that commit, once, until it is let in. Bounded, for whoever can make
 * pods can ask. Pure but for what remembers.
 */
import { hash } from "node:crypto";
import type { SourceCommit } from "../../ports/notifier.ts";
import { REFUSAL_LASTS_MS } from "../alerting/index.ts";
import type { AlertSubject } from "../alerting/subject.ts";
import type { Happening } from "./service.ts";

/** Refusals that are told at once, in all and of one workload; what is beyond is in the log alone. */
const MAX_HELD = 256;
const MAX_OF_WORKLOAD = 8;
const ID = /^refused-([0-9a-z]{1,11})-([0-9a-f]{16})-([0-9a-f]{16})$/;

interface Held {
  readonly id: string;
  readonly workload: string;
}

export class RefusedCommits {
  /** By workload and commit. */
  readonly #held = new Map<string, Held>();

  /** @param openIds by which alerts were open when the verifier started */
  constructor(openIds: Iterable<string>) {
    for (const id of openIds) {
      const [, , workload, commit] = ID.exec(id) ?? [];
      if (workload !== undefined && commit !== undefined) this.#held.set(`${workload}-${commit}`, { id, workload });
    }
  }

  /** What is news of this refusal; held from now on. @param told what every alert of the cluster's door says alike */
  refused({ pod, objections }: Happening, told: AlertSubject, nowMs: number): readonly AlertSubject[] {
    return objections.flatMap(({ kind, source, text, container, digest }) => {
      if (kind !== "refused" || source === undefined) return [];
      const key = keyOf(pod.workload, source);
      const [workload = ""] = key.split("-");
      const ofWorkload = [...this.#held.values()].filter((each) => each.workload === workload).length;
      if (this.#held.has(key) || this.#held.size >= MAX_HELD || ofWorkload >= MAX_OF_WORKLOAD) return [];
      const id = `refused-${(nowMs + REFUSAL_LASTS_MS).toString(36)}-${key}`;
      this.#held.set(key, { id, workload });
      const summary = `${text}${digest ? ` (${digest})` : ""}`;
      return [{ ...told, driftId: id, kind: "refused" as const, severity: "medium" as const, imageReference: container.image, source, summary }];
    });
  }

  /** Those that are over, since images of these commits were let in for this workload. */
  accepted(workload: string, sources: readonly SourceCommit[]): readonly string[] {
    if (this.#held.size === 0) return [];
    return sources.flatMap((source) => {
      const key = keyOf(workload, source);
      const held = this.#held.get(key);
      this.#held.delete(key);
      return held ? [held.id] : [];
    });
  }

  /** Over with their time, or not written down: they may be told anew. */
  forget(...subjects: readonly Pick<AlertSubject, "driftId">[]): void {
    const ids = new Set(subjects.map(({ driftId }) => driftId));
    for (const [key, { id }] of this.#held) if (ids.has(id)) this.#held.delete(key);
  }
}

function keyOf(workload: string, { repository, commit }: SourceCommit): string {
  return [workload, JSON.stringify([repository, commit])].map((part) => hash("sha256", part).slice(0, 16)).join("-");
}
