/** `hullmark drill run|schedule|report`. `run` does something harmless to a container, or a node, of its own that must not go unnoticed, and measures how long it takes until it is known, told and contained. */
import { randomBytes } from "node:crypto";
import { DRILLS, type DrillName } from "@hullmark/verifier/core/drill/names";
import { ProvenanceError, parseReference } from "@hullmark/verifier/core/provenance/index";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Argument, Command } from "commander";
import { defaultConfigPath } from "../connection/context.ts";
import { ContextError } from "../connection/context-error.ts";
import { type Asking, ask } from "../connection/run.ts";
import { canaryExec } from "../drill/canary-exec.ts";
import { canaryFile } from "../drill/canary-file.ts";
import { pushCanary, signCanary } from "../drill/canary-image.ts";
import { CanaryNode, verifierOf } from "../drill/canary-node.ts";
import { DockerTarget } from "../drill/docker-target.ts";
import { type DrillReport, runDrill, runStaged } from "../drill/drill.ts";
import { DrillKey } from "../drill/drill-key.ts";
import { PodTarget } from "../drill/pod-target.ts";
import { revokedCanaryKey } from "../drill/revoked-canary-key.ts";
import type { Scenario } from "../drill/scenario.ts";
import { silenceObserved } from "../drill/silent-agent.ts";
import { DrillError, type DrillTarget } from "../drill/target.ts";
import type { Objectives, Occasion } from "../drill/types.ts";
import { unsignedCanaryImage } from "../drill/unsigned-canary-image.ts";
import { DEFAULT_STATE, layoutOf, layoutOfConfig } from "../host/layout.ts";
import { drillText, drillView } from "../output/drill-page.ts";
import { EXIT } from "../output/exit-codes.ts";
import { type Format, formatOption, isData, serialize } from "../output/format.ts";
import { SigningError } from "../signing/errors.ts";
import { processIo } from "../signing/io.ts";
import { openRegistry, type RegistryFlags, withRegistryOptions } from "../signing/registry.ts";
import { drillReportCommand } from "./drill-report.ts";
import { drillScheduleCommand } from "./drill-schedule.ts";
import { within } from "./numbers.ts";

const START_SECONDS = 120;
const MAX_OBJECTIVE_MS = 3_600_000;

/** What is held against where nothing is said: milliseconds, and seconds of patience. */
const DEFAULTS = { detectWithin: 1_000, alertWithin: 60_000, timeout: 120 };
/** Two heartbeats; what the policy lets be besides (5 minutes where it says nothing). */
const DEFAULTS_OF_SILENCE = { detectWithin: 60_000, alertWithin: 600_000, timeout: 900 };

interface RunOptions extends RegistryFlags {
  readonly output: Format;
  readonly image?: string;
  readonly policyKeys?: string;
  readonly agentConfig?: string;
  readonly detectWithin?: number;
  readonly alertWithin?: number;
  readonly containWithin?: number;
  readonly timeout?: number;
}

const KINDS = `
Drills, each on a container or node that it makes itself and removes again:
  canary-file            writes a file that no image has
  canary-exec            runs a program that no image has
  unsigned-canary-image  starts an image that nobody has signed (--image), where the policy requires a signature; that admission refuses it counts as well
  revoked-canary-key     signs an image (--image, to whose repository it pushes) with a key of its own, and revokes that while it runs; on the verifier's machine (--policy-keys)
  silent-agent           ends the agent of a node of its own, which looks at no container, and starts it again once people were told; needs the role admin, a verifier that accepts join tokens, and the
                         bundle of Hullmark on this machine; not for a cluster's verifier by kubectl, whose nodes join by service account

--detect-within, --alert-within and --timeout are 1000, 60000 and 120 where nothing is said; of silent-agent 60000, 600000 and 900.

Exit: 0 within the objectives, 1 not, 2 usage, 3 cannot tell (it did not come to that)`;

export function drillCommand(): Command {
  return new Command("drill").addCommand(runCommand()).addCommand(drillScheduleCommand(runCommand)).addCommand(drillReportCommand());
}

function runCommand(): Command {
  const objective = within(1, MAX_OBJECTIVE_MS);
  const command = new Command("run")
    .description(
      "do what must not go unnoticed to a container or node of the drill's own, and measure the time until it is known, told and contained (responder role)",
    )
    .addArgument(new Argument("<drill>", "what is tried").choices(DRILLS))
    .option("--image <image>", "for the drill's container, with a shell (in a cluster: by default the verifier's own image)")
    .option(
      "--policy-keys <directory>",
      "revoked-canary-key: where the policy finds the drill's key and its revocation; without them it makes them and says what the policy must say",
    )
    .option("--agent-config <file>", `silent-agent: configuration of an agent of this verifier, whose address and CA are used (default: that of hullmark up)`)
    .option("--detect-within <ms>", "objective: milliseconds from the deed to the committed drift, or to the node's verdict", objective)
    .option("--alert-within <ms>", "objective: milliseconds from the deed to the alert that was sent", objective)
    .option(
      "--contain-within <ms>",
      "objective: milliseconds from the deed to the end of the action that contains it, which the policy must ask for",
      objective,
    )
    .option("--timeout <seconds>", "how long to wait for any of them, and before for the container's first verdict", within(1, 3_600))
    .addOption(formatOption())
    .addHelpText("after", KINDS);
  return withRegistryOptions(command).action(async (name: DrillName, options: RunOptions, command: Command) =>
    ask(command, async (asking) => {
      const run = randomBytes(5).toString("hex");
      const { channel, signal, print } = asking;
      const say = (text: string): void => void process.stderr.write(`  ${text}\n`);
      const objectives = objectivesOf(name, options);
      try {
        await using stack = new AsyncDisposableStack();
        const occasion = { run, objectives, channel, say, signal };
        const report = await (name === "silent-agent"
          ? onNode(asking, occasion, { agentConfig: hostAgent(command), ...options })
          : inContainer(name, asking, occasion, options, stack));
        print(isData(options.output) ? serialize(options.output, drillView(report, objectives)) : drillText(report, objectives, asking.command));
        return { passed: EXIT.clean, failed: EXIT.drift, undecided: EXIT.unknown }[report.outcome];
      } catch (error) {
        if (!(error instanceof DrillError) && !signal.aborted) throw error;
        process.stderr.write(`hullmark: ${signal.aborted ? "interrupted" : printable((error as Error).message, 1000)}\n`);
        return error instanceof DrillError && error.code === "FOREIGN" ? EXIT.usage : EXIT.unknown;
      }
    }),
  );
}

function objectivesOf(name: DrillName, options: RunOptions): Objectives {
  const { detectWithin, alertWithin, containWithin, timeout } = { ...(name === "silent-agent" ? DEFAULTS_OF_SILENCE : DEFAULTS), ...options };
  return { detectMs: detectWithin, alertMs: alertWithin, containMs: containWithin, patienceMs: timeout * 1000 };
}

interface Staged {
  readonly scenario: Scenario;
  readonly target: DrillTarget;
}

type InContainer = Exclude<DrillName, "silent-agent">;

async function inContainer(name: InContainer, asking: Asking, occasion: Occasion, options: RunOptions, stack: AsyncDisposableStack): Promise<DrillReport> {
  const { run } = occasion;
  const { scenario, target } = await (name === "revoked-canary-key" ? revocation(asking, run, options, stack) : onImage(name, asking, run, options.image));
  return await runDrill({ ...occasion, target }, scenario);
}

/** That of the host whose verifier the command asks, where `hullmark up` has set it up. */
function hostAgent(command: Command): string {
  const { config = defaultConfigPath(process.env) } = command.optsWithGlobals<{ readonly config?: string }>();
  return (layoutOfConfig(config) ?? layoutOf(DEFAULT_STATE)).settings("agent");
}

async function onNode(
  { cluster }: Asking,
  occasion: Occasion,
  { agentConfig, containWithin }: RunOptions & Required<Pick<RunOptions, "agentConfig">>,
): Promise<DrillReport> {
  if (cluster)
    throw new ContextError("silent-agent is for a verifier that accepts join tokens, not for a cluster's by kubectl: name its context in a configuration");
  if (containWithin !== undefined) throw new ContextError("nothing is ever done about a node that is silent: leave --contain-within out");
  const node = new CanaryNode(occasion.run, occasion.channel, verifierOf(agentConfig));
  return await runStaged(occasion, {
    ...{ name: "silent-agent", container: node.name, path: "" },
    observe: ({ alerting }) => silenceObserved(occasion, node, alerting),
    remove: () => node.remove(),
  });
}

function onImage(name: Exclude<InContainer, "revoked-canary-key">, asking: Asking, run: string, image: string | undefined): Staged {
  return { scenario: scenarioOf(name, run, image), target: targetOf(asking, run, image) };
}

/** What a person gave that cannot be meant is their usage. @throws ContextError */
async function usage<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ProvenanceError || error instanceof SigningError) throw new ContextError(error.message);
    throw error;
  }
}

/** Pushes the image that is to be signed; the key is trusted once the drill has begun. */
async function revocation(asking: Asking, run: string, options: RunOptions, stack: AsyncDisposableStack): Promise<Staged> {
  const { image, policyKeys } = options;
  if (asking.cluster) throw new ContextError("revoked-canary-key is for a verifier whose policy lies on this machine, not for a cluster's");
  if (image === undefined || policyKeys === undefined)
    throw new ContextError(
      "name an image with a shell in a repository for drills, and where the policy has the drill's key: --image IMAGE --policy-keys DIRECTORY",
    );
  const { repository } = await usage(() => parseReference(image));
  const key = new DrillKey(policyKeys);
  const wanted = key.wanted(repository);
  if (!key.isPrepared) {
    key.prepare(policyKeys);
    throw new DrillError("NO_START", `made the files of the drill's key in ${policyKeys}; now add to the policy ${wanted}`);
  }
  const registry = await usage(() => openRegistry(options, processIo()));
  stack.defer(() => registry.close());
  const canary = await pushCanary(registry, image, run, asking.signal);
  return {
    scenario: revokedCanaryKey(key, (signal) => signCanary(registry, canary, key.signer, signal), wanted),
    target: new DockerTarget(run, `${repository}@${canary.digest}`, true),
  };
}

function scenarioOf(name: Exclude<InContainer, "revoked-canary-key">, run: string, image: string | undefined): Scenario {
  if (name === "canary-file") return canaryFile(run);
  if (name === "canary-exec") return canaryExec(run);
  if (image === undefined)
    throw new ContextError("name an image with a shell that nobody has signed, and of which the policy requires a signature: --image IMAGE");
  return unsignedCanaryImage(image);
}

function targetOf({ cluster, namespace }: Asking, run: string, image: string | undefined): DrillTarget {
  if (cluster) {
    if (namespace === undefined) throw new ContextError("a drill is in one namespace: -n NAMESPACE instead of -A");
    return new PodTarget({ ...cluster, namespace, run, image, startSeconds: START_SECONDS });
  }
  if (image === undefined) throw new ContextError("on a Docker host name an image with a shell, one that is judged there: --image IMAGE");
  return new DockerTarget(run, image);
}
