/** Spans of time given as options. */
import { duration } from "@hullmark/verifier/core/policy/fields";
import { InvalidArgumentError } from "commander";

const HOUR_SECONDS = 3600;
const DAY_SECONDS = 86_400;

/** For commander: seconds of `12h` or `7d`, an hour to so many days. */
export function spanWithin(mostDays: number): (text: string) => number {
  return (text) => {
    const parsed = duration(HOUR_SECONDS, mostDays * DAY_SECONDS).safeParse(text);
    if (parsed.success) return parsed.data;
    throw new InvalidArgumentError(`a whole number and a unit, an hour to ${mostDays} days: 12h or 7d`);
  };
}
