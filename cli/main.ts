#!/usr/bin/env node
/**
 * Starts the hullmark command. What nobody foresaw is a defect, a part that cannot be loaded too, and tells nothing of what was asked about: Node's own exit code
 * for it is 1, which means drift here.
 */

/** As in output/exit-codes.ts. Nothing is imported but where something can catch that it cannot be. */
const CANNOT_TELL = 3;
/** Earlier ones lack what the command calls only as it goes: it would end in the midst of its work. */
const OLDEST_NODE = 24;

if (Number.parseInt(process.versions.node, 10) < OLDEST_NODE) {
  process.stderr.write(
    `hullmark: this wants Node ${OLDEST_NODE} or a later one, and runs on ${process.version} (${process.execPath}): put another first in PATH\n`,
  );
  process.exit(CANNOT_TELL);
}
try {
  const { keepCompiled } = await import("./compile-cache.ts");
  keepCompiled(process.env);
  const { main } = await import("./program.ts");
  await main(process.argv);
} catch (error) {
  process.stderr.write(`hullmark: an unexpected error, please report it: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exit(CANNOT_TELL);
}
