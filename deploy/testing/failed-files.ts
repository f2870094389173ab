// node deploy/testing/failed-files.ts REPORT : the test files with a failure, by vitest's JSON report, a line each.
import { failuresOf, readReport } from "./report.ts";

for (const file of readReport(process.argv[2] ?? "") ?? []) if (failuresOf(file).length > 0) console.log(file.name);
