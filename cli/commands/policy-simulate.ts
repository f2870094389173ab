/** `hullmark policy simulate`: what a policy would say of everything that runs, or of past days, before it is in force. The verifier tells, by what it knows. */
import { Query, type SimulatedHistory, type SimulatePolicyResponse, type SimulationProgress } from "@hullmark/proto/v1/query";
import { Command } from "commander";
import { type Asking, ask } from "../connection/run.ts";
import { EXIT } from "../output/exit-codes.ts";
import { type Format, formatOption, isData, serialize } from "../output/format.ts";
import { historyPage, historyView, isPartial } from "../output/history-page.ts";
import { simulationPage, simulationView } from "../output/simulation-page.ts";
import { SigningError } from "../signing/errors.ts";
import { spanWithin } from "./durations.ts";
import { readPolicyText } from "./policy-file.ts";

/** A fleet of thousands of containers is judged twice. */
const SIMULATE_MS = 600_000;
/** Below what the verifier takes of a request. */
const MAX_BYTES = 1_000_000;

export function policySimulateCommand(): Command {
  return new Command("simulate")
    .description("say what of that which runs now a policy would judge otherwise than the one in force (responder role); nothing changes by it")
    .argument("<policy>", "policy file")
    .option(
      "--since <time>",
      "go through past days instead: what was found, done and told, and what would have been (1h to 366d, for example 7d)",
      spanWithin(366),
    )
    .addOption(formatOption())
    .addHelpText(
      "after",
      "\nExit: 0 nothing would change, 1 something would, 2 usage or a policy with mistakes, 3 nothing would of what can be told, which is not all",
    )
    .action(async (file: string, { output, since }: { readonly output: Format; readonly since?: number }, command: Command) =>
      ask(command, async (asking) => {
        const request = requestOf(file);
        if (!request) return EXIT.usage;
        if (since !== undefined) return await simulateHistory({ policy: request, sinceSeconds: since }, output, asking);
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

async function simulateHistory(
  request: { readonly policy: { readonly policy: string; readonly files: Record<string, string> }; readonly sinceSeconds: number },
  output: Format,
  { channel, signal, print }: Asking,
): Promise<number> {
  let history: SimulatedHistory | undefined;
  for await (const { message } of channel.client(Query).simulateHistory(request, { signal, timeoutMs: SIMULATE_MS })) {
    if (message.case === "progress") showProgress(message.value);
    else if (message.case === "history") history = message.value;
  }
  hideProgress();
  if (!history) return EXIT.unknown;
  print(isData(output) ? serialize(output, historyView(history)) : historyPage(history, output === "wide"));
  return historyExitCode(history);
}

const STAGES: Readonly<Record<string, string>> = { log: "log entries", containers: "containers", drift: "drifts", replay: "happenings" };

/** On the terminal alone, over itself. */
function showProgress({ stage, done, total }: SimulationProgress): void {
  if (!process.stderr.isTTY) return;
  const words = STAGES[stage] ?? "";
  process.stderr.write(`\r\x1b[K${done}${total > 0n ? ` of ${total}` : ""} ${words}`);
}

function hideProgress(): void {
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
}

function historyExitCode({ sum, driftsChanged, unknown }: SimulatedHistory): number {
  const otherwise =
    sum &&
    (sum.actionsBefore !== sum.actionsAfter ||
      sum.pagesBefore !== sum.pagesAfter ||
      sum.imagesBefore !== sum.imagesAfter ||
      sum.refusedBefore !== sum.refusedAfter);
  if (otherwise || driftsChanged > 0) return EXIT.drift;
  return unknown && isPartial(unknown) ? EXIT.unknown : EXIT.clean;
}
