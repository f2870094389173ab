/** Beats as long as the verifier is ready: what does not work falls silent too, and whoever listens raises the alarm. */
import type { Clock } from "../../ports/clock.ts";
import type { Heartbeat } from "../../ports/heartbeat.ts";

export interface HeartbeatServices {
  readonly clock: Pick<Clock, "after">;
  /** Whether every part of this verifier works now. */
  readonly ready: () => boolean;
  /** A beat was not taken, or was withheld (undefined); told where it was otherwise before. */
  readonly onSilent: (name: string, error: unknown) => void;
}

/** The first beats go out at once. Each waits its pause after the end of the one before, so a slow receiver is never asked twice at a time. @returns a function that ends them */
export function startHeartbeats(heartbeats: readonly Heartbeat[], { clock, ready, onSilent }: HeartbeatServices): () => void {
  const stop = new AbortController();
  for (const heartbeat of heartbeats) void run(heartbeat);
  return () => stop.abort();

  async function run({ name, everyMs, beat }: Heartbeat): Promise<void> {
    for (let silent = false; !stop.signal.aborted; ) {
      const taken = ready() ? await beat(stop.signal).then(() => ({ ok: true, error: undefined }), failed) : { ok: false, error: undefined };
      if (!taken.ok && !silent && !stop.signal.aborted) onSilent(name, taken.error);
      silent = !taken.ok;
      await pause(everyMs);
    }
  }

  function pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        cancel();
        stop.signal.removeEventListener("abort", end);
        resolve();
      };
      const cancel = clock.after(delayMs, end);
      stop.signal.addEventListener("abort", end);
      if (stop.signal.aborted) end();
    });
  }
}

function failed(error: unknown): { readonly ok: false; readonly error: unknown } {
  return { ok: false, error };
}
