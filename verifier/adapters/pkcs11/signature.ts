/** Signatures as PKCS#11 has them, and as everybody else does. */

/** DER of DigestInfo (RFC 8017, 9.2) for SHA-256 up to the digest. */
const SHA256_INFO = Buffer.from("3031300d060960864801650304020105000420", "hex");

/** What RSA PKCS#1 v1.5 pads and signs. @param digest SHA-256, 32 bytes */
export function digestInfo(digest: Uint8Array): Buffer {
  return Buffer.concat([SHA256_INFO, digest]);
}

/** ECDSA-Sig-Value (RFC 3279, 2.2.3) of `r ‖ s`, at most 2 × 48 bytes. */
export function derSignature(raw: Uint8Array): Buffer {
  const half = raw.length / 2;
  const integers = Buffer.concat([derInteger(raw.subarray(0, half)), derInteger(raw.subarray(half))]);
  return Buffer.concat([Buffer.of(0x30, integers.length), integers]);
}

function derInteger(bytes: Uint8Array): Buffer {
  const first = bytes.findIndex((byte) => byte !== 0);
  const value = first < 0 ? Buffer.of(0) : Buffer.from(bytes.subarray(first));
  const padded = (value[0] as number) >= 0x80 ? Buffer.concat([Buffer.of(0), value]) : value;
  return Buffer.concat([Buffer.of(0x02, padded.length), padded]);
}
