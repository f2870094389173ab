/** Takes namespaces' own policies into the one in force. What was known of them last is kept on disk: a restart while the API server is away must not loosen anything. */
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Logger } from "pino";
import * as z from "zod";
import { type ApiServer, type FollowedObject, inForce, reportObjects, teamPolicies } from "./adapters/kubernetes/index.ts";
import { type Tell, takingObjects } from "./cluster-objects.ts";
import type { VerifierConfig } from "./config.ts";
import type { PolicyHolder } from "./core/fleet/policy-holder.ts";
import { judgeTeam, type TeamObject } from "./core/policy/index.ts";
import type { Policy } from "./core/policy/types.ts";
import type { Clock } from "./ports/clock.ts";

const Kept = z.array(z.strictObject({ namespace: z.string(), spec: z.unknown() }));

/** Of an earlier start; before anybody is judged. @throws the system's error; where the file is not what was written */
export async function keptTeams(config: VerifierConfig, policies: PolicyHolder): Promise<void> {
  if (config.kubernetes?.policy?.teams) await policies.tighten(inForceOf(read(config), policies.current));
}

/** @returns ends it */
export function tightening(
  api: ApiServer,
  config: VerifierConfig,
  { policies, clock, logger }: { policies: PolicyHolder; clock: Clock; logger: Logger },
): () => Promise<void> {
  const own = config.kubernetes?.policy;
  if (!own?.teams) return async () => {};
  const kind = teamPolicies(own.name);
  /** The last good one of each namespace, as long as its object is there: a mistake loosens nothing. */
  let good: readonly TeamObject[] = read(config);
  const refused = new Set<string>();
  const onRefused = (err: unknown, count: number): void => logger.warn({ err, objects: count }, "teams are not told of their policies");
  const take = async (all: readonly FollowedObject[]): Promise<Tell> => {
    // The release's own is the cluster's policy.
    const known = all.filter(({ namespace }) => namespace !== own.namespace);
    const judged = known.map((object) => ({ object, verdict: judgeTeam(object, policies.current) }));
    const next = judged.flatMap(({ object: { namespace, spec }, verdict }): TeamObject[] =>
      verdict.inForce ? [{ namespace, spec }] : good.filter((each) => each.namespace === namespace),
    );
    next.sort((a, b) => (a.namespace < b.namespace ? -1 : 1));
    if (JSON.stringify(next) !== JSON.stringify(good)) {
      await policies.tighten(inForceOf(next, policies.current));
      write(config, next);
      good = next;
    }
    const reports = judged.map(({ object, verdict }) => ({
      object,
      now: verdict.inForce ? inForce(undefined, object.generation, { reason: "InPart", lines: verdict.idle }) : inForce(verdict, object.generation),
    }));
    return async (signal) => await reportObjects(api, kind, reports, { nowMs: clock.nowMs(), onRefused, signal, refused });
  };
  return takingObjects(api, kind, take, { clock, logger });
}

const fileOf = ({ stateDirectory }: VerifierConfig): string => join(stateDirectory, "team-policies.json");

function read(config: VerifierConfig): readonly TeamObject[] {
  const file = fileOf(config);
  return existsSync(file) ? Kept.parse(JSON.parse(readFileSync(file, "utf8"))) : [];
}

function write(config: VerifierConfig, teams: readonly TeamObject[]): void {
  const file = fileOf(config);
  writeFileSync(`${file}.new`, JSON.stringify(teams), { mode: 0o600, flush: true });
  renameSync(`${file}.new`, file);
}

function inForceOf(objects: readonly TeamObject[], cluster: Policy): Readonly<Record<string, Policy>> {
  const judged = objects.map((each) => [each.namespace, judgeTeam(each, cluster)] as const);
  return Object.fromEntries(judged.flatMap(([namespace, each]) => (each.inForce ? [[namespace, each.policy] as const] : [])));
}
