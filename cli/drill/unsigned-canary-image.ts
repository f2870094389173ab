/** The drill `unsigned-canary-image`: a container of an image that nobody has signed, where policy wants a signature. */
import { ProvenanceStatus } from "@hullmark/proto/v1/query";
import { PROVENANCE_KINDS } from "@hullmark/verifier/core/policy/kinds";
import { provenanceWord, toMs } from "../output/words.ts";
import { POLL_MS, pause, workloadOf } from "./judged.ts";
import type { Scenario } from "./scenario.ts";
import type { Drill } from "./types.ts";

const isProvenance = (kind: string): boolean => (PROVENANCE_KINDS as readonly string[]).includes(kind);

export function unsignedCanaryImage(image: string): Scenario {
  return {
    ...{ name: "unsigned-canary-image", path: "", hint: "does a rule of the policy require signatures of the image, and is the registry reached?" },
    prepare: async () => undefined,
    act: async ({ target, say, signal }) => {
      say(`starting ${target.container} of ${image}`);
      await target.start(signal);
    },
    isFound: ({ kind }) => isProvenance(kind),
    // The engine says when it started; what it took to bring the image there is nobody's delay.
    doneAtMs: async (drill) => toMs((await workloadOf(drill, drill.signal))?.workload?.startedAt),
    pointless: (drill, signal) => pointless(drill, image, signal).catch((error: unknown) => (signal.aborted ? undefined : Promise.reject(error))),
  };
}

const UNDECIDED: readonly ProvenanceStatus[] = [ProvenanceStatus.UNSPECIFIED, ProvenanceStatus.UNKNOWN];

async function pointless(drill: Drill, image: string, signal: AbortSignal): Promise<string | undefined> {
  while (!signal.aborted) {
    const { workload, drifts = [] } = (await workloadOf(drill, signal)) ?? {};
    const status = workload?.provenance?.status ?? ProvenanceStatus.UNSPECIFIED;
    if (drifts.some(({ kind }) => isProvenance(kind))) return undefined;
    if (status === ProvenanceStatus.SIGNED) return `${image} is signed: name an image that nobody has signed`;
    if (!UNDECIDED.includes(status))
      return `no rule of the policy requires a signature of ${image} (it is ${provenanceWord(status)}): add one to spec.rules, with select.images and require.signatures`;
    await pause(POLL_MS);
  }
  return undefined;
}
