/**
 * Loaded into an agent before its own program, a fault: of each file that a process has mapped it reads another inode number than there is, so that everything
 * that runs anywhere seems to run from a file without a name.
 */
import promises from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";

const MAPS = /^\/proc\/\d+\/maps$/;
const INODE = /(\d)(?= +\/)/g;
const { open } = promises;

promises.open = async (path, ...more) => {
  const file = await open(path, ...more);
  if (!MAPS.test(String(path))) return file;
  const read = file.read.bind(file);
  const altered = async (buffer: Buffer) => {
    const found = await read(buffer);
    const text = found.buffer.toString("latin1", 0, found.bytesRead).replace(INODE, (digit) => String((Number(digit) + 1) % 10));
    found.buffer.write(text, "latin1");
    return found;
  };
  return Object.assign(file, { read: altered as typeof file.read });
};
syncBuiltinESMExports();
