/** What alerting is told: a drift record or a state that could not be judged, as it stands now. */
import { hash } from "node:crypto";
import type { AlertSeverity, SourceCommit } from "../../ports/notifier.ts";
import type { DriftPlace } from "../policy/kinds.ts";
import type { AlertKind } from "../policy/types.ts";

/** `notice` and `resolved` hold no alert open. */
export type SubjectState = "open" | "acknowledged" | "resolved" | "notice";

export interface AlertSubject {
  /** Id of the drift record, for example `D-7K2Q`; of a state, any id that is stable for it. */
  readonly driftId: string;
  /** Id of the incident that it belongs to; empty where it is no drift. */
  readonly incident: string;
  /** What its incident counts as the image: config digest, or the reference where none is known; empty where none is meant. */
  readonly image: string;
  readonly state: SubjectState;
  /**
   * `breaker`: actions are held back by their limits. `ak-replaced`: another attestation key speaks for a node. `exception-ending`: what it excuses is drift again soon. `drill-failed`: a drill did not pass, or did not come. `baseline-review`: one should be looked at again soon. `refused`: kept out of the cluster. `vulnerable`: an image that runs has new vulnerabilities. They are no differences, so policy's table of
   * severities does not have them.
   */
  readonly kind: AlertKind;
  readonly place: DriftPlace;
  readonly severity: AlertSeverity;
  readonly nodeName: string;
  /** Empty where the node itself is meant; so are the next three. */
  readonly workload: string;
  readonly imageReference: string;
  readonly containerName: string;
  /** Raw bytes with the leading slash; empty where no file is meant. */
  readonly path: Uint8Array;
  /** One line: what was expected and what is there. */
  readonly summary: string;
  /** Layer of the image, 0 lowest, and the history step that made it; -1 and empty where none is meant. */
  readonly layerIndex: number;
  readonly layerHistory: string;
  /** undefined where the kernel did not tell. */
  readonly actor:
    | {
        readonly executable: string;
        readonly pid: number;
        readonly located: boolean;
        readonly uid: number;
        readonly inContainer: boolean;
        /** How it came into the container, where it is not the container's own: `started through exec …`; else empty. */
        readonly entry: string;
      }
    | undefined;
  /** What is known of the image's signatures, in plain words. */
  readonly provenance: string;
  /** What the image was built from, where signed provenance says so. */
  readonly source?: SourceCommit | undefined;
  /** Who acknowledged it in an earlier state, which it has left: it is news again. undefined: nobody did. */
  readonly acknowledgedBefore?: { readonly by: string; readonly atMs: number | undefined } | undefined;
  /** Since when, Unix milliseconds: the kernel's event where there is one, else the measurement. */
  readonly sinceMs: number;
  /** Entry in the transparency log; -1 before it is written. */
  readonly logIndex: number;
}

/** For how long a refusal stands of which nothing more is heard. What ends then was not let in: it is told to nobody as well. */
export const REFUSAL_LASTS_MS = 7 * 86_400_000;

/** Several of them may be in one place. */
const BY_ID: ReadonlySet<AlertKind> = new Set<AlertKind>(["exception-ending", "baseline-review", "drill-failed", "refused"]);

/**
 * One alert an incident: hex of the first 16 bytes of `SHA-256("hullmark-alert-v2" ‖ incident after its u32 length)`. What belongs to no incident is told by where
 * it is: `SHA-256("hullmark-alert-v1" ‖ each of node, workload, image, path, kind after its u32 length)`; an exception that ends, a baseline, and a drill that failed, by itself, with its id as one field
 * more: there may be several in one place. Of new vulnerabilities of an image, the id without what stands of them now: `SHA-256("hullmark-alert-v1" ‖ kind and id)`.
 */
export function alertFingerprint(subject: Pick<AlertSubject, "driftId" | "incident" | "nodeName" | "workload" | "imageReference" | "path" | "kind">): string {
  if (subject.incident) return fingerprint("hullmark-alert-v2", [subject.incident]);
  const { driftId, nodeName, workload, imageReference, path, kind } = subject;
  if (kind === "vulnerable") return fingerprint("hullmark-alert-v1", [kind, driftId.slice(0, driftId.lastIndexOf("-"))]);
  return fingerprint("hullmark-alert-v1", [nodeName, workload, imageReference, path, kind, ...(BY_ID.has(kind) ? [driftId] : [])]);
}

/** Whose flood shares one alert: incidents of one image; of nodes themselves, those of one kind, so that many of one do not hide the other; so are vulnerabilities; else those of one workload on one node. */
export function crowdOf({ incident, image, kind, nodeName, workload }: Pick<AlertSubject, "incident" | "image" | "kind" | "nodeName" | "workload">): string {
  if (kind === "vulnerable") return JSON.stringify(["kind", kind]);
  return JSON.stringify(!incident ? ["place", nodeName, workload] : image ? ["image", image] : ["kind", kind]);
}

/** Of the one alert that stands for all further ones of a crowd. */
export function stormFingerprint(crowd: string): string {
  return fingerprint("hullmark-alert-storm-v1", [crowd]);
}

function fingerprint(domain: string, fields: readonly (string | Uint8Array)[]): string {
  const parts: Uint8Array[] = [Buffer.from(domain)];
  for (const field of fields) {
    const bytes = Buffer.from(field as string);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    parts.push(length, bytes);
  }
  return hash("sha256", Buffer.concat(parts)).slice(0, 32);
}
