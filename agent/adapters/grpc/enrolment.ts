/** Gets a client certificate from the verifier: TPM credential activation and a quote, or a token, or (without TPM) the certificate it has. A fresh key each time. */
import { createHash, generateKeyPair, type KeyObject, randomUUID, X509Certificate } from "node:crypto";
import { promisify } from "node:util";
import { credentials } from "@grpc/grpc-js";
import { CHAIN_START, EMPTY_ROOT, quoteExtraData } from "@hullmark/proto/codec";
import { RpcChannel } from "@hullmark/proto/rpc";
import { type BeginResponse, type CompleteResponse, Enrollment } from "@hullmark/proto/v1/enrollment";
import type { Quoter } from "../../ports/quoter.ts";
import { certificateRequest } from "./certificate-request.ts";

const ENROL_TIMEOUT_MS = 60_000;
/** Sent as the quote's policy digest while no policy is known. */
const NO_POLICY = Buffer.alloc(32);

export interface EnrolmentOptions {
  /** `host:port` of the verifier's enrolment listener. */
  readonly address: string;
  /** PEM of the verifier's CA, one root or more: never learnt from a peer that is not known by it already. */
  readonly caCertificate: Buffer;
  /** Told the roots (DER) by which the verifier, known by the present ones, says that it is known from now on. */
  readonly learnRoots?: (roots: readonly Uint8Array[]) => void;
  readonly nodeName: string;
  readonly bootId: string;
  /** undefined: no TPM, join by token. */
  readonly quoter: Quoter | undefined;
  readonly joinToken: string | undefined;
  /** Reads the service-account token that the kubelet keeps fresh: instead of a join token. undefined: this is no pod's agent. */
  readonly serviceAccountToken?: (() => string) | undefined;
  /** PCRs to quote. */
  readonly pcrs: readonly number[];
}

export interface Credential {
  /** PEM, leaf first. */
  readonly certificateChain: string;
  readonly privateKey: string;
  readonly spkiSha256: Buffer;
  readonly verifierId: string;
  readonly region: string;
  readonly nodeId: string;
}

export interface Issued extends Credential {
  /** From when it was asked for, so that it does not matter what this node's clock says. */
  readonly lifetimeMs: number;
}

/**
 * @param answerMs how long its first answer is waited for, with the connection; nothing is spent before it
 * @throws RpcError as the verifier refuses or cannot be reached; QuoterError where the TPM fails
 */
export async function enrol(options: EnrolmentOptions, signal: AbortSignal, answerMs = ENROL_TIMEOUT_MS): Promise<Issued> {
  const channel = new RpcChannel(options.address, credentials.createSsl(options.caCertificate));
  try {
    const client = channel.client(Enrollment);
    const call = { signal, timeoutMs: ENROL_TIMEOUT_MS };
    const { keys, spkiSha256 } = await freshKeys();
    const begun = await client.begin(await beginRequest(options, signal), { signal, timeoutMs: answerMs });
    const proof = options.quoter ? await tpmProof(options, options.quoter, begun, spkiSha256, signal) : {};
    const completed = await client.complete({ session: begun.session, certificateRequest: requestFor(keys), ...proof }, call);
    options.learnRoots?.(completed.caCertificates);
    return { ...certified(completed, keys), spkiSha256, verifierId: begun.verifierId, region: begun.region, nodeId: begun.nodeId };
  } finally {
    channel.close();
  }
}

/**
 * A new key and certificate for a node without TPM, by the certificate that it has: a join token works only once.
 * @param address `host:port` of the verifier's main listener @param answerMs how long the answer is waited for, with the connection; nothing is spent by it
 * @throws RpcError
 */
export async function renew(
  address: string,
  { caCertificate, learnRoots }: Pick<EnrolmentOptions, "caCertificate" | "learnRoots">,
  present: Credential,
  signal: AbortSignal,
  answerMs = ENROL_TIMEOUT_MS,
): Promise<Issued> {
  const channel = new RpcChannel(address, credentials.createSsl(caCertificate, Buffer.from(present.privateKey), Buffer.from(present.certificateChain)));
  try {
    const { keys, spkiSha256 } = await freshKeys();
    const request = { session: "", certificateRequest: requestFor(keys) };
    const completed = await channel.client(Enrollment).complete(request, { signal, timeoutMs: answerMs });
    learnRoots?.(completed.caCertificates);
    const { verifierId, region, nodeId } = present;
    return { ...certified(completed, keys), spkiSha256, verifierId, region, nodeId };
  } finally {
    channel.close();
  }
}

interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

async function freshKeys(): Promise<{ readonly keys: KeyPair; readonly spkiSha256: Buffer }> {
  const keys = await promisify(generateKeyPair)("ec", { namedCurve: "P-256" });
  return {
    keys,
    spkiSha256: createHash("sha256")
      .update(keys.publicKey.export({ type: "spki", format: "der" }))
      .digest(),
  };
}

function certified({ certificateChain, notAfter, lifetimeSeconds }: CompleteResponse, { privateKey }: KeyPair) {
  return {
    certificateChain: certificateChain.map((der) => new X509Certificate(der).toString()).join(""),
    privateKey: privateKey.export({ type: "pkcs8", format: "pem" }) as string,
    // A verifier that does not say tells the end by its clock alone.
    lifetimeMs: lifetimeSeconds > 0 ? lifetimeSeconds * 1000 : Number(notAfter?.seconds ?? 0n) * 1000 - Date.now(),
  };
}

async function beginRequest({ nodeName, bootId, quoter, joinToken, serviceAccountToken }: EnrolmentOptions, signal: AbortSignal) {
  if (!quoter && serviceAccountToken) return { nodeName, bootId, evidence: { case: "serviceAccountToken" as const, value: serviceAccountToken() } };
  if (!quoter) return { nodeName, bootId, evidence: { case: "joinToken" as const, value: joinToken ?? "" } };
  const identity = await quoter.identify(signal);
  const value = {
    ekPublic: identity.ekPublic,
    ekCertificate: identity.ekCertificate ?? new Uint8Array(),
    ekIntermediates: [...(identity.ekIntermediates ?? [])],
    akPublic: identity.akPublic,
  };
  return { nodeName, bootId, evidence: { case: "tpm" as const, value } };
}

async function tpmProof(options: EnrolmentOptions, quoter: Quoter, begun: BeginResponse, spkiSha256: Buffer, signal: AbortSignal) {
  const activatedSecret = await quoter.activate(Buffer.from(begun.credentialBlob), Buffer.from(begun.encryptedSecret), signal);
  const extraData = quoteExtraData({
    verifierId: begun.verifierId,
    region: begun.region,
    nonce: begun.nonce,
    spkiSha256,
    tlsExporter: Buffer.alloc(0),
    nodeId: begun.nodeId,
    bootId: options.bootId,
    seq: 0n,
    evidenceDigest: CHAIN_START,
    stateRoot: EMPTY_ROOT,
    imaCount: 0n,
    imaAggregate: Buffer.alloc(0),
    eventLogSha256: Buffer.alloc(0),
    policyDigest: NO_POLICY,
  });
  const { attest, signature, pcrs } = await quoter.quote(extraData, options.pcrs, signal);
  const quote = {
    nonce: begun.nonce,
    seq: 0n,
    evidenceDigest: CHAIN_START,
    stateRoot: EMPTY_ROOT,
    bootId: options.bootId,
    attest,
    signature,
    pcrs: [...pcrs],
    policyDigest: NO_POLICY,
  };
  return { activatedSecret, quote };
}

/** The subject is a random name: the verifier decides the identity, the request only carries the key. */
function requestFor(keys: KeyPair): Uint8Array {
  return certificateRequest(randomUUID(), keys);
}
