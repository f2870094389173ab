/** A verifier whose database went back: agents remember what it once signed. */
import { copyFileSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Attester } from "../fakes/attester.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { TestVerifier } from "../fakes/verifier.ts";

let verifier: TestVerifier;
let node: Attester;

beforeAll(async () => {
  verifier = await new TestVerifier().start();
  node = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
  await node.connect();
});
afterAll(() => verifier.dispose());

const state = (...names: string[]): string => join(verifier.directory, "state", ...names);
const databaseFiles = (): string[] => readdirSync(state()).filter((name) => name.startsWith("verifier.db"));
const claims = async (): Promise<string[]> => (await verifier.query.getStatus({})).claims.map(({ code, detail }) => `${code}: ${detail}`);
const sizeOf = (note: string): number => Number(note.split("\n")[1]);
async function metric(name: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${verifier.running?.httpPort}/metrics`)).text();
  return Number(new RegExp(`^${name} (.*)$`, "m").exec(text)?.[1]);
}

/** Stops the verifier, does something to its files, and starts it again. */
async function around(work: () => void): Promise<void> {
  await node.close();
  await verifier.stop();
  work();
  await verifier.start();
  node.options = { ...node.options, mainAddress: verifier.mainAddress, enrolmentAddress: `localhost:${verifier.running?.enrolmentPort}` };
}

/** Adds entries to the log, and lets the node learn of the checkpoint over them. */
async function grow(entries: number): Promise<void> {
  for (let i = 0; i < entries; i++) await verifier.adminClient.createJoinToken({ nodeName: "", ttlSeconds: 60 });
  const { logSize } = await verifier.query.getStatus({});
  await expect
    .poll(
      async () => {
        await node.close();
        await node.connect();
        return sizeOf(node.checkpoint);
      },
      { timeout: 30_000, interval: 500 },
    )
    .toBeGreaterThanOrEqual(Number(logSize));
}

function logEntries(action: string): string[] {
  const database = new Database(state("verifier.db"), { readonly: true });
  const rows = database.prepare<[], { entry: Buffer }>("SELECT entry FROM log_entries").all();
  database.close();
  return rows.map(({ entry }) => entry.toString()).filter((entry) => entry.includes(`"action":"${action}"`));
}

test("an older database is found out by one agent's checkpoint, told until somebody accepts the loss, and found out again if it happens again", async () => {
  await grow(1);
  expect(await claims()).toEqual([]);
  const backup = join(verifier.directory, "backup");
  await around(() => copyFileSync(state("verifier.db"), backup));
  await node.connect();
  await grow(4);
  const remembered = node.checkpoint;
  const restore = (): void => {
    for (const name of databaseFiles()) rmSync(state(name));
    copyFileSync(backup, state("verifier.db"));
  };
  await around(restore);
  // The log is whole and continues its own checkpoint: by itself it cannot know.
  expect(await claims()).toEqual([]);
  expect(await metric("hullmark_log_contradicted")).toBe(0);
  await expect(verifier.adminClient.acceptHistory({ reason: "nothing to accept" })).rejects.toMatchObject({ code: "NOT_FOUND" });

  await node.connect();
  await expect
    .poll(claims)
    .toEqual([
      expect.stringMatching(new RegExp(`^log-contradicted: node ${node.credential?.nodeId} keeps a signed checkpoint of ${sizeOf(remembered)} entries`)),
    ]);
  expect(await metric("hullmark_log_contradicted")).toBe(1);
  expect(node.checkpoint).toBe(remembered);

  // Grown past what is remembered, it is another history, not a longer one.
  for (let i = 0; i < 12; i++) await verifier.adminClient.createJoinToken({ nodeName: "", ttlSeconds: 60 });
  await around(() => {});
  Object.assign(node, { checkpoint: remembered });
  await node.connect();
  await expect.poll(claims).toEqual([expect.stringContaining("the log holds others")]);

  await expect(verifier.adminClient.acceptHistory({ reason: "  " })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  expect(await verifier.adminClient.acceptHistory({ reason: "disk lost, backup of noon" })).toMatchObject({ size: BigInt(sizeOf(remembered)) });
  expect(await claims()).toEqual([]);
  expect(await metric("hullmark_log_contradicted")).toBe(0);
  await around(() => {
    expect(logEntries("log-contradicted").length).toBeGreaterThan(0);
    expect(logEntries("history-accepted")).toEqual([expect.stringMatching(/"by":"admin".*"reason":"disk lost, backup of noon"/)]);
  });
  Object.assign(node, { checkpoint: remembered });
  await node.connect();
  // In order: the checkpoint has been looked at when this Evidence is durable and the next checkpoint was taken.
  await node.report();
  await grow(1);
  expect(await claims()).toEqual([]);

  expect(sizeOf(node.checkpoint)).toBeGreaterThan(sizeOf(remembered));
  await around(restore);
  await node.connect();
  await expect.poll(claims).toEqual([expect.stringContaining("log-contradicted")]);
}, 120_000);

test("what the log's key did not sign says nothing: a node cannot accuse the verifier", async () => {
  // The test before leaves a log that is contradicted.
  await verifier.adminClient.acceptHistory({ reason: "end of the test before" });
  const liar = verifier.attester({ name: "w-2", quoter: new FakeQuoter() });
  const [origin, size, root, , signature] = node.checkpoint.split("\n") as [string, string, string, string, string];
  const forged = (...lines: string[]): string => `${lines.join("\n")}\n`;
  const lies = [
    forged(origin, String(Number(size) + 1000), root, "", signature),
    forged(origin, size, Buffer.alloc(32, 1).toString("base64"), "", signature),
    forged(origin, size, root, ""),
    "\u2014".repeat(3000),
    "x",
  ];
  for (const lie of lies) {
    liar.checkpoint = lie;
    await liar.connect();
    await liar.report();
    await liar.close();
  }
  expect(await claims()).toEqual([]);
});
