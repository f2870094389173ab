/** `hullmark status`: the fleet in six lines. */

import { type GetStatusResponse, Query } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Command } from "commander";
import { ask } from "../connection/run.ts";
import { unsettled } from "../connection/settled.ts";
import { asCalled, type Called } from "../kubectl/invocation.ts";
import { EXIT } from "../output/exit-codes.ts";
import { formatOption, isData, type parseFormat, serialize } from "../output/format.ts";
import { statusView } from "../output/views.ts";
import { age, pathWord, severityWord } from "../output/words.ts";
import { within } from "./numbers.ts";

export function statusCommand(): Command {
  return new Command("status")
    .addOption(formatOption())
    .option("--wait [seconds]", "wait until every node is attested and nothing is being resolved (default 120)", within(0, 3600))
    .addHelpText("after", "\nExit: 0 clean, 1 drift, 2 usage, 3 cannot tell (a node or workload is unknown)")
    .action(async (options: { output: ReturnType<typeof parseFormat>; wait?: number | true }, command: Command) =>
      ask(
        command,
        async ({ channel, name, signal, print, nowMs, command: called }) => {
          const client = channel.client(Query);
          const untilMs = nowMs + waitMs(options);
          let status = await client.getStatus({}, { signal });
          while (unsettled(status) && Date.now() < untilMs) {
            await new Promise((resolve) => setTimeout(resolve, 500));
            status = await client.getStatus({}, { signal });
          }
          print(isData(options.output) ? serialize(options.output, statusView(status)) : text(name, status, called));
          return exitOf(status);
        },
        waitMs(options),
      ),
    );
}

function waitMs({ wait }: { readonly wait?: number | true }): number {
  return wait === undefined ? 0 : (wait === true ? 120 : wait) * 1000;
}

/** Claims of the verifier that are as bad as a drift. */
const BAD_CLAIMS: ReadonlySet<string> = new Set(["log-contradicted", "breaker", "given-up"]);
/** Those under which it cannot be told whether everything is clean. */
const OPEN_CLAIMS: ReadonlySet<string> = new Set(["pods-unseen"]);

export function exitOf(status: GetStatusResponse): number {
  if (status.containersDrifted > 0 || status.claims.some(({ code }) => BAD_CLAIMS.has(code))) return EXIT.drift;
  const open = status.claims.some(({ code }) => OPEN_CLAIMS.has(code));
  // Whoever sees single namespaces is told of no nodes; where nothing runs in them nothing is known to be clean.
  const { containersClean, containersWarning, containersUnknown } = status;
  const nothing = status.namespaces.length > 0 ? containersClean + containersWarning === 0 : status.nodesTotal === 0;
  return open || containersUnknown > 0 || status.nodesAttested < status.nodesTotal || nothing ? EXIT.unknown : EXIT.clean;
}

/** Nothing where nobody hands reports in. */
function vulnerabilities({ vulnerabilities: of }: GetStatusResponse): string[] {
  const { counts, images, unscanned } = of ?? {};
  if (!counts || !images || unscanned === images) return [];
  const words = (["critical", "high", "medium", "low", "negligible", "unknown"] as const).flatMap((name) =>
    counts[name] > 0 ? [`${counts[name]} ${name}`] : [],
  );
  const exploited = counts.knownExploited > 0 ? ` · ${counts.knownExploited} known to be exploited` : "";
  return [`CVEs       ${words.join(" · ") || "none open"}${exploited}${unscanned ? ` · ${unscanned} of ${images} images not scanned` : ""}`];
}

function text(context: string, status: GetStatusResponse, called: Called): string {
  const nowMs = Number(status.now?.seconds ?? 0n) * 1000;
  const reasons = Object.entries(status.unknownReasons).map(([code, count]) => `${count} ${code}`);
  const unattested = status.nodesUnattested
    .map((node) => ` · ${printable(node.name, 40)} ${node.reasons[0]?.code ?? "unattested"} ${age(node.lastSeen, nowMs)}`)
    .join("");
  const coverage =
    status.observedSeconds > 0
      ? `${(100 * (1 - status.unattestedSeconds / status.observedSeconds)).toFixed(2)} % (${Math.round(status.unattestedSeconds)} s unattested of ${Math.round(status.observedSeconds)})`
      : status.nodesTotal === 0
        ? "no node yet"
        : "begins now";
  const policy = status.policyLoaded ? printable(status.policyName, 60) : "none loaded";
  const own = status.namespaces.length > 0;
  const verifier = `${context}  ${status.mode}  verifier ${printable(status.verifierId, 40)} ok`;
  const lines = [
    own ? verifier : `${verifier}  policy ${policy}  log ${status.logSize}`,
    own ? `In         ${status.namespaces.join(", ")}` : `Nodes      ${status.nodesAttested}/${status.nodesTotal} attested${unattested}`,
    `Workloads  ${status.containersClean} clean · ${status.containersWarning} warning · ${status.containersDrifted} drifted · ${status.containersUnknown} unknown${reasons.length > 0 ? ` (${reasons.join(", ")})` : ""}`,
    `Provenance ${status.signedContainers} signed · ${status.unsignedContainers} unsigned · ${status.provenanceUnknownContainers} unknown`,
    ...vulnerabilities(status),
    ...(own ? [] : [`Coverage   ${coverage}`]),
    ...(!own && (status.actuators > 0 || status.mode !== "observe") ? [`Actuators  ${status.actuators || "none"} connected`] : []),
  ];
  for (const drift of status.attention)
    lines.push(`Attention  ${drift.id} ${severityWord(drift.severity)} ${printable(drift.workload, 60)} ${pathWord(drift.path, 100) || drift.kind}`);
  for (const claim of status.claims)
    lines.push(
      `${BAD_CLAIMS.has(claim.code) ? "Attention " : "Note      "} ${claim.code}${claim.detail === "" ? "" : `: ${printable(asCalled(claim.detail, called), 200)}`}`,
    );
  return `${lines.join("\n")}\n`;
}
