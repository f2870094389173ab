/** Rows with every field set, so that a field that a store loses is noticed. */
import { Severity, TrustLevel, Verdict } from "@hullmark/proto/v1/common";
import { DriftState, ProvenanceStatus } from "@hullmark/proto/v1/query";
import { ActionKind, ActionState } from "@hullmark/proto/v1/response";
import type { ActionRow, ContainerWrite, DriftRow, EvidenceWrite, NodeRow, ProvenanceRow, UpperRow, WorkloadRow } from "@hullmark/verifier/ports/rows";

export const T0 = 1_700_000_000_000;
const vector = {
  instanceIdentity: 2,
  configuration: -1,
  executables: 32,
  fileSystem: 96,
  hardware: 2,
  runtimeOpaque: 0,
  storageOpaque: 0,
  sourcedData: 3,
};
export const actor = { pid: 4711, executable: "/usr/bin/dd", located: true, uid: 1000, containerId: "c1", ancestry: ["sh", "bash"] };
export const provenance: ProvenanceRow = {
  status: ProvenanceStatus.UNSIGNED,
  text: "no signature",
  authorities: ["a"],
  sourceRepository: "r",
  commit: "c",
  builder: "b",
  buildInvocation: "i",
};

export function node(id: string, more: Partial<NodeRow> = {}): NodeRow {
  return {
    id,
    name: `name-${id}`,
    trustLevel: TrustLevel.TPM,
    ekSha256: "ab".repeat(32),
    ekPublic: Buffer.from([1]),
    akPublic: Buffer.from([0, 255, 7]),
    clock: { resetCount: 3, restartCount: 4, clock: 2n ** 63n + 5n, safe: true },
    bootId: "boot",
    enrolledAtMs: T0,
    revokedAtMs: undefined,
    revokedReason: "",
    verdict: Verdict.WARNING,
    reasons: [{ code: "x", detail: "y\n", sinceMs: T0 + 1 }],
    vector,
    lastSeenMs: T0 + 2,
    lastQuoteMs: undefined,
    quoteRefused: "old",
    chainBroken: undefined,
    kernel: "6.1",
    runtime: "docker",
    changeSource: "fanotify",
    agentVersion: "1",
    containers: 4,
    claims: [{ code: "c", detail: "d", sinceMs: undefined }],
    ...more,
  };
}

export function workload(nodeId: string, containerId: string, more: Partial<WorkloadRow> = {}): WorkloadRow {
  return {
    nodeId,
    containerId,
    containerName: `name-${containerId}`,
    workload: "shop",
    imageReference: "r/x:1",
    configDigest: "sha256:1",
    manifestDigest: "sha256:2",
    service: "project/shop",
    pinnedReference: "r/x@sha256:2",
    verdict: Verdict.AFFIRMING,
    content: Verdict.AFFIRMING,
    reasons: [],
    appraised: { verdict: Verdict.AFFIRMING, content: Verdict.AFFIRMING, reasons: [] },
    provenance,
    vector,
    openDrifts: 1,
    notices: 2,
    startedAtMs: T0,
    appraisedAtMs: T0 + 5,
    ...more,
  };
}

export function drift(number: number, more: Partial<DriftRow> = {}): DriftRow {
  return {
    id: `D-${number}`,
    number,
    nodeId: "n1",
    nodeName: "w-1",
    containerId: "c1",
    containerName: "web",
    workload: "shop",
    imageReference: "r/x:1",
    configDigest: "sha256:1",
    key: `upper||/etc/${number}\u00ff\n`,
    fingerprint: "f",
    kind: "content",
    place: "upper",
    severity: Severity.HIGH,
    state: DriftState.OPEN,
    path: Buffer.from([0x2f, 0xff, 0x0a]),
    summary: "sha256 a → b",
    differences: [{ field: "sha256", expected: "a", observed: "b" }],
    layerIndex: 2,
    diffId: "sha256:d",
    history: "RUN x",
    actor,
    mappedBy: ["pid 3 nginx"],
    provenance,
    changedAtMs: T0 + 0.25,
    measuredAtMs: T0,
    committedAtMs: T0 + 1,
    alertedAtMs: undefined,
    resolvedAtMs: undefined,
    acknowledgedBy: "",
    acknowledgedReason: "",
    acknowledgedAtMs: undefined,
    logIndex: 7,
    ...more,
  };
}

export function action(number: number, more: Partial<ActionRow> = {}): ActionRow {
  return {
    id: `A-${number}`,
    number,
    kind: ActionKind.RECREATE,
    state: ActionState.ISSUED,
    nodeId: "n1",
    nodeName: "w-1",
    containerId: "c1",
    containerName: "web",
    workload: "shop",
    imageReference: "r/x:1",
    configDigest: "sha256:1",
    driftId: "D-1",
    driftLogIndex: 7,
    rule: "shop",
    owners: ["compose"],
    createdAtMs: T0,
    issuedAtMs: T0 + 1,
    expiresAtMs: T0 + 2,
    intent: { id: Buffer.alloc(16, 255), body: Buffer.from([0, 1]), signatures: [Buffer.alloc(64, 254)] },
    settledAtMs: undefined,
    approvalsNeeded: 1,
    approvals: [{ by: "ada", atMs: T0 }],
    deniedBy: "",
    reason: "",
    detail: "",
    newContainerId: "",
    logIndex: 8,
    ...more,
  };
}

export function upper(path: string, record: string, more: Partial<UpperRow> = {}): UpperRow {
  return { path: Buffer.from(path, "latin1"), record: Buffer.from(record), inode: 2n ** 64n - 1n, actor, changedAtMs: T0 + 0.5, ...more };
}

export function container(id: string, more: Partial<ContainerWrite> = {}): ContainerWrite {
  const parts = { identity: Buffer.from(`i-${id}`), configuration: Buffer.from("conf"), code: Buffer.from("code"), filesystem: Buffer.from("fs") };
  return { id, parts, upperReset: true, upper: [], ...more };
}

export function evidence(nodeId: string, seq: bigint, more: Partial<EvidenceWrite> = {}): EvidenceWrite {
  return {
    nodeId,
    chainId: Buffer.from("chain-one"),
    previousSeq: seq - 1n,
    seq,
    digest: Buffer.alloc(32, Number(seq)),
    stateRoot: Buffer.alloc(32, 9),
    receivedAtMs: T0,
    node: Buffer.from("node"),
    full: false,
    containers: [],
    removed: [],
    ...more,
  };
}
