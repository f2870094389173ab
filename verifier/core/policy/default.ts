/** What holds where no policy says otherwise. docs/policy.md lists the same values. */
import type { AdmissionPolicy, Allowances, MeasurementBudget, MutableClass, Policy, PolicyIntervals, Protections, ResponsePolicy, Selector } from "./types.ts";

export const EVERYTHING: Selector = { images: [], containers: [], workloads: [], labels: {}, nodes: [] };

/** Scratch directories by the Filesystem Hierarchy Standard. Files that can be executed there are drift all the same. */
export const DEFAULT_MUTABLE: readonly MutableClass[] = [
  { name: "scratch", class: "data", select: EVERYTHING, paths: ["/tmp/**", "/var/tmp/**", "/run/**", "/var/run/**"] },
];

export const DEFAULT_INTERVALS: PolicyIntervals = { quoteSeconds: 60, rescanSeconds: 300, heartbeatSeconds: 10 };

/** An agent that is replaced, or whose node restarts, is back by then; the same as Kubernetes waits before it moves pods away from such a node. */
const DEFAULT_SILENT_AFTER_SECONDS = 300;

/** The event log of a node that restarts follows its first quote within seconds, and a long measurement list within minutes. */
const DEFAULT_BOOT_UNPROVEN_AFTER_SECONDS = 300;

export const DEFAULT_BUDGET: MeasurementBudget = { maxEntries: 1_000_000, maxBytes: 64 * 2 ** 30, maxSeconds: 300 };

export const DEFAULT_ADMISSION: AdmissionPolicy = { mode: "audit", namespaces: [], breakGlass: undefined };

/** Nothing is acted on. */
export const DEFAULT_RESPONSE: ResponsePolicy = {
  rules: [],
  nodes: { rules: [], hourlyPercent: 2, atOncePercent: 10 },
  pauseSeconds: 600,
  hourlyPercent: 2,
  freezes: [],
};

export const NO_ALLOWANCES: Allowances = {
  env: [],
  capabilities: [],
  mounts: [],
  privileged: false,
  hostNamespaces: [],
  users: [],
  devices: [],
  args: false,
  workingDirectory: false,
  seccomp: [],
  apparmor: [],
  code: [],
  staticPods: false,
  injected: false,
};

export const NO_PROTECTIONS: Protections = { noNewPrivileges: false, readOnlyRoot: false, engineInits: [] };

/** What a container is held against that no rule selects: whoever started it may have asked for anything, and it is shown as "no policy". */
export const OBSERVED_ALLOWANCES: Allowances = {
  ...NO_ALLOWANCES,
  env: ["**"],
  capabilities: ["ALL"],
  mounts: ["/**"],
  privileged: true,
  hostNamespaces: ["pid", "net", "ipc", "uts", "user", "cgroup"],
  users: ["**"],
  devices: ["/**"],
  args: true,
  workingDirectory: true,
  seccomp: ["**"],
  apparmor: ["**"],
  staticPods: true,
  injected: true,
};

/**
 * Used when no policy is given: no signature required, only scratch paths mutable, files and running code fully compared.
 * `loaded` is false, so that results say "no policy" rather than pass.
 */
export function defaultPolicy(): Policy {
  return {
    name: "(none)",
    mode: "observe",
    loaded: false,
    trustRoots: [],
    trustStores: [],
    authorities: [],
    revocations: [],
    ...{ builders: [], fileManifests: undefined },
    rules: [
      {
        ...{
          name: "(none)",
          select: EVERYTHING,
          signatures: undefined,
          attestations: [],
          build: undefined,
          ...{ registries: [], baseLayers: [] },
          severities: {},
          admission: undefined,
        },
        protections: NO_PROTECTIONS,
        allow: OBSERVED_ALLOWANCES,
      },
    ],
    nodes: [],
    mutable: DEFAULT_MUTABLE,
    exceptionTerms: { classes: [], namespaces: [], maxDays: 30 },
    exceptions: [],
    granted: [],
    teams: {},
    admission: DEFAULT_ADMISSION,
    severities: {},
    intervals: DEFAULT_INTERVALS,
    budget: DEFAULT_BUDGET,
    alerts: [],
    silentAfterSeconds: DEFAULT_SILENT_AFTER_SECONDS,
    bootUnprovenAfterSeconds: DEFAULT_BOOT_UNPROVEN_AFTER_SECONDS,
    vulnerabilityAlerts: undefined,
    response: DEFAULT_RESPONSE,
  };
}
