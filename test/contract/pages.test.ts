/** What people read at the command line. */
import { create } from "@bufbuild/protobuf";
import { Severity } from "@hullmark/proto/v1/common";
import { DriftSchema, DriftState, GetNodeResponseSchema } from "@hullmark/proto/v1/query";
import { type Action, ActionKind, ActionSchema, ActionState } from "@hullmark/proto/v1/response";
import { incidentId } from "@hullmark/verifier/core/incident/incident";
import { showDrift } from "hullmark/output/drift-page";
import { nodePageView, showNode } from "hullmark/output/node-page";
import { pathWord } from "hullmark/output/words";
import { expect, test } from "vitest";

test("a long path keeps its beginning and its end, on one line", () => {
  expect(pathWord(Buffer.from("/usr/bin/curl"), 60)).toBe("/usr/bin/curl");
  const long = pathWord(Buffer.from(`/srv/${"d/".repeat(100)}leaf\n`), 60);
  expect(long).toHaveLength(60);
  expect(long).toMatch(/^\/srv\/(d\/)+…(\/?d)+\/leaf\\x0a$/);
});

test("a drift's page says each thing once, and its severity in a word", () => {
  const drift = create(DriftSchema, {
    id: "D-7K2Q",
    kind: "content",
    severity: Severity.CRITICAL,
    state: DriftState.OPEN,
    path: Buffer.from("/usr/bin/curl"),
    summary: "sha256 9f2c… → 41aa…, size 6 → 9",
    differences: [
      { field: "sha256", expected: "9f2cd0", observed: "41aa07" },
      { field: "size", expected: "6", observed: "9" },
    ],
    origin: { place: "layer", layerIndex: 2, diffId: "sha256:77ab", history: "RUN apt-get install curl" },
  });
  const lines = showDrift(drift, [], "hullmark").split("\n");
  expect(lines[0]).toBe("CRITICAL  image layer altered on the node  (content, open)");
  expect(lines.slice(3, 6)).toEqual([
    "What    sha256 9f2c… → 41aa…, size 6 → 9",
    "        sha256 9f2cd0 → 41aa07",
    'From    layer 2 "RUN apt-get install curl" (sha256:77ab)',
  ]);
});

test("it says what was done, what waits for a yes, and of which incident it is", () => {
  const at = (seconds: bigint) => ({ seconds, nanos: 0 });
  const drift = create(DriftSchema, {
    id: "D-1",
    kind: "content",
    path: Buffer.from("/etc/app"),
    imageReference: "r/x:1",
    containerId: "c1",
    nodeId: "n1",
    logIndex: 7n,
  });
  const of = { nodeId: "n1", nodeName: "w-1", containerId: "c1", containerName: "web", kind: ActionKind.STOP, createdAt: at(60n) };
  const isolated = create(ActionSchema, {
    ...of,
    id: "A-1",
    kind: ActionKind.ISOLATE,
    state: ActionState.DONE,
    settledAt: at(61n),
    capture: { complete: true },
  });
  const asked = create(ActionSchema, {
    ...of,
    id: "A-2",
    state: ActionState.AWAITING,
    approvalsNeeded: 2,
    approvals: [{ by: "ann", at: at(62n) }],
    createdAt: at(62n),
  });
  const lines = (...actions: Action[]) =>
    showDrift(drift, actions, "hullmark")
      .split("\n")
      .filter((line) => /^(Done|Waits|Proof)/.test(line));
  const incident = incidentId({ image: "r/x:1", path: drift.path, kind: "content" });
  expect(lines(isolated)).toEqual(["Done    web on w-1 isolated 00:01:01Z (A-1), captured before", `Proof   log #7 · incident ${incident}`]);
  expect(lines(isolated, asked)).toEqual([
    "Waits   for a yes to stop web on w-1 (1 of 2) · hullmark action approve A-2",
    `Proof   log #7 · incident ${incident}`,
  ]);
});

test("a node's page lists what does not run and stands on a layer, and says where that is not known", () => {
  const affected = [{ place: "layer", layerIndex: 0, chainId: "sha256:77ab", open: true, driftIds: ["D-7"], stopped: ["spare"], moreStopped: 2 }];
  const page = (stopped: object) => create(GetNodeResponseSchema, { node: { id: "0011223344556677", name: "w-07" }, affected, stopped });
  const lines = (stopped: object) =>
    showNode(page(stopped), 0, "hullmark")
      .split("\n")
      .filter((line) => /stopped/i.test(line));
  const listed = ["  stopped spare", "  stopped and 2 more, which are not listed"];
  expect(lines({})).toEqual(listed);
  expect(lines({ problem: "the node is not connected" })).toEqual([...listed, "Stopped   not known, ask the runtime there: the node is not connected"]);
  expect(lines({ unknown: 3, more: 4 })).toEqual([
    ...listed,
    "Stopped   3 of which it is not known on what they stand: ask the runtime there",
    "Stopped   4 more, which the node did not name: ask the runtime there",
  ]);
  expect(nodePageView(page({ unknown: 3 }))).toMatchObject({
    affected: [{ stopped: ["spare"], moreStopped: 2 }],
    stopped: { problem: null, unknown: 3, more: 0 },
  });
});

test("a node's page says of what stands on a layer how much of it is not listed", () => {
  const layer = { place: "layer", layerIndex: 0, chainId: "sha256:77ab", open: true, driftIds: ["D-7"], containers: ["cart"], images: ["r.example/cart:1"] };
  const node = { id: "0011223344556677", name: "w-07" };
  const page = (more: object) => create(GetNodeResponseSchema, { node, affected: [{ ...layer, ...more }] });
  const lines = (more: object) => showNode(page(more), 0, "hullmark").split("\n");
  expect(lines({}).filter((line) => line.includes("more"))).toEqual([]);
  const more = { moreDrifts: 4, moreContainers: 20, moreImages: 3 };
  expect(lines(more)).toEqual(
    expect.arrayContaining(["Poisoned  layer 0 (D-7 and 4 more)", "  runs    and 20 more, which are not listed", "  image   and 3 more, which are not listed"]),
  );
  expect(nodePageView(page(more)).affected).toMatchObject([more]);
});
