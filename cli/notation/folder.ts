/** Notation's configuration on disk: the trust policy document, and trust stores below `truststore/x509/`. No link is followed, as the specification has it. */
import { X509Certificate } from "node:crypto";
import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { certificatesIn } from "@hullmark/verifier/core/certificates/pem";
import { because } from "../output/because.ts";
import { SigningError } from "../signing/errors.ts";
import type { StoreName } from "./document.ts";

/** The first that is there is the one that notation reads. */
const DOCUMENTS = ["trustpolicy.oci.json", "trustpolicy.json"] as const;
const MAX_FILE_BYTES = 1 << 20;
const MAX_FILES = 64;

/** @throws SigningError FILE */
export function readDocument(folder: string): { readonly text: string; readonly file: string; readonly passedOver: string | undefined } {
  const [file, passedOver] = DOCUMENTS.filter(
    (name) => attempt(join(folder, name), () => lstatSync(join(folder, name), { throwIfNoEntry: false })) !== undefined,
  );
  if (file === undefined) throw new SigningError("FILE", `${folder} holds no trust policy: neither ${DOCUMENTS.join(" nor ")}`);
  return { text: readPlain(join(folder, file)).toString("utf8"), file: join(folder, file), passedOver };
}

/** PEM, one certificate each. @throws SigningError FILE, USAGE where a store is not as the specification wants it */
export function readStore(folder: string, { kind, name }: StoreName): readonly string[] {
  const store = join(folder, "truststore", "x509", kind, name);
  const files = attempt(store, () => {
    if (!lstatSync(store).isDirectory()) throw new Error("it is no directory (links are not followed)");
    return readdirSync(store).sort();
  });
  if (files.length === 0 || files.length > MAX_FILES)
    throw new SigningError("USAGE", `${store} holds ${files.length} files: want 1 to ${MAX_FILES} certificates`);
  return files.flatMap((file) => {
    const path = join(store, file);
    const certificates = certificatesOf(readPlain(path), path);
    for (const certificate of certificates) {
      const self = certificate.checkIssued(certificate) && certificate.verify(certificate.publicKey);
      if (!self && (kind === "tsa" || !certificate.ca))
        throw new SigningError("USAGE", `${path} holds a certificate that is no ${kind === "tsa" ? "root" : "authority's"}`);
    }
    return certificates.map((certificate) => certificate.toString());
  });
}

function certificatesOf(bytes: Buffer, path: string): readonly X509Certificate[] {
  try {
    if (bytes.includes("-----BEGIN ")) return certificatesIn(bytes.toString("latin1"));
    const certificate = new X509Certificate(bytes);
    if (!certificate.raw.equals(bytes)) throw new Error("holds more than one certificate in DER");
    return [certificate];
  } catch (cause) {
    throw new SigningError("USAGE", `${path} is no certificate in PEM or DER: ${(cause as Error).message}`, { cause });
  }
}

function readPlain(path: string): Buffer {
  return attempt(path, () => {
    const stat = lstatSync(path);
    if (!stat.isFile()) throw new Error("it is no plain file (links are not followed)");
    if (stat.size > MAX_FILE_BYTES) throw new Error(`${stat.size} bytes, limit ${MAX_FILE_BYTES}`);
    return readFileSync(path);
  });
}

function attempt<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new SigningError("FILE", `${path} cannot be read: ${because(cause)}`, { cause });
  }
}
