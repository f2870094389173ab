/**
 * Ends a program whose Node is older than what it is tested with: what an older one lacks shows only as it is called. The first import of each main.ts; imports
 * nothing, for a module that an older Node does not have would end the program before it says why. Exit code 2, as of a wrong configuration.
 */
const OLDEST_NODE = 24;

if (Number.parseInt(process.versions.node, 10) < OLDEST_NODE) {
  process.stderr.write(
    `hullmark: ${process.argv[1]} wants Node ${OLDEST_NODE} or a later one, and runs on ${process.version} (${process.execPath}): start it by another\n`,
  );
  process.exit(2);
}
