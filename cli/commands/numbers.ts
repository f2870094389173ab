/** Numbers given as options. */
import { InvalidArgumentError } from "commander";

/** For commander: takes whole numbers from `least` to `most` alone. */
export function within(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < least || value > most) throw new InvalidArgumentError(`want ${least} to ${most}`);
    return value;
  };
}
