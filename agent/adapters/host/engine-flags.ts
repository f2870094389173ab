/**
 * Settings of the JavaScript engine for a process that is small and mostly waits; the bulk of the work is native. Imported first, for its effect: what
 * grew before stays grown. Known to V8 12 to 14 (Node 22 to 26); a flag that an engine does not know is ignored by it.
 *
 * Without the two optimising compilers JavaScript runs as baseline code: their own pages and threads were 8 MB resident, for loops that nobody waits for.
 * New objects stay within the first nursery: at its default it grows to 16 MB a half, and is never given back while a node is busy.
 */
import { setFlagsFromString } from "node:v8";

for (const flag of ["--semi-space-growth-factor=1", "--no-opt", "--no-maglev"]) setFlagsFromString(flag);
