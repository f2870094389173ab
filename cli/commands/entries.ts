/**
 * Every command: its name, its line in the help, and the way to its module. A module is imported when its command is asked for: what all of them import takes
 * several times as long to load as most commands take to run.
 */
import type { Command } from "commander";
import type { CommandOutput } from "./log.ts";

interface Entry {
  readonly name: string;
  readonly description: string;
  readonly load: (output: CommandOutput) => Promise<Command>;
}

/** For a Docker host; not commands of the plugin of kubectl. */
export const HOST_COMMANDS: readonly Entry[] = [
  {
    name: "up",
    description: "watch this Docker host: start verifier and agent; observes only, restarts no container",
    load: async () => (await import("./up.ts")).upCommand(),
  },
  {
    name: "down",
    description: "stop verifier and agent of this host and remove everything of them; containers run on",
    load: async () => (await import("./down.ts")).downCommand(),
  },
];

export const COMMANDS: readonly Entry[] = [
  {
    name: "status",
    description: "the fleet at a glance: nodes, workloads, provenance, coverage, what needs attention",
    load: async () => (await import("./status.ts")).statusCommand(),
  },
  {
    name: "nodes",
    description: "nodes, how far their word can be trusted, and how fresh it is",
    load: async () => (await import("./lists.ts")).nodesCommand(),
  },
  { name: "node", description: "one node in full; let nodes join, and shut them out", load: async () => (await import("./node.ts")).nodeCommand() },
  {
    name: "workloads",
    description: "containers and what is known of each: content and provenance apart",
    load: async () => (await import("./lists.ts")).workloadsCommand(),
  },
  { name: "images", description: "images in use: reference values and who vouched for them", load: async () => (await import("./lists.ts")).imagesCommand() },
  {
    name: "dashboard",
    description: "an address that opens the dashboard in a browser, once and within a minute, with your rights",
    load: async () => (await import("./dashboard.ts")).dashboardCommand(),
  },
  {
    name: "vulnerabilities",
    description: "known vulnerabilities of images that run: who says so, in which layer, and where it runs",
    load: async () => (await import("./vulnerabilities.ts")).vulnerabilitiesCommand(),
  },
  { name: "drift", description: "what differs from what was signed", load: async () => (await import("./drift.ts")).driftCommand() },
  {
    name: "incident",
    description: "drift as people deal with it: the same file of the same image, on however many nodes, once",
    load: async () => (await import("./incident.ts")).incidentCommand(),
  },
  { name: "playbook", description: "what to do about drift, step by step", load: async () => (await import("./playbook.ts")).playbookCommand() },
  { name: "action", description: "what is done about drift: to see, to approve, to stop", load: async () => (await import("./action.ts")).actionCommand() },
  {
    name: "capture",
    description: "what was kept of containers before they were acted on",
    load: async () => (await import("./capture.ts")).captureCommand(),
  },
  { name: "alert", description: "whom the verifier tells", load: async () => (await import("./alert.ts")).alertCommand() },
  { name: "drill", description: "try the alarm", load: async () => (await import("./drill.ts")).drillCommand() },
  {
    name: "verify",
    description: "tell whether an image in its registry is signed by given keys",
    load: async () => (await import("./verify.ts")).verifyCommand(),
  },
  {
    name: "diff",
    description: "tell whether two images have the same files and configuration, and if not, what differs and which build step made it",
    load: async () => (await import("./diff.ts")).diffCommand(),
  },
  {
    name: "promote",
    description: "copy an image, with all that is attached to it, to another repository if a policy accepts it there; attaches a verification summary",
    load: async () => (await import("./promote.ts")).promoteCommand(),
  },
  { name: "sign", description: "sign an image in its registry", load: async () => (await import("./sign.ts")).signCommand() },
  {
    name: "attest",
    description: "attach a signed statement about an image, for example where it was built from",
    load: async () => (await import("./attest.ts")).attestCommand(),
  },
  {
    name: "manifest",
    description: "attach a signed file manifest to an image: verifiers whose policy trusts its signer for it fetch that in place of the layers",
    load: async () => (await import("./manifest.ts")).manifestCommand(),
  },
  {
    name: "build-record",
    description: "run a build step and write down what went into it: source, command, tools, bases, locked packages (SLSA provenance v1)",
    load: async () => (await import("./build-record.ts")).buildRecordCommand(),
  },
  { name: "keygen", description: "make a key pair for signing images (ECDSA P-256)", load: async () => (await import("./keygen.ts")).keygenCommand() },
  { name: "policy", description: "check and start policy files", load: async (output) => (await import("./policy.ts")).policyCommand(output) },
  { name: "log", description: "check the tamper-evident log", load: async (output) => (await import("./log.ts")).logCommand(output) },
  {
    name: "baseline",
    description: "what nodes should have booted and run, what workloads may write: proposed from what is seen, approved by somebody else",
    load: async () => (await import("./baseline.ts")).baselineCommand(),
  },
  {
    name: "exception",
    description: "excuse a drift until a day: asked for by one person, approved by another",
    load: async () => (await import("./exception.ts")).exceptionCommand(),
  },
  {
    name: "keys",
    description: "the verifier's own keys: how old they are, new ones in their place, and what to know it by",
    load: async () => (await import("./keys.ts")).keysCommand(),
  },
  {
    name: "person",
    description: "who may ask and decide: a certificate for each, with a role",
    load: async () => (await import("./person.ts")).personCommand(),
  },
];
