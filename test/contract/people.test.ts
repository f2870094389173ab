/** Which certificates of a name count: before anything was taken all, afterwards those alone that were issued since, whatever clocks and dates say. */
import { hash } from "node:crypto";
import { People, type Wanted } from "@hullmark/verifier/core/people/people";
import type { PersonRow } from "@hullmark/verifier/ports/rows";
import { expect, test } from "vitest";

const DAY_MS = 86_400_000;

/** What is committed is what the next `open` reads. */
async function fixture() {
  const clock = { nowMs: 100 * DAY_MS };
  const rows = new Map<string, PersonRow>();
  const told: object[] = [];
  let broken = false;
  let made = 0;
  const committer = {
    submit: async ({ entries, build }: { entries: readonly { fields: object }[]; build: () => { people: PersonRow[] } }) => {
      if (broken) throw new Error("no disk");
      for (const row of build().people) rows.set(row.name, JSON.parse(JSON.stringify(row)));
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
const UNKNOWN = "00".repeat(32);

test("all of a name count until it is revoked, then what is issued since alone, after a restart too", async () => {
  const { people, open } = await fixture();
  const first = sha256(await people.issue(wanted("bob"), "ada"));
  for (const each of [first, UNKNOWN]) expect(people.counts("bob", each)).toBe(true);
  expect(await people.revoke("bob", "ada", "left")).toBe(true);
  const second = sha256(await people.issue(wanted("bob"), "ada"));
  for (const one of [people, await open()]) {
    expect([first, UNKNOWN, second].map((each) => one.counts("bob", each))).toEqual([false, false, true]);
    expect(one.counts("eve", second)).toBe(true);
  }
  await people.revoke("bob", "ada", "again");
  expect(people.counts("bob", second)).toBe(false);
});

test("a clock that was set back takes nothing back, and shows nothing as revoked that counts", async () => {
  const { people, clock } = await fixture();
  const first = sha256(await people.issue(wanted("bob"), "ada"));
  clock.nowMs -= 10 * DAY_MS;
  await people.revoke("bob", "ada", "left");
  expect(people.counts("bob", first)).toBe(false);
  const [{ issuedAtMs: before = 0, revokedAtMs = 0 } = {}] = people.rows;
  expect(revokedAtMs).toBeGreaterThanOrEqual(before);
  clock.nowMs -= 10 * DAY_MS;
  const second = sha256(await people.issue(wanted("bob"), "ada"));
  expect(people.counts("bob", second)).toBe(true);
  expect(people.rows[0]?.issuedAtMs).toBeGreaterThan(revokedAtMs);
});

test("what could not be kept is neither issued nor revoked", async () => {
  const { people, breakDisk, told } = await fixture();
  breakDisk(true);
  await expect(people.issue(wanted("bob"), "ada")).rejects.toThrow("no disk");
  await expect(people.revoke("bob", "ada", "left")).rejects.toThrow("no disk");
  expect(people.rows).toEqual([]);
  expect(people.counts("bob", UNKNOWN)).toBe(true);
  breakDisk(false);
  expect(await people.revoke("bob", "ada", "left")).toBe(false);
  expect(told).toEqual([{ action: "person-revoked", name: "bob", by: "ada", reason: "left" }]);
});

test("the verifier's own names are nobody else's; its certificates are noted once the name was revoked, by nobody", async () => {
  const { people, rows, told } = await fixture();
  await expect(people.issue(wanted("admin"), "ada")).rejects.toMatchObject({ code: "OWN_NAME" });
  const first = sha256(await people.issueOwn(wanted("admin")));
  expect(rows.size).toBe(0);
  expect(await people.revoke("admin", "ada", "copied")).toBe(true);
  expect(people.counts("admin", first)).toBe(false);
  expect(people.counts("admin", sha256(await people.issueOwn(wanted("admin"))))).toBe(true);
  expect(told.at(-1)).toMatchObject({ action: "person-certificate", name: "admin", by: null });
});

test("of what was issued since, what ended is forgotten, and of more than 64 the oldest gives way", async () => {
  const { people, rows, clock } = await fixture();
  await people.revoke("bob", "ada", "left");
  const ended = sha256(await people.issue(wanted("bob"), "ada"));
  clock.nowMs += 30 * DAY_MS;
  const all: string[] = [];
  for (let i = 0; i < 65; i++) all.push(sha256(await people.issue(wanted("bob"), "ada")));
  expect(rows.get("bob")?.sinceRevoked.map((each) => each.sha256)).toEqual(all.slice(1));
  expect([ended, all[0] as string, all[1] as string].map((each) => people.counts("bob", each))).toEqual([false, false, true]);
});
