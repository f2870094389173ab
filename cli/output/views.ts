/** What `-o json|yaml` gives: stable names and words (docs/cli.md). Times are RFC 3339, bytes hex, paths printable with their bytes beside. */
import type { Actor, Claim, TrustVector } from "@hullmark/proto/v1/common";
import type { Drift, GetStatusResponse, Image, Node, Provenance, VulnerabilityStanding, Workload } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import { entryWord, isoTime, MAX_PATH_CHARACTERS, nodeMarkWords, provenanceWord, severityWord, stateWord, trustWord, verdictWord } from "./words.ts";

function claims(list: readonly Claim[]) {
  return list.map(({ code, detail, since }) => ({ code, detail, since: isoTime(since) }));
}

function vector(of: TrustVector | undefined) {
  if (!of) return null;
  const { instanceIdentity, configuration, executables, fileSystem, hardware, runtimeOpaque, storageOpaque, sourcedData } = of;
  return { instanceIdentity, configuration, executables, fileSystem, hardware, runtimeOpaque, storageOpaque, sourcedData };
}

function provenance(of: Provenance | undefined) {
  if (!of) return null;
  const { text, authorities, sourceRepository, commit, builder } = of;
  return { status: provenanceWord(of.status), text, authorities, sourceRepository, commit, builder };
}

function actor(of: Actor | undefined) {
  if (!of) return null;
  const { pid, executable, located, uid, containerId, containerName, ancestry, entry, enteredAt, enteredFrom } = of;
  if (!located) return { pid, executable, uid: null, containerId: null, containerName: null, ancestry: [], entry: null, enteredAt: null, enteredFrom: [] };
  return { pid, executable, uid, containerId, containerName, ancestry, entry: entryWord(entry), enteredAt: isoTime(enteredAt), enteredFrom };
}

export function driftView(drift: Drift) {
  const {
    id,
    kind,
    nodeId,
    nodeName,
    containerId,
    containerName,
    workload,
    imageReference,
    configDigest,
    summary,
    acknowledgedBy,
    acknowledgedReason,
    mappedBy,
    origin,
  } = drift;
  return {
    id,
    severity: severityWord(drift.severity),
    kind,
    state: stateWord(drift.state),
    node: { id: nodeId, name: nodeName },
    container: { id: containerId, name: containerName },
    workload,
    image: { reference: imageReference, configDigest },
    path: printable(drift.path, MAX_PATH_CHARACTERS),
    pathHex: Buffer.from(drift.path).toString("hex"),
    summary,
    differences: drift.differences.map(({ field, expected, observed }) => ({ field, expected, observed })),
    origin: origin ? { place: origin.place, layerIndex: origin.layerIndex, diffId: origin.diffId, history: origin.history } : null,
    actor: actor(drift.actor),
    mappedBy,
    changedAt: isoTime(drift.changedAt),
    notBefore: isoTime(drift.notBefore),
    measuredAt: isoTime(drift.measuredAt),
    committedAt: isoTime(drift.committedAt),
    alertedAt: isoTime(drift.alertedAt),
    resolvedAt: isoTime(drift.resolvedAt),
    seen: drift.seen,
    exception: drift.exception || null,
    acknowledged: acknowledgedBy ? { by: acknowledgedBy, reason: acknowledgedReason, at: isoTime(drift.acknowledgedAt) } : null,
    logIndex: Number(drift.logIndex),
    provenance: provenance(drift.provenance),
  };
}

export function nodeView(node: Node) {
  const { id, name, connected, kernel, runtime, changeSource, agentVersion, containers, revoked, bootId } = node;
  return {
    id,
    name,
    verdict: verdictWord(node.verdict),
    reasons: claims(node.reasons),
    trust: trustWord(node.trustLevel),
    connected,
    revoked,
    lastSeen: isoTime(node.lastSeen),
    lastQuote: isoTime(node.lastQuote),
    gap: node.gapFrom ? { from: isoTime(node.gapFrom), to: isoTime(node.gapTo) } : null,
    enrolledAt: isoTime(node.enrolledAt),
    bootId,
    kernel,
    runtime,
    changeSource,
    agentVersion,
    containers,
    drifted: node.drifted ?? null,
    claims: claims(node.claims),
    vector: vector(node.vector),
    marks: nodeMarkWords(node.marks),
    markedBy: node.markActions,
  };
}

export function workloadView(of: Workload) {
  const { nodeId, nodeName, containerId, containerName, workload, imageReference, configDigest, manifestDigest, openDrifts, notices } = of;
  return {
    node: { id: nodeId, name: nodeName },
    container: { id: containerId, name: containerName },
    workload,
    image: { reference: imageReference, configDigest, manifestDigest },
    verdict: verdictWord(of.verdict),
    content: verdictWord(of.content),
    provenance: provenance(of.provenance),
    reasons: claims(of.reasons),
    openDrifts,
    notices,
    startedAt: isoTime(of.startedAt),
    appraisedAt: isoTime(of.appraisedAt),
    vector: vector(of.vector),
  };
}

export function imageView(image: Image) {
  const { configDigest, references, manifestDigests, layers, entries, containers, referenceState, referenceDetail, platform } = image;
  return {
    configDigest,
    references,
    manifestDigests,
    platform,
    layers,
    entries: Number(entries),
    containers,
    reference: { state: referenceState, detail: referenceDetail },
    provenance: provenance(image.provenance),
  };
}

function vulnerabilityView(of: VulnerabilityStanding | undefined) {
  if (!of?.counts) return null;
  const { $typeName: _, $unknown: __, ...counts } = of.counts;
  return { ...counts, images: of.images, unscanned: of.unscanned };
}

export function statusView(status: GetStatusResponse) {
  const { verifierId, region, version, mode, policyLoaded, policyName, nodesTotal, nodesAttested, unknownReasons, unattestedSeconds, observedSeconds } = status;
  return {
    verifier: { id: verifierId, region, version },
    mode,
    policy: { loaded: policyLoaded, name: policyName },
    log: { size: Number(status.logSize), root: Buffer.from(status.logRoot).toString("hex") },
    nodes: { total: nodesTotal, attested: nodesAttested, unattested: status.nodesUnattested.map(nodeView) },
    containers: {
      clean: status.containersClean,
      warning: status.containersWarning,
      drifted: status.containersDrifted,
      unknown: status.containersUnknown,
      unknownReasons,
    },
    provenance: { signed: status.signedContainers, unsigned: status.unsignedContainers, unknown: status.provenanceUnknownContainers },
    coverage: { unattestedSeconds, observedSeconds },
    vulnerabilities: vulnerabilityView(status.vulnerabilities),
    attention: status.attention.map(driftView),
    actuators: status.actuators,
    namespaces: status.namespaces,
    claims: claims(status.claims),
    now: isoTime(status.now),
  };
}
