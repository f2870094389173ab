/** How what runs came into its container: told while the process is seen that was, and never of another that got its number. */
import { fromBinary } from "@bufbuild/protobuf";
import { codeInspection } from "@hullmark/agent/core/code-inspection";
import type { ContainerMonitor } from "@hullmark/agent/core/container-monitor";
import type { ChangeEntrance } from "@hullmark/agent/ports/change-source";
import type { ProcessInspector } from "@hullmark/agent/ports/process-inspector";
import { CodeSetSchema } from "@hullmark/proto/v1/attestation";
import { ActorEntry } from "@hullmark/proto/v1/common";
import { actorWord } from "hullmark/output/words";
import { expect, test } from "vitest";

const exec: ChangeEntrance = { pid: 50, atMs: 1_500, from: ["runc", "containerd-shim"], fromHost: true, init: false };

function inspecting() {
  let pids: readonly number[] = [];
  const ran = (pid: number) => ({ ...{ place: "upper" as const, path: Buffer.from(`/${pid}`), sha256: undefined }, main: true, pid, uid: 0, ancestry: [] });
  const inspector: ProcessInspector = {
    inspect: async () => ({ code: pids.map(ran), privileges: [], processes: pids.length, claims: [], steady: false }),
    signature: () => undefined,
    started: () => {},
    forget: () => {},
  };
  const code = codeInspection(inspector, { nowMs: () => 0 } as Parameters<typeof codeInspection>[1]);
  const container = { id: "c", layout: { kind: "gone" }, facts: { pid: 40, capabilities: [] } } as unknown as ContainerMonitor;
  const look = async (...running: readonly number[]): Promise<Record<string, ActorEntry>> => {
    pids = running;
    const { objects } = fromBinary(CodeSetSchema, (await code.inspect(container, new AbortController().signal)).part);
    return Object.fromEntries(objects.map(({ pid, entry }) => [pid, entry]));
  };
  return { code, look };
}

test("the main process, an exec's, and one that nobody saw come", async () => {
  const { code, look } = inspecting();
  code.started("c", 51, exec);
  expect(await look(40, 51, 60)).toEqual({ 40: ActorEntry.MAIN, 51: ActorEntry.EXEC, 60: ActorEntry.UNSPECIFIED });
  expect(await look(40, 51)).toEqual({ 40: ActorEntry.MAIN, 51: ActorEntry.EXEC });
});

test("what ended is forgotten, and so is what runs another program of which it is not known", async () => {
  const { code, look } = inspecting();
  code.started("c", 51, exec);
  await look(40);
  expect(await look(51)).toEqual({ 51: ActorEntry.UNSPECIFIED });
  code.started("c", 51, exec);
  code.started("c", 51, undefined);
  expect(await look(51)).toEqual({ 51: ActorEntry.UNSPECIFIED });
});

test("however many containers came and went of which the runtime never told, one that comes is told of", async () => {
  const { code, look } = inspecting();
  for (let at = 0; at < 5000; at++) code.started(`gone-${at}`, 51, exec);
  code.started("c", 51, exec);
  expect(await look(51)).toEqual({ 51: ActorEntry.EXEC });
});

test("a list says it in one word", () => {
  const word = (entry: ActorEntry, containerId: string, place: string) =>
    actorWord({
      ...{ containerId: "own", origin: { place } },
      actor: { executable: "/bin/dd", located: true, containerId, containerName: "default/web-1/helper", entry },
    } as unknown as Parameters<typeof actorWord>[0]);
  expect(word(ActorEntry.EXEC, "own", "upper")).toBe("exec:dd");
  expect(word(ActorEntry.EXEC, "", "process")).toBe("exec:dd");
  expect(word(ActorEntry.JOINED, "own", "upper")).toBe("joined:dd");
  expect(word(ActorEntry.EXEC, "other", "upper")).toBe("helper:dd");
  expect(word(ActorEntry.MAIN, "own", "upper")).toBe("dd");
  expect(word(ActorEntry.UNSPECIFIED, "", "process")).toBe("dd");
  expect(word(ActorEntry.UNSPECIFIED, "", "upper")).toBe("host:dd");
});
