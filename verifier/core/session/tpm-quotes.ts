/** Quotes of nodes with a TPM: nonces of this region, the binding from what the verifier itself knows, verification by core/endorsement. */
import { quoteExtraData } from "@hullmark/proto/codec";
import type { QuoteReport } from "@hullmark/proto/v1/attestation";
import type { NonceSource } from "../../ports/nonce-source.ts";
import type { NodeRow } from "../../ports/rows.ts";
import { type AttestationKey, type PcrSelection, type PcrValue, readAttestationKey, readEndorsementKey, verifyQuote } from "../endorsement/index.ts";
import type { QuoteAuthority, QuoteOutcome } from "./quotes.ts";

export interface TpmQuoteOptions {
  readonly nonces: NonceSource;
  readonly verifierId: string;
  readonly region: string;
  /** PCRs that every node quotes, of each bank ascending: exactly these. */
  readonly selection: readonly PcrSelection[];
}

/** What nonces of attestation streams are bound to, beside node and expiry. */
const NONCE_SESSION = "attestation";
const EMPTY = Buffer.alloc(0);
const MAX_DIGEST_BYTES = 64;

export function tpmQuotes({ nonces, verifierId, region, selection }: TpmQuoteOptions): QuoteAuthority {
  /** By the AK's bytes in the node's row: reading a key costs more than a verification. */
  const keys = new WeakMap<Buffer, AttestationKey>();
  return {
    issue: (nodeId, expiresAtMs) => nonces.issue({ session: NONCE_SESSION, nodeId, expiresAtMs }),
    redeem: (nonce, nodeId, expiresAtMs) => nonces.redeem(nonce, { session: NONCE_SESSION, nodeId, expiresAtMs }),
    verify(report, { node, spkiSha256, evidenceDigest, stateRoot }): QuoteOutcome {
      const key = keyOf(node, keys);
      if (!key) return { ok: false, code: "no-key", detail: "no attestation key is on record for this node" };
      const pcrValues = report.pcrs.flatMap(({ bank, index, value }): PcrValue[] => (bank === "sha256" || bank === "sha384" ? [{ bank, index, value }] : []));
      if (pcrValues.length !== report.pcrs.length) return { ok: false, code: "pcr-bank", detail: "a PCR bank of unknown kind" };
      const extraData = quoteExtraData({
        verifierId,
        region,
        nonce: report.nonce,
        spkiSha256,
        tlsExporter: EMPTY,
        nodeId: node.id,
        bootId: node.bootId,
        seq: report.seq,
        evidenceDigest,
        stateRoot,
        imaCount: 0n,
        imaAggregate: EMPTY,
        eventLogSha256: report.eventLogSha256.subarray(0, MAX_DIGEST_BYTES),
        // What the agent says that it measured by: true, since it is signed; whether it is what it should be is judged after.
        policyDigest: boundedDigest(report),
      });
      const result = verifyQuote(
        { attest: report.attest, signature: report.signature, pcrs: pcrValues },
        { key, extraData, selection, previousClock: node.clock },
      );
      if (!result.ok) return { ok: false, code: result.reason, detail: result.detail };
      const { clock, pcrs, firmwareVersion } = result.claims;
      return { ok: true, clock, pcrs, firmwareVersion };
    },
  };
}

function boundedDigest({ policyDigest }: QuoteReport): Uint8Array {
  return policyDigest.subarray(0, MAX_DIGEST_BYTES);
}

function keyOf({ ekPublic, akPublic }: NodeRow, keys: WeakMap<Buffer, AttestationKey>): AttestationKey | undefined {
  if (!ekPublic || !akPublic) return undefined;
  const known = keys.get(akPublic);
  if (known) return known;
  const ek = readEndorsementKey(ekPublic);
  const ak = ek.ok ? readAttestationKey(akPublic, ek.key) : ek;
  if (!ak.ok) return undefined;
  keys.set(akPublic, ak.key as AttestationKey);
  return ak.key as AttestationKey;
}
