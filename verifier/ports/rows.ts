/**
 * The rows of the {@link Store}: what is remembered of nodes, containers, results and drifts. Times are Unix milliseconds.
 * Names, paths and claims come from nodes, bounded before they get here.
 */
import type { ContainerParts } from "@hullmark/proto/codec";
import type { CaptureTeller } from "@hullmark/proto/v1/capture";
import type { Severity, TrustLevel, Verdict } from "@hullmark/proto/v1/common";
import type { DriftState, ProvenanceStatus } from "@hullmark/proto/v1/query";
import type { ActionKind, ActionState, NodeMark } from "@hullmark/proto/v1/response";
import type { ActorFacts, Difference } from "../core/appraisal/types.ts";
import type { ContainmentState, DrillName, DrillOutcome } from "../core/drill/names.ts";
import type { ImaState } from "../core/ima/state.ts";
import type { Decided } from "../core/incident/incident.ts";
import type { BootAppraisal, BootEvidence } from "../core/measured-boot/appraise.ts";
import type { GrantedException } from "../core/policy/types.ts";
import type { Finding, ReportFormat, Statement } from "../core/vulnerabilities/types.ts";

/** Plain forms of the messages Claim and TrustVector: rows hold no message objects. */
export interface ClaimRow {
  readonly code: string;
  readonly detail: string;
  readonly sinceMs: number | undefined;
}
export interface VectorRow {
  readonly instanceIdentity: number;
  readonly configuration: number;
  readonly executables: number;
  readonly fileSystem: number;
  readonly hardware: number;
  readonly runtimeOpaque: number;
  readonly storageOpaque: number;
  readonly sourcedData: number;
}

/** The TPM's clock at the newest accepted quote (TPMS_CLOCK_INFO): must not go back. */
export interface ClockRow {
  readonly resetCount: number;
  readonly restartCount: number;
  readonly clock: bigint;
  readonly safe: boolean;
}

export interface NodeRow {
  readonly id: string;
  readonly name: string;
  readonly trustLevel: TrustLevel;
  /** Hex SHA-256 of the EK's SubjectPublicKeyInfo; undefined without TPM. */
  readonly ekSha256: string | undefined;
  /** Hex SHA-256 of the EK certificate that was verified when it enrolled; absent: there was none. */
  readonly ekCertificateSha256?: string | undefined;
  /** TPM2B_PUBLIC of endorsement key and attestation key; undefined without TPM. */
  readonly ekPublic: Buffer | undefined;
  readonly akPublic: Buffer | undefined;
  readonly clock: ClockRow | undefined;
  readonly bootId: string;
  readonly enrolledAtMs: number;
  readonly revokedAtMs: number | undefined;
  readonly revokedReason: string;
  /** Since when people want to see it no more; absent: they do. It is revoked, and stays so: the row is what keeps it out. */
  readonly removedAtMs?: number | undefined;
  readonly verdict: Verdict;
  readonly reasons: readonly ClaimRow[];
  readonly vector: VectorRow | undefined;
  readonly lastSeenMs: number | undefined;
  /** When the newest quote that held was asked for. */
  readonly lastQuoteMs: number | undefined;
  /** How the TPM's clock went back over its newest reset by more than it should; absent: it did not. */
  readonly clockLost?: string | undefined;
  /** Boot id that the newest quote was made under: it says nothing of another boot. Empty: the TPM has told of another boot since. Absent: not known (a row of an older verifier). */
  readonly quotedBoot?: string | undefined;
  /** The newest time, longer than two intervals, between two quotes that held: when each was asked for. */
  readonly gap?: { readonly fromMs: number; readonly toMs: number } | undefined;
  /** Why the newest quote was refused; undefined: it was not. */
  readonly quoteRefused: string | undefined;
  /** Whether its agent takes captures, as its newest Hello said; absent: not known (a row of an older verifier). */
  readonly captures?: boolean | undefined;
  /** Why its chain of Evidence cannot be believed; undefined: it can. */
  readonly chainBroken: string | undefined;
  /** Who else spoke as this node while it lived, and when that was seen last; absent: nobody. */
  readonly rival?: { readonly detail: string; readonly atMs: number } | undefined;
  /** When it enrolled with another attestation key than before, and nobody has approved that since; absent: it did not. */
  readonly akReplacedAtMs?: number | undefined;
  /** Whether the TPM was not cleared between the newest quote by the key of before and that; absent or false: it may have been, and its counters say nothing. */
  readonly uncleared?: boolean | undefined;
  /** What policy says of its boot; absent before that was looked at. */
  readonly boot?: BootAppraisal | undefined;
  readonly kernel: string;
  readonly runtime: string;
  readonly changeSource: string;
  readonly agentVersion: string;
  readonly containers: number;
  readonly claims: readonly ClaimRow[];
}

/** What a node booted, as its newest quote proves it: one row a node, written where it changes. */
export interface BootRow extends BootEvidence {
  readonly nodeId: string;
  /** Empty where the node has no event log. */
  readonly eventLogSha256: Buffer;
  /** Under which boot, by which attestation key and at which counters of the TPM it was quoted. Absent in a row of an older verifier. */
  readonly quotedBy?: QuotedBy | undefined;
}
export interface QuotedBy {
  /** The TPM's firmware version, hex. Absent in a row of an older verifier. */
  readonly firmware?: string | undefined;
  readonly bootId: string;
  readonly akSha256: string;
  readonly resetCount: number;
  readonly restartCount: number;
}

/** What is known of a node's measurement list: one row a node, written where it changes. */
export interface ImaRow extends ImaState {
  readonly nodeId: string;
}

/** The newest quote of a node that held: what of its row changes with each. */
export interface QuoteRow {
  readonly nodeId: string;
  readonly lastQuoteMs: number;
  readonly clock: ClockRow;
}

/** Newest Evidence of a node: one row a node, of its present chain. */
export interface HeadRow {
  readonly nodeId: string;
  readonly chainId: Buffer;
  readonly seq: bigint;
  readonly digest: Buffer;
  readonly stateRoot: Buffer;
  readonly receivedAtMs: number;
}

/** One entry of a delta tree. An empty record: the path has gone; kept (at most 256 a container) for who removed it. */
export interface UpperRow {
  readonly path: Buffer;
  readonly record: Buffer;
  readonly inode: bigint;
  readonly actor: ActorFacts | undefined;
  readonly changedAtMs: number | undefined;
}

/** What a container's state changes by. Parts that are undefined stay as they are. */
export interface ContainerWrite {
  readonly id: string;
  readonly parts: { readonly [K in keyof ContainerParts]: Uint8Array | undefined };
  /** Forget every stored entry of the delta tree first. */
  readonly upperReset: boolean;
  readonly upper: readonly UpperRow[];
}

export interface ContainerRow {
  readonly id: string;
  readonly parts: ContainerParts;
  readonly upper: readonly UpperRow[];
}

/** One accepted Evidence. */
export interface EvidenceWrite extends HeadRow {
  /** What the head must be before it: another writer (a second session, a second process) makes the commit fail. 0 where a chain starts. */
  readonly previousSeq: bigint;
  /** Serialised NodeState; undefined where unchanged. */
  readonly node: Uint8Array | undefined;
  /** Forget every container that is not in `containers`. */
  readonly full: boolean;
  readonly containers: readonly ContainerWrite[];
  readonly removed: readonly string[];
}

/** Everything that is held of a node's last report. */
export interface MemoryRow {
  readonly head: HeadRow;
  readonly node: Buffer;
  readonly containers: readonly ContainerRow[];
}

export interface ProvenanceRow {
  readonly status: ProvenanceStatus;
  readonly text: string;
  readonly authorities: readonly string[];
  readonly sourceRepository: string;
  readonly commit: string;
  readonly builder: string;
  readonly buildInvocation: string;
}

export interface WorkloadRow {
  readonly nodeId: string;
  readonly containerId: string;
  readonly containerName: string;
  readonly workload: string;
  readonly imageReference: string;
  /** As the runtime names it; undefined in rows that were stored before they had it. */
  readonly imageId?: string | undefined;
  readonly configDigest: string;
  readonly manifestDigest: string;
  /** Its node keeps the image's configuration, and that was measured equal; undefined: it differs, or could not be read, and in rows from before they had it. */
  readonly configEqual?: true | undefined;
  /** The service on its node that it stands for, where an engine runs it that keeps earlier images; undefined elsewhere, and in rows from before they had it. */
  readonly service?: string | undefined;
  /** `repository@sha256:<hex>` by which its image, and what is signed of it, is found again; as `service`. */
  readonly pinnedReference?: string | undefined;
  /** Where it runs in a pod whose workload keeps revisions, and the cluster's pods are watched: what it is of them. */
  readonly inRevision?: ContainerOfRevision | undefined;
  /** As shown: the appraisal, or `unknown` while the node itself is not vouched for. */
  readonly verdict: Verdict;
  readonly content: Verdict;
  readonly reasons: readonly ClaimRow[];
  /** What the container's own appraisal said, whatever the node's state. */
  readonly appraised: { readonly verdict: Verdict; readonly content: Verdict; readonly reasons: readonly ClaimRow[] };
  readonly provenance: ProvenanceRow | undefined;
  readonly vector: VectorRow | undefined;
  readonly openDrifts: number;
  readonly notices: number;
  readonly startedAtMs: number | undefined;
  readonly appraisedAtMs: number;
}

export interface DriftRow {
  /** For example `D-7K2Q`: one name a number. */
  readonly id: string;
  /** 1 for the first drift ever, without gaps in memory; unique. */
  readonly number: number;
  readonly nodeId: string;
  readonly nodeName: string;
  readonly containerId: string;
  readonly containerName: string;
  readonly workload: string;
  /** As {@link WorkloadRow.service}. */
  readonly service?: string | undefined;
  readonly imageReference: string;
  readonly configDigest: string;
  /** Identity within (node, container): one open drift a key. */
  readonly key: string;
  /** `findingFingerprint` of what the row shows: an update is written only where it changes. */
  readonly fingerprint: string;
  readonly kind: string;
  readonly place: string;
  readonly severity: Severity;
  readonly state: DriftState;
  /** Raw bytes with the leading slash; empty where no file is meant. */
  readonly path: Buffer;
  readonly summary: string;
  readonly differences: readonly Difference[];
  readonly layerIndex: number;
  readonly diffId: string;
  readonly history: string;
  readonly actor: ActorFacts | undefined;
  readonly mappedBy: readonly string[];
  /** Whether it is of a file that can be executed; absent where no file's content is meant, and in rows from before they had it. */
  readonly executable?: boolean | undefined;
  /** Id of the exception by which it is no drift now, or was none when it ended; absent: none. */
  readonly exception?: string | undefined;
  readonly provenance: ProvenanceRow | undefined;
  readonly changedAtMs: number | undefined;
  /** When the quote was asked for that vouched for the container without this drift; absent: none did, or it was not judged then. */
  readonly notBeforeMs?: number | undefined;
  readonly measuredAtMs: number;
  readonly committedAtMs: number;
  readonly alertedAtMs: number | undefined;
  readonly resolvedAtMs: number | undefined;
  /** Who acknowledged it last. An open drift that names somebody was acknowledged at an earlier state. */
  readonly acknowledgedBy: string;
  readonly acknowledgedReason: string;
  /** Unix milliseconds; undefined: never. */
  readonly acknowledgedAtMs: number | undefined;
  /** Index of its entry in the transparency log; -1 before. */
  readonly logIndex: number;
  /** Absent in rows from before they had it. */
  readonly entries?: DriftEntries | undefined;
}

/** How the entries of one drift in the transparency log stand. */
export interface DriftEntries {
  /** At least 1; undefined: not known how many there were before. */
  readonly count: number | undefined;
  /** Unix milliseconds. */
  readonly newestAtMs: number;
  /** What the newest tells, as a digest. */
  readonly sight: string;
  /** How many of the last tell of nothing but changed content. */
  readonly ofContent: number;
}

/** An endorsement key that may enrol. */
export interface AllowedEkRow {
  /** Of the key (SubjectPublicKeyInfo), or of its certificate. */
  readonly ekSha256: string;
  readonly name: string;
  /** Empty where no node is known by it (yet). */
  readonly nodeId: string;
}

export interface JoinTokenRow {
  /** SHA-256 of the token: the token itself is never stored. */
  readonly sha256: Buffer;
  readonly nodeName: string;
  readonly expiresAtMs: number;
}

/** An image that some container refers to, by config digest, with what was resolved of it. */
export interface ImageRow {
  readonly configDigest: string;
  readonly references: readonly string[];
  readonly manifestDigests: readonly string[];
  readonly platform: string;
  /** `ready`, `resolving`, `no-reference`, `unextractable`, `registry-unreachable`. */
  readonly state: string;
  readonly detail: string;
  readonly layers: number;
  readonly entries: number;
  readonly provenance: ProvenanceRow | undefined;
  /** The resolved identity, as the image service serialised it; empty before. */
  readonly identity: string;
}

/** An image that can be gone back to, by digest. */
export interface EarlierImage {
  /** `sha256:<hex>` of the image configuration. */
  readonly configDigest: string;
  /** As the node's runtime named it: `sha256:<hex>`. */
  readonly imageId: string;
  /** `repository@sha256:<hex>`. */
  readonly reference: string;
}

/** An image under which a service was affirming: one row a node, service and image, and the newest {@link MAX_AFFIRMED_IMAGES} of a service. */
export interface AffirmedImageRow extends EarlierImage {
  readonly nodeId: string;
  readonly service: string;
  /** When it was known last that a container of it was affirming. */
  readonly affirmedAtMs: number;
}

export const MAX_AFFIRMED_IMAGES = 10;

/** A container of a revision of a workload in pods. */
export interface ContainerOfRevision {
  /** `NAMESPACE/KIND/NAME`, for example `shop/Deployment/web`. */
  readonly workload: string;
  /** Name of the ReplicaSet or ControllerRevision. */
  readonly revision: string;
  /** In the pod's specification. */
  readonly container: string;
}

/** A container of a revision that was affirming, and of which image it was. */
export interface AffirmedRevisionRow extends EarlierImage, ContainerOfRevision {
  readonly affirmedAtMs: number;
}

/** Of a workload; a revision is a row for each of its containers. */
export const MAX_AFFIRMED_OF_WORKLOAD = 100;

/** What a rollback of pods goes back to. */
export interface RolloutTarget {
  /** What made the pod that has drifted. */
  readonly owner: { readonly kind: string; readonly name: string; readonly uid: string };
  /** Those that are verified now; which of them is the newest the API server says. The last affirmed first. */
  readonly revisions: readonly {
    readonly name: string;
    readonly images: readonly { readonly container: string; readonly reference: string; readonly configDigest: string }[];
  }[];
}

/** What a host says that it kept of a container before it was acted on. */
export interface CaptureRow {
  /** `sha256:<hex>` of the encrypted file. */
  readonly digest: string;
  readonly bytes: number;
  readonly complete: boolean;
  /** When the host removes it, as it says. */
  readonly expiresAtMs?: number | undefined;
  /** Changed paths and processes in it, as whoever took it says; absent: it did not. */
  readonly files?: number | undefined;
  readonly processes?: number | undefined;
  /** Who took it and keeps it; absent: the actuator of the host. */
  readonly teller?: CaptureTeller;
  /** When that was told; absent: with the action's end. */
  readonly toldAtMs?: number;
}

/** Seconds within one hour of a node's life in which it was known, and of these, not attested. */
export interface CoverageRow {
  readonly nodeId: string;
  /** Start of the hour. */
  readonly hourMs: number;
  readonly observedSeconds: number;
  readonly unattestedSeconds: number;
}

/** An action and, once it is issued, the intent that an actuator may carry out. */
export interface ActionRow {
  /** For example `A-7K2Q`: one name a number. */
  readonly id: string;
  /** 1 for the first action ever; unique. */
  readonly number: number;
  readonly kind: ActionKind;
  readonly state: ActionState;
  readonly nodeId: string;
  readonly nodeName: string;
  readonly containerId: string;
  readonly containerName: string;
  readonly workload: string;
  /** As {@link WorkloadRow.service}. */
  readonly service?: string | undefined;
  readonly imageReference: string;
  /** As {@link WorkloadRow.imageId}. */
  readonly imageId?: string | undefined;
  readonly configDigest: string;
  readonly driftId: string;
  readonly driftLogIndex: number;
  /** Name of the response rule. */
  readonly rule: string;
  /** Managers whose containers policy lets us act on. */
  readonly owners: readonly string[];
  readonly createdAtMs: number;
  /** undefined before it is issued; so are expiry and intent. */
  readonly issuedAtMs: number | undefined;
  readonly expiresAtMs: number | undefined;
  /** `signatures`: by the keys that counted when it was issued. Absent in rows of before: such an intent is not handed out. */
  readonly intent: { readonly id: Buffer; readonly body: Buffer; readonly signatures?: readonly Buffer[] } | undefined;
  readonly settledAtMs: number | undefined;
  readonly approvalsNeeded: number;
  readonly approvals: readonly { readonly by: string; readonly atMs: number }[];
  readonly deniedBy: string;
  /** Code and words of the outcome, or of the denial. */
  readonly reason: string;
  readonly detail: string;
  readonly newContainerId: string;
  /** Of an eviction: the pod that goes. Of a rollback of pods: the one that has drifted. */
  readonly pod?: PodTarget | undefined;
  /** Of a rollback on a host: what is gone back to. */
  readonly target?: EarlierImage | undefined;
  /** Of a rollback of pods. */
  readonly rollout?: RolloutTarget | undefined;
  readonly capture?: CaptureRow | undefined;
  /** Of a pod: what its node was asked to keep of it (16 random bytes), since when, and until when that is waited for. */
  readonly capturing?: { readonly id: Buffer; readonly sinceMs: number; readonly untilMs: number } | undefined;
  /** Code of why there is no capture though one was asked for, the words of whoever was to take it, and when that was known (absent: by an older verifier); absent: none was, it is waited for, or there is one. */
  readonly captureMissed?: { readonly code: string; readonly problem: string; readonly atMs?: number } | undefined;
  /** Of a purge, which is of no one container: the layer, and what was known to stand on it. */
  readonly purge?: PurgeRow | undefined;
  /** Of a release: the isolation that it undoes. */
  readonly undoes?: string | undefined;
  /** Of an action on the node itself: what is said of container and image above is empty then. */
  readonly node?: NodeActionRow | undefined;
  /** Newest log entry about it; -1 before. */
  readonly logIndex: number;
}

/** What an action puts on a node that is not to be trusted, or takes away from one that is again. */
export interface NodeActionRow {
  /** Ascending. */
  readonly marks: readonly NodeMark[];
  /** Those that were not there before, or are gone now, as the actuator told; empty before. */
  readonly done: readonly NodeMark[];
  /** Code of the gravest claim; empty for a lift. */
  readonly reason: string;
  /** Whose actuator carries it out, a node's or (`nodeId` empty) the cluster's; undefined before it is issued. */
  readonly actuator: { readonly nodeId: string; readonly name: string; readonly cluster?: string } | undefined;
}

export interface PurgeRow {
  /** `sha256:<hex>` of the layer on those below it. */
  readonly chainId: string;
  /** 0 lowest. */
  readonly layerIndex: number;
  /** Of the image whose configuration it is about, which stands on this and all layers below; absent: it is about the layer. */
  readonly configDigest?: string;
  /** `sha256:<hex>`, ascending: what the engine may call images that stand on it. */
  readonly imageDigests: readonly string[];
  /** Of the node, when it was issued. */
  readonly containerIds: readonly string[];
  /** When its actuator's word came that it is gone, or that of people, Unix milliseconds; absent before. */
  readonly purgedAtMs?: number;
  /** People took it off at the node. */
  readonly byHand?: boolean;
  /** Of one that contained nothing: when the layer was seen to be measured equal all the same, Unix milliseconds; absent before. */
  readonly wellAtMs?: number;
}

/** The pod that an intent for a cluster names, as its node's agent tells of it: the actuator asks the API server whether that is so. */
export interface PodTarget {
  /** The API server's own specification asks for this image, by a digest that the verifier has looked up itself; absent: that it runs there is its node's word. */
  readonly named?: boolean;
  /** It is being deleted, and runs on until then. */
  readonly ending?: boolean;
  readonly cluster: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** Name of the container in the pod's specification. */
  readonly container: string;
  /** `sha256:<hex>`, one to eight: what its kubelet may call the container's image. */
  readonly imageDigests: readonly string[];
}

/** A step of an action, fenced. */
export interface ActionWrite {
  readonly row: ActionRow;
  /** State that the stored row must have; undefined: there must be none, nor another of this container that is awaiting or issued. */
  readonly before: ActionState | undefined;
}

/** Actions are paused. */
export interface PauseRow {
  readonly by: string;
  readonly reason: string;
  readonly sinceMs: number;
}

/** What people have decided on an incident: one row an id. All else of it is computed. */
export interface IncidentRow extends Decided {
  readonly id: string;
  /** Counts decisions, from 1. */
  readonly revision: number;
}

/** One run of a drill. Times are Unix milliseconds. */
export interface DrillRunRow {
  readonly run: string;
  readonly drill: DrillName;
  readonly container: string;
  readonly by: string;
  readonly begunAtMs: number;
  /** Not ended by then, it never does. */
  readonly endsByMs: number;
  /** undefined: not ended; `outcome` is empty then. */
  readonly endedAtMs: number | undefined;
  readonly outcome: DrillOutcome | "";
  readonly problem: string;
  readonly driftId: string;
  readonly containment: ContainmentState | "";
  /** Milliseconds from what it did; undefined: not seen. */
  readonly detectMs: number | undefined;
  readonly alertMs: number | undefined;
  readonly containMs: number | undefined;
  /** The objectives. */
  readonly detectWithinMs: number;
  readonly alertWithinMs: number;
  readonly containWithinMs: number | undefined;
  /** Newest entry about it in the transparency log. */
  readonly logIndex: number;
}

/** That a drill is due so often: one row a drill. */
export interface DrillScheduleRow {
  readonly drill: DrillName;
  readonly everyMs: number;
  readonly by: string;
  readonly atMs: number;
}

/** A name that people's certificates are of: what it was given last, and what was taken from it. */
export interface PersonRow {
  readonly name: string;
  /** viewer, responder, approver or admin; empty, with the three after it, where none was issued on demand. */
  readonly role: string;
  /** Where the role holds; absent: in the whole cluster. */
  readonly namespaces?: readonly string[] | undefined;
  readonly issuedAtMs: number | undefined;
  readonly issuedBy: string;
  readonly notAfterMs: number | undefined;
  /** Of the last time, later than what was issued before it; undefined: never, and whatever is of the name counts. */
  readonly revokedAtMs: number | undefined;
  readonly revokedBy: string;
  readonly revokedReason: string;
  /** What alone counts of a name that was revoked, the oldest first: SHA-256 of the certificate (DER, hexadecimal), and when it ends. */
  readonly sinceRevoked: readonly { readonly sha256: string; readonly notAfterMs: number }[];
  /** Of a name that was revoked: tokens that were made since count; absent: none does. Unix milliseconds. */
  readonly tokensSinceMs?: number | undefined;
}

/** A report of an image's vulnerabilities, or statements about them, that a person imported. */
export interface VulnerabilityReportRow {
  /** `sha256:` of the file. */
  readonly digest: string;
  /** `sha256:` of the image's configuration, or of its manifest where that was not known. */
  readonly image: string;
  readonly format: ReportFormat;
  /** As it says itself. */
  readonly tool: string;
  readonly createdAtMs: number | undefined;
  readonly isScan: boolean;
  readonly findings: readonly Finding[];
  readonly statements: readonly Statement[];
  readonly packages: number;
  readonly leftOut: number;
  readonly importedAtMs: number;
  readonly importedBy: string;
}

export type ExceptionState = "requested" | "approved" | "denied" | "revoked" | "expired";

/** An exception. Of those that are over the newest are kept; the log has all. */
export interface ExceptionRow {
  /** For example `X-7K2Q`: one name a number. */
  readonly id: string;
  /** 1 for the first; unique. */
  readonly number: number;
  readonly state: ExceptionState;
  /** Of the drift from which it was asked for; what follows is of that as it stood. */
  readonly driftId: string;
  readonly nodeName: string;
  readonly workload: string;
  readonly containerName: string;
  readonly imageReference: string;
  readonly path: Buffer;
  readonly summary: string;
  /** What it covers. */
  readonly scope: Omit<GrantedException, "id">;
  readonly reason: string;
  readonly requestedBy: string;
  readonly requestedAtMs: number;
  readonly untilMs: number;
  /** Who approved or denied it; empty before. */
  readonly decidedBy: string;
  readonly decidedAtMs: number | undefined;
  /** Why it was denied or revoked. */
  readonly decision: string;
  /** Who revoked it; empty: nobody. */
  readonly endedBy: string;
  readonly endedAtMs: number | undefined;
  /** When people were reminded that it ends; undefined: not yet. */
  readonly remindedAtMs: number | undefined;
}

/** What a workload was seen to write, as a pattern. */
export interface LearnedPath {
  /** Glob over absolute paths. */
  readonly pattern: string;
  /** `log`, `cache`, `runtime`, `database`, `temporary` or `configuration`. */
  readonly class: string;
  /** Different paths that it was made of, and one of them. */
  readonly seen: number;
  readonly example: string;
}

/** Of one container of the workload. */
export interface LearnedGroup {
  readonly select: { readonly workloads: readonly string[]; readonly containers: readonly string[] };
  readonly paths: readonly LearnedPath[];
}

/** Reference values of a pool of nodes, or the paths that a workload writes: every version that was ever proposed. */
export interface BaselineRow {
  /** `POOL@VERSION` or `WORKLOAD@VERSION`. */
  readonly id: string;
  /** Name of the policy's rule for nodes; empty where it is of a workload. */
  readonly pool: string;
  /** Of a workload; absent or empty: of a pool. */
  readonly workload?: string | undefined;
  /** Of a workload: what may change. */
  readonly learned?: readonly LearnedGroup[] | undefined;
  /** Who answers for it; absent in rows of an older verifier. */
  readonly owner?: string | undefined;
  /** 1 for the first of its name. */
  readonly version: number;
  readonly state: "proposed" | "approved" | "expired";
  /** PCR of the sha256 bank → values, lower-case hex. */
  readonly pcrs: Readonly<Record<string, readonly string[]>>;
  /** Hex SHA-256. */
  readonly files: readonly string[];
  readonly nodes: readonly string[];
  readonly reason: string;
  readonly proposedBy: string;
  readonly proposedAtMs: number;
  /** Empty before. */
  readonly approvedBy: string;
  readonly approvedAtMs: number | undefined;
  /** From then on it should be looked at again; one of a workload, which excuses, ends then. */
  readonly reviewAtMs: number | undefined;
  /** When people were reminded of that; absent: not yet. */
  readonly remindedAtMs?: number | undefined;
}
