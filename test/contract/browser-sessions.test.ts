/** Codes and sessions of browsers: what ends one, what gives way where too many are held, and what is nobody's. */
import { randomBytes } from "node:crypto";
import { BrowserSessions } from "@hullmark/verifier/core/people/browser-sessions";
import { expect, test } from "vitest";

const MINUTE_MS = 60_000;

function fixture() {
  const clock = { nowMs: 1_790_000_000_000 };
  const sessions = new BrowserSessions<string>({
    ...{ nowMs: () => clock.nowMs, random: randomBytes, idleMs: 30 * MINUTE_MS, lifetimeMs: 480 * MINUTE_MS },
  });
  const signIn = (name: string) => sessions.redeem(sessions.offer(name, `certificate of ${name}`).code);
  return { clock, sessions, signIn };
}

test("a code is changed once, and a session is what its person was known by", () => {
  const { sessions } = fixture();
  const { code } = sessions.offer("ada", "a certificate");
  const { token = "", session } = sessions.redeem(code) ?? {};
  expect(session).toMatchObject({ name: "ada", credentials: "a certificate" });
  expect(sessions.redeem(code)).toBeUndefined();
  expect(sessions.redeem(token)).toBeUndefined();
  expect(sessions.find(code, true)).toBeUndefined();
  expect(sessions.find(token, true)).toMatchObject({ name: "ada" });
  expect(new Set(Array.from({ length: 100 }, () => sessions.offer("ada", "").code)).size).toBe(100);
});

test("what is no secret of ours is looked for nowhere", () => {
  const { sessions } = fixture();
  for (const text of ["", "x", "A".repeat(42), "A".repeat(44), `${"A".repeat(42)}\n`, "é".repeat(43), "__proto__"]) {
    expect(sessions.redeem(text)).toBeUndefined();
    expect(sessions.find(text, true)).toBeUndefined();
    sessions.end(text);
  }
});

test("a code is over at its minute; a session when nobody used it for so long, and at its end in any case", () => {
  const { clock, sessions, signIn } = fixture();
  const { code } = sessions.offer("ada", "");
  clock.nowMs += MINUTE_MS;
  expect(sessions.redeem(code)).toBeUndefined();
  const token = signIn("ada")?.token ?? "";
  clock.nowMs += 29 * MINUTE_MS;
  expect(sessions.find(token, false)).toBeDefined();
  clock.nowMs += MINUTE_MS;
  expect(sessions.find(token, true)).toBeUndefined();
  const busy = signIn("ada")?.token ?? "";
  for (let minutes = 0; minutes < 460; minutes += 20) {
    clock.nowMs += 20 * MINUTE_MS;
    expect(sessions.find(busy, true)).toBeDefined();
  }
  clock.nowMs += 20 * MINUTE_MS;
  expect(sessions.find(busy, true)).toBeUndefined();
});

test("a clock that was set back lets neither a code nor a session last longer", () => {
  const { clock, sessions, signIn } = fixture();
  const [idle, busy] = [signIn("ada")?.token ?? "", signIn("bob")?.token ?? ""];
  const { code } = sessions.offer("ada", "");
  clock.nowMs -= 60 * MINUTE_MS;
  expect(sessions.find(busy, true)).toBeDefined();
  clock.nowMs += MINUTE_MS;
  expect(sessions.redeem(code)).toBeUndefined();
  clock.nowMs += 29 * MINUTE_MS - 1;
  expect(sessions.find(busy, true)).toBeDefined();
  clock.nowMs += 1;
  expect(sessions.find(idle, true)).toBeUndefined();
  for (let minutes = 30; minutes < 480; minutes += 15) {
    expect(sessions.find(busy, true)).toBeDefined();
    clock.nowMs += 15 * MINUTE_MS;
  }
  expect(sessions.find(busy, true)).toBeUndefined();
});

test("whoever held a session learns that it is over, in whatever way it is", () => {
  const { clock, sessions, signIn } = fixture();
  const [out, revoked, idle, other] = ["ada", "bob", "cat", "dan"].map(signIn);
  sessions.end(out?.token ?? "");
  const waiting = sessions.offer("bob", "certificate of bob");
  sessions.endWhere((credentials) => credentials === "certificate of bob");
  expect(sessions.redeem(waiting.code)).toBeUndefined();
  sessions.find(other?.token ?? "", true);
  clock.nowMs += 30 * MINUTE_MS - 1;
  sessions.find(other?.token ?? "", true);
  clock.nowMs += 1;
  expect(sessions.find(idle?.token ?? "", false)).toBeUndefined();
  expect([out, revoked, idle, other].map((each) => each?.session.ended.aborted)).toEqual([true, true, true, false]);
});

test("one person's seventeenth session takes the place of their first, and of nobody else's", () => {
  const { sessions, signIn } = fixture();
  const bob = signIn("bob");
  const adas = Array.from({ length: 17 }, () => signIn("ada"));
  expect(adas.map((each) => sessions.find(each?.token ?? "", true) !== undefined)).toEqual([false, ...Array<boolean>(16).fill(true)]);
  expect(sessions.find(bob?.token ?? "", true)).toBeDefined();
  const many = Array.from({ length: 1000 }, (_, n) => signIn(`p-${n}`));
  expect(sessions.find(bob?.token ?? "", true)).toBeUndefined();
  expect(sessions.find(many[999]?.token ?? "", true)).toBeDefined();
});
