/** The part of a policy that says whom to believe: authorities, the trust roots behind them, and what is trusted no more. */

import { certificatesIn, revocationListsIn } from "../certificates/pem.ts";
import { publicKeyProblem } from "./fields.ts";
import type { PolicyFile } from "./schema.ts";
import { nearest } from "./suggest.ts";
import type { Authority, IdentityMatch, Report, Revocation, Signer, TrustRoot, TrustStore } from "./types.ts";

type FileAuthority = PolicyFile["spec"]["authorities"][number];
type FileSigner = Omit<FileAuthority, "name" | "anyOf">;
type FileRevocation = PolicyFile["spec"]["revocations"][number];
type Path = readonly PropertyKey[];

export interface AuthorityContext {
  readonly trustRoots: readonly string[];
  readonly trustStores: readonly string[];
  readonly readFile: (path: string) => string;
  readonly report: Report;
}

type PemList = "certificates" | "timestampAuthorities" | "revocationLists";
type PemFiles = "files" | "timestampAuthorityFiles" | "revocationListFiles";
const CERTIFICATE_FIX = "give PEM; out of DER: openssl x509 -inform der -in FILE -out FILE.pem";
const LIST_FIX = "fetch the list anew, and give PEM; out of DER: openssl crl -inform der -in FILE -out FILE.pem";
const SIGNER_KINDS = ["key", "keyFile", "keyless", "notary"] as const;
const REVOCABLE = ["key", "keyFile", "identity", "certificate", "digest", "layers", "builder", "commits"] as const;

export function buildTrustRoot(
  { name, file, json: inline, requireLog, requireSct }: PolicyFile["spec"]["trustRoots"][number],
  path: Path,
  context: AuthorityContext,
): TrustRoot {
  const at = [...path, file === undefined ? "json" : "file"];
  if ((file === undefined) === (inline === undefined))
    context.report("error", path, "wants either `file` or `json`", "give the file that holds the trusted_root.json, or its content");
  const json = inline ?? (file === undefined ? "" : (read(file, at, context) ?? ""));
  if (json !== "" && !isTrustedRoot(json))
    context.report("error", at, "is not a trusted_root.json", "give a sigstore TrustedRoot (`cosign trusted-root create`), with certificateAuthorities");
  if (!requireLog)
    context.report("warning", [...path, "requireLog"], "signatures count that no log holds", "keep it for deployments without a transparency log");
  return { name, json, requireLog, requireSct };
}

export function buildTrustStore(file: PolicyFile["spec"]["trustStores"][number], path: Path, context: AuthorityContext): TrustStore {
  const { name, scheme, revocation, requireTimestamp } = file;
  const at = (key: keyof typeof file, i: number) => [...path, key, i];
  const texts = (inline: PemList, files: PemFiles) => [
    ...file[inline].map((pem, i) => ({ pem, at: at(inline, i) })),
    ...file[files].flatMap((name, i) => {
      const pem = read(name, at(files, i), context);
      return pem === undefined ? [] : [{ pem, at: at(files, i) }];
    }),
  ];
  const checked = (inline: PemList, files: PemFiles, parse: (pem: string) => unknown, fix: string) =>
    texts(inline, files).map(({ pem, at: place }) => {
      try {
        parse(pem);
      } catch (error) {
        context.report("error", place, (error as Error).message, fix);
      }
      return pem.trim().replaceAll("\r\n", "\n");
    });
  if (file.files.length + file.certificates.length === 0) context.report("error", path, "holds no certificate", "list `files`, or `certificates` in PEM");
  if (requireTimestamp && (scheme !== "ca" || file.timestampAuthorities.length + file.timestampAuthorityFiles.length === 0))
    context.report(
      "error",
      [...path, "requireTimestamp"],
      "can be met by nothing",
      "list the roots of timestamp authorities, in a store of the scheme `ca`; or leave it out",
    );
  return {
    ...{ name, scheme, revocation, requireTimestamp },
    certificates: checked("certificates", "files", certificatesIn, CERTIFICATE_FIX),
    timestampAuthorities: checked("timestampAuthorities", "timestampAuthorityFiles", certificatesIn, CERTIFICATE_FIX),
    revocationLists: checked("revocationLists", "revocationListFiles", revocationListsIn, LIST_FIX),
  };
}

export function buildAuthority(file: FileAuthority, path: Path, context: AuthorityContext): Authority {
  const { name, anyOf, ...own } = file;
  if (anyOf === undefined) return { name, signers: [buildSigner(own, path, context)] };
  const extra = [...SIGNER_KINDS, "validFrom", "validUntil"].find((key) => own[key as keyof FileSigner] !== undefined);
  if (extra) context.report("error", [...path, extra], "stands beside `anyOf`", "move it into the list");
  return { name, signers: anyOf.map((signer, i) => buildSigner(signer, [...path, "anyOf", i], context)) };
}

function buildSigner(file: FileSigner, path: Path, context: AuthorityContext): Signer {
  const given = SIGNER_KINDS.filter((kind) => file[kind] !== undefined);
  if (given.length !== 1)
    context.report(
      "error",
      path,
      "wants one of `key`, `keyFile`, `keyless` and `notary`",
      "give a public key inline (PEM), the file that holds it, or who a certificate names",
    );
  if (file.validFrom !== undefined && file.validUntil !== undefined && file.validFrom >= file.validUntil)
    context.report("error", [...path, "validUntil"], "is not after validFrom", "exchange the two, or correct one");
  const validity = { notBeforeMs: file.validFrom, notAfterMs: file.validUntil };
  if (file.notary) {
    const { trustStore, subject, anySubject } = file.notary;
    known(trustStore, context.trustStores, "trust store", "spec.trustStores", [...path, "notary", "trustStore"], context.report);
    if ((subject === undefined) === (anySubject === undefined))
      context.report("error", [...path, "notary"], "wants either `subject` or `anySubject: true`", "name who signs by at least one of C, ST, L, O, OU, CN");
    else if (subject === undefined)
      context.report("warning", [...path, "notary", "anySubject"], "counts whoever the trust store's authorities certify", "name who signs in `subject`");
    else if (Object.keys(subject).length === 0)
      context.report("error", [...path, "notary", "subject"], "names nobody", "give at least one of C, ST, L, O, OU, CN");
    else if (subject.O === undefined && subject.CN === undefined)
      context.report("warning", [...path, "notary", "subject"], "names neither an organisation nor a name", "add O or CN");
    return { kind: "notary", trustStore, subject: anySubject ? "any" : ((subject ?? {}) as Record<string, string>), ...validity };
  }
  if (!file.keyless) return { kind: "key", publicKeyPem: given.length === 1 ? publicKey(file, path, context) : "", ...validity };
  const { trustRoot, extensions } = file.keyless;
  known(trustRoot, context.trustRoots, "trust root", "spec.trustRoots", [...path, "keyless", "trustRoot"], context.report);
  return { kind: "keyless", trustRoot, extensions, ...identity(file.keyless, [...path, "keyless"], context.report), ...validity };
}

export function buildRevocation(file: FileRevocation, path: Path, context: AuthorityContext): Revocation {
  const given = REVOCABLE.filter((kind) => file[kind] !== undefined);
  if (given.length !== 1) context.report("error", path, "wants exactly one thing that is revoked", `give one of: ${REVOCABLE.join(", ")}`);
  const barring = file.digest !== undefined ? "a digest" : file.layers !== undefined ? "the layers of a base" : undefined;
  if (barring !== undefined && file.since !== undefined)
    context.report("error", [...path, "since"], `has no meaning for ${barring}`, "remove it: the image is barred");
  return { reason: file.reason, sinceMs: file.since, what: revoked(file, path, context) };
}

function revoked(file: FileRevocation, path: Path, context: AuthorityContext): Revocation["what"] {
  if (file.identity) return { kind: "identity", ...identity(file.identity, [...path, "identity"], context.report) };
  if (file.certificate !== undefined) return { kind: "certificate", sha256: file.certificate };
  if (file.layers !== undefined) return { kind: "layers", chainId: file.layers };
  if (file.builder !== undefined) return { kind: "builder", builder: file.builder };
  if (file.commits) return { kind: "commits", repository: file.commits.repository, commits: [...new Set(file.commits.ids)] };
  if (file.key !== undefined || file.keyFile !== undefined) return { kind: "key", publicKeyPem: publicKey(file, path, context) };
  return { kind: "digest", digest: file.digest ?? "" };
}

function identity(file: { issuer: string; subject?: string | undefined; subjectGlob?: string | undefined }, path: Path, report: Report): IdentityMatch {
  if ((file.subject === undefined) === (file.subjectGlob === undefined))
    report("error", path, "wants either `subject` or `subjectGlob`", "give the name exactly, or a glob that matches all of it");
  return { issuer: file.issuer, subject: file.subject !== undefined ? { exact: file.subject } : { glob: file.subjectGlob ?? "" } };
}

/** PEM, trimmed; empty where it was reported as wrong. */
function publicKey(file: { key?: string | undefined; keyFile?: string | undefined }, path: Path, context: AuthorityContext): string {
  const keyPath = [...path, file.key === undefined ? "keyFile" : "key"];
  const pem = file.key ?? read(file.keyFile ?? "", keyPath, context);
  if (pem === undefined) return "";
  const problem = publicKeyProblem(pem);
  if (problem) context.report("error", keyPath, `the key ${problem}`, "give a SubjectPublicKeyInfo in PEM, for example cosign.pub");
  return pem.trim().replaceAll("\r\n", "\n");
}

function read(file: string, path: Path, { readFile, report }: AuthorityContext): string | undefined {
  try {
    return readFile(file);
  } catch (error) {
    const what = path.at(-1) === "keyFile" ? "the key file" : "the file";
    report("error", path, `${what} cannot be read: ${error instanceof Error ? error.message : String(error)}`, "paths are relative to the policy file");
    return undefined;
  }
}

/** Whether it can be used is the verifier's to say; this tells a wrong file early. */
function isTrustedRoot(json: string): boolean {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === "object" && value !== null && "certificateAuthorities" in value && Array.isArray(value.certificateAuthorities);
  } catch {
    return false;
  }
}

/** Reports a name that nothing bears. */
export function known(name: string, names: readonly string[], what: string, place: string, path: Path, report: Report): void {
  if (names.includes(name)) return;
  const guess = nearest(name, names);
  report("error", path, `no ${what} is named "${name}"`, guess ? `did you mean "${guess}"?` : `add it under ${place}`);
}
