import { STATE_ROOT } from "../testbed/paths.ts";
import { buildEarlier } from "./earlier.ts";

// What upgrades are tried from: before the tests that do (deploy/test.sh).
await buildEarlier(STATE_ROOT);
