/** Crockford's base32, for names that people read out: without I, L, O, U, nothing to misread or to mishear. */
const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** @param value 0 or more; what is beyond `digits` of five bits each is cut off at the top */
export function base32(value: bigint, digits: number): string {
  let text = "";
  for (let i = 0, rest = value; i < digits; i++, rest >>= 5n) text = (ALPHABET[Number(rest & 31n)] ?? "") + text;
  return text;
}
