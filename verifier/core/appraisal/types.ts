/**
 * What appraisal takes and gives. Appraisal is a pure function: trust material and authenticated state in, findings out.
 * A finding is data. An exception from here means "could not appraise" and never affirms.
 */
import type { ContainerParts, StateTree } from "@hullmark/proto/codec";
import type { CodeSet, ContainerConfiguration, ContainerIdentity, FilesystemState, NodeState } from "@hullmark/proto/v1/attestation";
import type { ActorEntry, Claim, Severity, TrustVector, Verdict } from "@hullmark/proto/v1/common";
import type { PodStanding } from "../pods/standing.ts";
import type { DriftKind, DriftPlace, NoticeKind } from "../policy/kinds.ts";
import type { ProvenanceStatus } from "../provenance/status.ts";
import type { UpperEntries } from "./upper-entries.ts";

/** Who changed an entry, as the node's kernel told its agent. */
export interface ActorFacts {
  readonly pid: number;
  readonly executable: string;
  /** False: it ended before its user, container and ancestors could be read. */
  readonly located: boolean;
  readonly uid: number;
  readonly containerId: string;
  readonly ancestry: readonly string[];
  /** How it came into its container: undefined where that is not known (rows of earlier versions among those), or it is in none. */
  readonly entry?: ActorEntry | undefined;
  /** When it came in, where it is not the main process: Unix milliseconds. */
  readonly enteredAtMs?: number | undefined;
  /** Names of who brought it in, nearest first, at most 5. */
  readonly enteredFrom?: readonly string[] | undefined;
  /** Of its container; undefined: not known. */
  readonly containerName?: string | undefined;
}

/** One entry of a container's delta tree, as last reported. */
export interface UpperEntry {
  /** Raw bytes, no leading slash. */
  readonly path: Buffer;
  /** Canonical record. */
  readonly record: Buffer;
  readonly inode: bigint;
  readonly actor: ActorFacts | undefined;
  /** Unix milliseconds; undefined where no event told of the change. */
  readonly changedAtMs: number | undefined;
}

/** What {@link UpperEntries} changed by, path by path: whoever knows something of `from` need only look at these. */
export interface UpperDelta {
  readonly from: UpperEntries;
  /** Put in, changed or taken out; each once. */
  readonly paths: readonly Buffer[];
}

/** What the verifier remembers of one container; the same object as long as nothing in it changes. Built by {@link applyEvidence} only. */
export interface ContainerState {
  readonly id: string;
  readonly parts: ContainerParts;
  readonly identity: ContainerIdentity;
  readonly configuration: ContainerConfiguration;
  readonly code: CodeSet;
  readonly filesystem: FilesystemState;
  readonly upper: UpperEntries;
  /** By which paths `upper` may differ from another one; undefined: nothing is known. */
  readonly upperDelta: UpperDelta | undefined;
  /** Changes whose path had gone again, newest last, at most 256: who removed what. */
  readonly removed: Map<string, { readonly actor: ActorFacts | undefined; readonly changedAtMs: number | undefined }>;
}

/** What the verifier remembers of one node between two Evidence messages. */
export interface NodeMemory {
  readonly nodeId: string;
  readonly chainId: Buffer;
  readonly seq: bigint;
  readonly digest: Buffer;
  readonly nodeBytes: Uint8Array;
  readonly node: NodeState | undefined;
  readonly containers: ReadonlyMap<string, ContainerState>;
  /** Over node and containers; never changed, only copied. */
  readonly stateTree: StateTree;
  readonly stateRoot: Buffer;
}

/** What an image's layers say of a path: implemented over LayerTree and MergedTree of core/reference-value. */
export interface ReferenceImage {
  readonly configDigest: string;
  readonly manifestDigests: readonly string[];
  /** One for each layer, lowest first. */
  readonly layers: readonly ReferenceLayer[];
  /** From the signed config. */
  readonly config: ReferenceConfig;
  /** What a container sees at `path` before any change of its own. `layerIndex`: where it comes from. */
  merged(path: Buffer): { readonly record: Buffer; readonly layerIndex: number; readonly implied: boolean } | undefined;
  /** What a container sees below the directory `path` before any change of its own, at most `limit` entries; empty where it is no directory. */
  below(path: Buffer, limit: number): readonly { readonly path: Buffer; readonly record: Buffer }[];
  /** Roots that the layer which the runtime itself puts on top (docker's `-init`) may have: kernels differ in marking new directories opaque. */
  readonly runtimeLayerRoots: readonly Buffer[];
  /** Whether the runtime itself puts exactly this entry into the upper directory (mount targets and their parents, files it bind-mounts over). */
  runtimeMade(path: Buffer, record: Buffer, dialect: string, mountDestinations: readonly string[]): boolean;
}

export interface ReferenceLayer {
  readonly diffId: string;
  /** Expected roots, one a dialect that the image's tars allow. */
  readonly roots: ReadonlyMap<string, Buffer>;
  /** `created_by` of the history entry. */
  readonly history: string;
}

export interface ReferenceConfig {
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly user: string;
  readonly workingDirectory: string;
  readonly volumes: readonly string[];
}

/** How a difference shows in lists: the closed vocabulary of core/policy. */
export type FindingKind = DriftKind | NoticeKind;
export type FindingPlace = Exclude<DriftPlace, "node">;

/** One field that differs, ready to print. */
export interface Difference {
  readonly field: string;
  readonly expected: string;
  readonly observed: string;
}

/** One thing that differs. Stable key: (place, kind group, path), so that the same thing seen again is the same drift. */
export interface Finding {
  readonly kind: FindingKind;
  readonly place: FindingPlace;
  /** Raw bytes with the leading slash; empty where no file is meant. */
  readonly path: Buffer;
  /** Identity within the container: findings with one key are one drift over time. */
  readonly key: string;
  readonly severity: Severity;
  /** Seen and explained, not counted as drift. */
  readonly notice: boolean;
  readonly summary: string;
  readonly differences: readonly Difference[];
  readonly layerIndex: number;
  readonly actor: ActorFacts | undefined;
  readonly changedAtMs: number | undefined;
  readonly mappedBy: readonly string[];
  /** Whether policy took it for a file that can be executed; absent where no file's content is meant. */
  readonly executable?: boolean | undefined;
  /** Id of the exception by which it is excused, and a notice; absent: none. */
  readonly exception?: string | undefined;
}

/** A position at which a layer's (or merged) tree differs from the reference, found by descending. */
export interface TreeDifference {
  /** Raw bytes, no leading slash. */
  readonly path: Buffer;
  /** Canonical records; undefined: absent on that side. */
  readonly expected: Buffer | undefined;
  readonly observed: Buffer | undefined;
  readonly actor: ActorFacts | undefined;
  readonly changedAtMs: number | undefined;
}

/** What is known of a layer directory whose root is not the expected one. */
export type LayerFinding =
  /** Every difference between the reported root and the expected one. */
  | { readonly kind: "differences"; readonly differences: readonly TreeDifference[]; readonly truncated: boolean }
  /** Not yet compared: the descent is under way. */
  | { readonly kind: "pending" };

/** Why an image has no reference values (yet). */
export interface MissingReference {
  readonly missing: "no-reference" | "resolving" | "unextractable" | "registry-unreachable";
  readonly detail: string;
}

/** Everything that one container's appraisal rests on. */
export interface ContainerInput {
  readonly state: ContainerState;
  /** The reference, or why there is none yet. */
  readonly reference: ReferenceImage | MissingReference;
  /** By layer id, where the root differs from the expected one. */
  readonly layerFindings: ReadonlyMap<string, LayerFinding>;
  readonly provenance: ProvenanceInput;
  /** What the policy of the container's namespace asks for beside the cluster's; undefined: nothing. */
  readonly teamProvenance?: ProvenanceInput | undefined;
  readonly rules: ContainerRules;
  /** Digest of the MeasurementPolicy that the agent should have measured by. */
  readonly measurementDigest: Buffer;
  /** What the API server says of its pod; undefined: nobody asks one, or it is no container of a pod. */
  readonly pod?: PodStanding | undefined;
}

export interface ProvenanceInput {
  readonly status: ProvenanceStatus;
  readonly text: string;
  /** Policy asks for a signature of this image. */
  readonly required: boolean;
}

/** What policy says of this one container, already selected. */
export interface ContainerRules {
  readonly hasPolicy: boolean;
  /** What the container must have been started with. */
  readonly require: { readonly noNewPrivileges: boolean; readonly readOnlyRoot: boolean; readonly engineInits: readonly string[] };
  /** Whether the entry may change: `path` absolute and raw, `executable` says that it has an execute bit, setuid, a capability or is a device. */
  mutable(path: Buffer, executable: boolean): boolean;
  /** Id of the exception that excuses a finding; undefined: none. Absent: nothing is excused. */
  readonly excepted?: ((finding: Finding) => string | undefined) | undefined;
  /** @param builtIn what holds where policy says nothing */
  severity(place: FindingPlace, kind: FindingKind, builtIn: Severity): Severity;
  readonly allow: {
    env(name: string): boolean;
    readonly args: boolean;
    readonly workingDirectory: boolean;
    user(user: string): boolean;
    capability(name: string): boolean;
    readonly privileged: boolean;
    hostNamespace(name: string): boolean;
    device(path: string): boolean;
    mount(destination: string): boolean;
    seccomp(profile: string): boolean;
    apparmor(profile: string): boolean;
    /** Code run from `upper`, `volume`, `tmpfs`, `memfd`, `deleted`. */
    code(place: string): boolean;
    /** Pods that the kubelet reads from the node's own files. */
    readonly staticPods: boolean;
    /** Containers that their pod has and what made the pod does not. */
    readonly injected: boolean;
  };
}

export interface ContainerAppraisal {
  readonly verdict: Verdict;
  /** Of the files and the code alone. */
  readonly content: Verdict;
  readonly reasons: readonly Claim[];
  readonly findings: readonly Finding[];
  readonly vector: TrustVector;
}
