/** Child process of bench/attestations.ts: a share of the simulated nodes. Told what to do by messages, one after the other. */
import { fleetTrees } from "./fleet-image.ts";
import { type FleetOptions, SimulatedNode } from "./simulated-node.ts";

const ENROLLING = 8;

export type Order =
  | { readonly kind: "start"; readonly first: number; readonly count: number; readonly options: FleetOptions }
  | { readonly kind: "reset" }
  | { readonly kind: "collect" }
  | { readonly kind: "stop" };

export type Answer =
  | { readonly kind: "started" | "reset" }
  | { readonly kind: "collected"; readonly latenciesMs: readonly number[]; readonly failures: readonly string[]; readonly reportBytes: number };

const nodes: SimulatedNode[] = [];
const answer = (message: Answer): void => void process.send?.(message);

async function start({ first, count, options }: Extract<Order, { kind: "start" }>): Promise<void> {
  const trees = fleetTrees();
  const numbers = Array.from({ length: count }, (_, i) => first + i);
  const enrolSome = async (): Promise<void> => {
    for (let number = numbers.shift(); number !== undefined; number = numbers.shift()) {
      const node = new SimulatedNode(`sim-${number}`, trees, options);
      await node.start();
      nodes.push(node);
    }
  };
  await Promise.all(Array.from({ length: ENROLLING }, enrolSome));
  answer({ kind: "started" });
}

process.on("message", (order: Order) => {
  if (order.kind === "start") {
    start(order).catch((error: unknown) => {
      console.error(error);
      process.exit(1);
    });
  } else if (order.kind === "reset") {
    for (const node of nodes) node.reset();
    answer({ kind: "reset" });
  } else if (order.kind === "collect") {
    const failures = nodes.flatMap(({ failure }) => (failure === undefined ? [] : [String(failure)]));
    answer({ kind: "collected", latenciesMs: nodes.flatMap(({ latenciesMs }) => latenciesMs), failures, reportBytes: nodes[0]?.reportBytes ?? 0 });
  } else {
    for (const node of nodes) node.close();
    process.exit(0);
  }
});
