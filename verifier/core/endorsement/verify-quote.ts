/**
 * Is this a fresh quote by this AK over exactly these PCR values and this binding?
 * It does NOT say that the PCR values are good, that the AK is enrolled, or that the nonce in the binding was issued and unused.
 */
import { createHash, verify } from "node:crypto";
import { CodecError } from "@hullmark/proto/codec";
import type { AttestationKey } from "./attestation-key.ts";
import { type ClockRefusal, checkClock } from "./check-clock.ts";
import { NotAQuoteError, type PcrSelection, parseQuote, type QuoteAttest, type TpmClock } from "./tpm-attest.ts";
import { HASH_BYTES, type TpmHash } from "./tpm-constants.ts";

/** An ECDSA P-256 signature in DER is at most 72 bytes. */
export const MAX_SIGNATURE_BYTES = 72;
const MAX_PCR_VALUES = 48;

export interface PcrValue {
  readonly bank: TpmHash;
  /** 0..23. */
  readonly index: number;
  readonly value: Uint8Array;
}

export interface QuoteInput {
  /** TPMS_ATTEST and its ECDSA signature (DER): from the node. */
  readonly attest: Uint8Array;
  readonly signature: Uint8Array;
  /** The values that the node says it quoted, in any order. */
  readonly pcrs: readonly PcrValue[];
}
export interface QuoteExpectation {
  readonly key: AttestationKey;
  /** `quoteExtraData(binding)`, every field of the binding from what the verifier itself knows. */
  readonly extraData: Buffer;
  /** PCRs that policy asks for: exactly these must be quoted, not one more or fewer. */
  readonly selection: readonly PcrSelection[];
  /** Clock of the newest accepted quote of this AK; undefined for its first. */
  readonly previousClock: TpmClock | undefined;
}

export interface QuoteClaims {
  readonly clock: TpmClock;
  /** TPM resets since the previous accepted quote; 0 for the first. */
  readonly resets: number;
  readonly firmwareVersion: bigint;
  /** As supplied; every one is covered by the signed digest. */
  readonly pcrs: readonly PcrValue[];
}
export type QuoteRefusal =
  | "attest-malformed"
  | "signature-malformed"
  /** More PCR values than there are PCRs. */
  | "pcrs-malformed"
  | "not-a-quote"
  | "wrong-signer"
  | "bad-signature"
  /** Another nonce, node, session key, evidence, ...: the quote was made for something else. */
  | "wrong-binding"
  | "wrong-pcr-selection"
  | "wrong-pcr-values"
  | ClockRefusal;
export type QuoteResult = { readonly ok: true; readonly claims: QuoteClaims } | { readonly ok: false; readonly reason: QuoteRefusal; readonly detail: string };

export function verifyQuote(input: QuoteInput, want: QuoteExpectation): QuoteResult {
  if (input.signature.length > MAX_SIGNATURE_BYTES)
    return refuse("signature-malformed", `signature of ${input.signature.length} bytes, limit ${MAX_SIGNATURE_BYTES}`);
  const quote = parse(input.attest);
  if ("reason" in quote) return quote;
  if (!quote.qualifiedSigner.equals(want.key.qualifiedName)) return refuse("wrong-signer", `signed by ${quote.qualifiedSigner.toString("hex")}`);
  // DER is the default encoding; naming it in an options object costs a sixth of the whole.
  if (!verify("sha256", input.attest, want.key.publicKey, input.signature)) return refuse("bad-signature", "not a signature of this AK");
  if (!quote.extraData.equals(want.extraData)) return refuse("wrong-binding", "the quote commits to another nonce, session, node or evidence");
  return checkPcrs(quote, input.pcrs, want) ?? clockResult(quote, input.pcrs, want.previousClock);
}

function refuse(reason: QuoteRefusal, detail: string): { ok: false; reason: QuoteRefusal; detail: string } {
  return { ok: false, reason, detail };
}

function parse(attest: Uint8Array): QuoteAttest | { ok: false; reason: QuoteRefusal; detail: string } {
  try {
    return parseQuote(attest);
  } catch (error) {
    if (error instanceof NotAQuoteError) return refuse("not-a-quote", error.message);
    if (error instanceof CodecError) return refuse("attest-malformed", error.message);
    throw error;
  }
}

/** Both ways: every PCR asked for is quoted and supplied, and none is quoted or supplied that was not asked for. */
function checkPcrs(quote: QuoteAttest, pcrs: readonly PcrValue[], want: QuoteExpectation): QuoteResult | undefined {
  if (pcrs.length > MAX_PCR_VALUES) return refuse("pcrs-malformed", `${pcrs.length} PCR values, limit ${MAX_PCR_VALUES}`);
  const quoted = namesOf(quote.selection);
  const wanted = new Set(namesOf(want.selection));
  const supplied = new Map(pcrs.map((pcr) => [`${pcr.bank}:${pcr.index}`, pcr]));
  if (supplied.size !== pcrs.length) return refuse("wrong-pcr-selection", "a PCR was supplied twice");
  const unwanted = [...quoted, ...supplied.keys()].find((name) => !wanted.has(name));
  if (unwanted) return refuse("wrong-pcr-selection", `PCR ${unwanted} was not asked for`);
  if (quoted.length !== wanted.size) return refuse("wrong-pcr-selection", `${quoted.length} PCRs are quoted, ${wanted.size} were asked for`);
  const digest = createHash("sha256");
  for (const name of quoted) {
    const pcr = supplied.get(name);
    if (!pcr) return refuse("wrong-pcr-selection", `PCR ${name} is quoted but not supplied`);
    if (pcr.value.length !== HASH_BYTES[pcr.bank]) return refuse("wrong-pcr-values", `PCR ${name} of ${pcr.value.length} bytes`);
    digest.update(pcr.value);
  }
  if (!digest.digest().equals(quote.pcrDigest)) return refuse("wrong-pcr-values", "the supplied PCR values are not the quoted ones");
  return undefined;
}

function namesOf(selection: readonly PcrSelection[]): string[] {
  return selection.flatMap(({ bank, pcrs }) => pcrs.map((pcr) => `${bank}:${pcr}`));
}

function clockResult(quote: QuoteAttest, pcrs: readonly PcrValue[], previous: TpmClock | undefined): QuoteResult {
  const problem = previous && checkClock(previous, quote.clock);
  if (problem) return refuse(problem.reason, problem.detail);
  const resets = previous ? quote.clock.resetCount - previous.resetCount : 0;
  return { ok: true, claims: { clock: quote.clock, resets, firmwareVersion: quote.firmwareVersion, pcrs } };
}
