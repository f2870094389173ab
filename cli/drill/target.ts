/** What a drill acts on: a container that it made itself and that says so by a label. Nothing without the label is touched. */

export interface DrillTarget {
  /** As Hullmark calls the container. */
  readonly container: string;
  /** Makes the container and waits until it runs. @throws DrillError */
  start(signal: AbortSignal): Promise<void>;
  /** Writes one file in it. @throws DrillError FOREIGN where the container of that name is not this drill's */
  write(path: string, signal: AbortSignal): Promise<void>;
  /** Removes what {@link start} made, also when it was not finished. Idempotent. @throws DrillError */
  remove(): Promise<void>;
}

/** FOREIGN: what stands there is not the drill's own. NO_START: the container does not run. FAILED: something that was asked of it did not work. */
export type DrillErrorCode = "FOREIGN" | "NO_START" | "FAILED";

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
