/** Many paths as few patterns, each as narrow as what was seen allows: what is open in one was seen with several values there. Pure. */
import { hasWildcard, LEAST_DIRECTORIES, literal } from "../policy/exception-scope.ts";

/** So many different paths of one shape make a pattern; fewer are told one by one. */
export const LEAST_INSTANCES = 3;

/** What may change from file to file: a UUID, what Kubernetes puts behind a pod's name, a long word, a long hexadecimal one, a number. Linear in the path's length. */
const WORDS =
  /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<=-)[bcdfghjklmnpqrstvwxz2456789]{8,10}-[bcdfghjklmnpqrstvwxz2456789]{5}(?![A-Za-z0-9])|[A-Za-z0-9]{16,}|[0-9a-f]{8,}|[0-9]+/g;

/** A path as what stays and, between, what may change: one of the latter less. Words without a digit stay. */
function taken(path: string): { readonly fixed: readonly string[]; readonly values: readonly string[] } {
  const [fixed, values]: [string[], string[]] = [[""], []];
  let from = 0;
  for (const { 0: word, index } of path.matchAll(WORDS)) {
    if (!/[0-9]/.test(word)) continue;
    fixed[fixed.length - 1] = path.slice(from, index);
    fixed.push("");
    values.push(word);
    from = index + word.length;
  }
  fixed[fixed.length - 1] = path.slice(from);
  return { fixed, values };
}

export interface Pattern {
  /** Glob; one that stands for a single path where nothing is open. */
  readonly pattern: string;
  /** Different paths that were seen and that it covers. */
  readonly seen: number;
  /** One of them. */
  readonly example: string;
}

/** @param paths different, absolute, of one class */
export function generalise(paths: readonly string[]): Pattern[] {
  const shapes = new Map<string, string[]>();
  for (const path of paths) {
    const shape = taken(path).fixed.join("\0");
    const alike = shapes.get(shape);
    if (alike) alike.push(path);
    else shapes.set(shape, [path]);
  }
  return [...shapes.values()].flatMap(patternsOf).sort((a, b) => (a.pattern < b.pattern ? -1 : 1));
}

function patternsOf(alike: readonly string[]): Pattern[] {
  const each = alike.map((path) => ({ pattern: literal(path), seen: 1, example: path }));
  const [example = ""] = alike;
  if (alike.length < LEAST_INSTANCES) return each;
  const all = alike.map((path) => taken(path).values);
  const { fixed, values } = taken(example);
  // Only what differed is open: a number that every one of them has stays.
  const open = values.map((first, i) => (all.every((own) => own[i] === first) ? literal(first) : "*"));
  const pattern = fixed.map((text, i) => literal(text) + (open[i] ?? "")).join("");
  const directories = pattern.split("/").slice(1, -1);
  const named = directories.findIndex(hasWildcard);
  if ((named < 0 ? directories.length : named) < LEAST_DIRECTORIES) return each;
  return [{ pattern, seen: alike.length, example }];
}
