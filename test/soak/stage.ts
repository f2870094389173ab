/** Engine, registry, TPM, verifier and agent, with the five services pushed, signed and running. */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Stack, startStack } from "../../deploy/stack/stack.ts";
import { startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { REPOSITORY } from "../../deploy/testbed/paths.ts";
import { run } from "../../deploy/testbed/run.ts";
import { pushImage } from "../e2e/images/push.ts";
import { serviceBase, serviceImage } from "../e2e/images/services.ts";
import { Hands } from "./hands.ts";
import { type SoakWorkload, WORKLOADS } from "./workloads.ts";

const READY_LIMIT_MS = 90_000;

export interface Stage {
  readonly bed: Testbed;
  readonly stack: Stack;
  readonly hands: Hands;
  /** Starts a container of the workload and waits until it serves. */
  start(workload: SoakWorkload): Promise<void>;
}

/** @param name of the test bed: one user at a time */
export async function setStage(name: string): Promise<Stage> {
  const bed = await startTestbed({ name, parts: { engine: true, registry: true, tpms: 1 } });
  try {
    return await fill(bed);
  } catch (error) {
    await bed.down();
    throw error;
  }
}

async function fill(bed: Testbed): Promise<Stage> {
  const hands = new Hands(bed);
  const host = bed.registry?.host ?? "";
  // The stack's folder is where the policy's text goes: the public key must lie beside it.
  const folder = join(bed.directory, "stack");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const hullmark = (...args: string[]): Promise<string> => run([process.execPath, join(REPOSITORY, "dist/hullmark.js"), ...args]);
  await hullmark("keygen", "--prefix", join(folder, "soak"));
  const references = new Map<string, string>();
  const base = await serviceBase();
  for (const { service } of WORKLOADS) {
    const { reference } = await pushImage(host, `soak/${service.name}`, "1", serviceImage(base, service));
    await hullmark("sign", reference, "--key", join(folder, "soak.key"));
    references.set(service.name, reference);
  }
  const stack = await startStack({ bed, policy: readFileSync(new URL("policy.yaml", import.meta.url), "utf8") });
  await hands.docker("network", "create", "soak-extra");
  const start = async (workload: SoakWorkload): Promise<void> => {
    const { name } = workload.service;
    await hands.docker("run", "--detach", "--name", name, ...workload.options, references.get(name) ?? "");
    await ready(hands, workload);
  };
  return { bed, stack, hands, start };
}

/** @throws Error with the container's log when it does not come up */
async function ready(hands: Hands, { service }: SoakWorkload): Promise<void> {
  const command = service.name === "postgresql" ? ["psql", "-q", "-c", "select 1"] : service.ready;
  for (const deadline = Date.now() + READY_LIMIT_MS; ; ) {
    try {
      await hands.docker("exec", service.name, ...command);
      return;
    } catch (error) {
      if (Date.now() > deadline) throw new Error(`${service.name}: ${await hands.docker("logs", "--tail", "20", service.name)}`, { cause: error });
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}
