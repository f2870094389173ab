/** `hullmark policy explain` and `policy test`: what a policy makes of images, before it is in force. */
import { dirname, resolve } from "node:path";
import { exceptionAtTheDoor } from "@hullmark/verifier/core/admission/index";
import type { Policy } from "@hullmark/verifier/core/policy/types";
import { printable } from "@hullmark/verifier/core/text/printable";
import { RegistryError } from "@hullmark/verifier/ports/registry";
import { Command } from "commander";
import { parse } from "yaml";
import * as z from "zod";
import { isData, type ReportFormat, reportOption, serialize } from "../output/format.ts";
import { sarifLog } from "../output/sarif.ts";
import { verdictFinding } from "../output/verdict-sarif.ts";
import { SigningError } from "../signing/errors.ts";
import { type ExplainedImage, explainImage } from "../signing/explain-image.ts";
import { type CommandIo, type ExitCode, outcome } from "../signing/io.ts";
import { readText } from "../signing/keys.ts";
import { openRegistry, type RegistryFlags, repeated, withRegistryOptions } from "../signing/registry.ts";
import { readPolicy } from "./policy-file.ts";

interface ContainerFlags extends RegistryFlags {
  readonly container: string;
  readonly workload: string;
  readonly node: string;
  readonly label?: readonly string[];
  readonly platform?: string;
  readonly output: ReportFormat;
}

/** Exit: 0 accepted, 1 refused, 2 usage or a policy with mistakes, 3 cannot tell. */
export function policyExplainCommand(io: CommandIo): Command {
  const command = new Command("explain")
    .description("say what a policy makes of an image in its registry: which rule decides, what it asks for, what was found, what would do")
    .argument("<policy>", "policy file")
    .argument("<image>", "as whoever starts the container writes it")
    .option("--container <name>", "what selectors look at", "")
    .option("--workload <name>", "what selectors look at", "")
    .option("--node <name>", "what selectors look at", "")
    .option("--label <name=value>", "what selectors look at; may be repeated", repeated)
    .option("--platform <os/arch>", "judge one platform of an index");
  return withRegistryOptions(command)
    .addOption(reportOption())
    .action((file: string, image: string, flags: ContainerFlags) =>
      outcome(io, async () => {
        const policy = readPolicy(file);
        const explained = await explain(io, policy, image, flags);
        if (flags.output === "sarif") io.out(sarifLog(`policy/${explained.image.repository}`, [verdictFinding(explained, exitCode(explained) === 0)]));
        else io.out(isData(flags.output) ? serialize(flags.output, asJson(explained)) : asText(explained, policy));
        return exitCode(explained);
      }),
    );
}

async function explain(io: CommandIo, policy: Policy, image: string, flags: Omit<ContainerFlags, "output">): Promise<ExplainedImage> {
  const labels = Object.fromEntries((flags.label ?? []).map(labelOf));
  const container = { containerName: flags.container, workload: flags.workload, nodeName: flags.node, labels };
  const registry = await openRegistry(flags, io);
  try {
    return await explainImage(registry, policy, image, { container, platform: flags.platform, nowMs: io.now() }, io.signal);
  } finally {
    registry.close();
  }
}

function labelOf(text: string): [string, string] {
  const at = text.indexOf("=");
  if (at < 1) throw new SigningError("USAGE", `--label ${JSON.stringify(text)}: want name=value`);
  return [text.slice(0, at), text.slice(at + 1)];
}

function exitCode({ verdict, required }: ExplainedImage): ExitCode {
  if (verdict.status === "revoked") return 1;
  if (!required || verdict.satisfied) return 0;
  return verdict.status === "unknown" ? 3 : 1;
}

/** Stable: fields are added, never changed. */
function asJson({ image, rule, verdict, required, chains }: ExplainedImage): object {
  const { status, satisfied, text, refusals, signedBy, authorities, artefacts, source } = verdict;
  return {
    ...{
      image: `${image.repository}@${image.digest}`,
      rule: rule?.name ?? null,
      required,
      status,
      satisfied,
      text,
      refusals,
      signedBy,
      authorities,
      artefacts,
    },
    source: source ?? null,
    baseLayers: chains?.at(-1) ?? null,
  };
}

function asText(explained: ExplainedImage, { admission }: Policy): string {
  const { image, rule, verdict, required, chains } = explained;
  const mark = verdict.satisfied ? "✓" : verdict.status === "unknown" ? "?" : required || verdict.status === "revoked" ? "✗" : "·";
  const lines = [
    `${image.repository}@${image.digest}`,
    `  rule ${rule?.name ?? "(none selects it)"}${required ? "" : ", which asks for no signature"}`,
    `  ${mark} ${verdict.status}: ${verdict.text}`,
  ];
  for (const refusal of required || verdict.status === "revoked" ? verdict.refusals : [])
    lines.push(`  asked for  ${refusal.requirement}`, `      found  ${refusal.found}`, `   would do  ${refusal.remedy}`);
  if (exitCode(explained) !== 0) lines.push(`  exception  ${exceptionAtTheDoor(admission.breakGlass)}`);
  for (const { code, manifestDigest, text } of verdict.artefacts) lines.push(`  ${code.padEnd(16)} ${manifestDigest.slice(0, 19)}… ${text}`);
  const layers = chains?.at(-1);
  if (layers !== undefined) lines.push(`  as a base        ${layers} (baseLayers)`);
  return `${lines.map((line) => printable(line, 2048)).join("\n")}\n`;
}

const MAX_TEST_BYTES = 1 << 20;
const tests = z.strictObject({
  policy: z.string().min(1),
  tests: z
    .array(
      z.strictObject({
        name: z.string().min(1).max(256),
        image: z.string().min(1),
        container: z.string().default(""),
        workload: z.string().default(""),
        node: z.string().default(""),
        labels: z.record(z.string(), z.string()).default({}),
        platform: z.string().optional(),
        expect: z
          .strictObject({ accepted: z.boolean().optional(), status: z.string().optional(), rule: z.string().nullable().optional() })
          .refine((expected) => Object.keys(expected).length > 0, "expects nothing"),
      }),
    )
    .min(1)
    .max(1000),
});

type Expected = z.output<typeof tests>["tests"][number];

/** Exit: 0 all as expected, 1 not, 2 usage or a file with mistakes, 3 one could not be told. */
export function policyTestCommand(io: CommandIo): Command {
  const command = new Command("test")
    .description("hold a policy against images and what is expected of them (a YAML file: policy, tests)")
    .argument("<file>", "tests");
  return withRegistryOptions(command).action((file: string, flags: RegistryFlags) =>
    outcome(io, async () => {
      const suite = readTests(await readText(file), file);
      const policy = readPolicy(resolve(dirname(file), suite.policy));
      let code = 0 as ExitCode;
      for (const expected of suite.tests) {
        const { wrong, found, unsure } = await hold(io, policy, expected, flags);
        io.out(`${printable(`${wrong.length === 0 ? "✓" : "✗"} ${expected.name}${wrong.length === 0 ? "" : `: ${wrong.join(", ")}: ${found}`}`, 2048)}\n`);
        if (wrong.length > 0) code = unsure || code === 3 ? 3 : 1;
      }
      return code;
    }),
  );
}

interface Held {
  /** What is not as expected. */
  readonly wrong: readonly string[];
  readonly found: string;
  readonly unsure: boolean;
}

/** What cannot be told is neither accepted nor refused. */
async function hold(io: CommandIo, policy: Policy, expected: Expected, flags: RegistryFlags): Promise<Held> {
  const { image, container, workload, node, labels, platform, expect } = expected;
  const label = Object.entries(labels).map(([key, value]) => `${key}=${value}`);
  let found: ExplainedImage;
  try {
    found = await explain(io, policy, image, { ...flags, container, workload, node, label, ...(platform !== undefined && { platform }) });
  } catch (error) {
    if (!(error instanceof RegistryError)) throw error;
    return { wrong: ["it cannot be told"], found: error.message, unsure: true };
  }
  const { rule, verdict } = found;
  const code = exitCode(found);
  const accepted = code === 3 ? undefined : code === 0;
  const wrong = [
    ...(expect.accepted !== undefined && expect.accepted !== accepted ? [accepted === undefined ? "it cannot be told" : `accepted is ${accepted}`] : []),
    ...(expect.status !== undefined && expect.status !== verdict.status ? [`status is ${verdict.status}`] : []),
    ...(expect.rule !== undefined && expect.rule !== (rule?.name ?? null) ? [`rule is ${rule?.name ?? "none"}`] : []),
  ];
  return { wrong, found: verdict.text, unsure: verdict.status === "unknown" };
}

function readTests(text: string, file: string): z.output<typeof tests> {
  if (text.length > MAX_TEST_BYTES) throw new SigningError("USAGE", `${file} is larger than ${MAX_TEST_BYTES} bytes`);
  let value: unknown;
  try {
    value = parse(text, { maxAliasCount: 16 });
  } catch (cause) {
    throw new SigningError("USAGE", `${file} is not YAML`, { cause });
  }
  const parsed = tests.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new SigningError("USAGE", `${file}: ${parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`).join("; ")}`);
}
