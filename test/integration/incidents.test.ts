/** The same file of the same image changed on two nodes: one incident for people, acknowledged once, the same after the verifier restarts and when it returns. */
import { hash } from "node:crypto";
import { encodeRecord } from "@hullmark/proto/codec";
import type { RpcChannel } from "@hullmark/proto/rpc";
import { Verdict } from "@hullmark/proto/v1/common";
import { dockerInitLayer, LayerTree, MergedTree } from "@hullmark/verifier/core/reference-value/index";
import { afterAll, beforeAll, expect, test } from "vitest";
import { acknowledgeIncident } from "../../cli/incident/acknowledge.ts";
import { fetchIncidents, findIncidents } from "../../cli/incident/fetch.ts";
import { incidentPage, incidentTable, incidentView } from "../../cli/output/incident-page.ts";
import type { Attester, ScriptedContainer } from "../fakes/attester.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const file = (content: string): Buffer =>
  encodeRecord({ type: "f", mode: 0o644, uid: 0, gid: 0, xattrs: [], size: BigInt(content.length), sha256: hash("sha256", content, "buffer") });
const directory = encodeRecord({ type: "d", mode: 0o755, uid: 0, gid: 0, xattrs: [], opaque: false });
const layer = LayerTree.build([
  { path: Buffer.from("etc"), record: directory, implied: true },
  { path: Buffer.from("etc/app.conf"), record: file("port=80\n"), implied: false },
]);

let verifier: TestVerifier;
let registry: FakeRegistry;
let image: PushedImage;
const nodes: Attester[] = [];

beforeAll(async () => {
  registry = await startFakeRegistry();
  image = await pushImage(`${registry.host}/acme/web`);
  verifier = await new TestVerifier().start();
});
afterAll(async () => {
  await verifier?.dispose();
  await registry?.close();
});

function container(node: string, conf?: string): ScriptedContainer {
  return {
    ...{ id: `web-${node}`.padEnd(64, "0"), name: `web-${node}` },
    image: { reference: `${image.repository}:${image.tag}`, configDigest: image.configDigest },
    layers: [
      { id: "layer-0", tree: layer },
      { id: `init-${node}`, tree: dockerInitLayer(MergedTree.of([layer])), runtimeMade: true },
    ],
    upper: new Map(conf === undefined ? [] : Object.entries({ etc: directory, "etc/app.conf": file(conf) })),
  };
}

/** Until its container is judged, so that what comes next is held against the image. */
async function join(name: string): Promise<void> {
  const attester = verifier.attester({ name, quoter: new FakeQuoter() });
  await attester.connect();
  attester.set(container(name));
  await attester.report();
  nodes.push(attester);
  const judged = async () => (await verifier.query.getWorkload({ container: `web-${name}` })).workload;
  await expect.poll(judged, { timeout: 60_000 }).toMatchObject({ content: Verdict.AFFIRMING });
}

/** One file of one node's container becomes `conf`; undefined: as the image has it. */
async function write(node: number, conf?: string): Promise<void> {
  const name = `w-${node}`;
  const attester = nodes[node - 1];
  attester?.set(container(name, conf));
  await attester?.report([container(name).id]);
}

const asking = (channel: RpcChannel = verifier.admin()) => ({ channel, signal: new AbortController().signal, namespace: undefined });
const incidents = async (past = true) => (await fetchIncidents(asking(), past)).incidents;

/** The one incident, when it is as `want` says. */
async function reaches(want: Record<string, unknown>) {
  await expect.poll(async () => await incidents(), { timeout: 60_000 }).toMatchObject([want]);
  const [incident] = await incidents();
  if (!incident) throw new Error("no incident");
  return incident;
}

test("two nodes are one incident; a viewer may not acknowledge it, a responder may; it ends with the last, and comes back under its id", {
  timeout: 300_000,
}, async () => {
  await join("w-1");
  await join("w-2");
  await write(1, "port=81\n");
  await write(2, "port=82\n");
  const both = await reaches({ kind: "content", state: "open", nodes: ["w-1", "w-2"], image: image.configDigest, owner: "", reopened: 0 });
  expect(both.members).toHaveLength(2);

  const viewer = acknowledgeIncident(asking(await verifier.operator("viewer")), both, "mine");
  await expect(viewer).rejects.toMatchObject({ code: "PERMISSION_DENIED" });
  // What changes between looking and acknowledging stays open.
  await write(2, "port=83\n");
  const responder = await verifier.operator("responder");
  const { acknowledged, refused } = await acknowledgeIncident(asking(responder), both, "mine");
  expect([acknowledged, refused]).toMatchObject([[both.members[0]?.driftId], [{ driftId: both.members[1]?.driftId, why: expect.stringContaining("changed") }]]);
  const half = await reaches({ id: both.id, state: "open", owner: "some-responder" });
  expect(await acknowledgeIncident(asking(responder), half, "this too")).toMatchObject({ acknowledged: [both.members[1]?.driftId], refused: [] });
  await reaches({ id: both.id, state: "acknowledged" });

  await write(1);
  await reaches({ id: both.id, state: "acknowledged", resolvedAtMs: undefined });
  await write(2);
  await reaches({ id: both.id, state: "resolved", resolvedAtMs: expect.any(Number) });
  expect(await incidents(false)).toEqual([]);

  // The same in another process, and on another node.
  await verifier.stop();
  for (const attester of nodes) await attester.ended();
  await verifier.start();
  await join("w-3");
  await write(3, "port=84\n");
  const back = await reaches({ id: both.id, state: "open", reopened: 1 });
  expect(back.members).toHaveLength(3);
  expect(findIncidents(await incidents(), both.id.slice(0, 6).toLowerCase())).toHaveLength(1);

  const page = incidentPage(back, false, Date.now());
  for (const part of [
    back.id,
    "/etc/app.conf",
    "3 drifts, 1 of them standing, on 3 nodes",
    "returned 1 times",
    "docs/playbooks.md#files",
    "acknowledged",
    "by some-responder: mine",
  ])
    expect(page).toContain(part);
  expect(incidentTable([back], false, Date.now())).toContain(back.id);
  const { timeline, ...view } = incidentView(back);
  expect(view).toMatchObject({ id: back.id, state: "open", path: "/etc/app.conf", nodes: ["w-1", "w-2", "w-3"], owner: "some-responder", resolvedAt: null });
  expect(timeline.filter(({ what }) => what === "resolved")).toHaveLength(2);
  expect(timeline.map(({ at }) => at)).toEqual(timeline.map(({ at }) => at).toSorted());
});
