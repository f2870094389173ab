/** What a drill acts on: a container that it made itself and that says so by a label. Nothing without the label is touched. */

export interface DrillTarget {
  /** As Hullmark calls the container. */
  readonly container: string;
  /** Makes the container and waits until it runs. @throws DrillError REFUSED where Hullmark's admission did not let it in */
  start(signal: AbortSignal): Promise<void>;
  /** Writes one file in it. @throws DrillError FOREIGN where the container of that name is not this drill's */
  write(path: string, signal: AbortSignal): Promise<void>;
  /** Puts a program of bytes that no image has into a new directory in it, and starts it: it runs as long as the container does. @throws DrillError as {@link write} */
  execute(directory: string, signal: AbortSignal): Promise<void>;
  /** Removes what {@link start} made, also when it was not finished. Idempotent, and content where something else has removed it. @throws DrillError */
  remove(): Promise<void>;
}

/**
 * FOREIGN: what stands there is not the drill's own. NO_START: the container does not run. REFUSED: Hullmark's admission did not let it in. FAILED: something that was asked of it did
 * not work.
 */
export type DrillErrorCode = "FOREIGN" | "NO_START" | "REFUSED" | "FAILED";

export class DrillError extends Error {
  override name = "DrillError";
  readonly code: DrillErrorCode;

  constructor(code: DrillErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** By this label a container is known for a drill's; its value is the run. */
export const DRILL_LABEL = "hullmark.dev/drill";

/** For a shell, with the new directory as its first argument: a copy of the shell with other bytes at its end, which nothing reads, runs on by itself. */
export const FOREIGN_SHELL = `set -e
mkdir "$1"
cp -L /bin/sh "$1/sh"
echo hullmark drill >> "$1/sh"
"$1/sh" -c 'while :; do sleep 5; done' < /dev/null > /dev/null 2>&1 &`;
