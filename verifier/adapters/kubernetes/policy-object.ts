/** The policy as an object of the cluster (AttestationPolicy): a good one becomes the policy file, and what came of each is written into its status. */
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import type { ApiServer } from "@hullmark/daemon/api-server";
import { stringify } from "yaml";
import * as z from "zod";
import { ownAgentProblem } from "../../core/policy/own-agent.ts";
import { formatProblem, parsePolicy } from "../../core/policy/parse.ts";
import { follow, inForce, SaidStatus, type Surroundings, toSay, writeCondition } from "./follow.ts";

export interface PolicyObject {
  readonly namespace: string;
  readonly name: string;
  /** Replaced as a whole by each good policy, removed with the object; whoever watches it takes it from there. */
  readonly file: string;
}

const Policy = z.object({
  metadata: z.object({ name: z.string(), generation: z.int(), resourceVersion: z.string() }),
  spec: z.record(z.string(), z.unknown()),
  status: SaidStatus,
});
const List = z.object({ metadata: z.object({ resourceVersion: z.string() }), items: z.array(Policy) });

type Api = Pick<ApiServer, "get" | "patch" | "watch">;

/** Follows the object until the signal aborts. While the API server cannot be reached, what was taken last stays. */
export async function followPolicy(api: Api, object: PolicyObject, surroundings: Surroundings, signal: AbortSignal): Promise<void> {
  const collection = `/apis/hullmark.dev/v1/namespaces/${object.namespace}/attestationpolicies`;
  const selected = `fieldSelector=${encodeURIComponent(`metadata.name=${object.name}`)}`;
  let seen = -1;
  const take = async (raw: unknown): Promise<void> => {
    const policy = Policy.parse(raw);
    // A change of the status alone, such as ours, has the generation of before.
    if (policy.metadata.generation === seen) return;
    await report(api, `${collection}/${object.name}/status`, policy, apply(policy.spec, object), surroundings.clock.nowMs());
    seen = policy.metadata.generation;
  };
  const gone = (): void => {
    seen = -1;
    rmSync(object.file, { force: true });
  };
  const one = {
    path: `${collection}?${selected}`,
    list: async () => {
      const { status, body } = await api.get(one.path);
      if (status !== 200) throw new Error(`the API server answers ${status} to list attestationpolicies in ${object.namespace}`);
      const { metadata, items } = List.parse(body);
      for (const item of items) await take(item);
      if (items.length === 0) gone();
      return metadata.resourceVersion;
    },
    take: async (type: string, changed: unknown) => {
      if (type === "DELETED") gone();
      else await take(changed);
    },
  };
  await follow(api, one, surroundings, signal);
}

interface Applied {
  /** What is wrong with it: none when it is in force. */
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}

function apply(spec: Readonly<Record<string, unknown>>, { namespace, name, file }: PolicyObject): Applied {
  const text = stringify({ apiVersion: "hullmark.dev/v1", kind: "Policy", metadata: { name }, spec });
  const parsed = parsePolicy(text, name);
  if (!parsed.ok) return { problems: parsed.errors.map(formatProblem), warnings: [] };
  if (!existsSync(file) || readFileSync(file, "utf8") !== text) {
    writeFileSync(`${file}.new`, text, { mode: 0o600 });
    renameSync(`${file}.new`, file);
  }
  const own = ownAgentProblem(parsed.policy, { namespace, name });
  return { problems: [], warnings: [...(own ? [`${own.message}: ${own.fix}`] : []), ...parsed.warnings.map(formatProblem)] };
}

async function report(
  api: Api,
  path: string,
  { metadata, status: before }: z.infer<typeof Policy>,
  { problems, warnings }: Applied,
  nowMs: number,
): Promise<void> {
  const refusal = problems.length === 0 ? undefined : { reason: "Refused", message: problems.join("\n") };
  const condition = inForce(refusal, metadata.generation, { reason: "Warned", lines: warnings });
  const saying = toSay(condition, before?.conditions?.[0], nowMs);
  if (!saying) return;
  const { status } = await writeCondition(api, path, saying);
  if (status !== 200) throw new Error(`the API server answers ${status} to a change of an AttestationPolicy's status`);
}
