export { VulnerabilityAlarms, type VulnerabilityStanding } from "./alarms.ts";
export { ReportError, type ReportErrorCode } from "./errors.ts";
export { type ImageFinding, imageFindings, type Vouched } from "./image-findings.ts";
export { Bases, type RunningImage, runningImage } from "./known-images.ts";
export { type ImageOverview, VulnerabilityOverview } from "./overview.ts";
export { parseReport } from "./parse.ts";
export { VulnerabilityReports } from "./reports.ts";
export { FINDING_SEVERITIES, type FindingSeverity } from "./types.ts";
