/** Places at which a test has a process killed: what is on disk then is what a loss of power would leave. */

/**
 * @param points every place of the program
 * @returns called at each place; where HULLMARK_FAILPOINT names it the process gets SIGKILL, otherwise nothing happens
 * @throws Error where HULLMARK_FAILPOINT is set and names none of them
 */
export function dieAt<Point extends string>(points: readonly Point[], environment: Readonly<Record<string, string | undefined>>): (point: Point) => void {
  const wanted = environment["HULLMARK_FAILPOINT"];
  if (wanted === undefined) return () => {};
  if (!(points as readonly string[]).includes(wanted)) throw new Error(`HULLMARK_FAILPOINT: no place "${wanted}" (there are: ${points.join(", ")})`);
  return (point) => {
    if (point !== wanted) return;
    process.kill(process.pid, "SIGKILL");
    // The signal may take a moment: nothing more happens in between.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  };
}
