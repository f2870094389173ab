/** What past days would have been under another policy, as people read it, and as data. */
import type { SimulatedAction, SimulatedDay, SimulatedDrift, SimulatedHistory, SimulationUnknowns } from "@hullmark/proto/v1/query";
import { ActionState } from "@hullmark/proto/v1/response";
import { counted } from "@hullmark/verifier/core/text/counted";
import { printable } from "@hullmark/verifier/core/text/printable";
import { table } from "./table.ts";
import { actionKindWord, actionStateWord, MAX_PATH_CHARACTERS, pathWord, severityWord, toMs } from "./words.ts";

/** What is listed where not all is asked for. */
const SHORT = 10;

const HEADERS = ["DAY", "DRIFTS", "NEW", "GONE", "OTHER SEV", "UNKNOWN", "ACTED", "WOULD ACT", "PAGES", "IMAGES REFUSED"];

/** @param wide everything that was told */
export function historyPage(history: SimulatedHistory, wide: boolean): string {
  const { days, sum, drifts, driftsChanged, actions } = history;
  const shown = days.filter((day) => day.date !== "earlier" || day.drifts + day.driftsNew > 0);
  const limit = wide ? drifts.length : SHORT;
  return [
    table(HEADERS, [...shown.map(dayCells), ...(sum ? [dayCells({ ...sum, date: "sum" })] : [])]),
    ...drifts.slice(0, limit).map((drift) => `${driftLine(drift)}\n`),
    ...(driftsChanged > Math.min(limit, drifts.length) ? [`  … and ${driftsChanged - Math.min(limit, drifts.length)} more\n`] : []),
    ...actionLines(history, wide ? actions.length : SHORT).map((line) => `${line}\n`),
    ...pageLines(history).map((line) => `${line}\n`),
    ...unknownLines(history).map((line) => `${line}\n`),
  ].join("");
}

const change = (before: number, after: number): string => (before === after ? String(after) : `${before} → ${after}`);
const some = (sign: string, n: number): string => (n === 0 ? "-" : `${sign}${n}`);

function dayCells(day: SimulatedDay): string[] {
  const { date, drifts, driftsNew, driftsGone, driftsOther, driftsUnknown, actionsRecorded, actionsBefore, actionsAfter } = day;
  return [
    ...[date, String(drifts), some("+", driftsNew), some("-", driftsGone), some("", driftsOther), some("", driftsUnknown), String(actionsRecorded)],
    ...[change(actionsBefore, actionsAfter), change(day.pagesBefore, day.pagesAfter), change(day.imagesBefore, day.imagesAfter)],
  ];
}

function driftLine({ id, nodeName, containerName, kind, place, path, summary, before, after }: SimulatedDrift): string {
  const [from, to] = [before, after].map((severity) => (severity === 0 ? "" : severityWord(severity)));
  const [sign, grade] = from === "" ? ["+", to] : to === "" ? ["-", from] : ["~", `${from} → ${to}`];
  const what = path.length > 0 ? pathWord(path, 100) : printable(summary, 200);
  return `  ${sign} ${grade?.padEnd(4)}  ${id === "" ? "(new)" : printable(id, 32)}  ${printable(`${nodeName}/${containerName}`, 120)}  ${place}/${kind}  ${what}`;
}

function actionLines({ actions, sum, heldBack, modeAfter }: SimulatedHistory, limit: number): string[] {
  if (modeAfter === "observe") return ["it would have done nothing: its mode is observe"];
  const kinds = Map.groupBy(actions, ({ kind, state }) => `${actionKindWord(kind)}${state === ActionState.DONE ? "" : ` (${stateWords(state)})`}`);
  const total = sum?.actionsAfter ?? 0;
  return [
    `it would have done: ${total === 0 ? "nothing" : [...kinds].map(([words, { length }]) => `${length} ${words}`).join(", ")}`,
    ...actions.slice(0, limit).map(actionLine),
    ...(total > Math.min(limit, actions.length) ? [`  … and ${total - Math.min(limit, actions.length)} more`] : []),
    ...Object.entries(heldBack).map(([why, containers]) => `  ${counted(containers, "container")} would have been held back for a time: ${printable(why, 64)}`),
  ];
}

function stateWords(state: ActionState): string {
  return state === ActionState.AWAITING ? "once approved" : actionStateWord(state);
}

function actionLine({ at, kind, state, nodeName, containerName, driftId, rule }: SimulatedAction): string {
  const when = timeOf(at)?.slice(0, 16).replace("T", " ") ?? "";
  const where = printable(`${nodeName}/${containerName}`, 120);
  return `  ${when}  ${actionKindWord(kind)}${state === ActionState.DONE ? "" : ` (${stateWords(state)})`}  ${where}  ${driftId || "(new)"}  rule ${printable(rule, 64)}`;
}

function pageLines({ pagesBefore, pagesAfter, sum }: SimulatedHistory): string[] {
  const routes = [...new Set([...Object.keys(pagesBefore), ...Object.keys(pagesAfter)])].sort();
  const refused = sum && sum.refusedBefore + sum.refusedAfter > 0 ? [`kept out at the door: ${change(sum.refusedBefore, sum.refusedAfter)} images`] : [];
  return [...routes.map((route) => `pages by ${printable(route, 64)}: ${change(pagesBefore[route] ?? 0, pagesAfter[route] ?? 0)}`), ...refused];
}

/** What the numbers say nothing of. */
function unknownLines({ unknown, policies }: SimulatedHistory): string[] {
  if (!unknown) return [];
  const { keptSince, containersGone, drifts, driftsOmitted, nodeDrifts, images, rollbacks, driftsAfterwards, nodesRemeasured, nodesAway } = unknown;
  const hours = (seconds: number): string => `${Math.round(seconds / 360) / 10} h`;
  const told = (n: number, text: string): string[] => (n > 0 ? [text] : []);
  return [
    ...(keptSince ? [`cannot be known: what was before ${timeOf(keptSince)}; the log begins there`] : []),
    ...told(containersGone, `cannot be known: what was excused in ${containersGone} containers that are gone, or whose nodes are away (${nodesAway})`),
    ...told(drifts, `cannot be known: ${counted(drifts, "drift")} of which the record does not hold what the policy goes by; counted as they are`),
    ...told(images, `cannot be known: ${images} images that nothing runs any more, or of which too little is known`),
    ...told(rollbacks, `cannot be known: whether ${counted(rollbacks, "container")} could have been rolled back`),
    ...told(unknown.unattestedSeconds, `not attested meanwhile: ${hours(unknown.unattestedSeconds)} of ${hours(unknown.observedSeconds)} of nodes' time`),
    ...told(nodesRemeasured, `on ${counted(nodesRemeasured, "node")} other paths would have been measured: what was left out there is not judged`),
    ...told(driftsOmitted, `left out: ${counted(driftsOmitted, "drift")} beyond what is kept in memory, the oldest and the least grave; take a shorter time`),
    ...told(Number(unknown.truncated), "left out: containers, images or changes of nodes beyond what is kept in memory; take a shorter time"),
    ...told(nodeDrifts, `not gone through: whether nodes would have been marked for ${counted(nodeDrifts, "drift")} of their own`),
    ...told(driftsAfterwards, `${counted(driftsAfterwards, "drift")} came in containers that would have been gone by then`),
    ...told(policies, `${counted(policies, "time")} another policy took effect meanwhile: what is on record was found under each in turn`),
  ];
}

function timeOf(time: Parameters<typeof toMs>[0]): string | undefined {
  const ms = toMs(time);
  return ms === undefined ? undefined : new Date(ms).toISOString();
}

/** Whether something of the time is not known. */
export function isPartial({ keptSince, containersGone, drifts, driftsOmitted, images, rollbacks, nodesRemeasured, truncated }: SimulationUnknowns): boolean {
  return keptSince !== undefined || truncated || containersGone + drifts + driftsOmitted + images + rollbacks + nodesRemeasured > 0;
}

/** Stable: fields are added, never changed. */
export function historyView({ since, until, digestBefore, digestAfter, modeAfter, days, sum, drifts, driftsChanged, ...rest }: SimulatedHistory): object {
  const hex = (digest: Uint8Array): string => `sha256:${Buffer.from(digest).toString("hex")}`;
  const { keptSince, $typeName: _unknown, ...unknown } = rest.unknown ?? ({} as SimulationUnknowns);
  return {
    ...{ since: timeOf(since) ?? null, until: timeOf(until) ?? null, policy: { before: hex(digestBefore), after: hex(digestAfter), mode: modeAfter } },
    ...{ days: days.map(dayView), sum: sum ? { ...dayView(sum), date: undefined } : null, driftsChanged, drifts: drifts.map(driftView) },
    actions: rest.actions.map(({ at, kind, state, nodeName, containerName, workload, driftId, rule }) => ({
      ...{ at: timeOf(at) ?? null, kind: actionKindWord(kind), state: actionStateWord(state), node: nodeName, container: containerName, workload },
      ...{ drift: driftId || null, rule },
    })),
    ...{ heldBack: rest.heldBack, pages: { before: rest.pagesBefore, after: rest.pagesAfter }, policies: rest.policies },
    unknown: { keptSince: timeOf(keptSince) ?? null, ...unknown },
  };
}

function dayView({ $typeName: _name, ...day }: SimulatedDay): object {
  return day;
}

function driftView({ id, openedAt, nodeName, containerName, workload, kind, place, path, summary, before, after }: SimulatedDrift): object {
  const grade = (severity: SimulatedDrift["before"]) => (severity === 0 ? null : severityWord(severity));
  return {
    ...{ id: id || null, openedAt: timeOf(openedAt) ?? null, node: nodeName, container: containerName, workload, kind, place },
    ...{ path: printable(path, MAX_PATH_CHARACTERS), pathHex: Buffer.from(path).toString("hex"), summary, before: grade(before), after: grade(after) },
  };
}
