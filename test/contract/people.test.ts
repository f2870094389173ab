/** Which certificates of a name count: before anything was taken all, afterwards those alone that were issued since, whatever clocks and dates say. */
import { hash } from "node:crypto";
import { type Asker, People, type Wanted } from "@hullmark/verifier/core/people/people";
import type { PersonRow } from "@hullmark/verifier/ports/rows";
import { expect, test } from "vitest";

const DAY_MS = 86_400_000;

/** What is committed is what the next `open` reads. */
async function fixture(given: readonly PersonRow[] = []) {
  const clock = { nowMs: 100 * DAY_MS };
  const rows = new Map(given.map((row) => [row.name, row]));
  const told: object[] = [];
  let broken = false;
  let made = 0;
  const committer = {
    submit: async ({ entries, build }: { entries: readonly { fields: object }[]; build: () => { people: PersonRow[]; removedPeople: string[] } }) => {
      if (broken) throw new Error("no disk");
      const { people, removedPeople } = build();
      for (const name of removedPeople) rows.delete(name);
      for (const row of people) rows.set(row.name, JSON.parse(JSON.stringify(row)));
      told.push(...entries.map(({ fields }) => fields));
    },
  };
  const open = async () =>
    await People.open({
      ...{ store: { readPeople: async () => [...rows.values()] }, committer: committer as never, nowMs: () => clock.nowMs, ownNames: ["admin"] },
      certify: async (_role, _name, _spki, lifetimeMs) => ({ chain: [Buffer.from(`certificate ${++made}`)], notAfterMs: clock.nowMs + lifetimeMs }),
      revoked: async () => undefined,
    });
  const breakDisk = (is: boolean) => {
    broken = is;
  };
  return { clock, rows, told, open, breakDisk, people: await open() };
}

const wanted = (name: string): Wanted => ({ name, role: "viewer", publicKey: Buffer.from("key"), lifetimeMs: 30 * DAY_MS });
const sha256 = ({ chain }: { readonly chain: readonly Buffer[] }) => hash("sha256", chain[0] as Buffer);
const certificate = (sha: string) => ({ certificateSha256: sha });
const UNKNOWN = "00".repeat(32);
const ADA: Asker = { name: "ada", credential: "ada", certificateSha256: UNKNOWN };

test("all of a name count until it is revoked, then what is issued since alone, after a restart too", async () => {
  const { people, open } = await fixture();
  const first = sha256(await people.issue(wanted("bob"), ADA));
  for (const each of [first, UNKNOWN]) expect(people.counts("bob", certificate(each))).toBe(true);
  expect(await people.revoke("bob", ADA, "left")).toBe(true);
  const second = sha256(await people.issue(wanted("bob"), ADA));
  for (const one of [people, await open()]) {
    expect([first, UNKNOWN, second].map((each) => one.counts("bob", certificate(each)))).toEqual([false, false, true]);
    expect(one.counts("eve", certificate(second))).toBe(true);
  }
  await people.revoke("bob", ADA, "again");
  expect(people.counts("bob", certificate(second))).toBe(false);
});

test("tokens of a name that was revoked count again once it is allowed: those made since, and no certificate of before", async () => {
  const { people, clock, told, open } = await fixture();
  const token = (issuedAtMs: number | undefined) => ({ certificateSha256: "", issuedAtMs });
  await expect(people.allow("corp:bob", ADA, "never was")).rejects.toMatchObject({ code: "CHANGED" });
  await people.revoke("corp:bob", ADA, "left");
  expect([0, clock.nowMs, clock.nowMs + DAY_MS].map((atMs) => people.counts("corp:bob", token(atMs)))).toEqual([false, false, false]);
  clock.nowMs += DAY_MS;
  await expect(people.allow("corp:bob", { name: "corp:bob", credential: "corp:bob", ...token(clock.nowMs) }, "myself")).rejects.toMatchObject({
    code: "REVOKED",
  });
  await people.allow("corp:bob", ADA, "is back");
  expect(told.at(-1)).toEqual({ action: "person-allowed", name: "corp:bob", by: "ada", reason: "is back" });
  for (const one of [people, await open()])
    expect([clock.nowMs - 1, clock.nowMs, undefined].map((atMs) => one.counts("corp:bob", token(atMs)))).toEqual([false, true, false]);
  expect(people.counts("corp:bob", certificate(UNKNOWN))).toBe(false);
  await people.revoke("corp:bob", ADA, "left again");
  expect(people.counts("corp:bob", token(clock.nowMs + DAY_MS))).toBe(false);
});

test("a clock that was set back lets in no token of before the revocation", async () => {
  const { people, clock } = await fixture();
  const stolen = { certificateSha256: "", issuedAtMs: clock.nowMs };
  clock.nowMs += 1000;
  await people.revoke("corp:bob", ADA, "stolen");
  clock.nowMs -= DAY_MS;
  await people.allow("corp:bob", ADA, "is back");
  expect(people.counts("corp:bob", stolen)).toBe(false);
  expect(people.counts("corp:bob", { ...stolen, issuedAtMs: stolen.issuedAtMs + 1000 })).toBe(true);
});

test("a clock that was set back takes nothing back, and shows nothing as revoked that counts", async () => {
  const { people, clock } = await fixture();
  const first = sha256(await people.issue(wanted("bob"), ADA));
  clock.nowMs -= 10 * DAY_MS;
  await people.revoke("bob", ADA, "left");
  expect(people.counts("bob", certificate(first))).toBe(false);
  const [{ issuedAtMs: before = 0, revokedAtMs = 0 } = {}] = people.rows;
  expect(revokedAtMs).toBeGreaterThanOrEqual(before);
  clock.nowMs -= 10 * DAY_MS;
  const second = sha256(await people.issue(wanted("bob"), ADA));
  expect(people.counts("bob", certificate(second))).toBe(true);
  expect(people.rows[0]?.issuedAtMs).toBeGreaterThan(revokedAtMs);
});

test("what could not be kept is neither issued nor revoked", async () => {
  const { people, breakDisk, told } = await fixture();
  breakDisk(true);
  await expect(people.issue(wanted("bob"), ADA)).rejects.toThrow("no disk");
  await expect(people.revoke("bob", ADA, "left")).rejects.toThrow("no disk");
  expect(people.rows).toEqual([]);
  expect(people.counts("bob", certificate(UNKNOWN))).toBe(true);
  breakDisk(false);
  expect(await people.revoke("bob", ADA, "left")).toBe(false);
  expect(told).toEqual([{ action: "person-revoked", name: "bob", by: "ada", reason: "left" }]);
});

test("the verifier's own names are nobody else's; its certificates are noted once the name was revoked, by nobody", async () => {
  const { people, rows, told } = await fixture();
  await expect(people.issue(wanted("admin"), ADA)).rejects.toMatchObject({ code: "OWN_NAME" });
  const first = sha256(await people.issueOwn(wanted("admin")));
  expect(rows.size).toBe(0);
  expect(await people.revoke("admin", ADA, "copied")).toBe(true);
  expect(people.counts("admin", certificate(first))).toBe(false);
  expect(people.counts("admin", certificate(sha256(await people.issueOwn(wanted("admin")))))).toBe(true);
  expect(told.at(-1)).toMatchObject({ action: "person-certificate", name: "admin", by: null });
});

test("of what was issued since, what ended is forgotten, and of more than 64 the oldest gives way", async () => {
  const { people, rows, clock } = await fixture();
  await people.revoke("bob", ADA, "left");
  const ended = sha256(await people.issue(wanted("bob"), ADA));
  clock.nowMs += 30 * DAY_MS;
  const all: string[] = [];
  for (let i = 0; i < 65; i++) all.push(sha256(await people.issue(wanted("bob"), ADA)));
  expect(rows.get("bob")?.sinceRevoked.map((each) => each.sha256)).toEqual(all.slice(1));
  expect([ended, all[0] as string, all[1] as string].map((each) => people.counts("bob", certificate(each)))).toEqual([false, false, true]);
});

test("whoever was revoked gets nothing that they asked for before, and keeps nobody waiting", async () => {
  const { people, rows, told } = await fixture();
  const asked = ["mallory", "eve"].map((name) => people.issue(wanted(name), { name: "mallory", credential: "mallory", certificateSha256: UNKNOWN }));
  const revoking = people.revoke("mallory", ADA, "stolen");
  // Asked by who had passed the guard while the revocation was on its way.
  const late = [people.issue(wanted("mallory"), { ...ADA, name: "mallory" }), people.revoke("ada", { ...ADA, name: "mallory" }, "in return")];
  const outcomes = await Promise.allSettled([...asked, ...late]);
  expect(outcomes.map((each) => each.status === "rejected" && each.reason.code)).toEqual(["CHANGED", "CHANGED", "REVOKED", "REVOKED"]);
  expect(await revoking).toBe(false);
  expect(told).toEqual([{ action: "person-revoked", name: "mallory", by: "ada", reason: "stolen" }]);
  expect([...rows.keys()]).toEqual(["mallory"]);
  // Nothing is left of it once it is over: another admin may issue for the name, and that certificate may ask.
  const again = sha256(await people.issue(wanted("mallory"), ADA));
  await people.issue(wanted("eve"), { name: "mallory", credential: "mallory", certificateSha256: again });
});

test("a revocation that could not be kept ends too: who was to be revoked may ask again", async () => {
  const { people, breakDisk } = await fixture();
  breakDisk(true);
  await expect(people.revoke("bob", ADA, "left")).rejects.toThrow("no disk");
  breakDisk(false);
  await people.issue(wanted("bob"), { ...ADA, name: "bob" });
});

test("10,000 names keep no new one out for ever, and no revocation and nothing of the verifier's own at all", async () => {
  const { people: empty, rows: one } = await fixture();
  await empty.issue(wanted("bob"), ADA);
  const row = one.get("bob") as PersonRow;
  const { people, rows, clock } = await fixture(Array.from({ length: 10_000 }, (_, i) => ({ ...row, name: `n${i}` })));
  await expect(people.issue(wanted("bob"), ADA)).rejects.toMatchObject({ code: "TOO_MANY" });
  await people.issue(wanted("n1"), ADA);
  for (const name of ["eve", "admin", "n2"]) await people.revoke(name, ADA, "stolen");
  expect(people.counts("admin", certificate(sha256(await people.issueOwn({ ...wanted("admin"), role: "admin" }))))).toBe(true);
  // A name that was revoked takes nobody's place.
  await people.issue(wanted("bob"), ADA);
  await expect(people.issue(wanted("carl"), ADA)).rejects.toMatchObject({ code: "TOO_MANY" });
  clock.nowMs += 15 * DAY_MS;
  await people.issue(wanted("n1"), ADA);
  clock.nowMs += 15 * DAY_MS;
  await people.issue(wanted("carl"), ADA);
  // What ended is forgotten, what goes on and every revocation are not.
  expect([...rows.keys()].sort()).toEqual(["admin", "carl", "eve", "n1", "n2"]);
  expect(people.counts("n2", certificate(UNKNOWN))).toBe(false);
});
