#!/usr/bin/env node
/**
 * Starts the hullmark command. What nobody foresaw is a defect, a part that cannot be loaded too, and tells nothing of what was asked about: Node's own exit code
 * for it is 1, which means drift here.
 */

/** As in output/exit-codes.ts. Nothing is imported but where something can catch that it cannot be. */
const CANNOT_TELL = 3;

try {
  const { keepCompiled } = await import("./compile-cache.ts");
  keepCompiled(process.env);
  const { main } = await import("./program.ts");
  await main(process.argv);
} catch (error) {
  process.stderr.write(`hullmark: an unexpected error, please report it: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exit(CANNOT_TELL);
}
