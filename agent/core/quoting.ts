/** Answers a challenge: a quote that binds the nonce, the session's key and the newest Evidence. What cannot be quoted is told, not hidden. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { quoteExtraData } from "@hullmark/proto/codec";
import type { Challenge, QuoteReportSchema } from "@hullmark/proto/v1/attestation";
import type { ImaList } from "../ports/ima-list.ts";
import type { Quoter } from "../ports/quoter.ts";
import type { ChainPosition } from "./node-evidence.ts";

export interface QuoteContext {
  readonly bootId: string;
  readonly pcrs: readonly number[];
  /** Of the newest Evidence; waits where there is none yet. */
  position(): Promise<ChainPosition & { readonly stateRoot: Buffer }>;
  policyDigest(): Uint8Array;
  spkiSha256(): Buffer;
  /** SHA-256 of the measured-boot event log; empty where there is none. */
  readonly eventLogSha256: Uint8Array;
  readonly imaList: ImaList;
  binding(): { readonly verifierId: string; readonly region: string; readonly nodeId: string };
}

/** @param quoter undefined: this node has no TPM */
export async function answerChallenge(
  challenge: Challenge,
  quoter: Quoter | undefined,
  context: QuoteContext,
  signal: AbortSignal,
): Promise<MessageInitShape<typeof QuoteReportSchema>> {
  const { bootId, pcrs, eventLogSha256 } = context;
  const { seq, digest, stateRoot } = await context.position();
  const policyDigest = context.policyDigest();
  const report = { nonce: challenge.nonce, seq, evidenceDigest: digest, stateRoot, bootId, policyDigest, eventLogSha256 };
  if (!quoter) return { ...report, failure: { code: "no-tpm", detail: "this node has no TPM" } };
  const extraData = quoteExtraData({
    ...context.binding(),
    nonce: challenge.nonce,
    spkiSha256: context.spkiSha256(),
    tlsExporter: Buffer.alloc(0),
    bootId,
    seq,
    evidenceDigest: digest,
    stateRoot,
    imaCount: 0n,
    imaAggregate: Buffer.alloc(0),
    eventLogSha256,
    policyDigest,
  });
  try {
    const quote = await quoter.quote(extraData, pcrs, signal);
    const signed = { ...report, attest: quote.attest, signature: quote.signature, pcrs: quote.pcrs.map((pcr) => ({ ...pcr })) };
    // Read after the quote: then it holds at least what the quote covers.
    const from = challenge.imaFrom;
    const ima = from === undefined ? undefined : await context.imaList.read(Number(from)).catch(() => undefined);
    // A list that cannot be read takes nothing from the quote: the verifier sees that it is not told.
    return ima === undefined ? signed : { ...signed, ima: { start: challenge.imaFrom as bigint, ...ima } };
  } catch (error) {
    signal.throwIfAborted();
    return { ...report, failure: { code: "quote-failed", detail: error instanceof Error ? error.message : "the TPM failed" } };
  }
}
