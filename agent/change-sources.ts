/** Chooses the change source: fanotify where its self-test passes, else chokidar. */
import { ChokidarSource } from "./adapters/chokidar/chokidar-source.ts";
import { FanotifyChangeSource } from "./adapters/fanotify/fanotify-source.ts";
import type { ChangeSource } from "./ports/change-source.ts";

/**
 * @param stateDirectory for the self-test, ideally on the filesystem that holds the containers
 * @param declined told why fanotify is not used
 */
export async function openChangeSource(
  choice: "auto" | "fanotify" | "chokidar",
  stateDirectory: string,
  declined: (reason: string) => void,
): Promise<ChangeSource> {
  if (choice === "chokidar") return new ChokidarSource();
  const source = new FanotifyChangeSource({ scratchDirectory: stateDirectory });
  // Asked for by name, it is not replaced: `start` then says why it cannot be had.
  if (choice === "fanotify") return source;
  const reason = await source.probe();
  if (reason === undefined) return source;
  declined(reason);
  return new ChokidarSource();
}
