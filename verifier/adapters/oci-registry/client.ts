/** The OCI distribution API (distribution-spec v1.1) over {@link HttpTransport}. Everything that a registry answers is untrusted and bounded. */
import { hash } from "node:crypto";
import {
  type AttachedManifest,
  type Descriptor,
  type FetchedManifest,
  MAX_MANIFEST_BYTES,
  type Registry,
  RegistryError,
  type RegistryWriter,
} from "../../ports/registry.ts";
import { Authenticator } from "./auth.ts";
import type { CredentialSource } from "./docker-config.ts";
import { appendToFallback, fallbackTag, INDEX_MEDIA_TYPE, nextPage, parseReferrers } from "./referrers.ts";
import {
  asRegistryError,
  type HttpRequest,
  type HttpResponse,
  HttpTransport,
  parseUrl,
  pause,
  readBody,
  retryAfterMs,
  type TransportOptions,
} from "./transport.ts";
import { Turns } from "./turns.ts";

export interface OciRegistryOptions extends TransportOptions {
  /** Default: anonymous. */
  readonly credentials?: CredentialSource | undefined;
}

/** Image manifests and indexes, OCI and Docker schema 2. Schema 1 has no config digest and is not asked for. */
const MANIFEST_TYPES = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.docker.distribution.manifest.v2+json",
].join(", ");

const DIGEST = /^sha256:[0-9a-f]{64}$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;
const NAME = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*$/;
const HOST = /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|\[[0-9A-Fa-f:]{2,39}\])(?::\d{1,5})?$/;
const MAX_ERROR_BYTES = 16 * 1024;
/** Pages of the referrers API that are followed. */
const MAX_REFERRER_PAGES = 16;
/** Tries to append to a fallback tag that others write too. */
const MAX_ATTACH_ATTEMPTS = 12;
/** Between reading an entry back and looking whether it is still there. */
const SETTLE_MS = 150;
const NOTHING = new Uint8Array(0);
/** Of an upload in parts: registries may want 5 MiB at the least. */
const PART_BYTES = 8 * 1024 * 1024;

interface Repository {
  readonly host: string;
  readonly name: string;
}

type Access = "pull" | "pull,push";

export class OciRegistry implements Registry, RegistryWriter {
  readonly #transport: HttpTransport;
  readonly #auth: Authenticator;
  readonly #turns = new Turns();

  constructor(options: OciRegistryOptions = {}) {
    this.#transport = new HttpTransport(options);
    this.#auth = new Authenticator(this.#transport, options.credentials ?? (async () => undefined));
  }

  /** Closes kept connections. */
  close(): void {
    this.#transport.close();
  }

  async manifest(repository: string, reference: string, maxBytes: number, signal: AbortSignal): Promise<FetchedManifest> {
    const target = parseRepository(repository);
    checkReference(reference);
    const response = await this.#call(target, "pull", { method: "GET", path: `manifests/${reference}`, headers: { accept: MANIFEST_TYPES } }, signal);
    await expectStatus(response, [200], `${repository} ${reference}`, signal);
    const bytes = await readBody(response, Math.min(maxBytes, MAX_MANIFEST_BYTES), signal);
    const digest = digestOf(bytes);
    if (DIGEST.test(reference) && digest !== reference)
      throw new RegistryError("DIGEST_MISMATCH", `${repository}: asked for ${reference}, was served ${digest}`);
    return { mediaType: (response.headers["content-type"] ?? "").split(";")[0]?.trim() ?? "", digest, bytes };
  }

  async *blob(repository: string, digest: string, signal: AbortSignal): AsyncGenerator<Buffer, void, void> {
    const target = parseRepository(repository);
    checkDigest(digest);
    const response = await this.#call(target, "pull", { method: "GET", path: `blobs/${digest}`, headers: {} }, signal);
    await expectStatus(response, [200], `${repository} blob ${digest}`, signal);
    try {
      yield* response.body as AsyncIterable<Buffer>;
      if (!response.body.complete) throw new RegistryError("UNAVAILABLE", `${target.host} broke off in the middle of a blob`);
    } catch (error) {
      throw asRegistryError(error, target.host, signal);
    } finally {
      response.body.destroy();
    }
  }

  async referrers(repository: string, digest: string, signal: AbortSignal): Promise<readonly Descriptor[]> {
    checkDigest(digest);
    return (await this.#referrersByApi(repository, digest, signal)) ?? (await this.#referrersByTag(repository, digest, signal)).descriptors;
  }

  /** It keeps no answers. */
  anew(): Registry {
    return this;
  }

  async pushBlob(repository: string, bytes: Uint8Array, signal: AbortSignal): Promise<{ readonly digest: string; readonly size: number }> {
    const target = parseRepository(repository);
    const digest = digestOf(bytes);
    const head = await this.#call(target, "pull,push", { method: "HEAD", path: `blobs/${digest}`, headers: {} }, signal);
    head.body.destroy();
    if (head.status === 200) return { digest, size: bytes.length };
    const start = await this.#call(target, "pull,push", { method: "POST", path: "blobs/uploads/", headers: {}, body: NOTHING }, signal);
    await expectStatus(start, [202], `${repository}: start of an upload`, signal);
    start.body.destroy();
    await this.#endUpload(target, this.#uploadAt(target, start), digest, bytes, signal);
    return { digest, size: bytes.length };
  }

  async pushStream(
    repository: string,
    { digest, size }: Pick<Descriptor, "digest" | "size">,
    read: () => AsyncIterable<Buffer>,
    mountFrom: string | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const target = parseRepository(repository);
    checkDigest(digest);
    const head = await this.#call(target, "pull,push", { method: "HEAD", path: `blobs/${digest}`, headers: {} }, signal);
    head.body.destroy();
    if (head.status === 200) return;
    const from = mountFrom === undefined ? undefined : parseRepository(mountFrom);
    const mount = from?.host === target.host ? `?mount=${digest}&from=${from.name}` : "";
    const start = await this.#call(target, "pull,push", { method: "POST", path: `blobs/uploads/${mount}`, headers: {}, body: NOTHING }, signal);
    await expectStatus(start, [201, 202], `${repository}: start of an upload`, signal);
    start.body.destroy();
    if (start.status === 201) return;
    let location = this.#uploadAt(target, start);
    let sent = 0;
    for await (const part of inParts(read())) {
      if (sent + part.length > size) throw new RegistryError("MALFORMED", `${repository} blob ${digest} is longer than its ${size} bytes`);
      const headers = { "content-type": "application/octet-stream", "content-range": `${sent}-${sent + part.length - 1}` };
      const taken = await this.#call(target, "pull,push", { method: "PATCH", url: location, headers, body: part }, signal);
      await expectStatus(taken, [202], `${repository} blob ${digest}`, signal);
      taken.body.destroy();
      location = this.#uploadAt(target, taken);
      sent += part.length;
    }
    if (sent !== size) throw new RegistryError("MALFORMED", `${repository} blob ${digest} has ${sent} bytes, not ${size}`);
    await this.#endUpload(target, location, digest, NOTHING, signal);
  }

  /** Where an upload goes on. */
  #uploadAt({ host }: Repository, { headers, url }: HttpResponse): URL {
    const location = parseUrl(headers.location ?? "", url);
    // An upload that is sent elsewhere would take our credentials along.
    if (location.origin !== url.origin && !this.#transport.permits(location)) throw new RegistryError("INSECURE", `${host} sends uploads to ${location.host}`);
    return location;
  }

  async #endUpload(target: Repository, location: URL, digest: string, rest: Uint8Array, signal: AbortSignal): Promise<void> {
    location.searchParams.set("digest", digest);
    const done = await this.#call(
      target,
      "pull,push",
      { method: "PUT", url: location, headers: { "content-type": "application/octet-stream" }, body: rest },
      signal,
    );
    await expectStatus(done, [201], `${target.host}/${target.name} blob ${digest}`, signal);
    done.body.destroy();
  }

  async pushManifest(repository: string, reference: string, mediaType: string, bytes: Uint8Array, signal: AbortSignal): Promise<string> {
    return (await this.#putManifest(repository, reference, mediaType, bytes, signal)).digest;
  }

  async attach(repository: string, subjectDigest: string, manifest: AttachedManifest, signal: AbortSignal): Promise<Descriptor> {
    checkDigest(subjectDigest);
    const { mediaType, artifactType, annotations, bytes } = manifest;
    const pushed = await this.#putManifest(repository, digestOf(bytes), mediaType, bytes, signal);
    const descriptor: Descriptor = { mediaType, digest: pushed.digest, size: bytes.length, artifactType, annotations };
    // OCI-Subject: the registry indexes referrers itself (distribution-spec, "Pushing Manifests with Subject").
    if (pushed.subject === subjectDigest) return descriptor;
    const listed = await this.#referrersByApi(repository, subjectDigest, signal);
    if (listed?.some((entry) => entry.digest === descriptor.digest)) return descriptor;
    return this.#turns.take(`${repository}@${subjectDigest}`, () => this.#appendByTag(repository, subjectDigest, descriptor, signal));
  }

  /**
   * Registries have no compare-and-swap. Own writers take turns; writers elsewhere are met by reading back, once more after a while,
   * and writing again what they threw out.
   */
  async #appendByTag(repository: string, subjectDigest: string, descriptor: Descriptor, signal: AbortSignal): Promise<Descriptor> {
    let settled = false;
    for (let attempt = 0; attempt < MAX_ATTACH_ATTEMPTS; attempt++) {
      const { index, descriptors } = await this.#referrersByTag(repository, subjectDigest, signal);
      if (descriptors.some((entry) => entry.digest === descriptor.digest)) {
        if (settled) return descriptor;
        settled = true;
        await pause(SETTLE_MS * (0.5 + Math.random()), signal);
        continue;
      }
      settled = false;
      await this.pushManifest(repository, fallbackTag(subjectDigest), INDEX_MEDIA_TYPE, appendToFallback(index, descriptor), signal);
    }
    throw new RegistryError("CONFLICT", `${repository}: the list of what refers to ${subjectDigest} kept being overwritten`);
  }

  /** undefined: the registry has no referrers API. */
  async #referrersByApi(repository: string, digest: string, signal: AbortSignal): Promise<readonly Descriptor[] | undefined> {
    const target = parseRepository(repository);
    const found: Descriptor[] = [];
    let page: { path: string } | { url: URL } = { path: `referrers/${digest}` };
    for (let count = 0; count < MAX_REFERRER_PAGES; count++) {
      const response = await this.#call(target, "pull", { method: "GET", ...page, headers: { accept: INDEX_MEDIA_TYPE } }, signal);
      if (count === 0 && [400, 404, 405].includes(response.status)) {
        response.body.destroy();
        return undefined;
      }
      await expectStatus(response, [200], `${repository}: referrers of ${digest}`, signal);
      // A registry without the API may answer any path with a page of its own.
      const type = (response.headers["content-type"] ?? "").split(";")[0]?.trim();
      if (type !== INDEX_MEDIA_TYPE) {
        response.body.destroy();
        return undefined;
      }
      found.push(...parseReferrers(await readBody(response, MAX_MANIFEST_BYTES, signal), repository));
      const next = nextPage(response.headers["link"], response.url);
      if (!next) return found;
      if (next.origin !== response.url.origin) throw new RegistryError("MALFORMED", `${target.host}: the next page of referrers is elsewhere`);
      page = { url: next };
    }
    throw new RegistryError("TOO_LARGE", `${repository}: more than ${MAX_REFERRER_PAGES} pages of referrers of ${digest}`);
  }

  async #referrersByTag(
    repository: string,
    digest: string,
    signal: AbortSignal,
  ): Promise<{ readonly index: Buffer | undefined; readonly descriptors: readonly Descriptor[] }> {
    try {
      const { bytes } = await this.manifest(repository, fallbackTag(digest), MAX_MANIFEST_BYTES, signal);
      return { index: bytes, descriptors: parseReferrers(bytes, repository) };
    } catch (error) {
      if (error instanceof RegistryError && error.code === "NOT_FOUND") return { index: undefined, descriptors: [] };
      throw error;
    }
  }

  async #putManifest(repository: string, reference: string, mediaType: string, bytes: Uint8Array, signal: AbortSignal) {
    const target = parseRepository(repository);
    checkReference(reference);
    const response = await this.#call(
      target,
      "pull,push",
      { method: "PUT", path: `manifests/${reference}`, headers: { "content-type": mediaType }, body: bytes },
      signal,
    );
    await expectStatus(response, [201, 202], `${repository} ${reference}`, signal);
    response.body.destroy();
    const subject = response.headers["oci-subject"];
    return { digest: digestOf(bytes), subject: typeof subject === "string" ? subject : undefined };
  }

  /** One API call, with what the registry asks for in authentication. */
  async #call(
    target: Repository,
    access: Access,
    call: Omit<HttpRequest, "url"> & ({ readonly path: string } | { readonly url: URL }),
    signal: AbortSignal,
  ): Promise<HttpResponse> {
    const host = target.host;
    const scope = `repository:${target.name}:${access}`;
    const { method, headers, body } = call;
    const origin = new URL(`${this.#transport.scheme(host)}://${host}/`);
    const url = "url" in call ? call.url : new URL(`/v2/${target.name}/${call.path}`, origin);
    const sameHost = url.origin === origin.origin;
    const send = (authorization: string | undefined) =>
      this.#transport.request(
        { method, url, body, headers: { "user-agent": "hullmark", ...headers, ...(authorization && sameHost ? { authorization } : {}) } },
        signal,
      );
    const known = this.#auth.remembered(host, scope);
    const response = await send(known);
    if (response.status !== 401) return response;
    response.body.destroy();
    const answer = await this.#auth.answer(host, scope, response.headers["www-authenticate"], signal);
    if (answer === undefined) throw new RegistryError("UNAUTHORIZED", `${host}/${target.name} asks for credentials`);
    return send(answer);
  }
}

/** Splits `host[:port]/name`. @throws RegistryError BAD_REFERENCE */
function parseRepository(repository: string): Repository {
  const slash = repository.indexOf("/");
  const host = repository.slice(0, Math.max(slash, 0));
  const name = repository.slice(slash + 1);
  if (repository.length > 512 || !HOST.test(host) || !NAME.test(name)) throw new RegistryError("BAD_REFERENCE", "not a repository: want host[:port]/name");
  return { host: host === "docker.io" ? "registry-1.docker.io" : host, name };
}

function checkReference(reference: string): void {
  if (!DIGEST.test(reference) && !TAG.test(reference)) throw new RegistryError("BAD_REFERENCE", "neither a sha256 digest nor a tag");
}

function checkDigest(digest: string): void {
  if (!DIGEST.test(digest)) throw new RegistryError("BAD_REFERENCE", "not a sha256 digest");
}

async function* inParts(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, void> {
  let held: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of chunks) {
    held.push(chunk);
    bytes += chunk.length;
    if (bytes < PART_BYTES) continue;
    yield Buffer.concat(held, bytes);
    held = [];
    bytes = 0;
  }
  if (bytes > 0) yield Buffer.concat(held, bytes);
}

function digestOf(bytes: Uint8Array): string {
  return `sha256:${hash("sha256", bytes)}`;
}

/** @throws RegistryError for any status that is not among `wanted`; its text holds nothing that the registry wrote but an error code */
async function expectStatus(response: HttpResponse, wanted: readonly number[], what: string, signal: AbortSignal): Promise<void> {
  const { status } = response;
  if (wanted.includes(status)) return;
  const body = await readBody(response, MAX_ERROR_BYTES, signal).catch(() => Buffer.alloc(0));
  const code = /"code"\s*:\s*"([A-Z_]{1,40})"/.exec(body.toString("latin1"))?.[1];
  const told = `HTTP ${status}${code ? `, ${code}` : ""}`;
  if (status === 404) throw new RegistryError("NOT_FOUND", `${what}: not in the registry`);
  if (status === 401) throw new RegistryError("UNAUTHORIZED", `${what}: the credentials are refused (${told})`);
  if (status === 403) throw new RegistryError("DENIED", `${what}: access is denied (${told})`);
  if (status === 429)
    throw new RegistryError("RATE_LIMITED", `${what}: too many requests`, { retryAfterMs: retryAfterMs(response.headers["retry-after"], Date.now()) });
  if (status >= 500)
    throw new RegistryError("UNAVAILABLE", `${what}: the registry fails (${told})`, {
      retryAfterMs: retryAfterMs(response.headers["retry-after"], Date.now()),
    });
  throw new RegistryError("MALFORMED", `${what}: unexpected answer (${told})`);
}
