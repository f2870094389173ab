/** A registry that counts: one around the network client, one around the cache in front of it; what the cache spared is the difference. */
import { type Descriptor, type FetchedManifest, type Registry, RegistryError } from "../../ports/registry.ts";
import type { Series } from "./series.ts";

type Kind = "manifest" | "blob" | "referrers";
type Told = (object: Kind, result: string, bytes: number) => void;

/** Counts what is asked, whoever answers. */
export function countLookups(inner: Registry, { lookups }: Series): Registry {
  return watched(inner, (object) => lookups.inc({ object }));
}

/** Counts what the network was asked, how that ended (`ok`, or the error's code in lower case) and what came. */
export function countRequests(inner: Registry, { requests, received }: Series): Registry {
  return watched(inner, (object, result, bytes) => {
    requests.inc({ object, result });
    received.inc(bytes);
  });
}

function watched(inner: Registry, told: Told): Registry {
  const once = async <T>(object: Kind, ask: Promise<T>, bytesOf: (answer: T) => number): Promise<T> => {
    try {
      const answer = await ask;
      told(object, "ok", bytesOf(answer));
      return answer;
    } catch (error) {
      told(object, resultOf(error), 0);
      throw error;
    }
  };
  return {
    manifest: (repository, reference, maxBytes, signal) =>
      once<FetchedManifest>("manifest", inner.manifest(repository, reference, maxBytes, signal), ({ bytes }) => bytes.length),
    anew: () => watched(inner.anew(), told),
    referrers: (repository, digest, signal) => once<readonly Descriptor[]>("referrers", inner.referrers(repository, digest, signal), () => 0),
    async *blob(repository, digest, signal) {
      let bytes = 0;
      let result = "aborted";
      try {
        for await (const chunk of inner.blob(repository, digest, signal)) {
          bytes += chunk.length;
          yield chunk;
        }
        result = "ok";
      } catch (error) {
        result = resultOf(error);
        throw error;
      } finally {
        told("blob", result, bytes);
      }
    },
  };
}

function resultOf(error: unknown): string {
  return error instanceof RegistryError ? error.code.toLowerCase() : "aborted";
}
