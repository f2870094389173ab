/** The drill `revoked-canary-key`: the key that signed an image is revoked while a container of it runs. */
import { type Provenance, ProvenanceStatus } from "@hullmark/proto/v1/query";
import { DRILL_AUTHORITY, type DrillKey } from "./drill-key.ts";
import { POLL_MS, pause, startJudged, workloadOf } from "./judged.ts";
import type { Scenario } from "./scenario.ts";
import type { Drill } from "./types.ts";

/** The verifier follows the files of its policy within half a second. */
const FOLLOWED_MS = 2_000;

/** @param sign attaches the key's signature to the image of the target @param wanted what the policy must say */
export function revokedCanaryKey(key: DrillKey, sign: (signal: AbortSignal) => Promise<void>, wanted: string): Scenario {
  let revokedMs: number | undefined;
  return {
    ...{ name: "revoked-canary-key", path: "", hint: `does the policy in force revoke the key in ${key.revokedFile}? It wants: ${wanted}` },
    prepare: async (drill) => {
      drill.say("trusting a key of the drill's own");
      key.trust();
      await sign(drill.signal);
      await pause(FOLLOWED_MS);
      return (await startJudged(drill)) ?? (await signed(drill, wanted));
    },
    act: async ({ say }) => {
      say("revoking that key");
      revokedMs = Date.now();
      key.revoke();
    },
    isFound: ({ kind }) => kind === "revoked",
    // By this machine's clock, which is the verifier's: the files are its policy's.
    doneAtMs: async () => revokedMs,
    undo: () => key.revoke(),
  };
}

/** Waits until the image is known to be signed by the drill's key. @returns undefined then, else why it is not */
async function signed(drill: Drill, wanted: string): Promise<string | undefined> {
  drill.say("waiting until it is known to be signed");
  const untilMs = Date.now() + drill.objectives.patienceMs;
  let last: Provenance | undefined;
  while (Date.now() < untilMs) {
    last = (await workloadOf(drill, drill.signal))?.workload?.provenance;
    if (last?.status === ProvenanceStatus.SIGNED && last.authorities.includes(DRILL_AUTHORITY)) return undefined;
    await pause(POLL_MS);
  }
  return `the canary is not signed by ${DRILL_AUTHORITY}${last?.text ? ` (${last.text})` : ""}: add ${wanted}`;
}
