/** What another policy would change, as people read it, and as data. */
import type { SimulatedFinding, SimulatedResult, SimulatedWorkload, SimulatePolicyResponse } from "@hullmark/proto/v1/query";
import { counted } from "@hullmark/verifier/core/text/counted";
import { printable } from "@hullmark/verifier/core/text/printable";
import { MAX_PATH_CHARACTERS, pathWord, provenanceWord, severityWord, verdictWord } from "./words.ts";

/** Findings of one container that are shown where not all are asked for. */
const SHORT_FINDINGS = 5;

/** @param wide every finding that was told, and the words of provenance */
export function simulationPage(answer: SimulatePolicyResponse, wide: boolean): string {
  const { containers, containersChanged, nodes, workloads, changedNodes } = answer;
  const lines = [
    `${containersChanged} of ${counted(containers, "container")} on ${counted(nodes, "node")} would be judged otherwise`,
    ...workloads.flatMap((workload) => workloadLines(workload, wide)),
    ...(containersChanged > workloads.length ? [`… and ${containersChanged - workloads.length} more`] : []),
    ...changedNodes.map(({ nodeName, before, after, reasons }) => {
      const why = reasons.length > 0 ? `: ${printable(reasons.join("; "), 500)}` : "";
      return `node ${printable(nodeName, 64)}  ${change(verdictWord(before), verdictWord(after))}${why}`;
    }),
    ...missing(answer),
  ];
  return `${lines.join("\n")}\n`;
}

function workloadLines({ nodeName, containerName, workload, before, after, findings, findingsChanged }: SimulatedWorkload, wide: boolean): string[] {
  const told = wide ? findings : findings.slice(0, SHORT_FINDINGS);
  const [from, to] = [words(before), words(after)];
  return [
    `${printable(`${nodeName}/${containerName}`, 120)}${workload ? ` (${printable(workload, 80)})` : ""}  ${change(from.verdict, to.verdict)}, ${change(from.provenance, to.provenance)}, rule ${change(from.rule, to.rule)}`,
    ...(wide && to.text ? [`    ${to.text}`] : []),
    ...told.map(findingLine),
    ...(findingsChanged > told.length ? [`    … and ${findingsChanged - told.length} more`] : []),
  ];
}

function words(result: SimulatedResult | undefined) {
  return {
    verdict: verdictWord(result?.verdict ?? 0),
    provenance: provenanceWord(result?.provenance),
    rule: result?.rule ? printable(result.rule, 64) : "(none)",
    text: printable(result?.provenanceText ?? "", 1024),
  };
}

const change = (before: string, after: string): string => (before === after ? after : `${before} → ${after}`);

function findingLine({ kind, place, path, summary, before, after, noticeBefore, noticeAfter }: SimulatedFinding): string {
  const word = (severity: SimulatedFinding["before"], notice: boolean): string => (severity === 0 ? "" : notice ? "notice" : severityWord(severity));
  const [from, to] = [word(before, noticeBefore), word(after, noticeAfter)];
  const [sign, grade] = from === "" ? ["+", to] : to === "" ? ["-", from] : ["~", change(from, to)];
  const what = path.length > 0 ? pathWord(path, 100) : printable(summary, 200);
  return `  ${sign} ${grade.padEnd(4)}  ${place}/${kind}  ${what}`;
}

/** What the answer says nothing of. */
function missing(answer: SimulatePolicyResponse): string[] {
  const { nodesAway, containersFailed, containersUnknown, nodesRemeasured, containersManifestDropped, manifestsDroppedOf } = answer;
  const signers = manifestsDroppedOf.map((name) => printable(name, 64)).join(", ");
  return [
    ...(nodesAway > 0 ? [`not judged: what runs on ${counted(nodesAway, "node")} not connected`] : []),
    ...(containersFailed > 0 ? [`not judged: ${counted(containersFailed, "container")}; the verifier's log says why`] : []),
    ...(containersUnknown > 0
      ? [`cannot be told: ${counted(containersUnknown, "container")} of which too little is known now, or registries did not say enough`]
      : []),
    ...(containersManifestDropped > 0
      ? [`file manifests of ${signers} would count no more: of ${containersManifestDropped} of them the layers would be read, and nothing known until then`]
      : []),
    ...(nodesRemeasured > 0
      ? [`on ${counted(nodesRemeasured, "node")} other paths would be measured: what is left out there now is judged only once the policy is in force`]
      : []),
  ];
}

/** Stable: fields are added, never changed. */
export function simulationView(answer: SimulatePolicyResponse): object {
  const { containers, containersFailed, containersUnknown, containersChanged, nodes, nodesAway, nodesRemeasured, digestBefore, digestAfter } = answer;
  const hex = (digest: Uint8Array): string => `sha256:${Buffer.from(digest).toString("hex")}`;
  return {
    ...{ policy: { before: hex(digestBefore), after: hex(digestAfter) } },
    ...{ containers, containersFailed, containersUnknown, containersChanged, nodes, nodesAway, nodesRemeasured },
    manifestsDropped: { containers: answer.containersManifestDropped, authorities: answer.manifestsDroppedOf },
    workloads: answer.workloads.map(({ nodeName, containerId, containerName, workload, imageReference, before, after, findings, findingsChanged }) => ({
      ...{ node: nodeName, container: { id: containerId, name: containerName }, workload, image: imageReference },
      ...{ before: resultView(before), after: resultView(after), findingsChanged, findings: findings.map(findingView) },
    })),
    changedNodes: answer.changedNodes.map(({ nodeName, before, after, reasons }) => ({
      ...{ node: nodeName, before: verdictWord(before), after: verdictWord(after), reasons },
    })),
  };
}

function resultView(result: SimulatedResult | undefined): object | null {
  if (!result) return null;
  const { verdict, content, provenance, provenanceText, rule } = result;
  return {
    verdict: verdictWord(verdict),
    content: verdictWord(content),
    provenance: { status: provenanceWord(provenance), text: provenanceText },
    rule: rule || null,
  };
}

function findingView({ kind, place, path, summary, before, after, noticeBefore, noticeAfter }: SimulatedFinding): object {
  const grade = (severity: SimulatedFinding["before"], notice: boolean) => (severity === 0 ? null : notice ? "notice" : severityWord(severity));
  const [from, to] = [grade(before, noticeBefore), grade(after, noticeAfter)];
  return { kind, place, path: printable(path, MAX_PATH_CHARACTERS), pathHex: Buffer.from(path).toString("hex"), summary, before: from, after: to };
}
