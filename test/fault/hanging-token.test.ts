/** A PKCS#11 module that does not come back, as of a device that is gone: who asks is told in time, nobody else waits, and it goes on once the module does. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Pkcs11Token } from "@hullmark/verifier/adapters/pkcs11/index";
import { afterAll, beforeAll, expect, test } from "vitest";

let directory: string;
let uri: string;
let hold: string;

/** Of the interface no more than is asked for first; C_Initialize waits while a file is there: with its folder the last thread is let go, whatever failed. */
const MODULE = `
#include <unistd.h>
typedef unsigned long CK_RV;
struct List { unsigned char version[2]; CK_RV (*functions[68])(void *); };
static CK_RV initialize(void *) { while (access(HOLD, F_OK) == 0) usleep(5000); return 0x00000005; /* CKR_GENERAL_ERROR */ }
static CK_RV finalize(void *) { return 0; }
static List list = {{2, 40}, {initialize, finalize}};
extern "C" CK_RV C_GetFunctionList(List **out) { *out = &list; return 0; }
`;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-hanging-"));
  hold = join(directory, "hold");
  writeFileSync(hold, "");
  writeFileSync(join(directory, "module.cc"), MODULE);
  const library = join(directory, "module.so");
  execFileSync("g++", ["-shared", "-fPIC", `-DHOLD="${hold}"`, "-o", library, join(directory, "module.cc")]);
  uri = `pkcs11:token=a?module-path=${library}&pin-source=env:PIN`;
});
// A thread that still waits in the module would keep this process.
afterAll(() => rmSync(directory, { recursive: true }));

test("a token that hangs is unavailable, its queue is bounded, and it is asked again once it has answered", async () => {
  const token = new Pkcs11Token({ uri, environment: { PIN: "1234" }, answerMs: 300 });
  const asked = Array.from({ length: 300 }, () => token.open("pkcs11:object=a").catch((error: { code: string; message: string }) => error));
  const refused = (await Promise.all(asked)) as { code: string; message: string }[];
  expect(new Set(refused.map(({ code }) => code))).toEqual(new Set(["SIGNER_UNAVAILABLE"]));
  expect(refused.filter(({ message }) => message.includes("256 requests wait"))).toHaveLength(44);
  // Not asked while the last answer is owed.
  await expect(token.open("pkcs11:object=a")).rejects.toThrow("has not answered");
  // Closed, and used again all the same, it is asked: what the thread before owes is that one's.
  await token.close();
  let refusedAtOnce = false;
  const asking = token.open("pkcs11:object=a").catch(() => {
    refusedAtOnce = true;
  });
  for (let turn = 0; turn < 100; turn++) await null;
  expect(refusedAtOnce).toBe(false);
  await asking;
  rmSync(hold);
  const answer = async () => await token.open("pkcs11:object=a").catch((error: Error) => error.message);
  await expect.poll(answer, { timeout: 60_000 }).toContain("CKR_GENERAL_ERROR");
  await token.close();
});
