/** The playbook of an incident: the section for its kind, with commands that can be typed as they stand. Pure; runs in browsers too. */

import { type Drift, DriftState } from "@hullmark/proto/v1/query";
import { playbookOf } from "@hullmark/verifier/core/alerting/text";
import { counted } from "@hullmark/verifier/core/text/counted";
import { printable } from "@hullmark/verifier/core/text/printable";
import type { ToldIncident, ToldMember } from "../incident/fetch.ts";
import type { Called } from "../kubectl/invocation.ts";

/** What stands in the page's commands for names of the incident. */
export type Placeholder = "INCIDENT" | "DRIFT" | "NODE" | "CONTAINER" | "CONTAINERID" | "NAMESPACE" | "POD" | "IMAGE" | "PATH" | "PID";

/** The longest path that the kernel takes. */
const MAX_WORD_CHARACTERS = 4096;

/** As engines show them; a prefix will do for the command too. */
const CONTAINER_ID_DIGITS = 12;

/** Whether a kind is under this heading of the page, as anchors are made of headings. */
export function isHeadingOf(heading: string, kind: string): boolean {
  return heading.toLowerCase().replaceAll(" ", "-") === playbookOf(kind).replace(/^.*#/, "");
}

/** What is of this kind alone, and then what all kinds of its section have in common. Other kinds' parts are left out. */
export function sectionOf(text: string, kind: string): string | undefined {
  const section = text.split(/^(?=## )/m).find((each) => isHeadingOf(/^## (.+)$/m.exec(each)?.[1] ?? "", kind));
  if (section === undefined) return undefined;
  const [common = "", ...kinds] = section.split(/^(?=### )/m);
  const own = kinds.find((each) => each.startsWith(`### ${kind}\n`));
  return own === undefined ? common : `${own.slice(1).trimEnd()}\n\n${common}`;
}

/** @param text the whole of docs/playbooks.md */
export function playbookPage(text: string, incident: ToldIncident, command: Called): string {
  const { id, kind, members, nodes } = incident;
  const standing = members.filter(({ drift }) => drift.state !== DriftState.RESOLVED);
  const [shown = members[0] as ToldMember] = standing.toSorted((a, b) => b.severity - a.severity);
  const more = members.length - 1;
  const lines = [`${id}  ${kind}, ${incident.state}: ${printable(shown.drift.summary, 300)}`];
  lines.push(`The commands are of ${shown.driftId} on ${printable(shown.nodeName, 253)}; words in capitals are for you to fill in.`);
  if (more > 0) lines.push(`${counted(more, "more drift")}, on ${counted(nodes.length, "node")} in all: ${command} incident show ${id}`);
  return `${lines.join("\n")}\n\n${filled(sectionOf(text, kind) ?? "", (block) =>
    commandsOf(block, id, shown.drift).map((line) => line.replace(/^hullmark /, `${command} `)),
  )}`;
}

function wordsOf(incident: string, drift: Drift): Readonly<Partial<Record<Placeholder, string>>> {
  const [namespace, pod, inPod] = drift.containerName.split("/");
  const path = typed(drift.path);
  const names: Partial<Record<Placeholder, string>> = {
    ...{
      INCIDENT: incident,
      DRIFT: drift.id,
      NODE: drift.nodeName,
      IMAGE: drift.imageReference,
      CONTAINER: inPod ?? drift.containerName,
      CONTAINERID: drift.containerId.slice(0, CONTAINER_ID_DIGITS),
    },
    ...(inPod !== undefined && namespace !== undefined && pod !== undefined && { NAMESPACE: namespace, POD: pod }),
    ...(path !== undefined && { PATH: path }),
    ...(drift.actor && drift.actor.pid > 0 && { PID: String(drift.actor.pid) }),
  };
  const words = Object.entries(names).map(([name, value]) => [name, shellWord(value)] as const);
  return Object.fromEntries(words.filter(([, word]) => word !== undefined)) as Partial<Record<Placeholder, string>>;
}

/** Bytes that are no UTF-8 cannot be typed. */
function typed(path: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(path);
  } catch {
    return undefined;
  }
}

/** @returns undefined where it cannot be one harmless word: control and invisible characters, or what a program takes for an option */
export function shellWord(name: string): string | undefined {
  if (name === "" || name.length > MAX_WORD_CHARACTERS || name.startsWith("-") || /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u.test(name)) return undefined;
  return /^[\w./:@%+=,-]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`;
}

/**
 * A block of commands about one drift. Names come from nodes and may hold anything: each becomes one word of the shell, or its placeholder stays, to be filled in by hand.
 * Commands for Docker are left out of a pod's, and the other way round.
 */
export function commandsOf(block: readonly string[], incident: string, drift: Drift): string[] {
  const words = wordsOf(incident, drift);
  const elsewhere = drift.containerName.includes("/") ? /^docker / : /^kubectl /;
  return block.filter((line) => !elsewhere.test(line)).map((line) => line.replaceAll(/\b[A-Z]{3,}\b/g, (name) => words[name as Placeholder] ?? name));
}

/** A block of which nothing is left is left out. */
function filled(section: string, fill: (block: readonly string[]) => readonly string[]): string {
  const text = section.trimEnd().replaceAll(/^```sh\n([\s\S]*?)^```$\n?/gm, (_block, commands: string) => {
    const lines = fill(commands.trimEnd().split("\n"));
    return lines.length === 0 ? "" : `\`\`\`sh\n${lines.join("\n")}\n\`\`\`\n`;
  });
  return `${text.trimEnd()}\n`;
}
