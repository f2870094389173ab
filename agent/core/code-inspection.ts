/** Running code of every container, over time: the {@link CodeInspector} of the node agent. */
import { ActorEntry } from "@hullmark/proto/v1/common";
import type { ChangeEntrance } from "../ports/change-source.ts";
import type { Clock } from "../ports/clock.ts";
import type { InspectedLook, InspectRequest, ProcessInspector } from "../ports/process-inspector.ts";
import { entryPart } from "./change-actors.ts";
import { CodeHistory } from "./code-set.ts";
import type { ContainerMonitor } from "./container-monitor.ts";
import type { CodeInspector, CodeLook } from "./node-agent.ts";

/** Processes of one container whose entrance is remembered; of more nothing is said. */
const MAX_ENTRANCES = 4096;
/** Containers, those that the runtime has not told of yet, or never did, among them: of more that one gives way in which nothing has started for longest. */
const MAX_CONTAINERS = 4096;

export interface StartedCode extends CodeInspector {
  /** A process of the container began to run a program. @param entrance undefined where it is not certain */
  started(containerId: string, pid: number, entrance: ChangeEntrance | undefined): void;
}

export function codeInspection(inspector: ProcessInspector, clock: Clock): StartedCode {
  const histories = new Map<string, CodeHistory>();
  /** Container → pid → how it came in, while it was seen to run. */
  const entrances = new Map<string, Map<number, ChangeEntrance>>();
  return {
    started(containerId, pid, entrance) {
      const ofContainer = entrances.get(containerId) ?? new Map<number, ChangeEntrance>();
      ofContainer.delete(pid);
      if (!entrance || ofContainer.size >= MAX_ENTRANCES) return;
      entrances.delete(containerId);
      const [idlest] = entrances.keys();
      if (entrances.size >= MAX_CONTAINERS && idlest !== undefined) entrances.delete(idlest);
      entrances.set(containerId, ofContainer.set(pid, entrance));
    },
    signature(container) {
      try {
        return inspector.signature(requestOf(container), container.ownedFiles);
      } catch {
        // What is wrong is said by the look in full that follows.
        return undefined;
      }
    },
    async inspect(container: ContainerMonitor, signal: AbortSignal): Promise<CodeLook> {
      const { pid } = container.facts;
      const request = requestOf(container);
      // One container that cannot be looked at must neither stop the others nor go on as it was last seen.
      const known = new Map(entrances.get(container.id));
      const inspected = await inspector.inspect(request, signal).catch((error: unknown) => failed(error, signal));
      const ofContainer = entrances.get(container.id);
      // Its number may be another's when it has ended. What began while this looked is looked at next.
      const seen = new Set([...inspected.code, ...inspected.privileges].map((each) => each.pid));
      for (const [each, entrance] of known) if (!seen.has(each) && ofContainer?.get(each) === entrance) ofContainer.delete(each);
      const entryOf = (of: number) => {
        const entrance = known.get(of);
        return of === pid ? MAIN : entrance && entryPart(entrance, pid);
      };
      const history = histories.get(container.id) ?? new CodeHistory();
      histories.set(container.id, history);
      return { part: history.serialize(inspected, clock.nowMs(), entryOf), steady: inspected.steady };
    },
    overdue(containerId: string): Uint8Array {
      const history = histories.get(containerId) ?? new CodeHistory();
      const detail = "running code: looking at it does not come to its end";
      return history.serialize(nothingSeen(detail), clock.nowMs());
    },
    forget(containerId: string): void {
      inspector.forget(containerId);
      entrances.delete(containerId);
      histories.delete(containerId);
    },
  };
}

const MAIN = { entry: ActorEntry.MAIN };

function requestOf({ id, layout, facts: { pid, capabilities } }: ContainerMonitor): InspectRequest {
  const overlay = layout.kind === "overlay" ? { layerPaths: layout.layers.map(({ path }) => path), upperPath: layout.upperPath } : undefined;
  const rootDevice = layout.kind === "overlay" ? layout.device : undefined;
  return { containerId: id, pid, capabilities, rootDevice, overlay };
}

function failed(error: unknown, signal: AbortSignal): InspectedLook {
  if (signal.aborted) throw error;
  const detail = `running code: ${error instanceof Error ? error.message : "cannot be read"}`.slice(0, 500);
  return nothingSeen(detail);
}

function nothingSeen(detail: string): InspectedLook {
  return { code: [], privileges: [], processes: 0, claims: [{ code: "unmeasurable", detail }], steady: false };
}
