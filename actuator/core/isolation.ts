/**
 * A container that runs on, and reaches nobody: off every network, and on the one that leads nowhere, so that no restart of it or of the engine brings it back. And the way back.
 * Each step looks first how things stand.
 */
import { type Engine, EngineError, NO_NETWORK } from "../ports/engine.ts";
import type { LedgerEntry } from "../ports/ledger.ts";

/** Where the process of a host can be killed while it isolates or releases; each must be survived. */
export const ISOLATION_FAILPOINTS = ["checked", "remembered", "captured", "left", "held", "freed", "rejoined", "settled", "told"] as const;
export type IsolationFailpoint = (typeof ISOLATION_FAILPOINTS)[number];

/** Something else that joins it to networks meanwhile is not fought for ever. */
const MAX_PASSES = 4;

/** @throws EngineError: also where it does not stay off */
export async function isolate({ containerId }: Pick<LedgerEntry, "containerId">, engine: Engine, passing: (point: IsolationFailpoint) => void): Promise<void> {
  for (let pass = 0; pass < MAX_PASSES; pass++) {
    const names = await networksOf(containerId, engine);
    const others = names.filter((name) => name !== NO_NETWORK);
    if (others.length === 0 && names.length > 0) return;
    for (const name of others) await engine.leave(containerId, name);
    passing("left");
    if (!names.includes(NO_NETWORK)) await engine.join(containerId, { name: NO_NETWORK, endpoint: {} });
    passing("held");
  }
  throw new EngineError("ENGINE_REFUSED", "something joins it to a network again");
}

/** On the networks again that it was on. @throws EngineError: also where it is not on all of them after that */
export async function rejoin(
  { containerId, networks = [] }: Pick<LedgerEntry, "containerId" | "networks">,
  engine: Engine,
  passing: (point: IsolationFailpoint) => void,
): Promise<void> {
  const names = await networksOf(containerId, engine);
  if (names.includes(NO_NETWORK)) await engine.leave(containerId, NO_NETWORK);
  passing("freed");
  for (const network of networks) if (!names.includes(network.name)) await engine.join(containerId, network);
  passing("rejoined");
  const joined = await networksOf(containerId, engine);
  const missing = networks.filter(({ name }) => !joined.includes(name)).map(({ name }) => name);
  if (missing.length > 0) throw new EngineError("ENGINE_REFUSED", `it is not on ${missing.join(", ")}`);
}

/** In words, for people. @throws EngineError */
export async function whereabouts(containerId: string, engine: Engine): Promise<string> {
  const container = await engine.find(containerId);
  if (!container) return "the container has gone";
  const names = container.networks.map(({ name }) => name).filter((name) => name !== NO_NETWORK);
  return names.length === 0 ? "it is on no network" : `it is on ${names.join(", ")}`;
}

async function networksOf(containerId: string, engine: Engine): Promise<string[]> {
  const container = await engine.find(containerId);
  if (!container) throw new EngineError("ENGINE_REFUSED", "the container has gone meanwhile");
  return container.networks.map(({ name }) => name);
}
