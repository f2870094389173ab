/** Whether the container that an intent names may be touched: the host's own limits, which no verifier can raise. Pure. */
import { compileNames } from "@hullmark/proto/codec";
import { ActionKind } from "@hullmark/proto/v1/response";
import { type EngineContainer, NO_NETWORK } from "../ports/engine.ts";
import type { LedgerEntry } from "../ports/ledger.ts";
import type { CheckedIntent } from "./check-intent.ts";
import type { LocalLimits } from "./hands.ts";
import { overLocalLimit } from "./local-limits.ts";

/** Codes of docs/response.md. */
export type TargetRefusal =
  | "gone"
  | "other-image"
  | "not-running"
  | "protected"
  | "auto-remove"
  | "not-captured"
  | "shared-namespaces"
  | "rollback-never"
  | "no-target-image"
  | "host-network"
  | "shared-network"
  | "no-network"
  | "not-ours"
  | "owned-by-compose"
  | "owned-by-swarm"
  | "owned-by-systemd"
  | "cooling-down"
  | "breaker";

export interface TargetFacts {
  readonly container: EngineContainer | undefined;
  readonly sharers: readonly string[];
  /** The engine has the image that is gone back to. */
  readonly targetThere: boolean;
  /** This host captures what it acts on. */
  readonly captures: boolean;
  /** This actuator has isolated it, and it is not released. */
  readonly isolated: boolean;
  readonly running: number;
  readonly ledger: readonly LedgerEntry[];
  readonly nowMs: number;
}

/** Whoever deploys it may forbid that it is rolled back; no verifier overrules that. */
const ROLLBACK_LABEL = "hullmark.dev/rollback";

/** @returns why not; undefined: it may be touched */
export function refuseTarget(intent: CheckedIntent, facts: TargetFacts, limits: LocalLimits): TargetRefusal | undefined {
  const { container } = facts;
  if (!container || container.id !== intent.containerId) return "gone";
  if (container.imageId !== intent.imageId) return "other-image";
  // What this actuator did itself is undone whatever has changed since, and takes nobody's place within the limits.
  if (intent.kind === ActionKind.RELEASE) return facts.isolated ? undefined : "not-ours";
  if (limits.protect.length > 0 && compileNames(limits.protect)(container.name)) return "protected";
  if (!container.running) return "not-running";
  const owners = ownersOf(container);
  // Swarm and systemd replace what stops by themselves: there would be two, or theirs would take the place of ours.
  const hinders = (owner: Owner): boolean => !intent.owners.includes(owner) || (owner !== "compose" && isReplacing(intent.kind));
  const owner = owners.find(hinders);
  if (owner) return `owned-by-${owner}`;
  if (container.autoRemove && !mayVanish(intent.kind, facts.captures)) return "auto-remove";
  if (isTakenAway(intent.kind, container) && !facts.captures) return "not-captured";
  if (intent.kind !== ActionKind.STOP && facts.sharers.length > 0) return "shared-namespaces";
  if (intent.kind === ActionKind.ROLLBACK && container.labels[ROLLBACK_LABEL] === "never") return "rollback-never";
  if (intent.target && !facts.targetThere) return "no-target-image";
  const networkRefusal = intent.kind === ActionKind.ISOLATE ? refuseIsolation(container, facts.isolated) : undefined;
  if (networkRefusal) return networkRefusal;
  return overLocalLimit(container.name, facts.ledger, facts.running, facts.nowMs, limits);
}

/** What it wrote would be gone before anybody has looked; nor is there anything to go back to where what takes its place does not start. */
function mayVanish(kind: ActionKind, captures: boolean): boolean {
  return kind === ActionKind.ISOLATE || (kind === ActionKind.STOP && captures);
}

/** Compose goes by labels, which a container has for life: of the old one and the new one it would start the old one, and remove the new one. */
export function isTakenAway(kind: ActionKind, container: Pick<EngineContainer, "labels" | "givenLabels">): boolean {
  return isReplacing(kind) && ownersOf(container).includes("compose");
}

function isReplacing(kind: ActionKind): boolean {
  return kind === ActionKind.RECREATE || kind === ActionKind.ROLLBACK;
}

/** The host's own network cannot be left, and another container's is that one's. */
function refuseIsolation({ networkMode, networks }: EngineContainer, isolated: boolean): TargetRefusal | undefined {
  if (networkMode === "host") return "host-network";
  if (networkMode.startsWith("container:")) return "shared-network";
  return isolated || networks.some(({ name }) => name !== NO_NETWORK) ? undefined : "no-network";
}

const OWNERS = ["swarm", "compose", "systemd"] as const;
export type Owner = (typeof OWNERS)[number];

/**
 * All who would put the container back, or count on it: what one of them lets go may be another's too, such as Compose in a unit of systemd. An image's own labels
 * make its containers nobody's; one that Compose built has its project's label, and its containers others besides that no image can have for them.
 */
export function ownersOf({ labels, givenLabels }: Pick<EngineContainer, "labels" | "givenLabels">): Owner[] {
  const isGiven = (prefix: string): boolean => Object.keys(givenLabels).some((key) => key.startsWith(prefix));
  const owns: Readonly<Record<Owner, boolean>> = {
    swarm: Object.hasOwn(labels, "com.docker.swarm.service.id") && isGiven("com.docker.swarm."),
    compose: Object.hasOwn(labels, "com.docker.compose.project") && isGiven("com.docker.compose."),
    systemd: givenLabels["dev.hullmark.owner"] === "systemd",
  };
  return OWNERS.filter((owner) => owns[owner]);
}
