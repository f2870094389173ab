import { loadPrograms } from "./programs.ts";
import { serviceBase } from "./services.ts";

// node test/e2e/images/main.ts prepare : makes what takes long and is kept between runs, so that no test waits for it.
if (process.argv[2] !== "prepare") {
  console.error("usage: node test/e2e/images/main.ts prepare");
  process.exit(2);
}
const started = Date.now();
await loadPrograms();
const base = await serviceBase();
console.log(`images prepared in ${Math.round((Date.now() - started) / 1000)} s; service base ${Math.round(base.size / 1e6)} MB compressed`);
