/** Processes that may more than their container: somebody outside of it gave them that (`docker exec --privileged`, or root on the node that entered it). */
import type { PrivilegedProcess } from "@hullmark/proto/v1/attestation";
import { printable } from "../text/printable.ts";
import { entryFacts } from "./actor.ts";
import { finding } from "./findings.ts";
import { hasRuntimeConfiguration, runtimeDefaults } from "./runtime-defaults.ts";
import { timestampMs } from "./time.ts";
import type { ContainerInput, Finding } from "./types.ts";

export function appraiseProcessPrivileges({ state, rules }: ContainerInput): Finding[] {
  const { configuration, code, identity } = state;
  // What is said of the container itself is told of it, and goes for all that run in it.
  if (configuration.privileged) return [];
  // Where the runtime's configuration is not at hand, no capabilities are told, and those that every container gets are taken as given.
  const given = hasRuntimeConfiguration(configuration) ? new Set(configuration.capabilities) : runtimeDefaults(identity.pod !== undefined).capabilities;
  return code.privileged.flatMap((process) => {
    const beyond = process.capabilities.filter((name) => !given.has(name) && !rules.allow.capability(name)).map((name) => printable(name));
    return beyond.length === 0 || rules.allow.privileged ? [] : [privileged(process, beyond, rules)];
  });
}

function privileged(process: PrivilegedProcess, beyond: readonly string[], rules: ContainerInput["rules"]): Finding {
  const { pid, uid, program, ancestry, firstSeen } = process;
  const executable = printable(program);
  const names = beyond.join(" ");
  const found = finding(
    {
      place: "configuration",
      kind: "capabilities",
      path: Buffer.alloc(0),
      differences: [{ field: `capabilities of ${executable}`, expected: "none beyond the container's", observed: names }],
      summary: `${executable} has capabilities that its container was not given: ${names}`,
      discriminator: `process|${names}|${executable}`,
      actor: { pid, executable, located: true, uid, containerId: "", ancestry: ancestry.slice(0, 5), ...entryFacts(process) },
      changedAtMs: firstSeen && timestampMs(firstSeen),
    },
    rules,
  );
  return { ...found, mappedBy: [`${pid} ${executable}`] };
}
