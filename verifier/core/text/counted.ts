/** A number of things, as people say it. */

/** `1 drift`, `0 drifts`. @param what in the singular, whose plural takes an s */
export function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}
