/** The policy file as the policy holder's source. */
import { existsSync } from "node:fs";
import type { Logger } from "pino";
import { loadPolicyFile } from "./adapters/policy-file/index.ts";
import { watchPolicyFile } from "./adapters/policy-file/watch.ts";
import type { PolicySource } from "./core/fleet/policy-holder.ts";
import { formatProblem } from "./core/policy/index.ts";

/** @param candidates the first that is there counts; none: no policy is configured */
export function policySource(candidates: readonly string[], logger: Logger): PolicySource {
  const current = (): string | undefined => candidates.find((each) => existsSync(each)) ?? candidates.at(-1);
  return {
    load() {
      const file = current();
      if (file === undefined) return undefined;
      const { parsed } = loadPolicyFile(file);
      if (parsed.ok) for (const warning of parsed.warnings) logger.warn({ problem: formatProblem(warning) }, "policy");
      else logger.error({ problems: parsed.errors.map(formatProblem) }, "the policy is not in force");
      return parsed;
    },
    watch(changed) {
      if (current() === undefined) return { [Symbol.asyncDispose]: async () => {} };
      const stop = new AbortController();
      const files = [...candidates, ...candidates.flatMap(filesOf)];
      const watching = watchPolicyFile(
        () => current() ?? "",
        files,
        (outcome) => changed(outcome instanceof Error ? outcome : outcome.parsed),
        stop.signal,
      );
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
