/**
 * What is to be known of an image that somebody wants to run: its digest, what belongs to it, what is attached. Equal questions at once are one look-up; what was
 * known stays usable for a time while a registry is away. A registry that is slow holds nobody longer than they wait, and takes no room of others.
 */
import { type FetchedManifest, MAX_MANIFEST_BYTES, type Registry, RegistryError } from "../../ports/registry.ts";
import {
  type CollectedArtefacts,
  collectArtefacts,
  type ImageManifest,
  type ImageReference,
  type ImageSubject,
  isImageEntry,
  MAX_CONFIG_BYTES,
  ProvenanceError,
  parseConfig,
  parseManifest,
  readBlob,
} from "../provenance/index.ts";

/** An image for one platform. */
export interface PlatformImage {
  readonly digest: string;
  /** undefined for what the index does not say. */
  readonly architecture: string | undefined;
  /** Known of the image itself, and of an index's after a deep look. */
  readonly configDigest: string | undefined;
  /** Of its layers, lowest first; known after a look for layers. */
  readonly diffIds: readonly string[] | undefined;
}

/** What is to be known: `named` of what the reference names; `images` of each of an index's images too; `layers` also what each is made of. Each holds what the one before does. */
export type Depth = "named" | "images" | "layers";
const DEPTHS: readonly Depth[] = ["named", "images", "layers"];

/** What is asked of a registry beyond what a reference names. */
export interface Look {
  readonly depth: Depth;
  /** What is attached to each of an index's images too: three requests an image, again and again, where the rest is asked for once. */
  readonly attached: boolean;
}

export interface AskedImage {
  readonly repository: string;
  /** Of the manifest or index that the reference names. */
  readonly digest: string;
  /** The image itself, or those of the index. */
  readonly platforms: readonly PlatformImage[];
  readonly isIndex: boolean;
  /** Attached to what the reference names, and where `looked.attached` to each platform's image. */
  readonly artefacts: CollectedArtefacts;
  /** At least. */
  readonly looked: Look;
  /** Unix milliseconds. */
  readonly knownAtMs: number;
  /** When the look began that was answered by nothing kept from before, Unix milliseconds; undefined: by no such look. */
  readonly anewAtMs: number | undefined;
}

export interface LookupServices {
  readonly registry: Registry;
  readonly nowMs: () => number;
  /** Ends every look-up. */
  readonly stopped: AbortSignal;
}

/** Younger answers need no question: signatures that were added show after it. */
const FRESH_MS = 30_000;
/** A refusal rests on no older ones: whoever signs what was refused, and tries again, is let in. Also how often that asks a registry, for one image. */
const REFUSED_FRESH_MS = 1000;
/** How long what is known may stand in for a registry that does not answer. What a tag named may have changed: it is believed for less long. */
const STALE_DIGEST_MS = 24 * 3_600_000;
const STALE_TAG_MS = 3_600_000;
/** A look-up goes on when nobody waits for it any more: the next who asks finds its answer. */
const LOOKUP_MS = 60_000;
const MAX_IN_FLIGHT = 128;
const MAX_IN_FLIGHT_HOST = 32;
const MAX_PLATFORMS = 32;
const MAX_KNOWN = 4096;
const MAX_KNOWN_BYTES = 128 * 1024 * 1024;

export class AdmissionLookup {
  readonly #services: LookupServices;
  /** The one that was not asked for longest first. */
  readonly #known = new Map<string, { readonly image: AskedImage; readonly bytes: number }>();
  readonly #flights = new Map<string, { readonly host: string; readonly result: Promise<AskedImage> }>();
  #bytes = 0;

  constructor(services: LookupServices) {
    this.#services = services;
  }

  /**
   * @param look at least
   * @param waiting how long the caller waits @throws RegistryError, ProvenanceError; the signal's reason
   */
  async image(reference: ImageReference, look: Look, waiting: AbortSignal): Promise<AskedImage> {
    const key = keyOf(reference);
    const known = this.#known.get(key)?.image;
    const usable = known && covers(known.looked, look) ? known : undefined;
    if (usable && this.#ageMs(usable) <= FRESH_MS) return usable;
    try {
      return await unlessAborted(this.#fly(key, reference, usable?.looked ?? look), waiting);
    } catch (error) {
      const away = waiting.aborted || (error instanceof RegistryError && error.retryable);
      if (usable && away && this.#ageMs(usable) <= staleMs(reference)) return usable;
      throw error;
    }
  }

  /**
   * The same image, as its registry tells it now. @param known what it was refused by
   * @returns `known`, where that is of now, or where the registry does not tell in time: a registry that is slow lets nobody in
   */
  async again(reference: ImageReference, known: AskedImage, waiting: AbortSignal): Promise<AskedImage> {
    if (known.anewAtMs !== undefined && Math.abs(this.#services.nowMs() - known.anewAtMs) <= REFUSED_FRESH_MS) return known;
    try {
      return await unlessAborted(this.#fly(keyOf(reference), reference, known.looked, true), waiting);
    } catch (error) {
      if (waiting.aborted || error instanceof RegistryError || error instanceof ProvenanceError) return known;
      throw error;
    }
  }

  /** What is known of it without a question, as long as that may stand in for a registry, whatever was looked at. */
  remembered(reference: ImageReference): AskedImage | undefined {
    const known = this.#known.get(keyOf(reference))?.image;
    return known && this.#ageMs(known) <= staleMs(reference) ? known : undefined;
  }

  #ageMs({ knownAtMs }: AskedImage): number {
    return Math.max(0, this.#services.nowMs() - knownAtMs);
  }

  #fly(key: string, reference: ImageReference, look: Look, anew = false): Promise<AskedImage> {
    const name = `${key} ${look.depth} ${look.attached} ${anew}`;
    const host = reference.repository.slice(0, reference.repository.indexOf("/"));
    const before = this.#flights.get(name);
    if (before) return before.result;
    const sameHost = [...this.#flights.values()].filter((flight) => flight.host === host).length;
    if (this.#flights.size >= MAX_IN_FLIGHT || sameHost >= MAX_IN_FLIGHT_HOST)
      return Promise.reject(new RegistryError("TIMEOUT", `${host}: too many images are being looked up; ask again`));
    const signal = AbortSignal.any([this.#services.stopped, AbortSignal.timeout(LOOKUP_MS)]);
    const result = this.#lookUp(reference, look, anew, signal).then((image) => this.#keep(key, image));
    this.#flights.set(name, { host, result });
    const over = (): void => void this.#flights.delete(name);
    result.then(over, over);
    return result;
  }

  async #lookUp({ repository, digest, tag }: ImageReference, { depth, attached }: Look, anew: boolean, signal: AbortSignal): Promise<AskedImage> {
    const { nowMs } = this.#services;
    const registry = anew ? this.#services.registry.anew() : this.#services.registry;
    const anewAtMs = anew ? nowMs() : undefined;
    const fetch = (name: string): Promise<FetchedManifest> => registry.manifest(repository, name, MAX_MANIFEST_BYTES, signal);
    const top = await fetch(digest ?? tag ?? "latest");
    const parsed = parseManifest(top.bytes, top.mediaType);
    const isIndex = parsed.kind === "index";
    const entries = isIndex ? parsed.manifests.filter(isImageEntry) : [];
    if (entries.length > MAX_PLATFORMS) throw new ProvenanceError("TOO_LARGE", `an index of ${entries.length} images: more than ${MAX_PLATFORMS}`);
    const subjects: ImageSubject[] = [{ repository, digest: top.digest, kind: parsed.kind }];
    const known = async (name: string, architecture: string | undefined, image: ImageManifest | undefined): Promise<PlatformImage> => {
      const configDigest = image?.config.digest;
      const config =
        configDigest !== undefined && depth === "layers" ? await readBlob(registry, repository, configDigest, MAX_CONFIG_BYTES, signal) : undefined;
      return { digest: name, architecture, configDigest, diffIds: config && parseConfig(config).diffIds };
    };
    const platforms: PlatformImage[] = isIndex ? [] : [await known(top.digest, undefined, parsed)];
    for (const { digest: child, platform } of entries) {
      const image = depth === "named" ? undefined : imageOf(await fetch(child));
      if (attached) subjects.push({ repository, digest: child, kind: "manifest" });
      platforms.push(await known(child, platform?.architecture, image));
    }
    const artefacts = await collectArtefacts(registry, subjects, signal);
    // An image by itself has no images of which more could be known.
    const looked: Look = isIndex ? { depth, attached } : { depth: depth === "layers" ? depth : "images", attached: true };
    return { repository, digest: top.digest, platforms, isIndex, artefacts, looked, knownAtMs: nowMs(), anewAtMs };
  }

  /** What could not be had whole this time does not replace what was whole of the same image. */
  #keep(key: string, image: AskedImage): AskedImage {
    const before = this.#known.get(key);
    const partial = image.artefacts.incomplete.length > 0;
    // An incomplete answer is worth a new question at once. What is known is whole always.
    if (partial && before?.image.digest === image.digest) return covers(before.image.looked, image.looked) ? before.image : image;
    if (before) this.#bytes -= before.bytes;
    this.#known.delete(key);
    if (partial) return image;
    const bytes = 4096 + sizeOf(image);
    this.#known.set(key, { image, bytes });
    this.#bytes += bytes;
    for (const [oldest, entry] of this.#known) {
      if (this.#known.size <= MAX_KNOWN && this.#bytes <= MAX_KNOWN_BYTES) break;
      this.#known.delete(oldest);
      this.#bytes -= entry.bytes;
    }
    return image;
  }
}

function imageOf({ bytes, mediaType }: FetchedManifest): ImageManifest {
  const parsed = parseManifest(bytes, mediaType);
  if (parsed.kind === "index") throw new ProvenanceError("MALFORMED", "an index within an index");
  return parsed;
}

function keyOf({ repository, digest, tag }: ImageReference): string {
  return `${repository}@${digest ?? `:${tag}`}`;
}

function staleMs({ digest }: ImageReference): number {
  return digest === undefined ? STALE_TAG_MS : STALE_DIGEST_MS;
}

/** Both looks in one. */
export function combined(a: Look, b: Look): Look {
  return { depth: DEPTHS[Math.max(DEPTHS.indexOf(a.depth), DEPTHS.indexOf(b.depth))] ?? "layers", attached: a.attached || b.attached };
}

function covers(known: Look, wanted: Look): boolean {
  const both = combined(known, wanted);
  return both.depth === known.depth && both.attached === known.attached;
}

function sizeOf({ artefacts: { artefacts }, platforms }: AskedImage): number {
  const layers = platforms.reduce((sum, { diffIds = [] }) => sum + 128 * diffIds.length, 0);
  return artefacts.reduce((sum, artefact) => {
    const content =
      artefact.format === "bundle"
        ? artefact.bundle
        : artefact.format === "simple-signing"
          ? artefact.payload
          : "envelope" in artefact
            ? artefact.envelope
            : undefined;
    return sum + 1024 + (content?.length ?? 0);
  }, layers);
}

/** The work goes on; only this caller's waiting ends. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
