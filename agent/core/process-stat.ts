/** /proc/PID/stat (proc(5)). The program's name in it is the process's to choose and may hold anything, also spaces and `)`: fields are counted from its end. */

/** @param number as proc(5) counts, from 3 on @returns undefined where there is no such field */
export function statField(stat: string, number: number): string | undefined {
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[number - 3];
}

/** @returns NaN where the text is no such file's */
export function parentPid(stat: string): number {
  return Number(statField(stat, 4));
}
