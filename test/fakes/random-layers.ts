/** Random layer stacks from a seed: few names, so that entries meet each other, and every kind of entry. */
import { REPLAY_XATTRS, type ReplayCase } from "./replay-cases.ts";
import { type Entry, tar } from "./tar-writer.ts";

/** mulberry32: small, seeded, good enough to vary tests. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

class Dice {
  readonly #random: () => number;

  constructor(seed: number) {
    this.#random = seededRandom(seed);
  }

  below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  chance(probability: number): boolean {
    return this.#random() < probability;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)] as T;
  }
}

const NAMES = ["a", "b", "c", "d", "\xe9"];
const MODES = [0o644, 0o755, 0o4755, 0o2755, 0o1777, 0o600, 0o6711, 0o7777, 0];
const IDS = [0, 0, 0, 5, 1000, 0xffffffff];

/**
 * A stack of 1 to 4 layers of up to 20 entries.
 * @param wild 0..1: share of names written oddly (`./`, `/`, `..`), of repeated names and of entries kept although `accepts` says no
 * @param accepts whether a stack is thought extractable: keeps most stacks from ending at their first bad entry
 */
export function randomStack(seed: number, wild: number, accepts: (layers: readonly Buffer[]) => boolean): ReplayCase {
  const dice = new Dice(seed);
  const layers: Buffer[] = [];
  for (let left = 1 + dice.below(4); left > 0; left--) {
    const taken = new Set<string>();
    const entries: Entry[] = [];
    for (let i = 1 + dice.below(20); i > 0; i--) {
      const made = randomEntry(dice, wild, taken);
      if (!accepts([...layers, tar(...entries, made)]) && !dice.chance(wild * 0.05)) continue;
      taken.add(made.name);
      entries.push(made);
    }
    layers.push(tar(...entries));
  }
  return { name: `random-${seed}`, layers };
}

function randomPath(dice: Dice): string {
  return Array.from({ length: 1 + dice.below(dice.chance(0.3) ? 4 : 2) }, () => dice.pick(NAMES)).join("/");
}

function spelled(dice: Dice, wild: number, path: string): string {
  if (!dice.chance(wild)) return path;
  return dice.pick([`./${path}`, `/${path}`, `../${path}`, `x/../${path}`, `${path}//.`, `//${path}`]);
}

function randomEntry(dice: Dice, wild: number, taken: ReadonlySet<string>): Entry {
  const path = randomPath(dice);
  const name = spelled(dice, wild * 0.3, path);
  const common = { mode: dice.pick(MODES), uid: dice.pick(IDS), gid: dice.pick(IDS), ...(dice.chance(0.15) ? { xattrs: dice.pick(REPLAY_XATTRS) } : {}) };
  const kind = dice.below(100);
  if (kind < 30) return { name, ...common, data: `${path}${dice.below(3)}` };
  if (kind < 55) return { name: `${name}/`, ...common, type: "5" };
  if (kind < 67) return { name, ...common, type: "2", linkname: randomTarget(dice, wild) };
  if (kind < 77) return { name, ...common, type: "1", linkname: spelled(dice, wild * 0.3, randomLink(dice, wild, taken)) };
  if (kind < 88) return { ...common, ...hiding(dice, path) };
  if (kind < 94) return { name: dice.chance(0.2) ? ".wh..wh..opq" : `${path}/.wh..wh..opq`, ...common };
  if (kind < 97) return { name, ...common, type: "6" };
  return { name, ...common, type: "3", major: dice.below(2), minor: dice.below(2) };
}

function hiding(dice: Dice, path: string): Entry {
  const at = path.lastIndexOf("/") + 1;
  return { name: `${path.slice(0, at)}.wh.${path.slice(at)}`, mode: dice.pick(MODES) };
}

function randomTarget(dice: Dice, wild: number): string {
  const path = randomPath(dice);
  return dice.chance(0.3 + wild * 0.5) ? dice.pick([`/${path}`, `../${path}`, `./${path}/`, "..", ".", `../../${path}`]) : path;
}

function randomLink(dice: Dice, wild: number, taken: ReadonlySet<string>): string {
  const before = [...taken].filter((name) => !name.endsWith("/") && !name.includes(".wh."));
  return before.length > 0 && !dice.chance(wild * 0.3) ? dice.pick(before) : randomPath(dice);
}
