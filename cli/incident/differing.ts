/** Where two values of JSON are not the same. Pure. */

/**
 * Names of the members, as `incident.drifts[2].state`: of one that is missing or too many, that of what it is of. Values, members and their order are compared.
 * @param max of names @param a no deeper than `b`, or told where `b` ends
 */
export function differing(a: unknown, b: unknown, name: string, max: number): string[] {
  if (Object.is(a, b)) return [];
  if (!isObject(a) || !isObject(b) || Array.isArray(a) !== Array.isArray(b)) return [name];
  const [own, other] = [Object.keys(a), Object.keys(b)];
  if (own.length !== other.length || own.some((key, at) => key !== other[at])) return [name];
  const names: string[] = [];
  for (const key of own) {
    if (names.length >= max) break;
    names.push(...differing(a[key], b[key], Array.isArray(a) ? `${name}[${key}]` : `${name}.${key}`, max - names.length));
  }
  return names;
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;
