/** For `node --import`: writes the path of each file that a program loads as a module to the file that $HULLMARK_LOADS names, one a line. */
import { appendFileSync } from "node:fs";
import { registerHooks } from "node:module";

const log = process.env["HULLMARK_LOADS"];
if (log)
  registerHooks({
    load(url, context, nextLoad) {
      appendFileSync(log, `${url}\n`);
      return nextLoad(url, context);
    },
  });
