/** `hullmark vulnerabilities import|ls|show|rm`: what scanners and makers say of images that run, which layer it came by, and where it runs. */
import { readFileSync, statSync } from "node:fs";
import { Admin } from "@hullmark/proto/v1/admin";
import { Query } from "@hullmark/proto/v1/query";
import { counted } from "@hullmark/verifier/core/text/counted";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Command } from "commander";
import { ContextError } from "../connection/context-error.ts";
import { all, PAGE_SIZE } from "../connection/pages.ts";
import { ask } from "../connection/run.ts";
import { because } from "../output/because.ts";
import { EXIT } from "../output/exit-codes.ts";
import { type Format, formatOption, isData, serialize } from "../output/format.ts";
import { table } from "../output/table.ts";
import { imageSummaryView, listHeaders, listRow, vulnerabilitiesPage, vulnerabilitiesView } from "../output/vulnerabilities-page.ts";

const MAX_REPORT_BYTES = 16 * 1024 * 1024;
const EXITS = "\nExit: 0 none that counts and a scan says so, 1 some, 2 usage or no right, 3 cannot tell (no scan)";

export function vulnerabilitiesCommand(): Command {
  const command = new Command("vulnerabilities");
  for (const each of [importCommand(), listCommand(), showCommand(), removeCommand()]) command.addCommand(each);
  return command;
}

function importCommand(): Command {
  return new Command("import")
    .description("hand in a report on an image, or statements about it (admins): it is logged, and counts until a newer one of the same tool comes")
    .argument("<file>", "JSON of Trivy or Grype, SARIF 2.1.0, CycloneDX, SPDX, OpenVEX or CSAF (VEX); at most 16 MiB")
    .option("--image <image>", "digest of the image, name@digest, or a reference by which one image runs: needed where the report names none", "")
    .addOption(formatOption())
    .addHelpText("after", "\nExit: 0 counts, 2 usage, no right, or not a report of this image, 3 cannot tell")
    .action(async (file: string, { image, output }: { readonly image: string; readonly output: Format }, command: Command) =>
      ask(command, async ({ channel, print, signal }) => {
        const { $typeName: _, $unknown: __, ...imported } = await channel.client(Admin).importVulnerabilities({ report: reportIn(file), image }, { signal });
        if (isData(output)) print(serialize(output, imported));
        else {
          const { format, tool, findings, statements, leftOut, replaces } = imported;
          const said = [
            counted(findings, "finding"),
            ...(statements > 0 ? [counted(statements, "statement")] : []),
            ...(leftOut > 0 ? [`${leftOut} left out: no vulnerabilities of packages`] : []),
          ];
          print(`${printable(tool || format, 80)} of ${imported.image}: ${said.join(", ")}\n`);
          print(`report ${imported.digest}${replaces ? `, in place of ${replaces}` : ""}\n`);
        }
        return EXIT.clean;
      }),
    );
}

function reportIn(file: string): Buffer {
  try {
    const { size } = statSync(file);
    if (size > MAX_REPORT_BYTES) throw new ContextError(`${file}: ${size} bytes, limit ${MAX_REPORT_BYTES}`);
    return readFileSync(file);
  } catch (cause) {
    if (cause instanceof ContextError) throw cause;
    throw new ContextError(`${file} cannot be read: ${because(cause)}`, { cause });
  }
}

function listCommand(): Command {
  return new Command("ls")
    .description("images that run, those with the gravest first")
    .addOption(formatOption())
    .addHelpText("after", EXITS)
    .action(async ({ output }: { readonly output: Format }, command: Command) =>
      ask(command, async ({ channel, print, signal, nowMs }) => {
        const images = await all(
          (pageToken) => channel.client(Query).listVulnerabilities({ pageSize: PAGE_SIZE, pageToken }, { signal }),
          (page) => page.images,
        );
        const views = images.map(imageSummaryView);
        if (isData(output)) print(serialize(output, views));
        else if (images.length === 0) print("none\n");
        else
          print(
            table(
              listHeaders(output === "wide"),
              images.map((image) => listRow(image, output === "wide", nowMs)),
            ),
          );
        if (views.some(({ open }) => open > 0)) return EXIT.drift;
        return views.every(({ scanned }) => scanned) ? EXIT.clean : EXIT.unknown;
      }),
    );
}

function showCommand(): Command {
  return new Command("show")
    .description("one image's, gravest first: package, fix, layer, whose word it is; and where the image runs")
    .argument("<image>", "reference, config digest or manifest digest of an image that runs")
    .addOption(formatOption())
    .addHelpText("after", EXITS)
    .action(async (image: string, { output }: { readonly output: Format }, command: Command) =>
      ask(command, async ({ channel, print, signal, nowMs }) => {
        const answer = await channel.client(Query).getVulnerabilities({ image }, { signal });
        const view = vulnerabilitiesView(answer);
        print(isData(output) ? serialize(output, view) : vulnerabilitiesPage(answer, output === "wide", nowMs));
        if (view.open > 0) return EXIT.drift;
        return view.scanned ? EXIT.clean : EXIT.unknown;
      }),
    );
}

function removeCommand(): Command {
  return new Command("rm")
    .description("take an imported report away: it counts no more (admins)")
    .argument("<digest>", "sha256:… of the report, as show and the log have it")
    .requiredOption("-m, --reason <text>", "why: it is logged")
    .addHelpText("after", "\nExit: 0 gone, 2 usage, no right or no such report, 3 cannot tell")
    .action(async (digest: string, { reason }: { readonly reason: string }, command: Command) =>
      ask(command, async ({ channel, print, signal }) => {
        const { images } = await channel.client(Admin).removeVulnerabilities({ digest, reason }, { signal });
        print(`gone: it counted for ${images} ${images === 1 ? "image" : "images"}\n`);
        return EXIT.clean;
      }),
    );
}
