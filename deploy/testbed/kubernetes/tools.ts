import { accessSync, constants } from "node:fs";
import { join } from "node:path";
import { TestbedError } from "../error.ts";
import { STATE_ROOT } from "../paths.ts";

/** Path of a program that deploy/testbed/go-tools.sh builds. @throws TestbedError `missing_program`, saying how to build it */
export function tool(name: string): string {
  const path = join(STATE_ROOT, "tools/bin", name);
  try {
    accessSync(path, constants.X_OK);
    return path;
  } catch (cause) {
    throw new TestbedError("missing_program", `${name} is not built: run bash deploy/testbed/go-tools.sh kubernetes (about 10 minutes)`, { cause });
  }
}
