/** A policy as the rest of the verifier sees it: checked, with defaults filled in and keys read. Made by `parsePolicy` or `defaultPolicy` only. */
import type { FindingSeverity } from "../vulnerabilities/types.ts";
import type { Kind, Severity, SeverityKey } from "./kinds.ts";

/** Someone whose signature counts: by any one of the signers, which is still one vote. Several of them are a rotation with overlap, or a person with several tools. */
export interface Authority {
  readonly name: string;
  /** 1 or more. */
  readonly signers: readonly Signer[];
}

/** When its signatures count, Unix milliseconds, both inclusive; undefined: no limit. Held against the proven time of signing, or against now where none is proven. */
export interface Validity {
  readonly notBeforeMs: number | undefined;
  readonly notAfterMs: number | undefined;
}

export type Signer = KeySigner | KeylessSigner | NotarySignerMatch;

export interface KeySigner extends Validity {
  readonly kind: "key";
  /** SubjectPublicKeyInfo, PEM (`-----BEGIN PUBLIC KEY-----`): ECDSA P-256/P-384, Ed25519 or RSA of 2,048 bits or more. */
  readonly publicKeyPem: string;
}

/** Whoever a Fulcio certificate names. */
export interface KeylessSigner extends Validity, IdentityMatch {
  readonly kind: "keyless";
  /** Name of one of the policy's trust roots. */
  readonly trustRoot: string;
  /** Fulcio's extensions by name (core/provenance/fulcio-extensions.ts), each compared exactly. */
  readonly extensions: Readonly<Record<string, string>>;
}

/** Whoever a certificate names that chains to a trust store (Notary Project). */
export interface NotarySignerMatch extends Validity {
  readonly kind: "notary";
  /** Name of one of the policy's trust stores. */
  readonly trustStore: string;
  /** Attributes of the certificate's subject, each exactly: C, ST, L, O, OU, CN. `any`: whoever has a certificate for signing code under the store. None at all is nobody. */
  readonly subject: Readonly<Record<string, string>> | "any";
}

export const CERTIFICATE_REVOCATIONS = ["enforce", "log", "skip"] as const;
/** What it means that an authority has taken a certificate back, or that nobody can tell. enforce: it does not count; log: it counts, and the verdict says so; skip: nobody is asked. */
export type CertificateRevocation = (typeof CERTIFICATE_REVOCATIONS)[number];

/** Certificates of the Notary Project. */
export interface TrustStore {
  readonly name: string;
  /** `ca`: signatures of the scheme notary.x509; `signingAuthority`: of notary.x509.signingAuthority. */
  readonly scheme: "ca" | "signingAuthority";
  /** PEM. */
  readonly certificates: readonly string[];
  /** Roots of timestamp authorities, PEM; none: no time of signing is ever proven under `ca`. */
  readonly timestampAuthorities: readonly string[];
  /** Under `ca`: without a timestamp of theirs no signature counts. */
  readonly requireTimestamp: boolean;
  readonly revocation: CertificateRevocation;
  /** Revocation lists that were given by hand, PEM: of their issuers nothing is fetched. */
  readonly revocationLists: readonly string[];
}

/** The issuer always exactly; the subject exactly, or by a glob that must match the whole of it. */
export interface IdentityMatch {
  readonly issuer: string;
  readonly subject: { readonly exact: string } | { readonly glob: string };
}

/** Certificate authorities, logs and timestamp authorities of a sigstore deployment. */
export interface TrustRoot {
  readonly name: string;
  /** `trusted_root.json` as it is on disk (sigstore TrustedRoot, media type v0.1 or v0.2). */
  readonly json: string;
  /** A transparency log must prove that it holds the signature. */
  readonly requireLog: boolean;
  /** A certificate transparency log must have promised to hold the certificate. */
  readonly requireSct: boolean;
}

/**
 * What is trusted no more. `sinceMs`: when it began to be untrustworthy; a signature whose time before that is proven still counts. undefined: nothing counts.
 * `digest` (of manifest, index or config), `builder` and `commits` bar the image, whoever signed it.
 */
export interface Revocation {
  readonly reason: string;
  readonly sinceMs: number | undefined;
  readonly what:
    | { readonly kind: "key"; readonly publicKeyPem: string }
    | ({ readonly kind: "identity" } & IdentityMatch)
    /** SHA-256 of a certificate anywhere in a chain of the Notary Project, hex. */
    | { readonly kind: "certificate"; readonly sha256: string }
    | { readonly kind: "digest"; readonly digest: string }
    /** Chain id of a base: every image that is built on it. */
    | { readonly kind: "layers"; readonly chainId: string }
    | { readonly kind: "builder"; readonly builder: string }
    | { readonly kind: "commits"; readonly repository: string; readonly commits: readonly string[] };
}

/** `threshold` of `authorities` (1..authorities.length) must have signed. */
export interface SignatureRequirement {
  readonly authorities: readonly string[];
  readonly threshold: number;
}

export interface AttestationRequirement extends SignatureRequirement {
  /** in-toto predicate type, compared exactly. */
  readonly predicateType: string;
  /** Since it was made, as far as it proves or says that; undefined: no limit. */
  readonly maxAgeSeconds: number | undefined;
  /** CEL over `predicate` and `now`; undefined: none. */
  readonly where: string | undefined;
}

/** One SLSA provenance (v1 or v0.2) that meets all of it, or a summary of who verified one, attested by `threshold` of `authorities`. Empty lists: anything. */
export interface BuildRequirement extends SignatureRequirement {
  /** Globs over builder ids, repositories (without `.git`), refs and build types. */
  readonly builders: readonly string[];
  readonly sources: readonly string[];
  readonly refs: readonly string[];
  readonly buildTypes: readonly string[];
  /** Tool, as the provenance names it → glob over its version. */
  readonly tools: Readonly<Record<string, string>>;
  /** `sha256:` digests: every image among the materials must be one of them, and one there must be. */
  readonly bases: readonly string[];
  /** The commit that it was built from must be named. */
  readonly commit: boolean;
  /** What the build may have been privileged to at most; undefined: anything. */
  readonly privileges: { readonly root: boolean; readonly capabilities: readonly string[] } | undefined;
  /** Materials must be listed, each by a digest. */
  readonly dependencies: boolean;
  /** Globs over ids of verifiers whose summary (SLSA VSA) that the level is met does instead; empty: no summary does. */
  readonly summaries: readonly string[];
  /** SLSA build level that the policy trusts the builder for: 0..3. */
  readonly level: number;
  readonly maxAgeSeconds: number | undefined;
}

export const MAX_SEVERITIES = ["none", "negligible", "low", "medium", "high", "critical"] as const;

/** What scans of the image may have found at most. There must be one. */
export interface VulnerabilityRequirement {
  /** `none`: nothing at all. One of unknown gravity ranks as medium. */
  readonly maxSeverity: (typeof MAX_SEVERITIES)[number];
  /** Those without a fix do not count, unless they are known to be exploited. */
  readonly ignoreUnfixed: boolean;
  /** Those known to be exploited count by their severity alone. */
  readonly allowKnownExploited: boolean;
  /** Of the newest scan; undefined: no limit. */
  readonly maxAgeSeconds: number | undefined;
  /** Reports that an admin imported count beside signed ones. */
  readonly imported: boolean;
}

/** How pressing an image may be to look after, by what scans say of it (docs/risk.md). There must be one. */
export interface RiskRequirement {
  /** 0..70: of the terms `vulnerabilities` and `scan` together; undefined: no limit. */
  readonly max: number | undefined;
  /** CEL over `risk` and `now`; undefined: none. */
  readonly where: string | undefined;
  /** Reports that an admin imported count beside signed ones. */
  readonly imported: boolean;
}

/** A builder that policy trusts up to an SLSA build level. */
export interface TrustedBuilder {
  /** Glob over its id. */
  readonly id: string;
  /** 1..3. */
  readonly level: number;
}

/** All conditions must hold; an empty list or map is no condition. Globs: `*` within a `/` component, `**` across, `?` one byte; the whole name must match. */
export interface Selector {
  /** Image reference as written by whoever started the container, for example `registry.example/shop/*:v?`. */
  readonly images: readonly string[];
  readonly containers: readonly string[];
  readonly workloads: readonly string[];
  /** Label → glob over its value. */
  readonly labels: Readonly<Record<string, string>>;
  readonly nodes: readonly string[];
}

/** `data`: files without any execute bit, setuid, capability or device; `any`: also executable files, since the policy says so. */
export type MutableClassName = "data" | "any";

/** Paths that the workload may change. Additive: every class whose selector matches counts. */
export interface MutableClass {
  readonly name: string;
  readonly class: MutableClassName;
  readonly select: Selector;
  /** Absolute path globs, UTF-8 as bytes. */
  readonly paths: readonly string[];
  /** Paths from which programs load code are not meant, whatever the globs say: see code-paths.ts. */
  readonly withoutCode?: true;
}

/** What objects of teams (DriftException) may make mutable for a while. Without a class none counts. */
export interface ExceptionTerms {
  readonly classes: readonly MutableClassName[];
  /** Globs of namespaces; empty: every. */
  readonly namespaces: readonly string[];
  /** From the object's creation to its end. */
  readonly maxDays: number;
}

/** What somebody has excused, and somebody else approved: see granted.ts. */
export interface GrantedException {
  /** For example `X-7K2Q`. */
  readonly id: string;
  readonly select: Selector;
  /** As `WorkloadRow.service`: of that Compose project, or of none. Absent: whichever project, as of pods, and in what was asked for from a drift that did not tell. */
  readonly service?: string;
  readonly place: string;
  readonly kind: string;
  /** The wire's Severity: what is graver is not covered. */
  readonly severity: number;
  /** The path exactly, hexadecimal; of a drift without a path empty. Not looked at where `glob` is set. */
  readonly pathHex: string;
  /** Empty: the path exactly. */
  readonly glob: string;
  /** Of what differs (`observedOf`); empty: whatever a data file holds. */
  readonly observed: string;
  /** `sha256:<hex>`; empty: of any image. */
  readonly configDigest: string;
}

export const HOST_NAMESPACES = ["pid", "net", "ipc", "uts", "user", "cgroup"] as const;
export type HostNamespace = (typeof HOST_NAMESPACES)[number];
export const CODE_PLACES = ["upper", "volume", "tmpfs", "memfd", "deleted"] as const;
export type AllowedCodePlace = (typeof CODE_PLACES)[number];

/** What a container may have beyond its image and the runtime's defaults without being drift. */
export interface Allowances {
  /** Globs over names of environment variables that the image does not set, or sets otherwise. */
  readonly env: readonly string[];
  /** Added capabilities, upper case without `CAP_`; `ALL` for all. */
  readonly capabilities: readonly string[];
  /** Globs over mount destinations. */
  readonly mounts: readonly string[];
  readonly privileged: boolean;
  readonly hostNamespaces: readonly HostNamespace[];
  /** Globs over the user (`uid`, `uid:gid` or name) instead of the image's. */
  readonly users: readonly string[];
  /** Globs over device paths. */
  readonly devices: readonly string[];
  /** Other arguments than the image's entrypoint and command. */
  readonly args: boolean;
  readonly workingDirectory: boolean;
  /** Seccomp and AppArmor profiles other than the runtime's default: `unconfined`, `custom` or a profile's name. */
  readonly seccomp: readonly string[];
  readonly apparmor: readonly string[];
  /** Places outside the image from which code may run. */
  readonly code: readonly AllowedCodePlace[];
  /** Pods that the kubelet reads from the node's own files: whoever writes there starts them, past the API server. */
  readonly staticPods: boolean;
  /** Containers that their pod has and the template that it was made of does not: put in by a webhook, or as ephemeral ones. Only beside a demand for signatures. */
  readonly injected: boolean;
}

export const ADMISSION_MODES = ["enforce", "warn", "audit"] as const;
/** enforce: what is not as asked for is refused; warn: let in, and whoever asked is told; audit: let in, and the audit log is told. */
export type AdmissionMode = (typeof ADMISSION_MODES)[number];

/** What is done at a cluster's door with what rules make of images. */
export interface AdmissionPolicy {
  /** Where no entry of `namespaces` matches. */
  readonly mode: AdmissionMode;
  /** In order: the first of which a glob matches the namespace decides. */
  readonly namespaces: readonly { readonly names: readonly string[]; readonly mode: AdmissionMode }[];
  /** undefined: nobody gets past. */
  readonly breakGlass: BreakGlassPolicy | undefined;
}

/** Who may let in what is refused, and for how long at most. */
export interface BreakGlassPolicy {
  /** Globs over the name by which the API server knows who asks. */
  readonly users: readonly string[];
  /** Groups of whoever asks, each exactly. */
  readonly groups: readonly string[];
  /** 60..604,800. */
  readonly maxSeconds: number;
}

/** What the container must have been started with. */
export interface Protections {
  readonly noNewPrivileges: boolean;
  readonly readOnlyRoot: boolean;
  /** Hex SHA-256 of programs that an engine may bring as a container's init (`docker run --init`); empty: any. */
  readonly engineInits: readonly string[];
}

export interface PolicyRule {
  readonly name: string;
  readonly select: Selector;
  /** undefined: none required. */
  readonly signatures: SignatureRequirement | undefined;
  readonly attestations: readonly AttestationRequirement[];
  readonly build: BuildRequirement | undefined;
  /** Globs over repositories (`host[:port]/name`): where what was signed must be found; empty: anywhere. */
  readonly registries: readonly string[];
  /** Chain ids of bases, of one of which its lowest layers must be; empty: any. */
  readonly baseLayers: readonly string[];
  /** Absent: not asked for. */
  readonly vulnerabilities?: VulnerabilityRequirement;
  /** Absent: not asked for. */
  readonly risk?: RiskRequirement;
  readonly protections: Protections;
  readonly allow: Allowances;
  /** Go before the policy's own. */
  readonly severities: SeverityTable;
  /** At the cluster's door, in place of what is said for the namespace; undefined: that holds. */
  readonly admission: AdmissionMode | undefined;
}

/** What the nodes of a pool must have booted. Digests are lower-case hex; an empty list is no condition. */
export interface NodeRule {
  readonly name: string;
  /** Globs over the node's name, which is what its enrolment gave it; empty: every node. A node's own labels select nothing: it would choose its rules. */
  readonly nodes: readonly string[];
  readonly boot: NodeBootRule;
  /** undefined: the measurement list is not asked for. */
  readonly ima: NodeImaRule | undefined;
  /** Files of releases that an agent may consist of; undefined: not asked for. */
  readonly agent: KnownFiles | undefined;
  /** PCR of the sha256 bank → allowed values. */
  readonly pcrs: Readonly<Record<string, readonly string[]>>;
}

export interface NodeImaRule {
  readonly list: "required" | "optional";
  readonly violations: "refuse" | "accept";
  /** Globs over paths that are not looked at. */
  readonly ignore: readonly string[];
  readonly baseline: KnownFiles;
}

/** Files that are known by content: hex SHA-256. Sets are left out of JSON, so `sha256`, over all of them, stands for them in the policy's digest. */
export interface KnownFiles {
  readonly sha256: string;
  readonly digests: ReadonlySet<string>;
}

export interface NodeBootRule {
  readonly eventLog: "required" | "optional";
  readonly secureBoot: "required" | "any";
  readonly variables: { readonly PK: readonly string[]; readonly KEK: readonly string[]; readonly db: readonly string[]; readonly dbx: readonly string[] };
  readonly authorities: readonly string[];
  readonly images: readonly string[];
  readonly drivers: readonly string[];
  readonly files: readonly string[];
  readonly initrds: readonly string[];
  /** Globs over the whole kernel command line: `*` does not cross `/`, `**` does. */
  readonly commandLines: readonly string[];
}

export type SeverityTable = Readonly<Partial<Record<SeverityKey, Severity>>>;

export interface PolicyIntervals {
  /** Between quotes: 10..3600. */
  readonly quoteSeconds: number;
  /** Between complete re-measurings of a container: 60..86400. */
  readonly rescanSeconds: number;
  /** Between signs of life: 1..300. */
  readonly heartbeatSeconds: number;
}

export interface MeasurementBudget {
  readonly maxEntries: number;
  readonly maxBytes: number;
  readonly maxSeconds: number;
}

interface AlertRouteCommon {
  readonly name: string;
  /** Alerts below it are not sent. */
  readonly minSeverity: Severity;
  readonly match: AlertMatch;
  /** Labels by which alerts share one notification. */
  readonly groupBy: readonly AlertGroupLabel[];
  /** Time to gather alerts of a group before the first notification: 0..300. */
  readonly groupWaitSeconds: number;
  /** An open alert is told again after this time: 300..604800; undefined: never by us (Alertmanager has its own). */
  readonly repeatSeconds: number | undefined;
  /** Most notifications a minute: 1..600. What is over is counted and told with the next. */
  readonly maxPerMinute: number;
  readonly timeoutSeconds: number;
  /** PEM file of CA certificates for https; undefined: the system's. */
  readonly caFile: string | undefined;
}
/** Which alerts a route takes: one that every list with something in it has. Every route that takes an alert is told. */
export interface AlertMatch {
  /** Globs over the part of the workload's name before the first `/`. An alert about a node itself has none. */
  readonly namespaces: readonly string[];
  /** Globs over the node's name. */
  readonly nodes: readonly string[];
  /** Names of `spec.nodes`: the rule that decides on the node. */
  readonly pools: readonly string[];
  readonly kinds: readonly AlertKind[];
  /** Every node rule in the order of the file, for `pools`; empty where there are none of those. */
  readonly nodeRules: readonly { readonly name: string; readonly nodes: readonly string[] }[];
}
export interface VulnerabilityAlertTerms {
  /** And graver; `medium` has those of unknown severity. */
  readonly minSeverity: FindingSeverity;
  /** Without those that no version is known without. */
  readonly ignoreUnfixed: boolean;
}
/** What is no difference, and told too. */
export const STATE_KINDS = ["breaker", "ak-replaced", "exception-ending", "baseline-review", "drill-failed", "refused", "vulnerable"] as const;
export type AlertKind = Kind | (typeof STATE_KINDS)[number];
/** Where a secret is: an environment variable, or a file of the verifier's directory of alert secrets. It never enters the policy, its digest or a log. */
export type SecretSource = { readonly fromEnv: string } | { readonly fromFile: string };
export type HeaderValue = { readonly value: string } | SecretSource;
export const ALERT_GROUP_LABELS = ["incident", "node", "workload", "image", "kind", "severity"] as const;
export type AlertGroupLabel = (typeof ALERT_GROUP_LABELS)[number];

interface HeaderRoute extends AlertRouteCommon {
  readonly url: string;
  /** HTTP header → where its value comes from. */
  readonly headers: Readonly<Record<string, HeaderValue>>;
}
export interface WebhookRoute extends HeaderRoute {
  readonly type: "webhook";
  /** HMAC-SHA-256 keys of the signature header, 0..2: two while one replaces the other. */
  readonly hmacKeys: readonly SecretSource[];
}
export interface AlertmanagerRoute extends HeaderRoute {
  readonly type: "alertmanager";
}
/** Events API v2. */
export interface PagerdutyRoute extends AlertRouteCommon {
  readonly type: "pagerduty";
  readonly url: string;
  /** Integration key of a service. */
  readonly routingKey: SecretSource;
}
/** Incoming webhook: its URL is the secret. */
export interface SlackRoute extends AlertRouteCommon {
  readonly type: "slack";
  readonly webhookUrl: SecretSource;
}
export const COMMIT_SERVICES = ["github", "gitlab"] as const;
export type CommitService = (typeof COMMIT_SERVICES)[number];
/** A status at the commit that an image was built from. */
export interface CommitStatusRoute extends AlertRouteCommon {
  readonly type: "commit-status";
  readonly service: CommitService;
  /** Base of the API. */
  readonly url: string;
  readonly token: SecretSource;
  /** Globs over repositories, without `.git`: of all others nothing is said. Their host is the API's. */
  readonly repositories: readonly string[];
}
/** RFC 5424 with OCSF Detection Findings. */
export interface SyslogRoute extends AlertRouteCommon {
  readonly type: "syslog";
  readonly host: string;
  readonly port: number;
  readonly transport: SyslogTransport;
  /** Code of RFC 5424 table 1. */
  readonly facility: number;
  /** Longest message: 2,048..65,536. */
  readonly maxBytes: number;
}
export const SYSLOG_TRANSPORTS = ["tls", "tcp"] as const;
export type SyslogTransport = (typeof SYSLOG_TRANSPORTS)[number];
/** By code. */
export const SYSLOG_FACILITIES = [
  ...["kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp", "audit", "alert", "clock"],
  ...["local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"],
] as const;
export type AlertRoute = WebhookRoute | AlertmanagerRoute | PagerdutyRoute | SlackRoute | CommitStatusRoute | SyslogRoute;

export const MODES = ["observe", "dry-run", "enforce"] as const;
/** `observe`: nothing is acted on. `dry-run`: what would be done is recorded. `enforce`: it is done, where a response rule selects. */
export type PolicyMode = (typeof MODES)[number];

/**
 * Tell by the alert routes alone; stop the container; put another of the same digest, or of an earlier one that is verified now, in its place; evict its pod, so
 * that whoever controls it makes another; scale what makes the pod to none; let it run, and take it from every network.
 */
export const RUNGS = ["alert", "stop", "recreate", "rollback", "evict", "halt", "isolate"] as const;
export type Rung = (typeof RUNGS)[number];
/** What people may be asked about: rungs that do something, and the undoing of an isolation. */
export type ApprovedRung = Exclude<Rung, "alert"> | "release";
/** Of a ladder for what the container itself did: an earlier image would not undo it. */
export type LadderRung = Exclude<Rung, "rollback" | "halt">;
/** Of the ladder for an image that is not trusted: another of the same would not be trusted either. */
export type UntrustedRung = Exclude<Rung, "recreate" | "evict">;
/** Of what the node did: elsewhere the same image is what was signed. */
export type NodeRung = Extract<Rung, "alert" | "evict">;
export const OWNERS = ["compose", "swarm", "systemd", "bare-pod", "argocd", "flux"] as const;
/** Whoever else manages a container or workload, and would put back what we take away (Argo CD and Flux are paused for it); or a pod that nobody would put back. */
export type Owner = (typeof OWNERS)[number];

export interface ResponseRule {
  readonly name: string;
  readonly select: Omit<Selector, "labels">;
  /** Severity of the gravest drift → rungs: the first time in a day the first, when drift returns the next, then always the last. None: alert. */
  readonly ladder: Readonly<Partial<Record<Severity, readonly LadderRung[]>>>;
  /** The same for an image that is not signed as required or is revoked. A rollback that is not possible gives way to the rung after it. */
  readonly untrusted: readonly UntrustedRung[];
  /** Of pods on a layer that is not the image's: nothing before their node is cordoned or tainted, or the next would be put on the same. */
  readonly node: readonly NodeRung[];
  /** Of a container that is unmeasurable by its own doing, for so long: as a ladder for one severity. */
  readonly unmeasurable: readonly LadderRung[];
  /** 60..86400. */
  readonly unmeasurableAfterSeconds: number;
  /** What makes pods is rolled back or halted although one node alone says which image they run, and nobody is asked. */
  readonly rollbackOnOneNode: boolean;
  /** What is verified is gone back to also where more is known to be wrong with it than with what runs and is signed. */
  readonly rollbackToHigherRisk: boolean;
  /** Of what takes a pod away: how long its node is waited for, which is asked for a capture first (0..300; 0: it is not asked), and whether it is done where none comes. */
  readonly capture: { readonly patienceSeconds: number; readonly missed: "act" | "leave" };
  /** Of an eviction that disruption budgets forbid: how long it is asked for (60..43200), and whether after that people are waited for then or the next rung is taken. It is never forced. */
  readonly budget: { readonly patienceSeconds: number; readonly denied: "people" | "next" };
  /** People who must approve before anything is done: 0..10. */
  readonly approvals: number;
  /** The same for single rungs, in place of {@link ResponseRule.approvals}; of a release 1..10, and 1 where nothing is said. */
  readonly approvalsFor: Readonly<Partial<Record<ApprovedRung, number>>>;
  /** What is isolated and still is as wrong after this time climbs the ladder, in seconds: 60..604800. undefined: only where more drift comes. */
  readonly escalateAfterSeconds?: number | undefined;
  /** Whose containers may be acted on besides those that nobody manages. */
  readonly owners: readonly Owner[];
}

/** What can be put on a node that is not to be trusted, in the order in which it is. */
export const NODE_MARKS = ["label", "taint", "cordon"] as const;
export type NodeMarkName = (typeof NODE_MARKS)[number];

export interface NodeResponseRule {
  readonly name: string;
  /** Globs over the node's name, which is what its enrolment gave it; empty: every node. */
  readonly nodes: readonly string[];
  /** Codes of contradictions that count (docs/claims.md); empty: each. */
  readonly reasons: readonly string[];
  /** None: nothing is put on. */
  readonly marks: readonly NodeMarkName[];
  /** Globs over names of nodes whose actuators carry it out. */
  readonly actuators: readonly string[];
  /** The actuator of the cluster that the verifier watches does, in place of these: by the API server. */
  readonly cluster: boolean;
  /** People who must approve before a node is marked: 0..10. */
  readonly approvals: number;
  /** Of a node that is attested again: by itself, or once somebody has approved it. */
  readonly lift: "automatic" | "approved";
  /** While it is contradicted its certificates name it as untrusted, which is no identity for anybody but the verifier. */
  readonly withholdCertificate: boolean;
}

export interface NodeResponse {
  /** In order: the first whose selector matches decides; where none does, nothing is done. */
  readonly rules: readonly NodeResponseRule[];
  /** Of all nodes, in percent, 0..100; one at least: marked in an hour, and marked at once. */
  readonly hourlyPercent: number;
  readonly atOncePercent: number;
}

export interface ResponsePolicy {
  readonly nodes: NodeResponse;
  /** In order: the first whose selector matches decides; where none does, nothing is done. */
  readonly rules: readonly ResponseRule[];
  /** Between two actions on one workload: 60..86400. */
  readonly pauseSeconds: number;
  /** Of all containers, how many are acted on in an hour, in percent: 0..100; one at least. */
  readonly hourlyPercent: number;
  /** Times in which nothing is done, Unix milliseconds, the end exclusive. */
  readonly freezes: readonly { readonly reason: string; readonly fromMs: number; readonly untilMs: number }[];
}

export interface Policy {
  readonly name: string;
  readonly mode: PolicyMode;
  /** False for the built-in default: results are then shown as "no policy", not as a pass. */
  readonly loaded: boolean;
  readonly trustRoots: readonly TrustRoot[];
  readonly trustStores: readonly TrustStore[];
  readonly authorities: readonly Authority[];
  readonly revocations: readonly Revocation[];
  readonly builders: readonly TrustedBuilder[];
  /** Whose file manifests do instead of layers; undefined: nobody's. */
  readonly fileManifests: SignatureRequirement | undefined;
  /** In order: the first whose selector matches decides. */
  readonly rules: readonly PolicyRule[];
  /** In order: the first whose selector matches a node decides on what it booted. */
  readonly nodes: readonly NodeRule[];
  readonly mutable: readonly MutableClass[];
  readonly exceptionTerms: ExceptionTerms;
  /** What counts of the cluster's DriftExceptions and of workloads' baselines now; none in a file. Agents are not told: they measure as before. */
  readonly exceptions: readonly MutableClass[];
  /** What people have excused now; none in a file. */
  readonly granted: readonly GrantedException[];
  /** Policies of namespaces now; none in a file. What runs in such a namespace must please both: see core/policy/team.ts. */
  readonly teams: Readonly<Record<string, Policy>>;
  readonly admission: AdmissionPolicy;
  readonly severities: SeverityTable;
  readonly intervals: PolicyIntervals;
  readonly budget: MeasurementBudget;
  readonly alerts: readonly AlertRoute[];
  /** How long a node may be stale or unreachable before people are told: 5..604800. */
  readonly silentAfterSeconds: number;
  /** How long a node may be heard and not prove the boot that policy asks it to prove, before people are told: 5..604800. */
  readonly bootUnprovenAfterSeconds: number;
  /** Of which vulnerabilities of images that run people are told; undefined: of none. */
  readonly vulnerabilityAlerts: VulnerabilityAlertTerms | undefined;
  readonly response: ResponsePolicy;
}

/** What selectors look at. The names come from the node: an attacker there chooses them. */
export interface SelectableContainer {
  readonly imageReference: string;
  readonly containerName: string;
  readonly workload: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly nodeName: string;
  /** Of its image, as the node has it; absent: not known, and then nothing that is bound to an image counts. */
  readonly configDigest?: string;
  /** As `WorkloadRow.service`; absent: not known, and then nothing that is bound to one counts. */
  readonly service?: string | undefined;
}

/** One thing wrong with a policy file. Lines and columns count from 1. */
export interface PolicyProblem {
  readonly severity: "error" | "warning";
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** Where in the document, for example `rules[0].allow.env`. */
  readonly path: string;
  /** What is wrong. */
  readonly message: string;
  /** What to write instead. */
  readonly fix: string;
}

/** Takes a problem where it is found. @param path keys from the top of the file */
export type Report = (severity: PolicyProblem["severity"], path: readonly PropertyKey[], message: string, fix: string) => void;
