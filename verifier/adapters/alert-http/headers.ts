/** Headers of a route, of which some are secrets. */
import type { HeaderValue, SecretSource } from "../../core/policy/types.ts";
import type { Secret } from "./secrets.ts";

/** Secrets are read at each call. @throws what `secret` throws */
export function headersOf(
  headers: Readonly<Record<string, HeaderValue>>,
  secret: (from: SecretSource) => Secret,
): () => Promise<Readonly<Record<string, string>>> {
  const sources = Object.entries(headers).map(([name, header]): [string, Secret] => [
    name,
    "value" in header ? () => Promise.resolve(header.value) : secret(header),
  ]);
  return async () => Object.fromEntries(await Promise.all(sources.map(async ([name, value]): Promise<[string, string]> => [name, await value()])));
}
