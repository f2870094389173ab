/** The policy file as the policy holder's source. */
import { existsSync } from "node:fs";
import type { Logger } from "pino";
import { loadPolicyFile } from "./adapters/policy-file/index.ts";
import { watchPolicyFile } from "./adapters/policy-file/watch.ts";
import type { PolicySource } from "./core/fleet/policy-holder.ts";
import { formatProblem, type ParsedPolicy } from "./core/policy/index.ts";
import { type OwnRelease, ownAgentProblem } from "./core/policy/own-agent.ts";

/** @param candidates the first that is there counts; none: no policy is configured @param release of the chart, whose agent it judges; undefined: none does */
export function policySource(candidates: readonly string[], logger: Logger, release?: OwnRelease): PolicySource {
  const current = (): string | undefined => candidates.find((each) => existsSync(each)) ?? candidates.at(-1);
  return {
    load() {
      const file = current();
      if (file === undefined) return undefined;
      const parsed = parsedFile(file, logger);
      if (parsed.ok) {
        for (const warning of parsed.warnings) logger.warn({ problem: formatProblem(warning) }, "policy");
        const own = release && ownAgentProblem(parsed.policy, release);
        if (own) logger.warn({ problem: own.message, fix: own.fix }, "policy");
      } else logger.error({ problems: parsed.errors.map(formatProblem) }, "the policy is not in force");
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

/** @throws where the file cannot be read, which is logged */
function parsedFile(file: string, logger: Logger): ParsedPolicy {
  try {
    return loadPolicyFile(file).parsed;
  } catch (error) {
    logger.warn({ problem: unreadable(file, error) }, "no policy is in force: its file cannot be read");
    throw error;
  }
}

/** @returns what is wrong with a policy file, a line each */
export function policyProblems(file: string): readonly string[] {
  try {
    const { parsed } = loadPolicyFile(file);
    return parsed.ok ? [] : parsed.errors.map(formatProblem);
  } catch (error) {
    return [unreadable(file, error)];
  }
}

function unreadable(file: string, error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code === "ENOENT" ? `${file}: no such file (policyFile of the configuration names it; hullmark policy init writes one)` : `${file}: ${message}`;
}

function filesOf(file: string): readonly string[] {
  try {
    return loadPolicyFile(file).files;
  } catch {
    // Not there yet, or not readable: it is what to watch all the same.
    return [file];
  }
}
