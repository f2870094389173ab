export type { Day, Sum } from "./days.ts";
export { type ChangedDrift, type HistoryServices, type Progress, type SimulatedHistory, simulateSince, type Unknowns } from "./simulate-since.ts";
