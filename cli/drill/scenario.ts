/** What a drill does, and by what it is known that it was found. */
import type { Drift } from "@hullmark/proto/v1/query";
import type { DrillName } from "@hullmark/verifier/core/drill/names";
import type { Drill } from "./types.ts";

export interface Scenario {
  readonly name: DrillName;
  /** The file or directory that it makes; empty where it makes none. */
  readonly path: string;
  /** Where to look when nothing is found. */
  readonly hint: string;
  /** Brings it to where the deed can be done. @returns undefined, or why it cannot be @throws DrillError */
  prepare(drill: Drill): Promise<string | undefined>;
  /** What is measured from. @throws DrillError */
  act(drill: Drill): Promise<void>;
  /** Whether this drift of the drill's container is the deed, found. */
  isFound(drift: Drift): boolean;
  /**
   * When the deed was done, by the clocks of the node. Unix milliseconds; undefined: that is not known.
   * @param drifts all that was told of the drill's container
   */
  doneAtMs(drill: Drill, drifts: readonly Drift[]): Promise<number | undefined>;
  /** Takes back what was done outside the drill's container, however far it came, also when interrupted. @throws DrillError */
  undo?(): void;
  /** Resolves with why nothing can be found, where that is certain before patience ends; else never, or when the signal is aborted. */
  pointless?(drill: Drill, signal: AbortSignal): Promise<string | undefined>;
}
