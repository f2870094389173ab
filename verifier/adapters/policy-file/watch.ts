/** Watches a policy file with chokidar and hands every new outcome to the verifier, which keeps the last good policy when the new one is wrong. */
import { watch } from "chokidar";
import { type LoadedPolicy, loadPolicyFile } from "./index.ts";

/** Editors write in several steps: wait until nothing has changed for so long. */
const SETTLE_MS = 100;

/**
 * Calls `changed` after each change of the policy or of one of its key files, until the signal aborts. A file that cannot be read is an `Error`:
 * the policy in force stays, and that it does is to be shown.
 * @param file which one counts, asked at each change @returns when watching has ended
 */
export async function watchPolicyFile(
  file: () => string,
  files: readonly string[],
  changed: (outcome: LoadedPolicy | Error) => void,
  signal: AbortSignal,
): Promise<void> {
  const watcher = watch([...files], { ignoreInitial: true, atomic: SETTLE_MS });
  let timer: NodeJS.Timeout | undefined;
  const reload = () => {
    timer = undefined;
    try {
      const outcome = loadPolicyFile(file());
      watcher.add([...outcome.files]);
      changed(outcome);
    } catch (error) {
      changed(error instanceof Error ? error : new Error(String(error)));
    }
  };
  watcher.on("all", () => {
    clearTimeout(timer);
    timer = setTimeout(reload, SETTLE_MS);
  });
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
  clearTimeout(timer);
  await watcher.close();
}
