#!/usr/bin/env node
// From a checkout: the command runs from source under the Node that the lock file brings. Installed hosts get the bundle (dist/hullmark.js).
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";

const main = fileURLToPath(new URL("../main.ts", import.meta.url));
const own = fileURLToPath(new URL("../../node_modules/.bin/node", import.meta.url));
const node = Number(process.versions.node.split(".")[0]) >= 24 || !existsSync(own) ? process.execPath : own;
// A link to this file may call it a plugin of kubectl: the name goes on.
const result = spawnSync(node, [main, ...process.argv.slice(2)], { stdio: "inherit", argv0: basename(process.argv[1]) });
process.exit(result.status ?? 3);
