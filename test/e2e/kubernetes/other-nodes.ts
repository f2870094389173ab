/** Nodes of the fleet that nothing runs on: limits on marks are shares of all nodes, and the cluster has one. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import type { Stack } from "../../../deploy/stack/stack.ts";
import type { Testbed } from "../../../deploy/testbed/index.ts";
import { REPOSITORY } from "../../../deploy/testbed/paths.ts";
import { run, startDaemon } from "../../../deploy/testbed/run.ts";
import { eventually, nodes } from "../fault-support.ts";

/** Each joins by a TPM of the test bed that neither the stack's agent nor a second node has, and is silent from then on. @returns ends them: they are revoked, and gone */
export async function otherNodes(bed: Testbed, stack: Stack): Promise<() => Promise<void>> {
  const tpms = bed.tpms.slice(2);
  const names = tpms.map((_, i) => `other-${i}`);
  for (const [i, name] of names.entries()) {
    const directory = join(stack.directory, name);
    mkdirSync(directory, { mode: 0o700 });
    const settings = parse(readFileSync(stack.agents[0]?.configPath ?? "", "utf8"));
    const config = join(directory, "agent.yaml");
    const own = { nodeName: name, stateDirectory: directory, tpm: { tcti: tpms[i]?.tcti }, runtime: { docker: { socket: join(directory, "none.sock") } } };
    writeFileSync(config, stringify({ ...settings, ...own }));
    const argv = bed.wrap([process.execPath, join(REPOSITORY, "dist/agent.js"), "--config", config]);
    const { ekSha256 } = JSON.parse(await run([...argv, "--show-identity"], bed.env)) as { ekSha256: string };
    const { code, stderr } = await stack.hullmark("node", "allow", ekSha256, "--name", name);
    if (code !== 0) throw new Error(stderr);
    const agent = await startDaemon({ name, argv, env: { ...bed.env }, logPath: join(directory, "agent.log"), ready: async () => true });
    try {
      await eventually(
        `${name} has joined`,
        () => nodes(stack),
        (all) => all.some((each) => each.name === name),
        120_000,
      );
    } finally {
      await agent.stop();
    }
  }
  return async () => {
    for (const name of names) for (const how of ["revoke", "rm"]) await stack.hullmark("node", how, name, "--reason", "of a test");
  };
}
