/** What an actuator is handed, one after the other, as long as it is handed something: what one of them waits for keeps no other from its turn. */
import type { WantedCapture } from "@hullmark/capture/hand-out";
import type { SignedIntent } from "./core/check-intent.ts";

export type Asked = { readonly intent: SignedIntent } | { readonly capture: WantedCapture };

export interface PullServices {
  /** All that is alive, then what is new; ends with the signal. */
  readonly asked: (signal: AbortSignal) => AsyncIterable<Asked>;
  /** Rejects where it cannot be taken, or ended, now. */
  readonly offer: (intent: SignedIntent) => Promise<void>;
  readonly capture: (wanted: WantedCapture) => Promise<void>;
  /** Whether nothing may be taken any more after this. */
  readonly isFatal: (error: unknown) => boolean;
  readonly onProblem: (error: unknown, what: string) => void;
  /** After which time what could not be taken is asked for again. */
  readonly retryMs: number;
}

/** One stream, to its end. @throws what `asked` rejects with; what is fatal */
export async function pull({ asked, offer, capture, isFatal, onProblem, retryMs }: PullServices, signal: AbortSignal): Promise<void> {
  const again = new AbortController();
  let retry: NodeJS.Timeout | undefined;
  try {
    for await (const each of asked(AbortSignal.any([signal, again.signal]))) {
      // Beside what is acted on, which it must not hold up.
      if ("capture" in each) void capture(each.capture).catch((error: unknown) => onProblem(error, "a capture could not be handed out"));
      else
        await offer(each.intent).catch((error: unknown) => {
          if (isFatal(error)) throw error;
          onProblem(error, "an intent cannot be carried out yet: it is asked for again");
          // Those after it have their turn first.
          retry ??= setTimeout(() => again.abort(), retryMs);
        });
    }
  } catch (error) {
    if (!again.signal.aborted) throw error;
  } finally {
    clearTimeout(retry);
  }
}
