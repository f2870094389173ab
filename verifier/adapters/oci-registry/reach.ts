/**
 * Whom a verifier asks on a node's word: the reference of a container's image names the registry, and whoever starts containers chooses it. So registries can be listed, and addresses of the
 * inside (private, link-local, loopback, a cloud's metadata) are not asked unless their host is.
 */
import { lookup as resolveName } from "node:dns";
import { BlockList, isIP, type LookupFunction } from "node:net";
import { compileNames } from "@hullmark/proto/codec";
import { type Descriptor, type FetchedManifest, type Registry, RegistryError } from "../../ports/registry.ts";

/** IANA's special-purpose registries (RFC 6890 and successors): what is not reached over the internet. */
const INSIDE_V4 = new BlockList();
const INSIDE_V6 = new BlockList();
for (const [network, prefix] of [
  ...([
    ["0.0.0.0", 8],
    ["10.0.0.0", 8],
    ["100.64.0.0", 10],
    ["127.0.0.0", 8],
    ["169.254.0.0", 16],
    ["172.16.0.0", 12],
  ] as const),
  ...([
    ["192.0.0.0", 24],
    ["192.0.2.0", 24],
    ["192.168.0.0", 16],
    ["198.18.0.0", 15],
    ["198.51.100.0", 24],
    ["203.0.113.0", 24],
    ["224.0.0.0", 4],
    ["240.0.0.0", 4],
  ] as const),
])
  INSIDE_V4.addSubnet(network, prefix, "ipv4");
// Mapped, translated and tunnelled addresses hold others: none of them is asked. A list of its own: Node holds addresses of version 4 against rules for mapped ones.
for (const [network, prefix] of [
  ...([
    ["::", 96],
    ["::ffff:0:0", 96],
    ["64:ff9b::", 96],
    ["64:ff9b:1::", 48],
    ["100::", 64],
    ["2001::", 32],
    ["2001:db8::", 32],
    ["2002::", 16],
  ] as const),
  ...([
    ["fc00::", 7],
    ["fe80::", 10],
    ["fec0::", 10],
    ["ff00::", 8],
  ] as const),
])
  INSIDE_V6.addSubnet(network, prefix, "ipv6");

/** Whether an address is one of the inside. @param address as `dns` and `net` write it; what is no address counts as inside */
export function isInside(address: string): boolean {
  const plain = address.replace(/^\[|\]$/g, "").replace(/%.*$/, "");
  const family = isIP(plain);
  return family === 0 || (family === 4 ? INSIDE_V4.check(plain, "ipv4") : INSIDE_V6.check(plain, "ipv6"));
}

/** Refuses what lies inside. */
export interface Reach {
  /** @param host `name[:port]` of a URL @throws RegistryError NOT_ALLOWED where it is an address of the inside that is not listed */
  check(host: string): void;
  /** Resolves the names of hosts that are not listed, and refuses those that lie inside; undefined: a host that is. */
  lookup(host: string): LookupFunction | undefined;
}

/** @param listed globs over `host[:port]` that may lie inside */
export function outside(listed: readonly string[]): Reach {
  const isListed = compileNames(listed);
  return {
    check(host) {
      const name = nameOf(host);
      if (!isListed(host) && isIP(name) !== 0 && isInside(name)) throw refusal(host, name);
    },
    lookup(host) {
      if (isListed(host)) return undefined;
      return (hostname, options, callback) => {
        resolveName(hostname, { ...options, all: true }, (error, addresses) => {
          if (error) return callback(error, "", 0);
          const inside = addresses.find(({ address }) => isInside(address));
          if (inside) return callback(refusal(host, inside.address) as NodeJS.ErrnoException, "", 0);
          if (options.all) return callback(null, addresses);
          const [first] = addresses;
          if (!first) return callback(new RegistryError("UNAVAILABLE", `${host} has no address`) as NodeJS.ErrnoException, "", 0);
          callback(null, first.address, first.family);
        });
      };
    },
  };
}

function nameOf(host: string): string {
  return host.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
}

function refusal(host: string, address: string): RegistryError {
  return new RegistryError("NOT_ALLOWED", `${host} lies at ${address}, an address of the inside, and is not listed (registries.allowPrivate of the verifier)`);
}

/** A {@link Registry} that asks only registries that are listed. */
export class ListedRegistries implements Registry {
  readonly #inner: Registry;
  readonly #names: readonly string[];
  readonly #allowed: (host: string) => boolean;

  /** @param allowed globs over `host[:port]`, at least one; `docker.io` for Docker Hub */
  constructor(inner: Registry, allowed: readonly string[]) {
    this.#inner = inner;
    this.#names = allowed;
    this.#allowed = compileNames(allowed);
  }

  anew(): Registry {
    return new ListedRegistries(this.#inner.anew(), this.#names);
  }

  async manifest(repository: string, reference: string, maxBytes: number, signal: AbortSignal): Promise<FetchedManifest> {
    return await this.#of(repository).manifest(repository, reference, maxBytes, signal);
  }

  async *blob(repository: string, digest: string, signal: AbortSignal): AsyncIterable<Buffer> {
    yield* this.#of(repository).blob(repository, digest, signal);
  }

  async referrers(repository: string, digest: string, signal: AbortSignal): Promise<readonly Descriptor[]> {
    return await this.#of(repository).referrers(repository, digest, signal);
  }

  #of(repository: string): Registry {
    const host = repository.slice(0, Math.max(0, repository.indexOf("/")));
    if (this.#allowed(host)) return this.#inner;
    throw new RegistryError("NOT_ALLOWED", `${host} is not among the registries that the verifier may ask (registries.allow)`);
  }
}
