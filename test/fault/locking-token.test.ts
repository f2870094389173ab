/** A PKCS#11 module is asked to lock, for several threads of one process may use it: one that was not and crashed looks like a verifier that ends for no reason. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Pkcs11Token } from "@hullmark/verifier/adapters/pkcs11/index";
import { afterAll, beforeAll, expect, test } from "vitest";

let directory: string;

/** C_Initialize writes down the flags that it was given (CK_C_INITIALIZE_ARGS, PKCS#11 v2.40 section 3.7), and answers that it cannot, whatever they are. */
const MODULE = `
#include <stdio.h>
typedef unsigned long CK_RV;
struct Arguments { void *mutex[4]; unsigned long flags; void *reserved; };
struct List { unsigned char version[2]; CK_RV (*functions[68])(void *); };
static CK_RV initialize(void *given) {
  unsigned long flags = given ? static_cast<Arguments *>(given)->flags : 0;
  FILE *file = fopen(FLAGS, "a");
  fprintf(file, "%lu ", flags);
  fclose(file);
  return flags & REFUSED ? 0x0000000A /* CKR_CANT_LOCK */ : 0x00000005 /* CKR_GENERAL_ERROR */;
}
static CK_RV finalize(void *) { return 0; }
static List list = {{2, 40}, {initialize, finalize}};
extern "C" CK_RV C_GetFunctionList(List **out) { *out = &list; return 0; }
`;
const OS_LOCKING_OK = 2;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-locking-"));
  writeFileSync(join(directory, "module.cc"), MODULE);
});
afterAll(() => rmSync(directory, { recursive: true }));

test.each([
  ["is told to lock", 0, [OS_LOCKING_OK]],
  ["that cannot is used without", OS_LOCKING_OK, [OS_LOCKING_OK, 0]],
])("a module %s", async (name, refused, each) => {
  const [library, flags] = [`${name}.so`, `${name}.flags`].map((file) => join(directory, file.replaceAll(" ", "-"))) as [string, string];
  execFileSync("g++", ["-shared", "-fPIC", `-DFLAGS="${flags}"`, `-DREFUSED=${refused}ul`, "-o", library, join(directory, "module.cc")]);
  const token = new Pkcs11Token({ uri: `pkcs11:token=a?module-path=${library}&pin-source=env:PIN`, environment: { PIN: "1234" } });
  await expect(token.open("pkcs11:object=a")).rejects.toThrow("CKR_GENERAL_ERROR");
  await token.close();
  // Tried three times.
  expect(readFileSync(flags, "utf8").trim().split(" ").map(Number)).toEqual([each, each, each].flat());
});
