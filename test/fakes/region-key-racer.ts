/** A process that loads a region's key at the moment it is told to, for `nonce.test.ts`: a line of standard input is a path, the answer a line with the key. */
import { createInterface } from "node:readline";
import { loadRegionKey } from "@hullmark/verifier/adapters/nonce/index";

process.stdout.write("ready\n");
for await (const path of createInterface({ input: process.stdin })) process.stdout.write(`${(await loadRegionKey(path)).toString("hex")}\n`);
