/** The policy file, key by key. Unknown keys are errors everywhere. What spans several keys is in check.ts. */
import * as z from "zod";
import { FULCIO_EXTENSION_NAMES } from "../provenance/fulcio-extensions.ts";
import {
  bankDigest,
  byteCount,
  capability,
  commitId,
  condition,
  duration,
  environmentName,
  glob,
  hostAndPort,
  httpUrl,
  identityGlob,
  instant,
  label,
  pathGlob,
  secretFileName,
  sha256,
  sha256Digest,
  uriGlob,
} from "./fields.ts";
import { ALL_KINDS, DRIFT_PLACES, SEVERITIES } from "./kinds.ts";
import {
  ADMISSION_MODES,
  ALERT_GROUP_LABELS,
  CERTIFICATE_REVOCATIONS,
  CODE_PLACES,
  COMMIT_SERVICES,
  HOST_NAMESPACES,
  MAX_SEVERITIES,
  MODES,
  NODE_MARKS,
  OWNERS,
  RUNGS,
  STATE_KINDS,
  SYSLOG_FACILITIES,
  SYSLOG_TRANSPORTS,
} from "./types.ts";

export const API_VERSION = "hullmark.dev/v1";
const MAX_ITEMS = 1000;

const list = <T extends z.ZodType>(item: T) => z.array(item).max(MAX_ITEMS).default([]);
const severity = z.enum(SEVERITIES);
const severityKeys: readonly string[] = [...ALL_KINDS, ...DRIFT_PLACES.flatMap((place) => ALL_KINDS.map((kind) => `${place}/${kind}`))];
const severities = z.partialRecord(z.enum(severityKeys as [string, ...string[]]), severity).default({});

const selectorKeys = {
  images: list(glob),
  containers: list(glob),
  labels: z.record(z.string(), glob).default({}),
  nodes: list(glob),
};
const selector = z.strictObject({ ...selectorKeys, workloads: list(glob) }).prefault({});
const mutableSelector = z.strictObject(selectorKeys).prefault({});

const anyIdentityKeys = {
  issuer: z.string().min(1).max(1024),
  subject: z.string().min(1).max(1024).optional(),
  subjectGlob: glob.optional(),
};
const identityKeys = { ...anyIdentityKeys, subjectGlob: identityGlob.optional() };
const keyless = z.strictObject({
  trustRoot: label,
  ...identityKeys,
  extensions: z.partialRecord(z.enum(FULCIO_EXTENSION_NAMES), z.string().min(1).max(1024)).default({}),
});
/** Of a certificate's subject, as the Notary Project names signers by them. */
export const SUBJECT_ATTRIBUTES = ["C", "ST", "L", "O", "OU", "CN"] as const;
const subjectAttribute = z.string().min(1).max(256);
const notary = z.strictObject({
  trustStore: label,
  subject: z.partialRecord(z.enum(SUBJECT_ATTRIBUTES), subjectAttribute).optional(),
  anySubject: z.literal(true).optional(),
});
const signerKeys = {
  key: z.string().optional(),
  keyFile: z.string().min(1).optional(),
  keyless: keyless.optional(),
  notary: notary.optional(),
  validFrom: instant.optional(),
  validUntil: instant.optional(),
};
const authority = z.strictObject({ name: label, ...signerKeys, anyOf: z.array(z.strictObject(signerKeys)).min(1).max(64).optional() });

const trustRoot = z.strictObject({
  name: label,
  file: z.string().min(1).optional(),
  json: z.string().min(1).optional(),
  requireLog: z.boolean().default(true),
  requireSct: z.boolean().default(true),
});

const files = z.array(z.string().min(1)).max(64);
const trustStore = z.strictObject({
  name: label,
  scheme: z.enum(["ca", "signingAuthority"]).default("ca"),
  files: files.default([]),
  certificates: files.default([]),
  timestampAuthorityFiles: files.default([]),
  timestampAuthorities: files.default([]),
  requireTimestamp: z.boolean().default(false),
  revocation: z.enum(CERTIFICATE_REVOCATIONS).default("enforce"),
  revocationListFiles: files.default([]),
  revocationLists: files.default([]),
});

const revocation = z.strictObject({
  reason: z.string().min(1).max(512),
  since: instant.optional(),
  key: z.string().optional(),
  keyFile: z.string().min(1).optional(),
  // Trust may be taken away as widely as one likes, from all of an issuer too.
  identity: z.strictObject(anyIdentityKeys).optional(),
  certificate: sha256.optional(),
  digest: sha256Digest.optional(),
  layers: sha256Digest.optional(),
  builder: z.string().min(1).max(2048).optional(),
  commits: z.strictObject({ repository: z.string().min(1).max(2048), ids: z.array(commitId).min(1).max(100_000) }).optional(),
});

const threshold = z.union([z.enum(["any", "all"]), z.int().min(1).max(MAX_ITEMS)]).default("any");
const requirement = { authorities: z.array(z.string()).min(1).max(MAX_ITEMS), threshold };

const MAX_AGE_SECONDS = 10 * 366 * 86_400;
const build = z.strictObject({
  ...requirement,
  builders: list(uriGlob),
  sources: list(uriGlob),
  refs: list(glob),
  buildTypes: list(uriGlob),
  tools: z.record(z.string().min(1).max(256), glob).default({}),
  bases: list(sha256Digest),
  dependencies: z.boolean().default(false),
  commit: z.boolean().default(false),
  privileges: z.strictObject({ root: z.boolean().default(false), capabilities: list(capability) }).optional(),
  summaries: list(uriGlob),
  level: z.int().min(0).max(3).default(0),
  maxAge: duration(1, MAX_AGE_SECONDS).optional(),
});
const builder = z.strictObject({ id: uriGlob, level: z.int().min(1).max(3) });

const allow = z
  .strictObject({
    env: list(glob),
    capabilities: list(capability),
    mounts: list(pathGlob),
    privileged: z.boolean().default(false),
    hostNamespaces: list(z.enum(HOST_NAMESPACES)),
    users: list(glob),
    devices: list(pathGlob),
    args: z.boolean().default(false),
    workingDirectory: z.boolean().default(false),
    seccomp: list(glob),
    apparmor: list(glob),
    code: list(z.enum(CODE_PLACES)),
    staticPods: z.boolean().default(false),
    injected: z.boolean().default(false),
  })
  .prefault({});

const admissionMode = z.enum(ADMISSION_MODES);
const rule = z.strictObject({
  name: label,
  select: selector,
  require: z
    .strictObject({
      signatures: z.strictObject(requirement).optional(),
      build: build.optional(),
      registries: list(glob),
      baseLayers: list(sha256Digest),
      vulnerabilities: z
        .strictObject({
          maxSeverity: z.enum(MAX_SEVERITIES),
          ignoreUnfixed: z.boolean().default(false),
          allowKnownExploited: z.boolean().default(false),
          maxAge: duration(1, MAX_AGE_SECONDS).optional(),
          imported: z.boolean().default(true),
        })
        .optional(),
      risk: z.strictObject({ max: z.int().min(0).max(70).optional(), where: condition.optional(), imported: z.boolean().default(true) }).optional(),
      approvals: z.strictObject({ ...requirement, maxAge: duration(1, MAX_AGE_SECONDS).optional() }).optional(),
      attestations: list(
        z.strictObject({
          predicateType: z.string().min(1).max(512),
          ...requirement,
          maxAge: duration(1, MAX_AGE_SECONDS).optional(),
          where: condition.optional(),
        }),
      ),
      noNewPrivileges: z.boolean().default(false),
      readOnlyRoot: z.boolean().default(false),
      engineInits: list(sha256),
    })
    .prefault({}),
  allow,
  severities,
  admission: admissionMode.optional(),
});

const pcrIndex = z.string().regex(/^(\d|1\d|2[0-3])$/, "want a PCR from 0 to 23");
const nodeRule = z.strictObject({
  name: label,
  select: z.strictObject({ nodes: list(glob) }).prefault({}),
  boot: z
    .strictObject({
      eventLog: z.enum(["required", "optional"]).default("required"),
      secureBoot: z.enum(["required", "any"]).default("any"),
      variables: z.strictObject({ PK: list(sha256), KEK: list(sha256), db: list(sha256), dbx: list(sha256) }).prefault({}),
      authorities: list(sha256),
      images: list(bankDigest),
      drivers: list(bankDigest),
      files: list(bankDigest),
      initrds: list(bankDigest),
      commandLines: list(glob),
    })
    .prefault({}),
  ima: z
    .strictObject({
      list: z.enum(["required", "optional"]).default("required"),
      violations: z.enum(["refuse", "accept"]).default("refuse"),
      ignore: list(pathGlob),
      baselines: list(z.string().min(1)),
    })
    .optional(),
  agent: z
    .strictObject({
      releases: z
        .array(z.strictObject({ sums: z.string().min(1), signature: z.string().min(1), authority: label }))
        .min(1)
        .max(MAX_ITEMS),
    })
    .optional(),
  pcrs: z.record(pcrIndex, z.array(bankDigest).min(1).max(MAX_ITEMS)).default({}),
});

const mutable = z.strictObject({
  name: label,
  class: z.enum(["data", "any"]),
  select: mutableSelector,
  paths: z.array(pathGlob).min(1).max(MAX_ITEMS),
});

const admission = z
  .strictObject({
    mode: admissionMode.default("audit"),
    namespaces: list(z.strictObject({ names: z.array(glob).min(1).max(MAX_ITEMS), mode: admissionMode })),
    breakGlass: z.strictObject({ users: list(glob), groups: list(z.string().min(1).max(256)), maxDuration: duration(60, 604_800).prefault("4h") }).optional(),
  })
  .prefault({});

const secretSources = [z.strictObject({ fromEnv: environmentName }), z.strictObject({ fromFile: secretFileName })] as const;
const secret = z.union(secretSources);
const headers = z.record(z.string(), z.union([z.strictObject({ value: z.string().max(4096) }), ...secretSources])).default({});
const match = z
  .strictObject({ namespaces: list(glob), nodes: list(glob), pools: list(label), kinds: list(z.enum([...ALL_KINDS, ...STATE_KINDS])) })
  .prefault({});
const routeKeys = {
  name: label,
  minSeverity: severity.default("medium"),
  match,
  groupBy: z.array(z.enum(ALERT_GROUP_LABELS)).max(ALERT_GROUP_LABELS.length).default(["node", "workload"]),
  groupWait: duration(0, 300).prefault("0s"),
  repeat: duration(300, 604_800).optional(),
  maxPerMinute: z.int().min(1).max(600).default(60),
  timeout: duration(1, 60).prefault("10s"),
  caFile: z.string().min(1).optional(),
};
const route = z.discriminatedUnion("type", [
  z.strictObject({
    ...{ type: z.literal("webhook"), ...routeKeys, url: httpUrl, headers },
    hmacKeys: z.array(secret).max(2).default([]),
    // As files had it before there could be two.
    hmacKeyFromEnv: environmentName.optional(),
  }),
  z.strictObject({ type: z.literal("alertmanager"), ...routeKeys, url: httpUrl, headers }),
  z.strictObject({ type: z.literal("pagerduty"), ...routeKeys, url: httpUrl.default("https://events.pagerduty.com/v2/enqueue"), routingKey: secret }),
  z.strictObject({ type: z.literal("slack"), ...routeKeys, webhookUrl: secret }),
  z.strictObject({
    ...{ type: z.literal("commit-status"), ...routeKeys, service: z.enum(COMMIT_SERVICES), url: httpUrl.optional(), token: secret },
    repositories: z.array(glob).min(1).max(MAX_ITEMS),
  }),
  z.strictObject({
    ...{ type: z.literal("syslog"), ...routeKeys, address: hostAndPort },
    transport: z.enum(SYSLOG_TRANSPORTS).default("tls"),
    facility: z.enum(SYSLOG_FACILITIES).default("authpriv"),
    maxBytes: z.int().min(2048).max(65_536).default(8192),
  }),
]);

const rungs = z
  .array(z.enum(RUNGS).exclude(["rollback", "halt"]))
  .min(1)
  .max(5);
const haltRungs = z
  .array(z.enum(RUNGS).exclude(["recreate", "evict"]))
  .min(1)
  .max(5);
const people = z.int().min(0).max(10);
const responseRule = z.strictObject({
  name: label,
  select: z.strictObject({ images: list(glob), containers: list(glob), workloads: list(glob), nodes: list(glob) }).prefault({}),
  ladder: z
    .strictObject({ info: rungs.optional(), low: rungs.optional(), medium: rungs.optional(), high: rungs.optional(), critical: rungs.optional() })
    .prefault({}),
  untrusted: haltRungs.default(["alert"]),
  node: z
    .array(z.enum(RUNGS).extract(["alert", "evict"]))
    .length(1)
    .default(["alert"]),
  unmeasurable: rungs.default(["alert"]),
  unmeasurableAfter: duration(60, 86_400).prefault("10m"),
  rollbackOnOneNode: z.boolean().default(false),
  rollbackToHigherRisk: z.boolean().default(false),
  capture: z.strictObject({ patience: duration(0, 300).prefault("30s"), missed: z.enum(["act", "leave"]).default("act") }).prefault({}),
  budget: z.strictObject({ patience: duration(60, 43_200).prefault("15m"), denied: z.enum(["people", "next"]).default("people") }).prefault({}),
  approvals: z.int().min(0).max(10).default(0),
  approvalsFor: z
    .strictObject({
      ...{ stop: people.optional(), recreate: people.optional(), rollback: people.optional(), evict: people.optional(), halt: people.optional() },
      ...{ isolate: people.optional(), release: z.int().min(1).max(10).optional() },
    })
    .prefault({}),
  escalateAfter: duration(60, 604_800).optional(),
  owners: z.array(z.enum(OWNERS)).max(OWNERS.length).default([]),
});
const nodeResponseRule = z.strictObject({
  name: label,
  select: z.strictObject({ nodes: list(glob) }).prefault({}),
  reasons: list(z.string().regex(/^[a-z][a-z0-9-]{0,63}$/, "want a claim's code, for example boot")),
  marks: z.array(z.enum(NODE_MARKS)).max(NODE_MARKS.length).default([]),
  actuators: list(glob),
  cluster: z.boolean().default(false),
  approvals: z.int().min(0).max(10).default(0),
  lift: z.enum(["automatic", "approved"]).default("approved"),
  withholdCertificate: z.boolean().default(true),
});
const percent = z.int().min(0).max(100);
const vulnerabilityAlerts = z.strictObject({
  minSeverity: z.enum(["negligible", "low", "medium", "high", "critical"]),
  ignoreUnfixed: z.boolean().default(false),
});

const response = z
  .strictObject({
    rules: list(responseRule),
    nodes: z.strictObject({ rules: list(nodeResponseRule), hourlyPercent: percent.default(2), atOncePercent: percent.default(10) }).prefault({}),
    pause: duration(60, 86_400).prefault("10m"),
    hourlyPercent: z.int().min(0).max(100).default(2),
    freezes: list(z.strictObject({ reason: z.string().min(1).max(512), from: instant, until: instant })),
  })
  .prefault({});

export const policyFile = z.strictObject({
  apiVersion: z.literal(API_VERSION),
  kind: z.literal("Policy"),
  metadata: z.strictObject({ name: label }),
  spec: z
    .strictObject({
      mode: z.enum(MODES).default("observe"),
      trustRoots: list(trustRoot),
      trustStores: list(trustStore),
      authorities: list(authority),
      revocations: list(revocation),
      builders: list(builder),
      fileManifests: z.strictObject(requirement).optional(),
      rules: list(rule),
      nodes: list(nodeRule),
      mutable: list(mutable),
      mutableDefaults: z.boolean().default(true),
      exceptions: z
        .strictObject({
          classes: z
            .array(z.enum(["data", "any"]))
            .max(2)
            .default([]),
          namespaces: list(glob),
          maxDays: z.int().min(1).max(365).default(30),
        })
        .prefault({}),
      admission,
      severities,
      intervals: z
        .strictObject({ quote: duration(1, 3600).prefault("60s"), rescan: duration(60, 86_400).prefault("5m"), heartbeat: duration(1, 300).prefault("10s") })
        .prefault({}),
      budget: z
        .strictObject({
          entries: z.int().min(1000).max(100_000_000).default(1_000_000),
          bytes: byteCount.prefault("64GiB"),
          time: duration(1, 86_400).prefault("5m"),
        })
        .prefault({}),
      alerts: z
        .strictObject({
          routes: list(route),
          silentAfter: duration(5, 604_800).prefault("5m"),
          bootUnprovenAfter: duration(5, 604_800).prefault("5m"),
          vulnerabilities: vulnerabilityAlerts.optional(),
        })
        .prefault({}),
      response,
    })
    .prefault({}),
});

export type PolicyFile = z.output<typeof policyFile>;
