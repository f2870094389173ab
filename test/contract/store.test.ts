import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Severity, Verdict } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import { ActionKind, ActionState } from "@hullmark/proto/v1/response";
import { postableAlerts } from "@hullmark/verifier/adapters/alert-http/index";
import { MAX_WAL_BYTES } from "@hullmark/verifier/adapters/sqlite/database";
import { openSqliteStore, type SqliteStore } from "@hullmark/verifier/adapters/sqlite/index";
import { MIGRATIONS } from "@hullmark/verifier/adapters/sqlite/migrations";
import { AlertBook, type AlertSubject } from "@hullmark/verifier/core/alerting/index";
import { LayerTree } from "@hullmark/verifier/core/reference-value/index";
import type { AlertNotification } from "@hullmark/verifier/ports/notifier";
import type { AlertRecord } from "@hullmark/verifier/ports/outbox";
import {
  type ActionRow,
  type DrillRunRow,
  type DrillScheduleRow,
  type ExceptionRow,
  type IncidentRow,
  MAX_AFFIRMED_IMAGES,
  MAX_AFFIRMED_OF_WORKLOAD,
} from "@hullmark/verifier/ports/rows";
import type { StoreBatch, StoreCommit } from "@hullmark/verifier/ports/store";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { subject, webhookRoute } from "../fakes/alert-subjects.ts";
import { action, container, drift, evidence, node, T0, upper, workload } from "./store-fixtures.ts";

/** Every adapter behind the Store port: opened on a folder, and again on the same folder. */
const ADAPTERS = { sqlite: (directory: string) => openSqliteStore(join(directory, "verifier.db")) };
const signal = new AbortController().signal;
const PAGE = { after: "", limit: 100 };

describe.each(Object.entries(ADAPTERS))("%s", (_name, open) => {
  let directory: string;
  let opened: SqliteStore;
  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), "hullmark-store-"));
    opened = await open(directory);
  });
  afterEach(async () => {
    await opened.close();
    rmSync(directory, { recursive: true });
  });
  const reopen = async (): Promise<void> => {
    await opened.close();
    opened = await open(directory);
  };
  const commit = (...commits: StoreCommit[]): Promise<void> => opened.store.commit({ commits, log: undefined });

  test("what one commit writes is there after closing and opening again, field by field", async () => {
    await commit({ nodes: [node("n1")], workloads: [workload("n1", "c1")], drifts: [drift(1)] });
    await reopen();
    expect(await opened.store.readNodes()).toEqual([node("n1")]);
    expect(await opened.store.listWorkloads({ verdicts: [], nodeId: "" }, PAGE)).toEqual([workload("n1", "c1")]);
    expect(await opened.store.readDrift("D-1")).toEqual(drift(1));
    expect(await opened.store.readLastDriftNumber()).toBe(1);
  });

  test("a person is there again as written, and gone once removed", async () => {
    const given = { role: "viewer", issuedAtMs: T0, issuedBy: "ada", notAfterMs: T0 + 9, revokedAtMs: T0 + 1, revokedBy: "ada", revokedReason: "left" };
    const rows = ["ada", "bob"].map((name) => ({ name, ...given, sinceRevoked: [{ sha256: "ab".repeat(32), notAfterMs: T0 + 9 }] }));
    await commit({ people: rows });
    await commit({ removedPeople: ["ada", "eve"] });
    await reopen();
    expect(await opened.store.readPeople()).toEqual(rows.slice(1));
  });

  test("actions are fenced: one a container at a time, each step from the state that it expects, and all is there again", async () => {
    const first = action(1);
    await commit({ actions: [{ row: first, before: undefined }], pause: { by: "ada", reason: "INC-1", sinceMs: T0 } });
    // Another writer, which decided on the same container.
    await expect(commit({ actions: [{ row: action(2), before: undefined }] })).rejects.toMatchObject({ code: "STORE_CONFLICT" });
    await expect(commit({ actions: [{ row: { ...first, state: ActionState.DONE }, before: ActionState.AWAITING }] })).rejects.toMatchObject({
      code: "STORE_CONFLICT",
    });
    await reopen();
    expect(await opened.store.readAction("A-1")).toEqual(first);
    expect(await opened.store.readPause()).toEqual({ by: "ada", reason: "INC-1", sinceMs: T0 });
    const done: ActionRow = { ...first, state: ActionState.DONE, settledAtMs: T0 + 9, newContainerId: "c2", logIndex: 12 };
    await commit({ actions: [{ row: done, before: ActionState.ISSUED }], pause: null });
    await commit({ actions: [{ row: action(2, { createdAtMs: T0 + 10 }), before: undefined }] });
    expect(await opened.store.listActions({ states: [], sinceMs: 0 }, PAGE)).toEqual([action(2, { createdAtMs: T0 + 10 }), done]);
    expect(await opened.store.listActions({ states: [ActionState.DONE], sinceMs: 0 }, PAGE)).toEqual([done]);
    expect(await opened.store.listActions({ states: [], sinceMs: T0 + 10 }, PAGE)).toHaveLength(1);
    expect(await opened.store.listActions({ states: [], sinceMs: 0 }, { after: "2", limit: 5 })).toEqual([done]);
    expect(await opened.store.readLastActionNumber()).toBe(2);
    expect(await opened.store.readPause()).toBeUndefined();
    expect(await opened.store.listActions({ states: [], sinceMs: 0, isolations: true }, PAGE)).toEqual([]);
    const undoing = [action(4, { kind: ActionKind.RELEASE, undoes: "A-3", containerId: "c4" }), action(3, { kind: ActionKind.ISOLATE, containerId: "c3" })];
    await commit({ actions: undoing.map((row) => ({ row, before: undefined })) });
    expect(await opened.store.listActions({ states: [], sinceMs: 0, isolations: true }, PAGE)).toEqual(undoing);
    const purge = action(5, { kind: ActionKind.PURGE, containerId: "", purge: { chainId: "c5", layerIndex: 0, imageDigests: [], containerIds: [] } });
    await commit({ actions: [{ row: purge, before: undefined }] });
    expect(await opened.store.listActions({ states: [], sinceMs: 0, purges: true }, PAGE)).toEqual([purge]);
  });

  test("a quote is part of its node's row, until the row is written again", async () => {
    await commit({ nodes: [node("n1"), node("n2")] });
    // The clock is a u64: what of it does not fit a signed one comes back all the same.
    const clock = { resetCount: 2 ** 32 - 1, restartCount: 7, clock: 2n ** 64n - 1n, safe: false };
    const spendNonce = { nonce: Buffer.alloc(32, 1), expiresAtMs: T0 };
    await commit(
      { quote: { nodeId: "n1", lastQuoteMs: T0 + 9, clock: { ...clock, clock: 5n } } },
      { quote: { nodeId: "n1", lastQuoteMs: T0 + 10, clock }, spendNonce },
    );
    await reopen();
    expect(await opened.store.readNodes()).toEqual([{ ...node("n1"), lastQuoteMs: T0 + 10, clock }, node("n2")]);
    // A nonce that was spent takes the quote with it.
    await expect(commit({ quote: { nodeId: "n1", lastQuoteMs: T0 + 11, clock }, spendNonce })).rejects.toMatchObject({ code: "STORE_CONFLICT" });
    expect((await opened.store.readNodes())[0]?.lastQuoteMs).toBe(T0 + 10);
    await commit({ nodes: [{ ...node("n1"), clock: undefined }] });
    expect(await opened.store.readNodes()).toEqual([{ ...node("n1"), clock: undefined }, node("n2")]);
  });

  test("evidence is written by its changes and read as the whole", async () => {
    const first = container("c1", { upper: [upper("etc/\xff\n", "r1"), upper("gone", "r2")] });
    await commit({ evidence: evidence("n1", 1n, { full: true, containers: [first, container("c2")] }) });
    const removal = upper("gone", "");
    const parts = { identity: undefined, configuration: undefined, code: Buffer.from("code2"), filesystem: undefined };
    await commit({
      evidence: evidence("n1", 2n, {
        node: undefined,
        containers: [{ id: "c1", parts, upperReset: false, upper: [removal, upper("new", "r3")] }],
        removed: ["c2"],
      }),
    });
    await reopen();
    const memory = await opened.store.readMemory("n1");
    const { node: _n, full: _f, containers: _c, removed: _r, previousSeq: _p, ...head } = evidence("n1", 2n);
    expect(memory?.head).toEqual(head);
    expect(memory?.node).toEqual(Buffer.from("node"));
    expect(memory?.containers).toHaveLength(1);
    expect(memory?.containers[0]?.parts).toEqual({ ...first.parts, code: Buffer.from("code2") });
    expect(memory?.containers[0]?.upper.toSorted((a, b) => Buffer.compare(a.path, b.path))).toEqual([upper("etc/\xff\n", "r1"), removal, upper("new", "r3")]);
  });

  test("a full report forgets the other containers, an upper reset the other entries", async () => {
    await commit({ evidence: evidence("n1", 1n, { containers: [container("c1", { upper: [upper("a", "r")] }), container("c2")] }) });
    await commit({ evidence: evidence("n1", 2n, { full: true, containers: [container("c1", { upper: [upper("b", "r")] })] }) });
    const memory = await opened.store.readMemory("n1");
    expect(memory?.containers.map(({ id, upper }) => [id, upper.map(({ path }) => path.toString())])).toEqual([["c1", ["b"]]]);
  });

  test("of removals only the newest 256 are kept", async () => {
    const removals = (from: number, count: number) => Array.from({ length: count }, (_, i) => upper(`p${from + i}`, ""));
    await commit({ evidence: evidence("n1", 1n, { containers: [container("c1", { upper: [...removals(0, 200), upper("kept", "r")] })] }) });
    await commit({ evidence: evidence("n1", 2n, { containers: [container("c1", { upperReset: false, upper: removals(200, 200) })] }) });
    const entries = (await opened.store.readMemory("n1"))?.containers[0]?.upper ?? [];
    expect(entries.filter(({ record }) => record.length === 0)).toHaveLength(256);
    expect(entries.filter(({ path }) => Number(path.toString().slice(1)) >= 200)).toHaveLength(200);
    expect(entries.some(({ path }) => path.toString() === "kept")).toBe(true);
  });

  test("evidence that does not follow the stored head is a conflict, and nothing of its batch is written", async () => {
    await commit({ evidence: evidence("n1", 1n) });
    const batch: StoreBatch = { commits: [{ nodes: [node("n1")] }, { evidence: evidence("n1", 3n), workloads: [workload("n1", "c1")] }], log: undefined };
    await expect(opened.store.commit(batch)).rejects.toMatchObject({ code: "STORE_CONFLICT", index: 1 });
    expect(await opened.store.readNodes()).toEqual([]);
    expect(await opened.store.listWorkloads({ verdicts: [], nodeId: "" }, PAGE)).toEqual([]);
    expect((await opened.store.readHead("n1"))?.seq).toBe(1n);
  });

  test("a new chain starts at 1 and takes the place of the old; the old cannot go on", async () => {
    await commit({ evidence: evidence("n1", 1n) }, { evidence: evidence("n1", 2n) });
    const chainId = Buffer.from("chain-two");
    await commit({ evidence: evidence("n1", 1n, { chainId, full: true }) });
    expect(await opened.store.readHead("n1")).toMatchObject({ chainId, seq: 1n });
    await expect(commit({ evidence: evidence("n1", 3n) })).rejects.toMatchObject({ code: "STORE_CONFLICT", index: 0 });
  });

  test("sequence numbers keep all 63 bits", async () => {
    const seq = 2n ** 62n + 1n;
    await commit({ evidence: evidence("n1", seq, { previousSeq: 0n, digest: Buffer.alloc(32) }) });
    expect((await opened.store.readHead("n1"))?.seq).toBe(seq);
  });

  test("a container may have one unresolved drift a key", async () => {
    await commit({ drifts: [drift(1)] });
    await expect(commit({ drifts: [drift(2, { key: drift(1).key })] })).rejects.toMatchObject({ code: "STORE_CONFLICT", index: 0 });
    await commit({ drifts: [drift(1, { state: DriftState.RESOLVED, resolvedAtMs: T0 })] });
    await commit({ drifts: [drift(2, { key: drift(1).key })] });
    expect((await opened.store.readOpenDrifts("n1")).map(({ id }) => id)).toEqual(["D-2"]);
  });

  test("drifts come newest first, by state, node and container, in pages", async () => {
    const rows = [1, 2, 3, 4, 5].map((n) => drift(n, n === 3 ? { nodeId: "n2", containerName: "db", containerId: "c9" } : {}));
    await commit({ drifts: rows });
    const filter = { states: [DriftState.OPEN], nodeId: "", container: "" };
    const first = await opened.store.listDrifts(filter, { after: "", limit: 2 });
    const second = await opened.store.listDrifts(filter, { after: String(first.at(-1)?.number), limit: 9 });
    expect([...first, ...second].map(({ number }) => number)).toEqual([5, 4, 3, 2, 1]);
    expect((await opened.store.listDrifts({ ...filter, nodeId: "n2" }, PAGE)).map(({ number }) => number)).toEqual([3]);
    expect((await opened.store.listDrifts({ ...filter, container: "db" }, PAGE)).map(({ number }) => number)).toEqual([3]);
    expect(await opened.store.listDrifts({ ...filter, states: [DriftState.RESOLVED] }, PAGE)).toEqual([]);
  });

  test("exceptions come by number, each as it was written last", async () => {
    const scope = { select: { images: [], containers: [], workloads: ["shop"], labels: {}, nodes: [] }, place: "upper", kind: "content", severity: 4 };
    const row: ExceptionRow = {
      ...{ id: "X-1", number: 1, state: "requested", driftId: "D-1", nodeName: "w-1", workload: "shop", containerName: "web", imageReference: "r/x:1" },
      ...{ path: Buffer.from([0x2f, 0xff]), summary: "s", scope: { ...scope, pathHex: "2fff", glob: "", observed: "ab", configDigest: "sha256:1" } },
      ...{ reason: "r", requestedBy: "ann", requestedAtMs: T0, untilMs: T0 + 5, decidedBy: "", decidedAtMs: undefined, decision: "" },
      ...{ endedBy: "", endedAtMs: undefined, remindedAtMs: undefined },
    };
    const decided: ExceptionRow = { ...row, state: "approved", decidedBy: "bob", decidedAtMs: T0 + 1, remindedAtMs: T0 + 2 };
    const second: ExceptionRow = { ...row, id: "X-2", number: 2, state: "revoked", endedBy: "ann", endedAtMs: T0 + 3, decision: "d" };
    await commit({ exceptions: [second, row] });
    await commit({ exceptions: [decided, { ...row, number: 7 }] });
    await commit({ removedExceptions: [7, 9] });
    expect(await opened.store.readExceptions()).toEqual([decided, second]);
  });

  test("what was decided on an incident is there again as written, and gone once removed", async () => {
    const decision = { by: "ada", reason: "hers", atMs: T0 + 0.5, logIndex: 4 };
    const row: IncidentRow = { id: "I-2", revision: 1, assigned: { ...decision, owner: "bob" }, closed: undefined };
    await commit({ incidents: [row, { ...row, id: "I-1" }, { ...row, id: "I-3" }] });
    const closed = { ...row, revision: 2, closed: decision };
    await commit({ incidents: [closed], removedIncidents: ["I-3", "I-9"] });
    await reopen();
    expect(await opened.store.readIncidents()).toEqual([{ ...row, id: "I-1" }, closed]);
  });

  test("runs and schedules of drills are there again as written, and gone once removed", async () => {
    const times = { begunAtMs: T0, endsByMs: T0 + 900_000, endedAtMs: undefined, detectMs: undefined, alertMs: undefined, containMs: undefined };
    const run: DrillRunRow = {
      ...{ run: "bbbbbbbb", drill: "canary-file", container: "c", by: "ada", outcome: "", problem: "", driftId: "", containment: "", logIndex: 3 },
      ...{ ...times, detectWithinMs: 1000, alertWithinMs: 60_000, containWithinMs: undefined },
    };
    const schedule: DrillScheduleRow = { drill: "canary-file", everyMs: 3_600_000, by: "ada", atMs: T0 };
    const exec: DrillScheduleRow = { ...schedule, drill: "canary-exec" };
    await commit({ drillRuns: [run, { ...run, run: "aaaaaaaa" }, { ...run, run: "cccccccc" }], drillSchedules: [schedule, exec] });
    const ended: DrillRunRow = { ...run, outcome: "passed", endedAtMs: T0 + 0.5, detectMs: 80 };
    await commit({ drillRuns: [ended], removedDrillRuns: ["cccccccc", "dddddddd"], removedDrillSchedules: ["canary-exec"] });
    await reopen();
    expect(await opened.store.readDrillRuns()).toEqual([{ ...run, run: "aaaaaaaa" }, ended]);
    expect(await opened.store.readDrillSchedules()).toEqual([schedule]);
  });

  test("drifts are told apart by when they were resolved", async () => {
    const resolved = (n: number, atMs: number) => drift(n, { state: DriftState.RESOLVED, resolvedAtMs: atMs });
    await commit({ drifts: [resolved(1, T0 + 10), resolved(2, T0 + 20.5), drift(3)] });
    const filter = { states: [DriftState.OPEN, DriftState.RESOLVED], nodeId: "", container: "" };
    const since = async (ms: number) => (await opened.store.listDrifts({ ...filter, notResolvedBeforeMs: ms }, PAGE)).map(({ number }) => number);
    expect([await since(T0), await since(T0 + 11), await since(T0 + 21)]).toEqual([[3, 2, 1], [3, 2], [3]]);
  });

  test("drifts are told apart by workload, and by the exception that excuses them", async () => {
    await commit({
      drifts: [
        drift(1, { workload: "shop/web", exception: "X-1", state: DriftState.NOTICE }),
        drift(2, { workload: "", containerName: "shop/web", exception: "X-1", state: DriftState.RESOLVED, resolvedAtMs: T0 + 7.5 }),
        drift(3, { workload: "shop/cart", containerName: "shop/web", exception: "X-2", state: DriftState.NOTICE }),
        drift(4, { workload: "shop/web" }),
      ],
    });
    const filter = { states: [DriftState.OPEN, DriftState.NOTICE, DriftState.RESOLVED], nodeId: "", container: "", workload: "shop/web" };
    expect((await opened.store.listDrifts(filter, PAGE)).map(({ number }) => number)).toEqual([4, 2, 1]);
    expect((await opened.store.readExcused()).toSorted((a, b) => (a.exception < b.exception ? -1 : 1))).toEqual([
      { exception: "X-1", now: 1, lastResolvedMs: T0 + 7.5 },
      { exception: "X-2", now: 1, lastResolvedMs: undefined },
    ]);
  });

  test("unresolved drifts are counted by kind and severity", async () => {
    const rows = [
      drift(1, { kind: "content", severity: Severity.HIGH }),
      drift(2, { kind: "content", severity: Severity.HIGH, state: DriftState.ACKNOWLEDGED }),
      drift(3, { kind: "mode", severity: Severity.LOW }),
      drift(4, { kind: "content", severity: Severity.CRITICAL, state: DriftState.RESOLVED }),
      drift(5, { kind: "alias", severity: Severity.INFO, state: DriftState.NOTICE }),
    ];
    await commit({ drifts: rows });
    expect((await opened.store.countOpenDrifts()).toSorted((a, b) => b.count - a.count)).toEqual([
      { kind: "content", severity: Severity.HIGH, count: 2 },
      { kind: "mode", severity: Severity.LOW, count: 1 },
    ]);
  });

  test("workloads come in pages, by verdict and node, and are found by name or by the start of their id", async () => {
    await commit({
      workloads: [workload("n1", "abc1"), workload("n1", "abc2", { verdict: Verdict.UNKNOWN }), workload("n2", "abd", { containerName: "abc1" })],
    });
    const all = { verdicts: [], nodeId: "" };
    const [first] = await opened.store.listWorkloads(all, { after: "", limit: 1 });
    const rest = await opened.store.listWorkloads(all, { after: `${first?.nodeId}/${first?.containerId}`, limit: 9 });
    expect([first, ...rest].map((row) => row?.containerId)).toEqual(["abc1", "abc2", "abd"]);
    expect((await opened.store.listWorkloads({ verdicts: [Verdict.UNKNOWN], nodeId: "n1" }, PAGE)).map(({ containerId }) => containerId)).toEqual(["abc2"]);
    expect((await opened.store.findWorkloads("abc1", 9)).map(({ containerId }) => containerId)).toEqual(["abc1", "abd"]);
    expect((await opened.store.findWorkloads("abc", 9)).map(({ containerId }) => containerId)).toEqual(["abc1", "abc2"]);
    await commit({ removedWorkloads: [{ nodeId: "n1", containerId: "abc1" }] });
    expect(await opened.store.findWorkloads("abc1", 9)).toHaveLength(1);
  });

  test("workloads are counted by verdict, by signature and by why they are unknown", async () => {
    const reasons = [{ code: "no-reference", detail: "", sinceMs: undefined }];
    await commit({
      workloads: [workload("n1", "a"), workload("n1", "b", { verdict: Verdict.UNKNOWN, reasons }), workload("n1", "c", { provenance: undefined })],
    });
    const results = { byVerdict: { [Verdict.AFFIRMING]: 2, [Verdict.UNKNOWN]: 1 }, byProvenance: { 0: 1, 2: 2 }, sandboxes: 0 };
    expect(await opened.store.countResults()).toEqual(results);
    expect(await opened.store.countWorkloads()).toEqual({
      ...results,
      byImage: { "sha256:1": 3 },
      unknownReasons: { "no-reference": 1 },
    });
    await commit({
      workloads: ["shop/web-1/(sandbox)", "shop/web-1/web", "(sandbox)"].map((containerName) => workload("n3", containerName, { containerName })),
    });
    expect(await opened.store.countResults()).toMatchObject({ byVerdict: { [Verdict.AFFIRMING]: 5 }, sandboxes: 1 });
    await commit({ removedWorkloads: [{ nodeId: "n3", containerId: "shop/web-1/(sandbox)" }] });
    expect(await opened.store.countResults()).toMatchObject({ byVerdict: { [Verdict.AFFIRMING]: 4 }, sandboxes: 0 });
    expect(await opened.store.countDrifted()).toEqual({});
    await commit({ workloads: ["a", "b"].map((id) => workload("n2", id, { verdict: Verdict.CONTRAINDICATED })) });
    expect(await opened.store.countDrifted()).toEqual({ n2: 2 });
  });

  test("a join token is spent once and not after it expired", async () => {
    const token = { sha256: Buffer.alloc(32, 5), nodeName: "w", expiresAtMs: T0 + 10 };
    await commit({ joinTokens: [token] });
    expect(await opened.store.readJoinToken(token.sha256, T0)).toEqual(token);
    expect(await opened.store.readJoinToken(token.sha256, T0 + 10)).toBeUndefined();
    await expect(commit({ spendToken: { sha256: token.sha256, nowMs: T0 + 10 } })).rejects.toMatchObject({ code: "STORE_CONFLICT" });
    await commit({ spendToken: { sha256: token.sha256, nowMs: T0 } });
    await expect(commit({ spendToken: { sha256: token.sha256, nowMs: T0 } })).rejects.toMatchObject({ code: "STORE_CONFLICT" });
  });

  test("a nonce is spent once; an expired one is forgotten by pruning", async () => {
    const spendNonce = { nonce: Buffer.alloc(32, 6), expiresAtMs: T0 };
    await commit({ spendNonce });
    await expect(commit({ spendNonce })).rejects.toMatchObject({ code: "STORE_CONFLICT" });
    await opened.store.prune(T0 + 1, 0);
    await commit({ spendNonce });
  });

  test("coverage adds up over the hours asked for", async () => {
    const hour = (hourMs: number, observedSeconds: number, unattestedSeconds: number) => ({ nodeId: "n1", hourMs, observedSeconds, unattestedSeconds });
    await commit({ coverage: [hour(0, 100, 50), hour(3_600_000, 10, 1)] });
    await commit({ coverage: [hour(3_600_000, 10, 0.5)] });
    expect(await opened.store.readCoverage(3_600_000)).toEqual({ observedSeconds: 20, unattestedSeconds: 1.5 });
    await opened.store.prune(0, 3_600_000);
    expect(await opened.store.readCoverage(0)).toEqual({ observedSeconds: 20, unattestedSeconds: 1.5 });
  });

  test("of the images of a service the last affirmed ten are kept, of a node the last thousand, each at its latest time, until a year after", async () => {
    const image = (n: number, affirmedAtMs: number, service = "shop") => ({
      ...{ nodeId: "n1", service, configDigest: `sha256:${n}`, imageId: `sha256:i${n}`, reference: `r/shop@sha256:${n}`, affirmedAtMs },
    });
    const read = async (service = "shop") => (await opened.store.readAffirmedImages("n1", service)).map(({ configDigest }) => configDigest);
    await commit({ affirmedImages: [image(1, T0), image(2, T0 + 1), image(1, T0 + 2), image(2, T0), image(9, T0, "other")] });
    expect(await opened.store.readAffirmedImages("n1", "shop")).toEqual([image(1, T0 + 2), image(2, T0 + 1)]);
    await commit({ affirmedImages: Array.from({ length: 12 }, (_, i) => image(10 + i, T0 + 10 + i)) });
    expect(await read()).toEqual(Array.from({ length: MAX_AFFIRMED_IMAGES }, (_, i) => `sha256:${21 - i}`));
    expect(await opened.store.readAffirmedImages("n2", "shop")).toEqual([]);
    await opened.store.prune(T0 + 365 * 86_400_000 + 1, 0);
    expect([await read("other"), (await read()).length]).toEqual([[], MAX_AFFIRMED_IMAGES]);
    await commit({ affirmedImages: Array.from({ length: 995 }, (_, i) => image(1, T0 + 100 + i, `once-${i}`)) });
    expect([await read(), await read("once-0"), await read("once-994")]).toEqual([[21, 20, 19, 18, 17].map((n) => `sha256:${n}`), ["sha256:1"], ["sha256:1"]]);
  });

  test("of the revisions of a workload the last affirmed hundred containers are kept, each at its latest time, until a year after", async () => {
    const image = (n: number) => ({ configDigest: `sha256:${n}`, imageId: `sha256:i${n}`, reference: `r/shop@sha256:${n}` });
    const row = (n: number, affirmedAtMs: number, container = "web", workload = "shop/Deployment/web") => ({
      ...{ ...image(n), workload, revision: `web-${n}`, container, affirmedAtMs },
    });
    const read = (workload = "shop/Deployment/web") => opened.store.readAffirmedRevisions(workload);
    await commit({
      affirmedRevisions: [row(1, T0), row(2, T0 + 1), row(2, T0 + 1, "side"), row(1, T0 + 2), row(2, T0), row(9, T0, "web", "shop/DaemonSet/web")],
    });
    expect(await read()).toEqual([row(1, T0 + 2), row(2, T0 + 1, "side"), row(2, T0 + 1)]);
    await commit({ affirmedRevisions: Array.from({ length: MAX_AFFIRMED_OF_WORKLOAD }, (_, i) => row(10 + i, T0 + 10 + i)) });
    expect((await read()).map(({ revision }) => revision)).toEqual(Array.from({ length: MAX_AFFIRMED_OF_WORKLOAD }, (_, i) => `web-${109 - i}`));
    await opened.store.prune(T0 + 365 * 86_400_000 + 1, 0);
    expect([await read("shop/DaemonSet/web"), (await read()).length]).toEqual([[], MAX_AFFIRMED_OF_WORKLOAD]);
  });

  test("log entries are written with the rows they tell of, and only at the log's end", async () => {
    const append = (firstIndex: number) => ({
      firstIndex,
      entries: [Buffer.from("e")],
      tiles: [{ level: 0, index: 0, hashes: Buffer.alloc(32 * (firstIndex + 1), 1) }],
      size: firstIndex + 1,
      root: Buffer.alloc(32),
    });
    await opened.store.commit({ commits: [{ nodes: [node("n1")] }], log: append(0) });
    await expect(opened.store.commit({ commits: [{ nodes: [node("n2")] }], log: append(0) })).rejects.toMatchObject({ code: "STORE_LOG_CONFLICT" });
    expect(await opened.store.readNodes()).toHaveLength(1);
    await opened.log.append(append(1));
    await expect(opened.log.append(append(1))).rejects.toMatchObject({ code: "LOG_CONFLICT" });
    await reopen();
    expect(await opened.log.readSize()).toBe(2);
    expect(await opened.log.readEntries(0, 5)).toEqual([Buffer.from("e"), Buffer.from("e")]);
    expect(await opened.log.readTile(0, 0, 2)).toEqual(Buffer.alloc(64, 1));
    expect(await opened.log.readTile(1, 0, 1)).toBeUndefined();
  });

  test("a checkpoint never goes back", async () => {
    expect(await opened.log.readCheckpoint()).toBeUndefined();
    await opened.log.writeCheckpoint({ size: 5, note: "five" });
    await opened.log.writeCheckpoint({ size: 4, note: "four" });
    await opened.log.writeCheckpoint({ size: 5, note: "five again" });
    await reopen();
    expect(await opened.log.readCheckpoint()).toEqual({ size: 5, note: "five" });
  });

  test("an undelivered notification comes back after its lease, a buried one when another takes its place", async () => {
    const notification: AlertNotification = { id: "a1", route: "ops", groupKey: "g", alerts: [], suppressed: 0, waiting: 0, createdAtMs: T0 };
    const record = { fingerprint: "f" } as unknown as AlertRecord;
    const nothing = { upserts: [], removals: [], left: [], joined: [] };
    await commit({ alerts: { ...nothing, upserts: [record], notifications: [notification, { ...notification, id: "a2" }] } });
    await opened.outbox.commitAlerts({ ...nothing, removals: ["x"], notifications: [notification] });
    expect(await opened.outbox.readAlerts()).toEqual([{ record, members: [] }]);
    expect(await opened.outbox.claim("other", T0, 9, 100)).toEqual([]);
    expect((await opened.outbox.claim("ops", T0, 9, 100)).map(({ notification: { id } }) => id)).toEqual(["a1", "a2"]);
    expect(await opened.outbox.claim("ops", T0 + 99, 9, 100)).toEqual([]);
    await opened.outbox.delivered("a2", T0);
    await opened.outbox.retry("a1", "NOTIFY_TIMEOUT: slow", T0 + 500);
    await reopen();
    expect(await opened.outbox.claim("ops", T0 + 500, 9, 1)).toEqual([{ notification, attempts: 1, notBeforeMs: T0 + 500, lastError: "NOTIFY_TIMEOUT: slow" }]);
    await opened.outbox.bury("a1", "NOTIFY_REJECTED: no", T0 + 600);
    expect(await opened.outbox.counts()).toEqual({ pending: 0, dead: 1, oldestPendingAtMs: undefined });
    expect(await opened.outbox.list({ route: undefined, state: "dead" }, 5)).toMatchObject([{ id: "a1", lastError: "NOTIFY_REJECTED: no" }]);
    expect(await opened.outbox.revive("a1", T0)).toBe(false);
    expect(await opened.outbox.readDead("a1")).toEqual(notification);
    await commit({ alerts: { ...nothing, notifications: [{ ...notification, id: "a3" }], replaced: ["a1"] } });
    expect(await opened.outbox.counts()).toEqual({ pending: 1, dead: 0, oldestPendingAtMs: T0 });
  });

  test("replayed layers are kept by chain id, dialect and version, and found by root", async () => {
    const tree = LayerTree.build([]);
    const key = { chainId: "sha256:1", dialect: "docker", dialectVersion: 1 } as const;
    const refused = { unextractable: { code: "REFUSED", reason: "twice" } } as const;
    await opened.references.put(key, tree, signal);
    await opened.references.put({ ...key, dialect: "containerd" }, refused, signal);
    await reopen();
    const stored = await opened.references.get(key, signal);
    expect(stored).toBeInstanceOf(LayerTree);
    expect((stored as LayerTree).root).toEqual(tree.root);
    expect(await opened.references.get({ ...key, dialect: "containerd" }, signal)).toEqual(refused);
    expect(await opened.references.get({ ...key, dialectVersion: 2 }, signal)).toBeUndefined();
    expect(await opened.references.findByRoot(tree.root, 5, signal)).toEqual([key]);
  });

  test("after closing, every call is refused", async () => {
    const { store } = opened;
    await opened.close();
    await expect(store.readNodes()).rejects.toMatchObject({ code: "STORE_CLOSED" });
    opened = await open(directory);
  });
});

describe("sqlite file", () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "hullmark-store-"));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  test("the files are for their owner alone", async () => {
    const opened = await openSqliteStore(join(directory, "v.db"));
    await opened.store.commit({ commits: [{ nodes: [node("n1")] }], log: undefined });
    for (const name of ["v.db", "v.db-wal", "v.db-shm"]) expect(statSync(join(directory, name)).mode & 0o777, name).toBe(0o600);
    await opened.close();
  });

  test("once what had grown is moved into it, the write-ahead log is no longer than it may be: nothing is moved again at each commit", {
    timeout: 180_000,
  }, async () => {
    const path = join(directory, "v.db");
    const opened = await openSqliteStore(path);
    const logBytes = (): number => statSync(`${path}-wal`).size;
    const body = Buffer.alloc(2 * MAX_WAL_BYTES);
    await opened.store.commit({ commits: [{ nodes: [node("n1")], evidence: evidence("n1", 1n, { node: body }) }], log: undefined });
    expect(logBytes()).toBeGreaterThan(MAX_WAL_BYTES);
    let nodes = 1;
    const committed = async (): Promise<number> => {
      await opened.store.commit({ commits: [{ nodes: [node(`n${++nodes}`)] }], log: undefined });
      return logBytes();
    };
    await expect.poll(committed, { timeout: 120_000, interval: 200 }).toBeLessThanOrEqual(MAX_WAL_BYTES);
    expect((await opened.store.readMemory("n1"))?.node.equals(body)).toBe(true);
    await opened.close();
  });

  test("a file of a later version is not touched", async () => {
    const path = join(directory, "v.db");
    new Database(path).exec("PRAGMA user_version = 999").close();
    await expect(openSqliteStore(path)).rejects.toMatchObject({ code: "STORE_NEWER" });
    expect(new Database(path).pragma("user_version", { simple: true })).toBe(999);
  });

  test("a file of any earlier version is brought to this one, with what it holds", { timeout: 180_000 }, async () => {
    const schemaOf = (path: string): unknown => {
      const database = new Database(path, { readonly: true });
      const schema = database.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name").all();
      const pragmas = ["user_version", "journal_mode"].map((name) => database.pragma(name, { simple: true }));
      database.close();
      return { schema, pragmas };
    };
    const now = join(directory, "now.db");
    await (await openSqliteStore(now)).close();
    expect(schemaOf(now)).toMatchObject({ pragmas: [MIGRATIONS.length, "wal"] });
    for (let version = 1; version < MIGRATIONS.length; version++) {
      const path = join(directory, `${version}.db`);
      const old = new Database(path).exec("PRAGMA synchronous = OFF");
      for (const step of MIGRATIONS.slice(0, version)) old.exec(step);
      old.exec(`INSERT INTO join_tokens VALUES (x'05', 'w', ${T0}); PRAGMA user_version = ${version}`).close();
      const opened = await openSqliteStore(path);
      expect(await opened.store.readJoinToken(Buffer.from([5]), T0 - 1), `from ${version}`).toMatchObject({ nodeName: "w" });
      await opened.close();
      expect(schemaOf(path), `from ${version}`).toEqual(schemaOf(now));
    }
  });

  test("a notification that waits, or was given up, is brought up to date: each receiver takes it", async () => {
    const path = join(directory, "notifications.db");
    const before = MIGRATIONS.findIndex((step) => step.includes("CREATE TABLE alert_members"));
    const old = new Database(path);
    for (const step of MIGRATIONS.slice(0, before)) old.exec(step);
    const alert = {
      ...{
        fingerprint: "f".repeat(32),
        incident: "I-1",
        status: "firing",
        severity: "high",
        kind: "content",
        node: "w-1",
        workload: "shop/cart",
        image: "a:1",
      },
      ...{ path: "/bin/x", containers: ["cart-1"], containerCount: 1, driftIds: ["D-1", "D-2"], startsAtMs: T0, summary: "s", description: "d" },
      ...{ nextCommand: "n", playbook: "p" },
    };
    const put = old.prepare("INSERT INTO outbox (id, route, created_ms, attempts, not_before_ms, dead, body) VALUES (?, 'hook', ?, 0, ?, ?, ?)");
    for (const [id, dead] of [["waits", 0] as const, ["given-up", 1] as const]) {
      const alerts = [alert, { ...alert, workload: "", fingerprint: "e".repeat(32) }];
      put.run(id, T0, T0, dead, JSON.stringify({ id, route: "hook", groupKey: "node=w-1", alerts, suppressed: 2, createdAtMs: T0 }));
    }
    old.pragma(`user_version = ${before}`);
    old.close();
    const opened = await openSqliteStore(path);
    try {
      const dead = (await opened.outbox.readDead("given-up")) as AlertNotification;
      const told = (await opened.outbox.claim("hook", T0, 9, 1000)).map(({ notification }) => notification);
      expect(told.map(({ id, suppressed, waiting }) => [id, suppressed, waiting])).toEqual([["waits", 2, 0]]);
      for (const { alerts } of [dead, ...told])
        expect(alerts).toEqual([
          {
            ...{ ...alert, earlierSeverities: [], nodes: ["w-1"], nodeCount: 1, workloads: ["shop/cart"], workloadCount: 1, driftCount: 2 },
            ...{ acknowledged: false, reopened: 0 },
          },
          expect.objectContaining({ workloads: [], workloadCount: 0, nodes: ["w-1"] }),
        ]);
      for (const each of [dead, ...told]) expect(each.alerts.flatMap((one) => postableAlerts(one, each, undefined, T0))).toHaveLength(2);
      // What came later of the same alert waits for it.
      const later = { ...(told[0] as AlertNotification), id: "later" };
      await opened.outbox.commitAlerts({ upserts: [], removals: [], left: [], joined: [], notifications: [later] });
      expect(await opened.outbox.claim("hook", T0 + 1, 9, 1000)).toEqual([]);
    } finally {
      await opened.close();
    }
  });

  test("alerts that were open for a node and a workload go on until they are over, and are told no second time", async () => {
    const path = join(directory, "alerts.db");
    const before = MIGRATIONS.findIndex((step) => step.includes("CREATE TABLE alert_members"));
    const old = new Database(path);
    for (const step of MIGRATIONS.slice(0, before)) old.exec(step);
    const event = {
      ...{ fingerprint: "f1", incident: "I-1", status: "firing", severity: "high", kind: "content", node: "w-1", workload: "shop/cart", image: "acme/cart:1" },
      ...{ path: "/bin/x", containers: ["cart-1", "cart-2"], containerCount: 2, driftIds: ["D-1", "D-2"], startsAtMs: T0, summary: "s", description: "d" },
    };
    const told = { notifiedAtMs: { pager: T0 + 5 }, notifiedSeverity: { pager: "high" } };
    const put = old.prepare("INSERT INTO alerts VALUES (?, ?)");
    put.run("f1", JSON.stringify({ fingerprint: "f1", event, openDriftIds: ["D-1", "D-2"], ...told, acknowledged: true, updatedAtMs: T0 + 1 }));
    const over = { ...event, fingerprint: "f2", status: "resolved", endsAtMs: T0 + 9 };
    put.run("f2", JSON.stringify({ fingerprint: "f2", event: over, openDriftIds: [], ...told, acknowledged: false, updatedAtMs: T0 + 9 }));
    const storm = { ...event, fingerprint: "f3", incident: "", kind: "many", path: "", driftIds: ["D-3"] };
    put.run(
      "f3",
      JSON.stringify({ fingerprint: "f3", event: storm, openDriftIds: ["D-3"], notifiedAtMs: {}, notifiedSeverity: {}, acknowledged: false, updatedAtMs: T0 }),
    );
    old.pragma(`user_version = ${before}`);
    old.close();
    const opened = await openSqliteStore(path);
    try {
      const alerts = await opened.outbox.readAlerts();
      expect(alerts.map(({ record, members }) => [record.fingerprint, record.storm, members.map(({ driftId }) => driftId)])).toEqual([
        ["f1", false, ["D-1", "D-2"]],
        ["f3", true, ["D-3"]],
      ]);
      expect(alerts[0]?.members[0]).toEqual({ driftId: "D-1", node: "w-1", workload: "shop/cart", container: "cart-1", acknowledged: true });
      const book = new AlertBook(alerts);
      const pager = webhookRoute({ name: "pager" });
      const step = (subjects: AlertSubject[], nowMs: number) => {
        const plan = book.plan(subjects, [pager], nowMs);
        book.apply(plan);
        return plan.commit.notifications.flatMap(({ alerts: each }) => each);
      };
      // Only what had not been told is.
      expect(step([], T0 + 60_000)).toMatchObject([{ fingerprint: "f3", kind: "many", node: "w-1", summary: "HIGH shop/cart: 1 more differences on w-1" }]);
      const drift = subject({ driftId: "D-1", incident: "I-1", nodeName: "w-1", severity: "high", state: "acknowledged" });
      expect(step([drift], T0 + 61_000)).toEqual([]);
      const ends = [drift, { ...drift, driftId: "D-2" }].map((each): AlertSubject => ({ ...each, state: "resolved" }));
      expect(step(ends, T0 + 62_000)).toMatchObject([{ fingerprint: "f1", status: "resolved", severity: "high", node: "w-1", incident: "I-1" }]);
      expect(step([{ ...drift, driftId: "D-9", state: "open" }], T0 + 63_000)).toMatchObject([{ status: "firing", node: "", incident: "I-1" }]);
    } finally {
      await opened.close();
    }
  });

  test("what is not a database is refused by name", async () => {
    await expect(openSqliteStore(join(directory, "absent", "v.db"))).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  });
});
