/** What of an agent takes captures, as a process that can be killed: of a directory that stands for what lies over a container's layers, measured, read and sealed as an agent does. Prints its answer. */
import { create, toJsonString } from "@bufbuild/protobuf";
import { DeltaFiles } from "@hullmark/agent/adapters/delta-files/delta-files";
import { nativeContent } from "@hullmark/agent/adapters/tree/native-content";
import { nativeMeasurer } from "@hullmark/agent/adapters/tree/native-measurer";
import { CaptureDesk, NODE_CAPTURE_FAILPOINTS } from "@hullmark/agent/core/capture-desk";
import { processesApart, sealApart } from "@hullmark/capture/apart";
import { CaptureFiles } from "@hullmark/capture/capture-files";
import { dieAt } from "@hullmark/daemon";
import { CaptureRequestSchema, CaptureTakenSchema } from "@hullmark/proto/v1/capture";
import { program } from "./program.ts";

const [root = "", directory = "", recipient = "", containerId = "", id = ""] = process.argv.slice(2);
const AGENT = program("agent");

const tree = await nativeMeasurer().open(root, { kind: "upper", excluded: [], budget: { maxEntries: 1000, maxBytes: 1e8, maxMillis: 60_000 } });
await tree.measure(new AbortController().signal);
const passing = dieAt(NODE_CAPTURE_FAILPOINTS, process.env);
const captures = new CaptureFiles({
  ...{ directory, keepHours: 1, maxBytes: 2 ** 20, maxSeconds: 60, required: false, nowMs: () => Date.now() },
  ...{ seal: sealApart([process.execPath, AGENT], [recipient]), processes: processesApart([process.execPath, AGENT], "/proc") },
  filesOf: () => new DeltaFiles(() => ({ place: { root, tree }, mounts: [], problem: undefined }), nativeContent),
  passing,
});
const clock = { nowMs: () => Date.now() };
const desk = new CaptureDesk({ captures, clock, nameOf: () => "shop/web-1/web", settled: async () => undefined, log: () => undefined, passing });
const answer = await desk.answer(create(CaptureRequestSchema, { id: Buffer.from(id, "hex"), actionId: "A-7K2Q", containerId }));
process.stdout.write(toJsonString(CaptureTakenSchema, create(CaptureTakenSchema, answer)));
