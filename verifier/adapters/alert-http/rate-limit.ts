/** What a delivery says of its route's rate limit. */
import type { AlertNotification } from "../../ports/notifier.ts";

/** For people; empty: nothing waited and nothing does. */
export function rateLimitNote({ suppressed, waiting }: AlertNotification): string {
  const notes = [
    ...(suppressed > 0 ? [`${suppressed} alerts of this route waited for its rate limit`] : []),
    ...(waiting > 0 ? [`${waiting} wait for it still`] : []),
  ];
  return notes.join("; ");
}
