/** `hullmark policy simulate`: what a policy would say of everything that runs, before it is in force. The verifier tells, by what it knows now. */
import { Query, type SimulatePolicyResponse } from "@hullmark/proto/v1/query";
import { Command } from "commander";
import { type Asking, ask } from "../connection/run.ts";
import { EXIT } from "../output/exit-codes.ts";
import { type Format, formatOption, isData, serialize } from "../output/format.ts";
import { simulationPage, simulationView } from "../output/simulation-page.ts";
import { SigningError } from "../signing/index.ts";
import { readPolicyText } from "./policy-file.ts";

/** A fleet of thousands of containers is judged twice. */
const SIMULATE_MS = 600_000;
/** Below what the verifier takes of a request. */
const MAX_BYTES = 1_000_000;

export function policySimulateCommand(): Command {
  return new Command("simulate")
    .description("say what of that which runs now a policy would judge otherwise than the one in force (responder role); nothing changes by it")
    .argument("<policy>", "policy file")
    .addOption(formatOption())
    .addHelpText(
      "after",
      "\nExit: 0 nothing would change, 1 something would, 2 usage or a policy with mistakes, 3 nothing would of what can be told, which is not all",
    )
    .action(async (file: string, { output }: { readonly output: Format }, command: Command) =>
      ask(command, async (asking) => {
        const request = requestOf(file);
        if (!request) return EXIT.usage;
        const answer = await asking.channel.client(Query).simulatePolicy(request, { signal: asking.signal, timeoutMs: SIMULATE_MS });
        show(answer, output, asking);
        return exitCode(answer);
      }),
    );
}

/** undefined: the policy cannot be sent, and why was told. */
function requestOf(file: string): { readonly policy: string; readonly files: Record<string, string> } | undefined {
  try {
    const { text: policy, files } = readPolicyText(file);
    const bytes = Buffer.byteLength(JSON.stringify([policy, files]));
    if (bytes > MAX_BYTES)
      throw new SigningError("USAGE", `${file} and the files that it names are too much for the verifier: ${bytes} bytes, limit ${MAX_BYTES}`);
    return { policy, files: { ...files } };
  } catch (error) {
    if (!(error instanceof SigningError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return undefined;
  }
}

function show(answer: SimulatePolicyResponse, output: Format, { print }: Asking): void {
  print(isData(output) ? serialize(output, simulationView(answer)) : simulationPage(answer, output === "wide"));
}

function exitCode({ containersChanged, changedNodes, containersFailed, containersUnknown, nodesAway, nodesRemeasured }: SimulatePolicyResponse): number {
  if (containersChanged > 0 || changedNodes.length > 0) return EXIT.drift;
  return containersFailed + containersUnknown + nodesAway + nodesRemeasured > 0 ? EXIT.unknown : EXIT.clean;
}
