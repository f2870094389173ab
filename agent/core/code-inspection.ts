/** Running code of every container, over time: the {@link CodeInspector} of the node agent. */
import type { Clock } from "../ports/clock.ts";
import type { ProcessInspector } from "../ports/process-inspector.ts";
import { CodeHistory } from "./code-set.ts";
import type { ContainerMonitor } from "./container-monitor.ts";
import type { CodeInspector } from "./node-agent.ts";

export function codeInspection(inspector: ProcessInspector, clock: Clock): CodeInspector {
  const histories = new Map<string, CodeHistory>();
  return {
    async inspect(container: ContainerMonitor, signal: AbortSignal): Promise<Uint8Array> {
      const { layout } = container;
      const overlay = layout.kind === "overlay" ? { layerPaths: layout.layers.map(({ path }) => path), upperPath: layout.upperPath } : undefined;
      const inspected = await inspector.inspect({ containerId: container.id, pid: container.facts.pid, overlay }, signal);
      const history = histories.get(container.id) ?? new CodeHistory();
      histories.set(container.id, history);
      return history.serialize(inspected, clock.nowMs());
    },
    forget(containerId: string): void {
      inspector.forget(containerId);
      histories.delete(containerId);
    },
  };
}
