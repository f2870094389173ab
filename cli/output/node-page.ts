/** The page of one node: whose word it is, how fresh, and what it booted as far as its quotes prove it. */

import type { AffectedLayer, BootItem, GetNodeResponse, NodeBoot, NodeIma, NodeStopped } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import type { Called } from "../kubectl/invocation.ts";
import { nodeView } from "./views.ts";
import { age, nodeMarkWords, toMs, trustWord, verdictWord } from "./words.ts";

/** Files and sections beyond these are counted; `-o json` has all. */
const MAX_SHOWN = 12;
const SHA384_BYTES = 48;

export function showNode({ node, boot, ima, certificateWithheld, affected, stopped }: GetNodeResponse, nowMs: number, command: Called): string {
  if (!node) return "";
  const lines = [`${verdictWord(node.verdict).toUpperCase()}  node ${printable(node.name, 80)}  (${node.id})`];
  const field = (name: string, text: string): void => void lines.push(`${name.padEnd(9)} ${text}`);
  for (const { code, detail } of node.reasons) field("Because", `${printable(code, 64)}: ${printable(detail, 500)}`);
  field("Trust", `${trustWord(node.trustLevel)} · quote ${age(node.lastQuote, nowMs)} ago · seen ${age(node.lastSeen, nowMs)} ago`);
  if (certificateWithheld) field("Withheld", "its certificate: what it is given instead serves for reporting alone");
  if (node.marks.length > 0)
    field("Marked", `${nodeMarkWords(node.marks).join(", ")} by ${node.markActions.map((each) => printable(each, 24)).join(", ")}: ${command} action show`);
  for (const each of affected) showAffected(each, field);
  if (stopped) showStopped(stopped, field);
  const [gapFromMs, gapToMs] = [toMs(node.gapFrom), toMs(node.gapTo)];
  if (gapFromMs !== undefined && gapToMs !== undefined)
    field(
      "Gap",
      `${new Date(gapFromMs).toISOString()} to ${new Date(gapToMs).toISOString()}: no quotes; what it told of that time was proven not before the end of it`,
    );
  field(
    "System",
    `kernel ${printable(node.kernel, 80)} · ${printable(node.runtime, 80)} · agent ${printable(node.agentVersion, 40)} · ${node.containers} containers`,
  );
  if (boot) showBoot(boot, field);
  if (ima) showIma(ima, field);
  return `${lines.join("\n")}\n`;
}

/** Everything on the list is to go from the node before the directory does. */
function showAffected(affected: AffectedLayer, field: (name: string, text: string) => void): void {
  const { place, layerIndex, open, driftIds, containers, images, stopped, moreDrifts, moreContainers, moreImages, moreStopped } = affected;
  const more = (name: string, count: number): void => void (count > 0 && field(name, `and ${count} more, which are not listed`));
  const on = place === "image" ? " configuration on layer" : "";
  const what = layerIndex >= 0 ? `${printable(place, 40)}${on} ${layerIndex}` : printable(place, 40);
  field(
    "Poisoned",
    `${what}${open ? "" : ", not measured equal since"} (${driftIds.map((each) => printable(each, 24)).join(", ")}${moreDrifts > 0 ? ` and ${moreDrifts} more` : ""})`,
  );
  for (const name of containers) field("  runs", printable(name, 300));
  more("  runs", moreContainers);
  for (const name of stopped) field("  stopped", printable(name, 300));
  more("  stopped", moreStopped);
  for (const name of images) field("  image", printable(name, 300));
  more("  image", moreImages);
}

/** Who is to take a layer off should know what the list above lacks. */
function showStopped({ problem, unknown, more }: NodeStopped, field: (name: string, text: string) => void): void {
  if (problem !== "") field("Stopped", `not known, ask the runtime there: ${printable(problem, 300)}`);
  if (unknown > 0) field("Stopped", `${unknown} of which it is not known on what they stand: ask the runtime there`);
  if (more > 0) field("Stopped", `${more} more, which the node did not name: ask the runtime there`);
}

function showBoot(boot: NodeBoot, field: (name: string, text: string) => void): void {
  const log = {
    none: "none: nothing says what was booted",
    pending: "has not arrived",
    malformed: `cannot be read: ${printable(boot.problem, 300)}`,
    read: "read",
  };
  field("Boot log", log[boot.eventLog as keyof typeof log] ?? printable(boot.eventLog, 40));
  if (boot.eventLog === "read") {
    field("Secure Boot", boot.secureBoot === "unproven" ? `unproven: ${printable(boot.secureBootDetail, 300)}` : printable(boot.secureBoot, 40));
    for (const [name, sha256] of Object.entries(boot.variables)) field(`  ${printable(name, 10)}`, printable(sha256, 128));
    items("Vouched", boot.authorities, field);
    items("Image", boot.images, field);
    items("Driver", boot.drivers, field);
    for (const line of boot.commandLines.slice(0, MAX_SHOWN)) field("Kernel", printable(line, 1000));
    items("Initrd", boot.initrds, field);
    items("Section", boot.sections, field);
    items("File", boot.files, field);
    items("Shim", boot.shimLists, field);
    items("Unknown", boot.unknown, field);
    field("Hand-over", printable(boot.exitBootServices, 40));
  }
  if (boot.differingPcrs.length > 0) field("Differ", `PCR ${boot.differingPcrs.join(", ")}: not what the log leads to`);
  if (boot.unquotedPcrs.length > 0) field("Unquoted", `PCR ${boot.unquotedPcrs.join(", ")}: in the log, proven by nothing`);
}

function showIma(ima: NodeIma, field: (name: string, text: string) => void): void {
  const rest = ima.moreUnvouched + BigInt(Math.max(0, ima.unvouched.length - MAX_SHOWN));
  field(
    "IMA",
    `${printable(ima.standing, 40)} · ${ima.entries} measurements · ${ima.violations} violations${ima.problem && ` · ${printable(ima.problem, 300)}`}`,
  );
  for (const { path, digest } of ima.unvouched.slice(0, MAX_SHOWN)) field("Unvouched", `${printable(digest, 128)}  ${printable(path, 300)}`);
  if (rest > 0n) field("Unvouched", `and ${rest} more (-o json)`);
}

function items(name: string, list: readonly BootItem[], field: (name: string, text: string) => void): void {
  for (const item of list.slice(0, MAX_SHOWN)) field(name, `${printable(item.digest, 128)}${item.name && `  ${printable(item.name, 200)}`}`);
  if (list.length > MAX_SHOWN) field(name, `and ${list.length - MAX_SHOWN} more (-o json)`);
}

/** What `-o json|yaml` gives. Digests are hex. */
export function nodePageView({ node, boot, ima, certificateWithheld, affected, stopped }: GetNodeResponse) {
  const layers = affected.map(
    ({ place, layerIndex, chainId, open, driftIds, containers, images, stopped, moreDrifts, moreContainers, moreImages, moreStopped }) => ({
      ...{ place, layerIndex: layerIndex < 0 ? null : layerIndex, chainId: chainId || null, open, drifts: driftIds, containers, images, stopped },
      ...{ moreDrifts, moreContainers, moreImages, moreStopped },
    }),
  );
  return {
    ...{ ...(node && nodeView(node)), boot: boot ? bootView(boot) : null, ima: ima ? imaView(ima) : null, certificateWithheld, affected: layers },
    stopped: stopped ? { problem: stopped.problem || null, unknown: stopped.unknown, more: stopped.more } : null,
  };
}

function imaView({ standing, problem, entries, violations, unvouched, moreUnvouched }: NodeIma) {
  return {
    ...{ standing, problem, entries: Number(entries), violations: Number(violations), moreUnvouched: Number(moreUnvouched) },
    unvouched: unvouched.map(({ path, digest, position }) => ({
      position: Number(position),
      path: printable(path, 2048),
      pathHex: Buffer.from(path).toString("hex"),
      digest,
    })),
  };
}

function bootView(boot: NodeBoot) {
  const list = (of: readonly BootItem[]) => of.map(({ pcr, name, digest }) => ({ pcr, name, digest }));
  const { eventLog, problem, secureBoot, secureBootDetail, variables, commandLines, exitBootServices, differingPcrs, unquotedPcrs } = boot;
  return {
    pcrs: Object.fromEntries(
      boot.pcrs.map(({ index, value }) => [value.length === SHA384_BYTES ? `sha384:${index}` : index, Buffer.from(value).toString("hex")]),
    ),
    eventLog: { state: eventLog, sha256: Buffer.from(boot.eventLogSha256).toString("hex"), problem },
    secureBoot: { state: secureBoot, detail: secureBootDetail, variables, authorities: list(boot.authorities) },
    images: list(boot.images),
    drivers: list(boot.drivers),
    files: list(boot.files),
    initrds: list(boot.initrds),
    sections: list(boot.sections),
    shimLists: list(boot.shimLists),
    unknown: list(boot.unknown),
    commandLines,
    exitBootServices,
    differingPcrs,
    unquotedPcrs,
  };
}
