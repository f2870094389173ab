/** Numbers of TPM 2.0 Part 2 (Structures) that endorsement needs. */

export const TPM_ALG = { RSA: 0x0001, AES: 0x0006, SHA256: 0x000b, SHA384: 0x000c, NULL: 0x0010, ECDSA: 0x0018, ECC: 0x0023, CFB: 0x0043 } as const;
export const TPM_CURVE = { P256: 0x0003, P384: 0x0004 } as const;
export const TPM_GENERATED_VALUE = 0xff544347;
export const TPM_ST_ATTEST_QUOTE = 0x8018;
/** Handle of the endorsement hierarchy: its name, as the start of every qualified name below it. */
export const TPM_RH_ENDORSEMENT = 0x4000000b;

/** TPMA_OBJECT (8.3). */
export const ATTRIBUTE = {
  fixedTpm: 1 << 1,
  stClear: 1 << 2,
  fixedParent: 1 << 4,
  sensitiveDataOrigin: 1 << 5,
  userWithAuth: 1 << 6,
  adminWithPolicy: 1 << 7,
  noDa: 1 << 10,
  encryptedDuplication: 1 << 11,
  restricted: 1 << 16,
  decrypt: 1 << 17,
  sign: 1 << 18,
  x509Sign: 1 << 19,
} as const;
export const KNOWN_ATTRIBUTES: number = Object.values(ATTRIBUTE).reduce((all, bit) => all | bit, 0);

/** Hash algorithms that may name a key or make a PCR bank. */
export type TpmHash = "sha256" | "sha384";
export const HASH_BYTES: Readonly<Record<TpmHash, number>> = { sha256: 32, sha384: 48 };

/** Banks that a quote may name; sha1 ones are read, never accepted. */
export type PcrBankHash = "sha1" | TpmHash;
const TPM_ALG_SHA1 = 0x0004;

export function bankOf(algorithm: number): PcrBankHash | undefined {
  return algorithm === TPM_ALG_SHA1 ? "sha1" : hashOf(algorithm);
}

export function hashOf(algorithm: number): TpmHash | undefined {
  if (algorithm === TPM_ALG.SHA256) return "sha256";
  return algorithm === TPM_ALG.SHA384 ? "sha384" : undefined;
}
