#!/usr/bin/env node
// From a checkout: the command runs from source under the Node that the lock file brings. Installed hosts get the bundle (dist/hullmark.js).
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";

const main = fileURLToPath(new URL("../main.ts", import.meta.url));
const own = fileURLToPath(new URL("../../node_modules/.bin/node", import.meta.url));
const isTooOld = Number.parseInt(process.versions.node, 10) < 24;
if (isTooOld && !existsSync(own)) {
  // As main.ts would say it, which one older than 22 cannot even read: it would end with 1, and that means drift.
  process.stderr.write(
    `hullmark: this wants Node 24 or a later one, and runs on ${process.version} (${process.execPath}): put another first in PATH, or run npm ci, which brings one\n`,
  );
  process.exit(3);
}
const node = isTooOld ? own : process.execPath;
// A link to this file may call it a plugin of kubectl: the name goes on.
const result = spawnSync(node, [main, ...process.argv.slice(2)], { stdio: "inherit", argv0: basename(process.argv[1]) });
process.exit(result.status ?? 3);
