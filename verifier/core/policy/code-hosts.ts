/** Where a service has the repositories whose commits its API speaks of. Pure. */
import type { CommitService } from "./types.ts";

export const DEFAULT_API: Readonly<Record<CommitService, string>> = { github: "https://api.github.com", gitlab: "https://gitlab.com/api/v4" };

/** @param api base of the API, as the route has it @returns scheme and host of the repositories' addresses: `https://github.com` of `https://api.github.com`, else the API's own */
export function webOrigin(service: CommitService, api: string): string {
  const { host } = new URL(api);
  return `https://${service === "github" && host.startsWith("api.") ? host.slice("api.".length) : host}`;
}
