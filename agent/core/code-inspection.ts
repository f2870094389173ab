/** Running code of every container, over time: the {@link CodeInspector} of the node agent. */
import type { Clock } from "../ports/clock.ts";
import type { InspectedContainer, ProcessInspector } from "../ports/process-inspector.ts";
import { CodeHistory } from "./code-set.ts";
import type { ContainerMonitor } from "./container-monitor.ts";
import type { CodeInspector } from "./node-agent.ts";

export function codeInspection(inspector: ProcessInspector, clock: Clock): CodeInspector {
  const histories = new Map<string, CodeHistory>();
  return {
    async inspect(container: ContainerMonitor, signal: AbortSignal): Promise<Uint8Array> {
      const { layout } = container;
      const overlay = layout.kind === "overlay" ? { layerPaths: layout.layers.map(({ path }) => path), upperPath: layout.upperPath } : undefined;
      const rootDevice = layout.kind === "overlay" ? layout.device : undefined;
      const { pid, capabilities } = container.facts;
      const request = { containerId: container.id, pid, capabilities, rootDevice, overlay };
      // One container that cannot be looked at must neither stop the others nor go on as it was last seen.
      const inspected = await inspector.inspect(request, signal).catch((error: unknown) => failed(error, signal));
      const history = histories.get(container.id) ?? new CodeHistory();
      histories.set(container.id, history);
      return history.serialize(inspected, clock.nowMs());
    },
    overdue(containerId: string): Uint8Array {
      const history = histories.get(containerId) ?? new CodeHistory();
      const detail = "running code: looking at it does not come to its end";
      return history.serialize({ code: [], privileges: [], processes: 0, claims: [{ code: "unmeasurable", detail }] }, clock.nowMs());
    },
    forget(containerId: string): void {
      inspector.forget(containerId);
      histories.delete(containerId);
    },
  };
}

function failed(error: unknown, signal: AbortSignal): InspectedContainer {
  if (signal.aborted) throw error;
  const detail = `running code: ${error instanceof Error ? error.message : "cannot be read"}`.slice(0, 500);
  return { code: [], privileges: [], processes: 0, claims: [{ code: "unmeasurable", detail }] };
}
