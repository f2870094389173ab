/** What the verifier makes for itself at its first start: log key, an admin's certificate (in a cluster also a responder's and a viewer's) and a configuration for the command. Owner-only. */
import { createPrivateKey, generateKeyPairSync, hash, type KeyObject, X509Certificate } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { LogKeys } from "./adapters/log-signer/index.ts";
import type { VerifierConfig } from "./config.ts";
import { clusterActuatorUri } from "./core/enrolment/peer-identity.ts";
import type { People } from "./core/people/people.ts";
import { parseVerifierKey } from "./core/transparency/note.ts";
import type { CertificateAuthority, IssuedCertificate } from "./ports/certificate-authority.ts";
import type { KeyToken } from "./ports/signing-key.ts";

const DAY_MS = 86_400_000;
const ADMIN_CERTIFICATE_MS = 365 * DAY_MS;
/** Long before people are told that it ends (HullmarkCertificateExpires: thirty days). */
const RENEW_BEFORE_MS = 60 * DAY_MS;
const SERVER_CERTIFICATE_MS = 397 * DAY_MS;

export interface KeyAndChain {
  readonly notAfterMs: number;
  readonly privateKeyPem: Buffer;
  readonly chainPem: Buffer;
}

export function makeStateDirectory(directory: string): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
}

/** @throws SignerError */
export function logKeys({ stateDirectory, verifierId, region, log }: VerifierConfig, token: KeyToken | undefined): Promise<LogKeys> {
  return LogKeys.open(log.keyFile ?? join(stateDirectory, "log.key"), log.name ?? `hullmark/${region}/${verifierId}`, token && { token, as: "log" });
}

/** How long the longest history was whose loss somebody accepted, in STATE/accepted-history: outlives the database. */
export function acceptedHistory({ stateDirectory }: VerifierConfig): { read(): number; write(size: number): void } {
  const file = join(stateDirectory, "accepted-history");
  return {
    read: () => (existsSync(file) ? Math.max(0, Math.floor(Number(readFileSync(file, "utf8")) || 0)) : 0),
    write: (size) => replaceFile(file, `${size}\n`),
  };
}

function replaceFile(path: string, content: string | Buffer): void {
  using file = new Replacements();
  file.add(path, content);
  file.take();
}

/** Files that replace those before together, once all of them are on disk; at its end those that did not are removed, for there are keys among them. */
class Replacements implements Disposable {
  #paths: string[] = [];

  add(path: string, content: string | Buffer): void {
    writeFileSync(`${path}.new`, content, { mode: 0o600, flush: true });
    this.#paths.push(path);
  }

  take(): void {
    for (const path of this.#paths) renameSync(`${path}.new`, path);
    this.#paths = [];
  }

  [Symbol.dispose](): void {
    for (const path of this.#paths) rmSync(`${path}.new`, { force: true });
  }
}

/** What intents are signed with: a key of its own, so that whoever may sign one thing may not sign the other. @throws SignerError */
export function intentKeys({ stateDirectory, verifierId, region }: VerifierConfig, token: KeyToken | undefined): Promise<LogKeys> {
  return LogKeys.open(join(stateDirectory, "intent.key"), `hullmark/${region}/${verifierId}/intents`, token && { token, as: "intent" });
}

/** Whether what the verifier certified for itself is to be made anew. What ends with its root is not: it would end no later (docs/keys.md#ca). @param notAfterMs its end */
export function isCertificateDue(notAfterMs: number, rootPem: string, nowMs: number): boolean {
  return notAfterMs - nowMs <= RENEW_BEFORE_MS && notAfterMs < Date.parse(new X509Certificate(rootPem).validTo);
}

/** A fresh key and certificate for the listeners: neither outlives the process. */
export async function serverCertificate(authority: CertificateAuthority, names: readonly string[]): Promise<KeyAndChain> {
  const { privateKey, publicKey } = newKey();
  const { chain, notAfterMs } = await authority.issueServer(names, spkiOf(publicKey), SERVER_CERTIFICATE_MS);
  return { notAfterMs, privateKeyPem: pkcs8Pem(privateKey), chainPem: Buffer.from(chain.map(certificatePem).join("") + authority.serverChainPem) };
}

export interface AdminFiles {
  readonly mainPort: number;
  readonly httpPort: number;
  /** One a line, the one in use first: each signs the log's checkpoints. */
  readonly logVerifierKeys: string;
}

/** Who there is a credential for: always an admin, the others where a cluster's people are to have one. */
type PeopleRole = "admin" | "responder" | "viewer";
/** And the cluster's actuator, which is no person. */
export type PublishedRole = PeopleRole | "actuator";

/**
 * Writes STATE/admin: certificate and key of an operator with the role admin, and the command's configuration (each time, ports may change); and the like for other roles,
 * without configuration. Certificates are made anew in the last two months of their year, and when the CA is another one or the name was revoked. Where one file cannot be
 * written, all are as they were.
 * @returns whether any was
 */
export async function writeAdminFiles(
  config: VerifierConfig,
  authority: CertificateAuthority,
  people: Pick<People, "counts" | "issueOwn">,
  { mainPort, httpPort, logVerifierKeys }: AdminFiles,
  nowMs: number,
): Promise<boolean> {
  let anew = false;
  using files = new Replacements();
  for (const role of peopleRoles(config)) {
    const write = writerIn(files, join(config.stateDirectory, role));
    write("ca.crt", authority.trustedPem);
    write("log.pub", logVerifierKeys);
    const made = await writeCredential(files, join(config.stateDirectory, role), authority, nowMs, {
      counts: ({ raw }) => people.counts(role, { certificateSha256: hash("sha256", raw) }),
      issue: (publicKey) => people.issueOwn({ name: role, role, publicKey, lifetimeMs: ADMIN_CERTIFICATE_MS }),
    });
    anew ||= made;
  }
  const name = config.advertisedNames[0] ?? "localhost";
  const text = commandConfig(config.region, `${bracketed(name)}:${mainPort}`, `${hostOf(config.listen.http, name)}:${httpPort}`);
  writerIn(files, join(config.stateDirectory, "admin"))("config.yaml", text);
  files.take();
  return anew;
}

/** Whose credentials the cluster is handed. */
export function publishedRoles(config: VerifierConfig): readonly PublishedRole[] {
  return config.kubernetes?.publish?.actuatorSecret === undefined ? peopleRoles(config) : [...peopleRoles(config), "actuator"];
}

function peopleRoles({ kubernetes }: VerifierConfig): readonly PeopleRole[] {
  const { responderSecret, viewerSecret } = kubernetes?.publish ?? {};
  return ["admin", ...(responderSecret === undefined ? [] : (["responder"] as const)), ...(viewerSecret === undefined ? [] : (["viewer"] as const))];
}

/**
 * Writes STATE/actuator where the cluster's actuator is to have its credentials from the cluster: the same files as `hullmark node actuator` writes, made anew as those of people,
 * and where the cluster's name is another one; likewise all or none.
 * @returns whether its certificate was @throws SignerError
 */
export async function writeActuatorFiles(
  config: VerifierConfig,
  authority: CertificateAuthority,
  intents: Pick<LogKeys, "signing">,
  nowMs: number,
): Promise<boolean> {
  const { kubernetes, stateDirectory, region } = config;
  if (kubernetes?.publish?.actuatorSecret === undefined) return false;
  const directory = join(stateDirectory, "actuator");
  using files = new Replacements();
  const write = writerIn(files, directory);
  write("ca.crt", authority.trustedPem);
  write("intent.pub", intents.signing.map(({ verifierKey }) => parseVerifierKey(verifierKey).publicKey.export({ type: "spki", format: "pem" })).join(""));
  const anew = await writeCredential(files, directory, authority, nowMs, {
    counts: ({ subjectAltName }) => subjectAltName === `URI:${clusterActuatorUri(region, kubernetes.cluster)}`,
    issue: (spki) => authority.issueClusterActuator(kubernetes.cluster, spki, ADMIN_CERTIFICATE_MS),
  });
  files.take();
  return anew;
}

function writerIn(files: Replacements, directory: string): (name: string, content: string | Buffer) => void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  return (name, content) => files.add(join(directory, name), content);
}

/** @returns whether it was made anew */
async function writeCredential(
  files: Replacements,
  directory: string,
  { rootPem }: CertificateAuthority,
  nowMs: number,
  { counts, issue }: { readonly counts: (certificate: X509Certificate) => boolean; readonly issue: (spki: Uint8Array) => Promise<IssuedCertificate> },
): Promise<boolean> {
  if (isGood(join(directory, "client.crt"), join(directory, "client.key"), rootPem, nowMs, counts)) return false;
  const write = writerIn(files, directory);
  const { privateKey, publicKey } = newKey();
  // Before it is certified: where nothing can be written, each new attempt would leave one more certificate that counts.
  write("client.key", pkcs8Pem(privateKey));
  const { chain } = await issue(spkiOf(publicKey));
  write("client.crt", chain.map(certificatePem).join(""));
  return true;
}

/** The same folder for whoever reaches the listeners' ports on their own machine, as `kubectl port-forward` brings them; the actuator's as it is. After {@link writeAdminFiles}. */
export function publishedFiles(
  { stateDirectory, region }: VerifierConfig,
  { mainPort, httpPort }: AdminFiles,
  role: PublishedRole = "admin",
): Readonly<Record<string, string>> {
  const read = (name: string): [string, string] => [name, readFileSync(join(stateDirectory, role, name), "utf8")];
  if (role === "actuator") return Object.fromEntries(["ca.crt", "client.crt", "client.key", "intent.pub"].map(read));
  const config = commandConfig(region, `localhost:${mainPort}`, `localhost:${httpPort}`);
  return { ...Object.fromEntries(["ca.crt", "client.crt", "client.key", "log.pub"].map(read)), "config.yaml": config };
}

/** @param http `host:port` of the HTTP listener, under which the log is */
function commandConfig(region: string, address: string, http: string): string {
  const logUrl = `http://${http}/log`;
  const context = { address, caFile: "ca.crt", certFile: "client.crt", keyFile: "client.key", logUrl, logKeyFile: "log.pub" };
  return stringify({ currentContext: region, contexts: { [region]: context } });
}

/** Whether a certificate (PEM) counts, is of this CA and this key, and is not due. A crash between the two files leaves a new key beside an old one. */
function isGood(file: string, keyFile: string, rootPem: string, nowMs: number, counts: (certificate: X509Certificate) => boolean): boolean {
  try {
    const [certificate, root] = [new X509Certificate(readFileSync(file)), new X509Certificate(rootPem)];
    const ofCa = certificate.checkIssued(root) && certificate.verify(root.publicKey);
    return (
      counts(certificate) &&
      ofCa &&
      certificate.checkPrivateKey(createPrivateKey(readFileSync(keyFile))) &&
      !isCertificateDue(certificate.validToDate.getTime(), rootPem, nowMs)
    );
  } catch {
    return false; // not there, or damaged: made anew
  }
}

function hostOf(address: string, name: string): string {
  const host = address.slice(0, address.lastIndexOf(":"));
  return host === "0.0.0.0" || host === "[::]" ? bracketed(name) : host;
}

function bracketed(name: string): string {
  return name.includes(":") ? `[${name}]` : name;
}

function newKey(): { privateKey: KeyObject; publicKey: KeyObject } {
  return generateKeyPairSync("ec", { namedCurve: "P-256" });
}

function spkiOf(key: KeyObject): Buffer {
  return key.export({ type: "spki", format: "der" });
}

function pkcs8Pem(key: KeyObject): Buffer {
  return Buffer.from(key.export({ type: "pkcs8", format: "pem" }));
}

function certificatePem(der: Buffer): string {
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}
