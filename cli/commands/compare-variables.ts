/** `hullmark workloads --variables CONTAINER`: which variables are not the same in every container of one revision. It tells no value, and is no verdict. */
import { type CompareVariablesResponse, type DifferingVariable, Query } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import type { Asking } from "../connection/run.ts";
import { EXIT } from "../output/exit-codes.ts";
import { type Format, isData, serialize } from "../output/format.ts";
import { table } from "../output/table.ts";

/** Nodes are asked for it. */
const TIMEOUT_MS = 20_000;

/** @returns the exit code */
export async function compareVariables(container: string, format: Format, { channel, signal, print }: Asking): Promise<number> {
  const told = await channel.client(Query).compareVariables({ container }, { signal, timeoutMs: TIMEOUT_MS });
  print(isData(format) ? serialize(format, view(told)) : page(told));
  return told.unknown > 0 ? EXIT.unknown : EXIT.clean;
}

function view({ revision, compared, unknown, variables, differing }: CompareVariablesResponse) {
  const shown = differing.map(({ name, source, groups }) => ({ name, source, groups: groups.map(({ containers, absent }) => ({ containers, absent })) }));
  return { revision, compared, unknown, variables, differing: shown };
}

function page({ revision, compared, unknown, variables, differing }: CompareVariablesResponse): string {
  const of = `${variables} variable${variables === 1 ? "" : "s"} of ${compared} container${compared === 1 ? "" : "s"} of ${printable(revision, 120)}`;
  const rest = unknown > 0 ? `; ${unknown} more could not be asked` : "";
  if (variables === 0) return `no variable comes from elsewhere: all of ${printable(revision, 120)} are compared with the specification\n`;
  if (differing.length === 0) return `${of}: all alike${rest}\n`;
  const rows = differing.flatMap(({ name, source, groups }) =>
    groups.map((group, i) => [i === 0 ? printable(name, 60) : "", i === 0 ? printable(source, 60) : "", word(group, i), list(group.containers)]),
  );
  const note = "A Secret or ConfigMap that was changed while they ran is the usual reason: containers keep what they were started with.";
  return `${table(["VARIABLE", "FROM", "VALUE", "CONTAINERS"], rows)}${of}${rest}\n${note}\n`;
}

/** Values by letters: what they are nobody is told. */
function word({ absent }: DifferingVariable["groups"][number], index: number): string {
  return absent ? "not set" : index < 26 ? String.fromCharCode(65 + index) : `${index + 1}`;
}

const MAX_SHOWN = 5;

function list(containers: readonly string[]): string {
  const shown = containers.slice(0, MAX_SHOWN).map((name) => printable(name, 80));
  return `${shown.join(", ")}${containers.length > MAX_SHOWN ? ` and ${containers.length - MAX_SHOWN} more` : ""}`;
}
