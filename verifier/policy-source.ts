/** The policy file as the policy holder's source. */
import type { Logger } from "pino";
import { loadPolicyFile } from "./adapters/policy-file/index.ts";
import { watchPolicyFile } from "./adapters/policy-file/watch.ts";
import type { PolicySource } from "./core/fleet/policy-holder.ts";
import { formatProblem } from "./core/policy/index.ts";

/** @param file undefined: no policy is configured */
export function policySource(file: string | undefined, logger: Logger): PolicySource {
  return {
    load() {
      if (file === undefined) return undefined;
      const { parsed } = loadPolicyFile(file);
      if (parsed.ok) for (const warning of parsed.warnings) logger.warn({ problem: formatProblem(warning) }, "policy");
      else logger.error({ problems: parsed.errors.map(formatProblem) }, "the policy is not in force");
      return parsed;
    },
    watch(changed) {
      if (file === undefined) return { [Symbol.asyncDispose]: async () => {} };
      const stop = new AbortController();
      const files = filesOf(file);
      const watching = watchPolicyFile(file, files, (outcome) => changed(outcome instanceof Error ? outcome : outcome.parsed), stop.signal);
      return {
        [Symbol.asyncDispose]: async () => {
          stop.abort();
          await watching;
        },
      };
    },
  };
}

function filesOf(file: string): readonly string[] {
  try {
    return loadPolicyFile(file).files;
  } catch {
    // Not there yet, or not readable: it is what to watch all the same.
    return [file];
  }
}
