/** Whose word bears out that the image of a workload is not trusted, on a real store: what is done to all of its pods is done on no single node's. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Severity, Verdict } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import { ActionKind, ActionState } from "@hullmark/proto/v1/response";
import { openSqliteStore, type SqliteStore } from "@hullmark/verifier/adapters/sqlite/index";
import { ResponseEngine } from "@hullmark/verifier/core/response/index";
import type { Rollback } from "@hullmark/verifier/core/response/rollback";
import type { KnownRisk } from "@hullmark/verifier/core/risk/known-risk";
import type { DriftRow } from "@hullmark/verifier/ports/rows";
import { afterEach, beforeEach, expect, test } from "vitest";
import { committerOver } from "../fakes/committer.ts";
import { testNoteSigner } from "../fakes/note-signer.ts";
import { policyOf } from "../fakes/policy.ts";
import { drift, node, workload } from "./store-fixtures.ts";

const NODES = ["00112233445566aa", "00112233445566bb"];
const policy = policyOf({ mode: "enforce", response: { rules: [{ name: "all", untrusted: ["rollback"] }] } });
const signer = testNoteSigner();
const POD = { cluster: "prod", namespace: "shop", name: "web-1", uid: "u1", container: "web", imageDigests: [`sha256:${"3".repeat(64)}`] };
/** @param configDigest of the one that is verified */
const rolloutTo = (configDigest: string) => ({
  ...{ owner: { kind: "ReplicaSet", name: "web-9", uid: "u9" }, revision: "web-9", container: "web" },
  revisions: [
    { name: "web-8", standing: "verified" as const, images: [{ container: "web", reference: `r.example/web@sha256:${"1".repeat(64)}`, configDigest }] },
  ],
});

let directory: string;
let sqlite: SqliteStore;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-witnesses-"));
  sqlite = await openSqliteStore(join(directory, "verifier.db"));
});
afterEach(async () => {
  await sqlite.close();
  rmSync(directory, { recursive: true });
});

const idOf = (index: number): string => index.toString(16).padStart(64, "0");
const UNSIGNED = { place: "image", kind: "unsigned" };
const LACKING = { place: "image", kind: "attestation-missing" };

/** A container of the workload on each node, with one drift each. */
async function drifted(...found: Partial<DriftRow>[]): Promise<void> {
  const bad = { verdict: Verdict.CONTRAINDICATED, content: Verdict.CONTRAINDICATED, reasons: [] };
  const commits = found.map((more, index) => {
    const [nodeId, containerId] = [NODES[index] ?? "", idOf(index)];
    const own = { containerName: `shop/web-${index}/web`, workload: "shop/web" };
    const open = { nodeId, containerId, ...own, key: `k${index}`, state: DriftState.OPEN, severity: Severity.HIGH, ...more };
    return { workloads: [workload(nodeId, containerId, { ...own, verdict: bad.verdict, appraised: bad })], drifts: [drift(index + 1, open)] };
  });
  await sqlite.store.commit({ commits, log: undefined });
}

/** @returns what is held back of all that contradicts, what people are told of that, and how many intents the cluster's actuator got */
async function decided(
  rollout: NonNullable<Rollback["rollout"]> = rolloutTo("sha256:8"),
  risk?: KnownRisk,
): Promise<{ held: object; told: readonly string[]; issued: number }> {
  let issued = 0;
  const attested = NODES.map((id) => node(id, { verdict: Verdict.AFFIRMING }));
  const engine = await ResponseEngine.open({
    ...{ samePerson: (a: string, b: string) => a === b, revokedSince: () => false, store: sqlite.store, committer: committerOver(sqlite.store) },
    ...{ nowMs: () => Date.now(), verifierId: "v1", region: "eu-1", policy: () => policy, cluster: "prod", pod: () => POD },
    ...{
      node: (id: string) => attested.find((each) => each.id === id),
      nodes: () => attested,
      rollback: async () => ({ never: false, risk, earlier: [], rollout }),
    },
    ...{ layerChains: async () => () => [], intentKeys: () => [signer], random: (bytes: number) => randomBytes(bytes), passing: () => {} },
    onProblem: (error: unknown) => {
      throw error;
    },
  });
  engine.connect("cluster prod", { push: () => issued++, end: () => {} });
  await engine.reconsider();
  await engine.tick();
  await engine.tick();
  await engine.stop();
  return { held: engine.held(), told: engine.claims.map(({ code }) => code), issued };
}

test("two nodes that tell of the same untrusted image bear it out", async () => {
  await drifted(UNSIGNED, UNSIGNED);
  expect(await decided()).toMatchObject({ issued: 1 });
});

test("a container of that workload whose files differ elsewhere says nothing of the image: one node alone does", async () => {
  await drifted(UNSIGNED, { place: "upper", kind: "content" });
  expect(await decided()).toMatchObject({ held: { "one-node": 1 }, issued: 0 });
});

test("all that is verified is the present image, by another name: nothing is done, and people are told why", async () => {
  await drifted(UNSIGNED, UNSIGNED);
  const { configDigest } = workload("", "");
  expect(await decided(rolloutTo(configDigest))).toEqual({ held: { "same-image": 2 }, told: ["same-image"], issued: 0 });
});

test("all that is verified has a higher risk than what runs and is signed: the refusal is on record, once a container, and people are told why", async () => {
  await drifted(LACKING, LACKING);
  const risk = { figure: 20, because: "2 open" };
  const rollout = rolloutTo("sha256:8");
  const worse = { ...rollout, revisions: rollout.revisions.map((each) => ({ ...each, risk: { figure: 34, because: "5 open" } })) };
  expect(await decided(worse, risk)).toEqual({ held: { "higher-risk": 2 }, told: ["higher-risk"], issued: 0 });
  // A verifier that is started again says so, and records nothing anew.
  expect(await decided(worse, risk)).toEqual({ held: { "higher-risk": 2 }, told: ["higher-risk"], issued: 0 });
  const actions = await sqlite.store.listActions({ states: [], sinceMs: 0 }, { after: "", limit: 10 });
  expect(actions.map(({ kind, state, reason }) => ({ kind, state, reason }))).toEqual(
    NODES.map(() => ({ kind: ActionKind.ROLLBACK, state: ActionState.REFUSED, reason: "higher-risk" })),
  );
  expect(actions[0]).toMatchObject({
    ...{ pod: { name: POD.name }, rollout: { owner: rollout.owner }, settledAtMs: expect.any(Number) },
    detail: `r.example/web@sha256:${"1".repeat(64)} has vulnerabilities of 34 (5 open), what runs has 20 (2 open)`,
  });
  // Less is known to be wrong with it by now.
  expect(await decided(rollout, risk)).toMatchObject({ issued: 1 });
});

test("an unsigned image of which no flaw is known is left for the verified one of which some are: what nobody vouches for has no risk to hold against it", async () => {
  await drifted(UNSIGNED, UNSIGNED);
  const rollout = rolloutTo("sha256:8");
  const known = { ...rollout, revisions: rollout.revisions.map((each) => ({ ...each, risk: { figure: 34, because: "5 open" } })) };
  expect(await decided(known, { figure: 0, because: "none" })).toMatchObject({ issued: 1 });
});
