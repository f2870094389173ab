import { homedir } from "node:os";
import { join } from "node:path";
import { STATE_ROOT } from "../testbed/paths.ts";
import { buildEarlier } from "./earlier.ts";

// What upgrades are tried from: before the tests that do (deploy/test.sh). Kept where deploy/testbed/go-tools.sh keeps what it built.
const { HULLMARK_BUILD_CACHE, XDG_CACHE_HOME } = process.env;
const cache = HULLMARK_BUILD_CACHE ?? join(XDG_CACHE_HOME || join(homedir(), ".cache"), "hullmark-build");
await buildEarlier(STATE_ROOT, { kept: cache === "" ? undefined : join(cache, "earlier") });
