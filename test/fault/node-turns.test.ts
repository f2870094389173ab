/** What is decided of a node while a session of it opens, or while the store fails: it holds, or whoever asked is told that it does not. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { HelloSchema } from "@hullmark/proto/v1/attestation";
import { DriftState } from "@hullmark/proto/v1/query";
import { openSqliteStore, type SqliteStore } from "@hullmark/verifier/adapters/sqlite/index";
import { AlertBook } from "@hullmark/verifier/core/alerting/book";
import { Administration } from "@hullmark/verifier/core/fleet/administration";
import { alertPlanner } from "@hullmark/verifier/core/fleet/alert-planner";
import { Committer } from "@hullmark/verifier/core/fleet/committer";
import { DriftNumbers } from "@hullmark/verifier/core/fleet/drift-id";
import { sightOf } from "@hullmark/verifier/core/fleet/drift-rows";
import { enrolmentRecords } from "@hullmark/verifier/core/fleet/enrolment-records";
import { Fleet } from "@hullmark/verifier/core/fleet/fleet";
import { quotedMs } from "@hullmark/verifier/core/fleet/node-appraisal";
import { defaultPolicy } from "@hullmark/verifier/core/policy/default";
import { SessionError, Sessions, type SessionsServices } from "@hullmark/verifier/core/session/index";
import { TransparencyLog } from "@hullmark/verifier/core/transparency/index";
import type { EnrolmentRecord } from "@hullmark/verifier/ports/enrolment-records";
import type { NodeRow } from "@hullmark/verifier/ports/rows";
import { type Store, type StoreBatch, StoreError } from "@hullmark/verifier/ports/store";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { drift, node, T0 } from "../contract/store-fixtures.ts";
import { NOTHING_WAITS } from "../fakes/alert-subjects.ts";
import { testNoteSigner } from "../fakes/note-signer.ts";

const BOOT = "2c1e5b0a-0000-4000-8000-000000000001";
const ID = "n1";
const EK = "ab".repeat(32);

let directory: string;
let opened: SqliteStore;
let world: Awaited<ReturnType<typeof start>>;

/** Sessions on a real store that can be held while it reads a node's memory, and that can refuse to write. */
async function start() {
  const gate = { reached: Promise.withResolvers<void>(), go: Promise.withResolvers<void>(), shut: false };
  const faults = { write: (_batch: StoreBatch): boolean => false };
  const { store: real } = opened;
  const store: Store = new Proxy(real, {
    get(target, name: keyof Store) {
      if (name === "readMemory")
        return async (nodeId: string) => {
          if (gate.shut) {
            gate.reached.resolve();
            await gate.go.promise;
          }
          return await target.readMemory(nodeId);
        };
      if (name === "commit")
        return async (batch: StoreBatch) => {
          if (faults.write(batch)) throw new StoreError("STORE_UNAVAILABLE", "no space left");
          await target.commit(batch);
        };
      const member: unknown = target[name];
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
  const log = await TransparencyLog.open(opened.log, testNoteSigner());
  const fleet = new Fleet(await store.readNodes());
  const clock = { nowMs: () => T0 + 1000, after: () => () => {} };
  const { nowMs } = clock;
  const alerts = alertPlanner({
    book: new AlertBook(),
    routes: () => defaultPolicy().alerts,
    nowMs,
    onTold: () => {},
    onDue: () => {},
    passing: () => {},
    handled: NOTHING_WAITS,
  });
  const committer = new Committer(store, log, alerts, (commit) => {
    for (const row of commit.nodes ?? []) fleet.set(row);
    if (commit.quote) fleet.quoted(commit.quote);
  });
  const meter = new Proxy({}, { get: (_, name) => (name === "appraisal" ? (work: () => unknown) => work() : () => {}) });
  const services = {
    ...{ clock, meter, losses: new Map(), committer, pods: undefined, numbers: new DriftNumbers(100), fleet, store, policy: defaultPolicy },
    ...{ utilisation: () => 0, checkpoint: () => "", shown: () => {}, onProblem: () => {}, verifierId: "v1", region: "eu-1" },
    images: { view: () => undefined, vouches: () => false, onChange: () => () => {} },
    quotes: { issue: () => randomBytes(32), redeem: () => "ok", verify: () => ({ ok: false, code: "x", detail: "" }) },
  } as unknown as SessionsServices;
  const sessions = new Sessions(services);
  const administration = new Administration({ store, fleet, committer, sessions, nowMs });
  const records = enrolmentRecords({ fleet, store, committer, nowMs, sessions });
  return { gate, faults, log, fleet, committer, sessions, administration, records };
}

const spki = randomBytes(32);
function connect(bootId = BOOT) {
  const closed: (SessionError | undefined)[] = [];
  const hello = create(HelloSchema, { protocolVersion: 1, agentVersion: "1", bootId, chainId: Buffer.alloc(16, 1) });
  const session = world.sessions.open(ID, { spkiSha256: spki, certificateNotAfterMs: T0 + 1e7 }, hello, {
    send: () => {},
    close: (error) => closed.push(error),
  });
  return { session, closed };
}

/** A session that opens, and stands where it has read the node's row and waits for the store. */
async function opening() {
  world.gate.shut = true;
  const connected = connect();
  connected.session.catch(() => undefined);
  await world.gate.reached.promise;
  return connected;
}
const release = (): void => world.gate.go.resolve();
const stored = async () => (await opened.store.readNodes()).find(({ id }) => id === ID);
const actions = async (): Promise<string[]> =>
  (await opened.log.readEntries(0, world.log.size)).map((bytes) => (JSON.parse(Buffer.from(bytes).toString()) as { type: string }).type);

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-turns-"));
  opened = await openSqliteStore(join(directory, "verifier.db"));
  await opened.store.commit({
    commits: [{ nodes: [node(ID, { ekSha256: EK })], drifts: [drift(1, { nodeId: ID, containerId: "c1", state: DriftState.OPEN })] }],
    log: undefined,
  });
  world = await start();
});
afterEach(async () => {
  await world.committer.drain();
  await opened.close();
  rmSync(directory, { recursive: true });
});

describe("while a session opens", () => {
  test.each(["first", "second"])("a revocation holds: of the node's %s session", async (which) => {
    if (which === "second") await connect().session;
    const { session } = await opening();
    const revoking = world.administration.revoke(ID, "ada", "stolen");
    release();
    await revoking;
    const outcome = await session.catch((error: unknown) => error);
    await world.committer.drain();
    expect(outcome instanceof SessionError || world.sessions.get(ID)?.closed).toBe(true);
    expect((await stored())?.revokedReason).toBe("stolen");
    expect(world.fleet.get(ID)?.revokedAtMs).toBeDefined();
    expect((await actions()).filter((type) => type === "revocation")).toHaveLength(1);
    await expect(connect().session).rejects.toMatchObject({ code: "REVOKED" });
  });

  test("an acknowledgement holds", async () => {
    const row = drift(1, { nodeId: ID, containerId: "c1", state: DriftState.OPEN });
    const { session } = await opening();
    const acknowledging = world.administration.acknowledge(row.id, sightOf(row), "ada", "known");
    release();
    await acknowledging;
    await session;
    expect(await opened.store.readDrift(row.id)).toMatchObject({ acknowledgedBy: "ada" });
  });

  test("an enrolment holds: quotes are verified by what it told", async () => {
    const { session } = await opening();
    const recording = world.records.record(enrolment(9));
    release();
    expect(await recording).toBe("recorded");
    const { live } = await session;
    expect(live.node.clock?.resetCount).toBe(9);
    await world.committer.drain();
    expect((await stored())?.clock?.resetCount).toBe(9);
  });

  test("an enrolment with another attestation key is refused: the node lives by now", async () => {
    const { session } = await opening();
    const recording = world.records.record(otherKey());
    release();
    expect(await recording).toBe("in-use");
    const { live } = await session;
    expect(live.node.akPublic).toEqual(node(ID).akPublic);
  });
});

test("a node is revoked, and its key off the allow-list, or neither; asked again, it is", async () => {
  const { closed, session } = connect();
  await session;
  world.faults.write = ({ commits }) => commits.some(({ removedEks }) => removedEks !== undefined);
  await expect(world.administration.revoke(ID, "ada", "stolen")).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  expect([(await stored())?.revokedAtMs, world.fleet.get(ID)?.revokedAtMs]).toEqual([undefined, undefined]);
  world.faults.write = () => false;
  await world.administration.revoke(ID, "ada", "stolen");
  expect([(await stored())?.revokedReason, closed.length]).toEqual(["stolen", 1]);
});

test("nothing is heard of a node any more when what is stored of it goes: what came then would stand for ever", async () => {
  const { session } = connect();
  await session;
  const atRemoval: unknown[] = [];
  world.faults.write = ({ commits }) => {
    if (commits.some(({ forgottenNodes }) => forgottenNodes?.includes(ID))) atRemoval.push(world.sessions.get(ID)?.closed ?? "none");
    return false;
  };
  await Promise.all([world.administration.revoke(ID, "ada", "stolen"), world.administration.remove(ID, "ada", "gone")]);
  expect(atRemoval).toEqual([true]);
  expect((await stored())?.removedAtMs).toBeDefined();
});

test("an enrolment takes no revocation back that was made in its time", async () => {
  await connect().session;
  const revoking = world.administration.revoke(ID, "ada", "stolen");
  expect(await world.records.record(enrolment(9))).toBe("revoked");
  await revoking;
  expect(await stored()).toMatchObject({ revokedReason: "stolen", clock: node(ID).clock });
});

test("an enrolment whose nonce is spent leaves the live node what it had", async () => {
  const { live } = await connect().session;
  const once = enrolment(9);
  expect(await world.records.record(once)).toBe("recorded");
  expect(await world.records.record({ ...once, node: enrolment(10).node })).toBe("spent");
  expect(live.node.clock?.resetCount).toBe(9);
});

test("another attestation key is told until somebody approves it; and not taken where the one before changed since it was looked at", async () => {
  expect(await world.records.record(otherKey())).toBe("recorded");
  expect(await stored()).toMatchObject({ akReplacedAtMs: T0 + 1000, akPublic: Buffer.from("other") });
  expect(await world.records.record(enrolment(9))).toBe("changed");
  const { session } = connect();
  const alerts = async (): Promise<string[]> => (await opened.outbox.readAlerts()).map(({ record }) => record.shown.kind);
  const told = (): boolean => world.fleet.get(ID)?.reasons.some(({ code }) => code === "ak-replaced") ?? false;
  await session;
  await world.committer.drain();
  expect(told()).toBe(true);
  expect(await alerts()).toContain("ak-replaced");
  await world.administration.approve(ID, "ada");
  expect(told()).toBe(false);
  expect(world.fleet.get(ID)?.akReplacedAtMs).toBeUndefined();
  expect(await alerts()).not.toContain("ak-replaced");
});

describe("meanwhile", () => {
  const alerts = async (): Promise<string[]> => (await opened.outbox.readAlerts()).map(({ record }) => record.shown.kind);

  test("an approval takes back the revocation that was seen, and none that was made since", async () => {
    await world.administration.revoke(ID, "ada", "stolen");
    const approving = world.administration.approve(ID, "bob");
    await world.administration.revoke(ID, "ada", "seen with a stranger");
    await approving;
    expect((await stored())?.revokedReason).toBe("seen with a stranger");
    expect(world.fleet.get(ID)?.revokedAtMs).toBeDefined();
    await world.administration.approve(ID, "bob");
    expect((await stored())?.revokedAtMs).toBeUndefined();
  });

  test("an approval is of the attestation key that was seen: one that came since is told on", async () => {
    expect(await world.records.record(otherKey())).toBe("recorded");
    const approving = world.administration.approve(ID, "ada");
    expect(await world.records.record(otherKey("third"))).toBe("recorded");
    await approving;
    expect(await stored()).toMatchObject({ akReplacedAtMs: T0 + 1000 });
    expect(await alerts()).toContain("ak-replaced");
    await world.administration.approve(ID, "ada");
    expect((await stored())?.akReplacedAtMs).toBeUndefined();
    expect(await alerts()).not.toContain("ak-replaced");
  });

  test("a revocation settles the key that came before its turn, and takes the certificate with it that this one showed", async () => {
    const { node: other, ...record } = otherKey();
    const certificate = "cd".repeat(32);
    await world.administration.allow(certificate, "n", "ada");
    const recording = world.records.record({ ...record, node: { ...other, ekCertificateSha256: certificate } });
    await world.administration.revoke(ID, "ada", "stolen");
    expect(await recording).toBe("recorded");
    expect(await stored()).toMatchObject({ revokedReason: "stolen", akPublic: Buffer.from("other") });
    expect(await alerts()).not.toContain("ak-replaced");
    expect(await opened.store.readAllowedEks()).toEqual([]);
  });
});

test("a revocation that does not get onto the disk is no success, and what the session held meanwhile counts no more", async () => {
  const { session, closed } = connect();
  const { live } = await session;
  await world.committer.drain();
  world.faults.write = ({ commits }) => commits.some(({ nodes = [] }) => nodes.some(({ revokedAtMs }) => revokedAtMs !== undefined));
  await expect(world.administration.revoke(ID, "ada", "stolen")).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  expect(closed.map((error) => error?.code)).toEqual(["STORE"]);
  world.faults.write = () => false;
  // Its stream has not ended yet: the next one does not go to what it believes.
  await world.administration.revoke(ID, "ada", "lost");
  world.sessions.ended(await session);
  expect(live.node.revokedReason).toBe("stolen");
  expect(world.fleet.get(ID)?.revokedReason).toBe("lost");
  expect((await stored())?.revokedReason).toBe("lost");
});

test("the hash of an EK certificate stands for the node that enrolled with it, and for no other", async () => {
  const certificate = "cd".repeat(32);
  const { administration } = world;
  const record = enrolment(9);
  expect(await world.records.record({ ...record, node: { ...record.node, ekCertificateSha256: certificate } })).toBe("recorded");
  await administration.revoke(ID, "ada", "stolen");
  expect(await administration.allow(certificate, "n", "ada")).toBe(ID);
  expect((await stored())?.revokedAtMs).toBeUndefined();
  const allowed = async (): Promise<string[]> => (await opened.store.readAllowedEks()).map(({ ekSha256 }) => ekSha256);
  expect(await allowed()).toEqual([certificate]);
  expect(await administration.allow("ef".repeat(32), "n", "ada")).toBe("");
  await administration.revoke(ID, "ada", "again");
  expect(await allowed()).toEqual(["ef".repeat(32)]);
});

describe("a node that enrols after it has quoted", () => {
  const HOUR_MS = 3_600_000;
  const quotedAtMs = T0 + 1000 - HOUR_MS;
  const clock = { resetCount: 3, restartCount: 4, clock: 10_000n, safe: true };
  const enrol = async (key: string | undefined, change: Partial<typeof clock>): Promise<void> => {
    const { node: same, ...record } = enrolment(0);
    const other = key === undefined ? {} : { akPublic: Buffer.from(key), akReplaced: true };
    expect(await world.records.record({ ...record, node: { ...same, ...other, clock: { ...clock, ...change } } })).toBe("recorded");
  };
  beforeEach(async () => {
    const row = node(ID, { bootId: BOOT, quotedBoot: BOOT, lastQuoteMs: quotedAtMs, enrolledAtMs: quotedAtMs - 1, clock });
    await world.committer.submit({ entries: [], build: () => ({ nodes: [row] }) });
  });

  test.each([
    ["away", {}, quotedAtMs],
    ["away", { restartCount: 5 }, undefined],
    ["away", { resetCount: 4, restartCount: 0 }, undefined],
    ["live", {}, quotedAtMs],
    ["live", { resetCount: 4, restartCount: 0 }, undefined],
  ])("keeps that under its boot id where the TPM tells of no other boot: %s, %o", async (which, change, expected) => {
    if (which === "live") await connect().session;
    await enrol(undefined, change);
    expect(quotedMs(world.sessions.get(ID)?.live.node ?? (world.fleet.get(ID) as NodeRow))).toBe(expected);
    await world.committer.drain();
    expect(quotedMs((await stored()) as NodeRow)).toBe(expected);
  });

  test.each([
    ["went on by the hour", { clock: 3_610_000n }, true],
    ["is late, as a clock may be", { clock: 3_200_000n }, true],
    ["went on by less than the time that has passed, as one that began anew has", { clock: 3_100_000n }, false],
    ["went back", { clock: 9_999n }, false],
    ["went on, over a reset", { clock: 3_610_000n, resetCount: 4, restartCount: 0 }, false],
  ])("with another attestation key says by its clock whether it is known not to have been cleared: it %s", async (_, change, uncleared) => {
    await enrol("other", change);
    expect(await stored()).toMatchObject({ uncleared, quotedBoot: "" });
  });

  test("with a third key is not, where it may have been cleared before the second", async () => {
    await enrol("other", { clock: 10n });
    await enrol("third", { clock: 11n });
    expect(await stored()).toMatchObject({ uncleared: false });
  });
});

function enrolment(resetCount: number): EnrolmentRecord {
  const { name, ekPublic, akPublic } = node(ID);
  const clock = { resetCount, restartCount: 0, clock: 2n ** 63n + 6n, safe: true };
  return {
    node: { ...{ id: ID, name, trust: "tpm", bootId: BOOT, ekSha256: EK, ekPublic, akPublic, clock }, tpmModel: undefined, akReplaced: false },
    spendToken: undefined,
    spendNonce: { nonce: randomBytes(32), expiresAtMs: T0 + 60_000 },
  };
}

function otherKey(key = "other"): EnrolmentRecord {
  const record = enrolment(0);
  return { ...record, node: { ...record.node, akPublic: Buffer.from(key), akReplaced: true } };
}
