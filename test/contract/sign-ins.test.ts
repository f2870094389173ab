/** Browsers on their way to an issuer and back: once, at that issuer, in time, and of a flood the newest. */
import { randomBytes } from "node:crypto";
import { SignIns } from "@hullmark/verifier/core/people/sign-ins";
import { expect, test } from "vitest";

const flow = { state: "s", nonce: "n", codeVerifier: "v" };

function fixture() {
  const clock = { nowMs: 1_790_000_000_000 };
  return { clock, signIns: new SignIns({ nowMs: () => clock.nowMs, random: (bytes) => randomBytes(bytes) }) };
}

test("it ends what it began, once, at the same issuer, within ten minutes", () => {
  const { clock, signIns } = fixture();
  const secret = signIns.begin({ source: "corp", flow });
  for (const other of ["", "x", `${secret}A`, secret.toLowerCase().slice(0, 42), randomBytes(32).toString("base64url")])
    expect(signIns.end(other, "corp")).toBeUndefined();
  expect(signIns.end(secret, "corp")).toEqual(flow);
  expect(signIns.end(secret, "corp")).toBeUndefined();
  const elsewhere = signIns.begin({ source: "corp", flow });
  expect([signIns.end(elsewhere, "other"), signIns.end(elsewhere, "corp")]).toEqual([undefined, undefined]);
  const late = [0, 1].map(() => signIns.begin({ source: "corp", flow }));
  clock.nowMs += 599_999;
  expect(signIns.end(late[0] ?? "", "corp")).toEqual(flow);
  clock.nowMs += 1;
  expect(signIns.end(late[1] ?? "", "corp")).toBeUndefined();
  // A clock that was set back makes nothing last longer.
  const back = signIns.begin({ source: "corp", flow });
  clock.nowMs -= 1;
  expect(signIns.end(back, "corp")).toBeUndefined();
});

test("of more than a thousand the oldest gives way", () => {
  const { signIns } = fixture();
  const secrets = Array.from({ length: 1001 }, () => signIns.begin({ source: "corp", flow }));
  expect(signIns.end(secrets[0] ?? "", "corp")).toBeUndefined();
  for (const secret of secrets.slice(1)) expect(signIns.end(secret, "corp")).toEqual(flow);
});
