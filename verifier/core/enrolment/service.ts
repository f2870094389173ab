/**
 * Enrolment in two steps. Step 1: the node presents its TPM (or a token) and gets a challenge that only the TPM with that EK and AK can answer.
 * Step 2: it answers, quotes over the nonce and its fresh client key, and gets a certificate for that key. Renewal is the same again.
 */
import { hash, timingSafeEqual } from "node:crypto";
import { CHAIN_START, EMPTY_ROOT, quoteExtraData } from "@hullmark/proto/codec";
import type { EnrolledNode, KnownNode } from "../../ports/enrolment-records.ts";
import { makeCredential, SECRET_BYTES } from "../endorsement/make-credential.ts";
import type { TpmClock } from "../endorsement/tpm-attest.ts";
import { verifyQuote } from "../endorsement/verify-quote.ts";
import { admit, type Candidate, readCandidate, type TpmCandidate } from "./candidate.ts";
import { readRequestKey } from "./certificate-request.ts";
import { isBootId, isNodeName, nodeIdOfKubernetesNode } from "./decide.ts";
import { PendingTable } from "./pending.ts";
import { EnrolmentRate, networkOf } from "./rate.ts";
import { type Refused, refused } from "./refusals.ts";
import { ServiceAccountTokens } from "./service-account.ts";
import type { BeginEnrolment, BeginResult, CompleteEnrolment, CompleteResult, EnrolmentOptions } from "./types.ts";

const DEFAULT_CHALLENGE_LIFETIME_MS = 60_000;
export const MAX_CERTIFICATE_LIFETIME_MS = 3_600_000;
/** What a quote at enrolment commits to where later ones commit to Evidence. */
const NO_POLICY = Buffer.alloc(32);

interface Pending {
  readonly nodeId: string;
  readonly nodeName: string;
  readonly bootId: string;
  readonly candidate: Candidate;
  /** Of the address that it was begun from. */
  readonly network: string;
  readonly secretSha256: Buffer;
  readonly nonce: Buffer;
  readonly expiresAtMs: number;
}

export class EnrolmentService {
  readonly #options: EnrolmentOptions;
  readonly #pending: PendingTable<Pending>;
  readonly #tokens: ServiceAccountTokens;
  readonly #rate: EnrolmentRate;

  constructor(options: EnrolmentOptions) {
    this.#options = options;
    this.#tokens = new ServiceAccountTokens(options.serviceAccounts);
    this.#pending = new PendingTable(options.pendingLimits);
    this.#rate = new EnrolmentRate(options.beginsPerSecond);
  }

  /**
   * Rejects only when records cannot be read: nothing was decided then.
   * @param peer address of who asks, for the limits of its rate and of what it has under way; those without one count as one
   */
  async begin(request: BeginEnrolment, peer = ""): Promise<BeginResult> {
    const { clock, records, policy, trust, nonces } = this.#options;
    const nowMs = clock.nowMs();
    const rate = this.#rate.take(peer, nowMs);
    if (rate !== "ok") return refused(rate, "more enrolments begin than are served in the time");
    const { nodeName, bootId } = request;
    if (!isNodeName(nodeName)) return refused("node-name", "node name: 1 to 253 of A-Z a-z 0-9 . _ -, letters or digits at the ends");
    if (!isBootId(bootId)) return refused("boot-id", "boot id is no UUID");
    const { evidence } = request;
    const candidate = evidence.kind === "service-account" ? await this.#tokens.review(evidence.token, nowMs) : readCandidate(evidence, trust, nowMs);
    if ("ok" in candidate) return candidate;
    const { admission } = await admit(candidate, nodeName, policy, records, nowMs);
    if (!admission.ok) return admission;
    const session = nonces.random(16).toString("hex");
    const expiresAtMs = nowMs + (this.#options.challengeLifetimeMs ?? DEFAULT_CHALLENGE_LIFETIME_MS);
    const nonce = nonces.issue({ session, nodeId: admission.nodeId, expiresAtMs });
    const secret = nonces.random(SECRET_BYTES);
    const whose = { nodeId: admission.nodeId, nodeName, bootId, candidate, network: networkOf(peer) };
    this.#pending.add(session, { ...whose, secretSha256: hash("sha256", secret, "buffer"), nonce, expiresAtMs }, nowMs);
    const none = Buffer.alloc(0);
    const credential =
      candidate.kind === "tpm"
        ? makeCredential(candidate.ek, candidate.ak.name, secret, (bytes) => nonces.random(bytes))
        : { credentialBlob: none, encryptedSecret: none };
    return { ok: true, session, ...credential, nonce, nodeId: admission.nodeId, expiresAtMs };
  }

  /** Rejects when records cannot be read or written, or the CA fails. The session is used up in every case. */
  async complete(request: CompleteEnrolment): Promise<CompleteResult> {
    const { clock, records, policy, nonces } = this.#options;
    const nowMs = clock.nowMs();
    const pending = this.#pending.take(request.session, nowMs);
    if (pending === "unknown") return refused("unknown-session", "no such enrolment is under way");
    if (pending === "expired") return refused("expired", "the challenge has expired");
    const { candidate, nonce, nodeId, expiresAtMs } = pending;
    if (nonces.redeem(nonce, { session: request.session, nodeId, expiresAtMs }) !== "ok") return refused("nonce-spent", "the nonce is used or expired");
    const spki = await readRequestKey(request.certificateRequest);
    if (!spki) return refused("certificate-request", "not a request for a P-256 key that is signed by it");
    const { admission, known } = await admit(candidate, pending.nodeName, policy, records, nowMs);
    if (!admission.ok) return admission;
    if (admission.nodeId !== nodeId) return refused("identity-changed", "the node's identity changed during enrolment");
    const proof = candidate.kind === "tpm" ? this.#prove(pending, candidate, known, request, spki) : { clock: undefined };
    if ("ok" in proof) return proof;
    const node = enrolledNode(pending, admission, known, proof.clock);
    const spendToken = candidate.kind === "token" ? { sha256: candidate.tokenSha256, nowMs } : undefined;
    // Before anything is spent: where it cannot be told, the token serves for another try.
    const withheld = await this.#withheld(nodeId);
    const recorded = await records.record({ node, spendToken, spendNonce: { nonce, expiresAtMs } });
    if (recorded === "spent") return refused("spent-by-another", "the token or nonce was used by another enrolment");
    if (recorded === "revoked") return refused("revoked", `node ${nodeId} is revoked`);
    if (recorded === "changed") return refused("identity-changed", "the node's attestation key changed during enrolment");
    if (recorded === "in-use") return refused("node-in-use", "the node lives under another attestation key");
    return { ok: true, ...(await this.#certify(nodeId, spki, withheld)), trust: node.trust, node };
  }

  /**
   * A new certificate for a node without TPM, whose token is spent: it shows the one that it has.
   * @param nodeId from {@link readPeerIdentity} of the authenticated peer, never from the request
   */
  async renewByCertificate(nodeId: string, certificateRequest: Uint8Array): Promise<CompleteResult> {
    const node = await this.#options.records.findNode(nodeId);
    if (node?.trust !== "none") return refused("renewal-with-tpm", "only a node without TPM renews by its certificate");
    if (node.revoked) return refused("revoked", `node ${nodeId} is revoked`);
    // Its token is there as long as its pod is: a certificate alone would outlive both.
    if (nodeId === nodeIdOfKubernetesNode(node.name)) return refused("renewal-by-account", "a node of Kubernetes renews by its service-account token");
    const spki = await readRequestKey(certificateRequest);
    if (!spki) return refused("certificate-request", "not a request for a P-256 key that is signed by it");
    return { ok: true, ...(await this.#certify(nodeId, spki, await this.#withheld(nodeId))), trust: "none", node: undefined };
  }

  async #withheld(nodeId: string): Promise<boolean> {
    return (await this.#options.withheld?.(nodeId)) ?? false;
  }

  async #certify(nodeId: string, spki: Buffer, withheld: boolean) {
    const { authority } = this.#options;
    const as = withheld ? "untrusted" : "node";
    const lifetimeMs = Math.min(this.#options.certificateLifetimeMs ?? MAX_CERTIFICATE_LIFETIME_MS, MAX_CERTIFICATE_LIFETIME_MS);
    return { ...(await authority.issueNode(nodeId, spki, lifetimeMs, as)), lifetimeMs, authorities: authority.trusted };
  }

  /** The TPM opened the credential (so it holds EK and AK), and the AK quotes over this nonce, this node and this client key. */
  #prove(pending: Pending, candidate: TpmCandidate, known: KnownNode | undefined, request: CompleteEnrolment, spki: Buffer): { clock: TpmClock } | Refused {
    if (!timingSafeEqual(hash("sha256", request.activatedSecret, "buffer"), pending.secretSha256))
      return refused("activation", "the TPM did not open the credential");
    if (!request.quote) return refused("no-quote", "no quote");
    const { attest, signature, pcrs } = request.quote;
    if (!pcrs) return refused("pcr-bank", "a PCR bank of unknown kind");
    const { verifierId, region, selection } = this.#options;
    const none = Buffer.alloc(0);
    const extraData = quoteExtraData({
      ...{ verifierId, region, nonce: pending.nonce, nodeId: pending.nodeId, bootId: pending.bootId },
      ...{ spkiSha256: hash("sha256", spki, "buffer"), tlsExporter: none, policyDigest: NO_POLICY },
      ...{ seq: 0n, evidenceDigest: CHAIN_START, stateRoot: EMPTY_ROOT, imaCount: 0n, imaAggregate: none, eventLogSha256: none },
    });
    const previousClock = known?.akPublic?.equals(candidate.akPublic) ? known.clock : undefined;
    const quote = verifyQuote({ attest, signature, pcrs }, { key: candidate.ak, extraData, selection, previousClock });
    return quote.ok ? { clock: quote.claims.clock } : refused(quote.reason, `${quote.reason}: ${quote.detail}`);
  }
}

function enrolledNode(
  { candidate, bootId }: Pending,
  { nodeId, name, trust }: { readonly nodeId: string; readonly name: string; readonly trust: EnrolledNode["trust"] },
  known: KnownNode | undefined,
  clock: TpmClock | undefined,
): EnrolledNode {
  if (candidate.kind !== "tpm") {
    const none = { ekSha256: undefined, ekPublic: undefined, akPublic: undefined, clock: undefined, tpmModel: undefined };
    return { id: nodeId, name, trust, bootId, ...none, akReplaced: false };
  }
  const { ek, ekPublic, akPublic, certificate } = candidate;
  const model = certificate?.ok ? certificate.model : undefined;
  return {
    ...{ id: nodeId, name, trust, bootId, ekSha256: ek.sha256, ekPublic, akPublic, clock },
    ekCertificateSha256: certificate?.ok ? certificate.sha256 : undefined,
    tpmModel: model && `${model.manufacturer} ${model.model} ${model.version}`,
    akReplaced: known?.akPublic !== undefined && !known.akPublic.equals(akPublic),
  };
}
