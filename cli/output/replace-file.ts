/** Files that the command writes for its user. */
import { renameSync, rmSync, writeFileSync } from "node:fs";

/** The whole file or, where it cannot be written, the one before. Never through a link that lies in its way. @throws the system's error */
export function replaceFile(path: string, content: string | Buffer, mode: number): void {
  rmSync(`${path}.new`, { force: true });
  writeFileSync(`${path}.new`, content, { mode, flag: "wx" });
  renameSync(`${path}.new`, path);
}
