/** Certificates and revocation lists as operators give them: PEM (RFC 7468), one or several in a text, with whatever stands between them. */
import { X509Certificate } from "node:crypto";
import { type CertificateList, entriesOf, readCrl } from "./crl.ts";

const MAX_PEM_CHARS = 1 << 20;
/** The serial of no certificate: every entry is looked at, and none found. */
const NOBODY = Buffer.alloc(0);

/** @throws Error whose message goes on after "it": what it holds, or lacks */
export function certificatesIn(pem: string): X509Certificate[] {
  return blocksIn(pem, "CERTIFICATE", "certificate").map((der, i, { length }) => {
    try {
      return new X509Certificate(der);
    } catch (cause) {
      throw new Error(`holds a certificate that cannot be read${nth(i, length)}`, { cause });
    }
  });
}

/** Each read to its end. @throws Error as {@link certificatesIn} */
export function revocationListsIn(pem: string): CertificateList[] {
  return blocksIn(pem, "X509 CRL", "revocation list").map((der, i, { length }) => {
    try {
      const list = readCrl(der);
      entriesOf(list, NOBODY);
      return list;
    } catch (cause) {
      throw new Error(`holds a revocation list that cannot be read${nth(i, length)}: ${(cause as Error).message}`, { cause });
    }
  });
}

function nth(i: number, length: number): string {
  return length === 1 ? "" : ` (${i + 1} of ${length})`;
}

/** Contents, in order. @throws Error where there is none, or one has no end or holds what is no base64 */
function blocksIn(pem: string, label: string, what: string): Buffer[] {
  if (pem.length > MAX_PEM_CHARS) throw new Error(`holds more than ${MAX_PEM_CHARS} characters`);
  const [, ...parts] = pem.split(`-----BEGIN ${label}-----`);
  if (parts.length === 0) throw new Error(`holds no ${what} in PEM`);
  return parts.map((part, i, { length }) => {
    const end = part.indexOf(`-----END ${label}-----`);
    const text = part.slice(0, Math.max(0, end)).replaceAll(/\s/g, "");
    if (end < 0) throw new Error(`holds a ${what} without an end${nth(i, length)}`);
    if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text)) throw new Error(`holds a ${what} that is no base64${nth(i, length)}`);
    return Buffer.from(text, "base64");
  });
}
