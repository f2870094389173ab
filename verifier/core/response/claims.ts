/** What people should know of responses when they look at the fleet. Pure. */
import { ActionState } from "@hullmark/proto/v1/response";
import type { ActionRow, ClaimRow, DriftRow, NodeRow, PauseRow } from "../../ports/rows.ts";
import { claimRow } from "../fleet/claims.ts";
import type { Policy } from "../policy/types.ts";
import { counted } from "../text/counted.ts";
import type { Held } from "./decide.ts";
import { BUDGET } from "./eviction.ts";
import type { ActionHistory } from "./history.ts";

export interface ResponseStanding {
  /** What waits for the breaker, as a sentence (`2 containers wait`); empty: nothing. */
  readonly waiting: string;
  readonly held: Readonly<Partial<Record<Held, number>>>;
  readonly rows: ActionHistory;
  /** Layers of which a purge failed though it was carried out. */
  readonly uncontained: readonly ActionRow[];
  /** Marked nodes whose layers are not known to be well again → what was found of them. */
  readonly notWell: ReadonlyMap<string, readonly DriftRow[]>;
  readonly node: (nodeId: string) => NodeRow | undefined;
  readonly pause: PauseRow | undefined;
  /** Of policy, that hold now in a mode that acts. */
  readonly freezes: Policy["response"]["freezes"];
}

export function responseClaims(standing: ResponseStanding): ClaimRow[] {
  const { waiting, held, rows, uncontained, notWell, pause, freezes } = standing;
  const same = held["same-image"] ?? 0;
  const away = held["no-actuator"] ?? 0;
  const riskier = held["higher-risk"] ?? 0;
  const vain = held["given-up"] ?? 0;
  const budget = [...rows.all()].filter(({ state, reason }) => state === ActionState.ISSUED && reason === BUDGET).length;
  return [
    ...(waiting === "" ? [] : [claimRow("breaker", `${waiting} until the breaker allows more actions: hullmark action ls`)]),
    ...(away > 0
      ? [claimRow("no-actuator", `${counted(away, "action")} ${away === 1 ? "waits" : "wait"} for an actuator that does not listen: hullmark action ls`)]
      : []),
    ...(budget > 0 ? [claimRow("budget", `${counted(budget, "pod")} cannot be evicted now, since a disruption budget forbids it: hullmark action ls`)] : []),
    ...(same > 0
      ? [
          claimRow(
            "same-image",
            `${counted(same, "container")} ${same === 1 ? "is" : "are"} not rolled back: what is verified is the same image by another name: docs/response.md#rollback`,
          ),
        ]
      : []),
    ...(riskier > 0
      ? [
          claimRow(
            "higher-risk",
            `${counted(riskier, "container")} ${riskier === 1 ? "is" : "are"} not rolled back: what is verified has a higher risk than what runs: hullmark action ls`,
          ),
        ]
      : []),
    ...(vain > 0
      ? [claimRow("given-up", `${counted(vain, "action")} ${vain === 1 ? "is given up, and waits" : "are given up, and wait"} for people: hullmark action ls`)]
      : []),
    ...uncontained.map((row) => claimRow("containment-failed", `${uncontainedWords(row)}: hullmark action show ${row.id}`)),
    ...[...notWell].flatMap(([id, [first]]) => notWellClaim(standing, id, first)),
    ...(pause ? [claimRow("actions-paused", `by ${pause.by}: ${pause.reason}`)] : []),
    ...freezes.map(({ reason, untilMs }) => claimRow("actions-frozen", `until ${new Date(untilMs).toISOString().replace(".000", "")}: ${reason}`)),
  ];
}

function notWellClaim({ node: nodeOf, rows }: ResponseStanding, nodeId: string, drift: DriftRow | undefined): ClaimRow[] {
  const node = nodeOf(nodeId);
  if (!node || !drift || !rows.standing().has(nodeId)) return [];
  const what = drift.layerIndex >= 0 ? `layer ${drift.layerIndex} of ${drift.imageReference}` : drift.imageReference;
  return [claimRow("not-measured", `${node.name} stays marked until ${what} is measured equal there (${drift.id}): docs/response.md#layers`)];
}

export function uncontainedWords({ nodeName, purge }: ActionRow): string {
  const what = purge?.configDigest !== undefined ? `an image's configuration (on layer ${purge.layerIndex})` : `layer ${purge?.layerIndex}`;
  return `containment failed: ${what} of ${nodeName} is not as signed after it was purged`;
}
